"""Tokens that are called back: at once in the process that hears it, within two seconds in the others."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from record_store.revoked_tokens import RevokedTokens
from record_store.tables import revoked_token

NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)


def test_another_process_knows_of_a_revocation_within_two_seconds(db):
    at = [100.0]
    one, two = (RevokedTokens(db, lambda: NOW, clock=lambda: at[0]) for _ in range(2))
    assert ("t" in one, "t" in two) == (False, False)
    one.add("t", NOW + timedelta(minutes=5))
    assert "t" in one
    at[0] += 2.0
    assert "t" in two


def test_a_revocation_during_the_look_of_another_process_is_known_within_two_seconds_too(db):
    at = [100.0]
    one = RevokedTokens(db, lambda: NOW)

    class Slow:
        """A database that answers half a second after it was asked, with what was there then."""

        @contextmanager
        def read(self):
            with db.read() as conn:
                conn.execute(select(revoked_token)).all()
                if at[0] == 100.0:
                    one.add("t", NOW + timedelta(minutes=5))
                    at[0] += 0.5
                yield conn

    two = RevokedTokens(Slow(), lambda: NOW, clock=lambda: at[0])
    assert "t" not in two
    at[0] = 102.0
    assert "t" in two
