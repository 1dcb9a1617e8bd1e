"""A token lets in one call: of any thread, process or start of the server."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from clinical.errors import Busy
from record_store.database import open_database
from record_store.seen_tokens import KEPT_AFTER_EXPIRY, SeenTokens, token_key

USER = Path(__file__).with_name("token_user.py")
FIVE_MINUTES = timedelta(minutes=5)


def use(seen, now, issuer="https://ehr.example", jti="a"):
    return seen.first_use(issuer, jti, expires_at=now() + FIVE_MINUTES, now=now())


def test_a_token_is_used_once(db, now):
    seen = SeenTokens(db)
    assert use(seen, now)
    assert not use(seen, now)
    assert use(seen, now, jti="b")


def test_two_issuers_may_choose_the_same_jti(db, now):
    seen = SeenTokens(db)
    assert use(seen, now, issuer="https://one.example")
    assert use(seen, now, issuer="https://two.example")


def test_issuer_and_jti_cannot_be_cut_elsewhere_to_read_the_same():
    assert token_key("https://a", "bc") != token_key("https://ab", "c")


def test_nothing_that_was_in_a_token_can_be_read_in_the_store(db, now):
    use(SeenTokens(db), now, issuer="https://ehr.example", jti="zzcanary")
    with db.read() as conn:
        rows = conn.exec_driver_sql("SELECT * FROM seen_token").all()
    assert len(rows) == 1
    assert "zzcanary" not in str(rows)
    assert "ehr.example" not in str(rows)


def test_of_many_at_once_one_is_first(db, now):
    seen = SeenTokens(db)
    with ThreadPoolExecutor(8) as threads:
        firsts = list(threads.map(lambda _: use(seen, now), range(32)))
    assert sum(firsts) == 1


def test_what_has_expired_is_forgotten_and_what_has_not_is_kept(db, now):
    seen = SeenTokens(db)
    for number in range(70):
        use(seen, now, jti=f"old-{number}")
    now.advance((FIVE_MINUTES + KEPT_AFTER_EXPIRY).total_seconds() - 60)
    use(seen, now, jti="young")
    now.advance(120)
    for number in range(64):
        use(seen, now, jti=f"new-{number}")
    assert seen.count() == 65
    assert not use(seen, now, jti="young")


def test_what_has_only_just_expired_is_kept_for_machines_whose_clocks_are_behind(db, now):
    use(SeenTokens(db), now, jti="just-expired")
    now.advance((FIVE_MINUTES + KEPT_AFTER_EXPIRY).total_seconds() - 1)
    assert use(SeenTokens(db), now, jti="one")  # a process sweeps with the first token that it notes
    assert not use(SeenTokens(db), now, jti="just-expired")
    now.advance(2)
    assert use(SeenTokens(db), now, jti="two")
    assert use(SeenTokens(db), now, jti="just-expired")


def test_when_the_store_is_away_nobody_is_told_that_a_token_is_new(tmp_path, now):
    (tmp_path / "a-folder.db").mkdir()
    with pytest.raises(Busy):
        use(SeenTokens(open_database(f"sqlite:///{tmp_path / 'a-folder.db'}")), now)


@contextmanager
def process_on(db):
    with subprocess.Popen(
        [sys.executable, str(USER), db.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def use_there(jti):
            process.stdin.write(f"https://ehr.example {jti}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        yield process, use_there


@pytest.mark.slow
def test_two_processes_share_what_was_used_and_so_does_the_next_start(db):
    with process_on(db) as (one, at_one), process_on(db) as (_, at_other):
        assert (at_one("x"), at_other("x"), at_other("y"), at_one("y")) == ("first", "again", "first", "again")
        one.kill()  # no chance to write anything more
        assert at_other("z") == "first"
    with process_on(db) as (_, at_next):
        assert [at_next(jti) for jti in ("x", "y", "z", "w")] == ["again", "again", "again", "first"]
