"""One statement that reads, beside SQLAlchemy: it sees what is committed, and writes nothing."""

import threading
import time
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert

from clinical.errors import Busy, Fault
from record_store.database import open_database
from record_store.index_rows import IndexRows
from record_store.resource_history import current, latest
from record_store.resources import NewResource, put
from record_store.tables import revoked_token

NAMES = "SELECT token_id FROM revoked_token WHERE token_id = ?"


def written(db, *names):
    with db.write() as conn:
        conn.execute(insert(revoked_token), [{"token_id": one, "expires_at": ""} for one in names])


def names(db, own):
    return [tuple(row) for row in db.rows_of(NAMES, (own,))]


def test_what_is_committed_is_found_at_once_and_what_is_not_is_not(db):
    assert names(db, "a") == []
    with db.write() as conn:
        conn.execute(insert(revoked_token), [{"token_id": "a", "expires_at": ""}])
        assert names(db, "a") == []
    assert names(db, "a") == [("a",)]


def test_values_are_values_and_no_words_of_the_statement(db):
    written(db, "a")
    assert names(db, "' OR ''='") == []


def test_a_statement_that_writes_or_cannot_be_read_is_refused_and_the_next_one_is_answered(sqlite_db):
    written(sqlite_db, "a")
    for statement in ("DELETE FROM revoked_token WHERE token_id = ?", "SELECT x FROM nowhere WHERE y = ?"):
        with pytest.raises((Busy, Fault)):
            sqlite_db.rows_of(statement, ("a",))
    assert names(sqlite_db, "a") == [("a",)]


def test_many_threads_read_side_by_side_while_one_writes(db):
    found, stop = [], threading.Event()

    def reads():
        while not stop.is_set():
            found.append(names(db, "b"))

    threads = [threading.Thread(target=reads) for _ in range(4)]
    for one in threads:
        one.start()
    written(db, "b")
    ends_at = time.monotonic() + 10
    while [("b",)] not in found and time.monotonic() < ends_at:
        threading.Event().wait(0.001)
    stop.set()
    for one in threads:
        one.join()
    assert {tuple(one) for one in found} - {()} == {(("b",),)}


def test_a_database_that_is_closed_is_opened_again_and_one_that_is_not_there_is_busy(sqlite_db, tmp_path):
    written(sqlite_db, "a")
    assert names(sqlite_db, "a") == [("a",)]
    sqlite_db.dispose()
    assert names(sqlite_db, "a") == [("a",)]
    with pytest.raises(Busy):
        names(open_database(f"sqlite:///{tmp_path}/none.db"), "a")
    assert not (tmp_path / "none.db").exists()


def test_the_current_version_is_what_a_transaction_finds(db):
    at = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    for version, deleted in ((1, False), (2, False), (3, True)):
        with db.write() as conn:
            body = b"" if deleted else b'{"n":%d}' % version
            put(conn, NewResource("Basic", "b", version, at, body, IndexRows(), method="PUT", deleted=deleted))
        with db.read() as conn:
            assert current(db, "Basic", "b") == latest(conn, "Basic", "b")
    assert current(db, "Basic", "none") is None
    assert current(db, "Patient", "b") is None
