"""Old rows of the audit go into a file, and the chain of seals holds over both."""

import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, func, select, update

from clinical.errors import Busy, IncorrectInput, PreconditionMissing
from record_store import audit
from record_store.audit_archive import archive, verify_archive
from record_store.audit_chain import FIRST, seal, verify
from record_store.tables import audit as audit_table
from record_store.tables import audit_seal

KEY = b"k" * 32
FUTURE = "9999-01-01T00:00:00.000000Z"


def act(db, now, count=2):
    with db.write() as conn:
        for number in range(count):
            audit.append(conn, at=now(), action="read", outcome="success", actor="client:a", subject=str(number))


def archived(db, now, older_than, path):
    return archive(db, KEY, older_than, path, now, lambda: seal(db, KEY, now))


@pytest.fixture
def now():
    """A clock of which each look is a second later."""
    start, seconds = datetime(2026, 11, 27, tzinfo=UTC), itertools.count()
    return lambda: start + timedelta(seconds=next(seconds))


@pytest.fixture
def sealed(db, now):
    """Three seals over six rows; return when the last was made."""
    for _ in range(3):
        act(db, now)
        assert seal(db, KEY, now) == 2
    with db.read() as conn:
        return sorted(conn.execute(select(audit_seal.c.sealed_at)).scalars())


def rows_in(db):
    with db.read() as conn:
        return conn.execute(select(func.count()).select_from(audit_table)).scalar_one()


def test_what_is_archived_is_verified_gone_and_still_in_the_chain(db, now, sealed, tmp_path):
    made = archived(db, now, sealed[-1], tmp_path / "a.ndjson")
    assert (made.rows, made.before) == (4, FIRST.hex())
    assert verify_archive(tmp_path / "a.ndjson", KEY) == made
    found = verify(db, KEY)
    # Two rows and the one that says what was done.
    assert (found.rows, found.broken_at, found.unsealed) == (3, None, 0)
    assert (found.archived_to, found.archive_head) == (made.last_row, made.head)
    assert rows_in(db) == 3


def test_who_writes_meanwhile_does_not_keep_it_from_being_done(db, now, sealed, tmp_path):
    def sealing():
        seal(db, KEY, now)
        act(db, now)

    assert archive(db, KEY, sealed[-1], tmp_path / "a.ndjson", now, sealing) is not None
    assert (verify(db, KEY).broken_at, verify(db, KEY).unsealed) == (None, 2)


def test_what_cannot_be_sealed_is_not_removed(db, now, sealed, tmp_path):
    with pytest.raises(Busy):
        archive(db, KEY, sealed[-1], tmp_path / "a.ndjson", now, lambda: None)
    assert rows_in(db) == 7
    assert verify(db, KEY).broken_at is None


def test_archives_follow_one_another_and_rows_go_on(db, now, sealed, tmp_path):
    first = archived(db, now, sealed[-1], tmp_path / "a.ndjson")
    act(db, now)
    seal(db, KEY, now)
    second = archived(db, now, FUTURE, tmp_path / "b.ndjson")
    assert second.before == first.head
    assert second.rows == 5
    found = verify(db, KEY)
    assert (found.broken_at, found.archive_head, found.rows) == (None, second.head, 1)


def test_nothing_old_makes_no_file(db, now, sealed, tmp_path):
    assert archived(db, now, "2000-01-01T00:00:00.000000Z", tmp_path / "a.ndjson") is None
    assert not (tmp_path / "a.ndjson").exists()


def test_a_file_that_is_there_is_left_alone_and_so_are_the_rows(db, now, sealed, tmp_path):
    (tmp_path / "a.ndjson").write_text("mine")
    with pytest.raises(IncorrectInput, match="already"):
        archived(db, now, FUTURE, tmp_path / "a.ndjson")
    assert (rows_in(db), (tmp_path / "a.ndjson").read_text()) == (6, "mine")


def test_an_audit_that_was_altered_is_not_archived(db, now, sealed, tmp_path):
    with db.write() as conn:
        conn.execute(update(audit_table).where(audit_table.c.subject == "1").values(actor="client:b"))
    with pytest.raises(PreconditionMissing, match="altered"):
        archived(db, now, FUTURE, tmp_path / "a.ndjson")
    assert rows_in(db) == 6


@pytest.mark.parametrize("what", ["a row", "a row less", "a seal", "the key", "the end", "no archive"])
def test_an_archive_that_was_altered_is_found_out(what, db, now, sealed, tmp_path):
    path = tmp_path / "a.ndjson"
    archived(db, now, FUTURE, path)
    lines = path.read_text().splitlines()
    key = b"x" * 32 if what == "the key" else KEY
    changes = {
        "a row": lambda: lines.__setitem__(1, lines[1].replace("client:a", "client:b")),
        "a row less": lambda: lines.pop(1),
        "a seal": lambda: lines.__setitem__(3, lines[3].replace(json.loads(lines[3])["seal"], "0" * 64)),
        "the end": lines.pop,
        "no archive": lambda: lines.__setitem__(0, "{}"),
    }
    changes.get(what, lambda: None)()
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(IncorrectInput):
        verify_archive(path, key)


def test_whoever_cuts_off_the_beginning_without_an_archive_is_found_out(db, now, sealed):
    with db.write() as conn:
        seals = list(conn.execute(select(audit_seal).order_by(audit_seal.c.last_row)).mappings())
        conn.execute(delete(audit_table).where(audit_table.c.row <= seals[0]["last_row"]))
        conn.execute(update(audit_seal).where(audit_seal.c.last_row == seals[0]["last_row"]).values(rows=0))
    assert verify(db, KEY).broken_at is not None
    # Nor is it enough to say so: what says it must be sealed.
    with db.write() as conn:
        detail = {"head": seals[0]["seal"]}
        told = {"action": "audit-archived", "outcome": "success", "actor": "operator", "detail": detail}
        audit.append(conn, at=now(), subject=str(seals[0]["last_row"]), **told)
    assert verify(db, KEY).broken_at is not None
