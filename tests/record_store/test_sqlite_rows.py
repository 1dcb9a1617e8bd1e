"""Who writes on SQLite waits for other processes: a moment closely, then as long as he is told."""

import gc
import sqlite3
import threading
import time
import weakref

import pytest
from sqlalchemy import select

from clinical.errors import Busy
from record_store import sqlite_rows
from record_store.sqlite_rows import SqliteRows
from record_store.tables import executor
from record_store.testing import database


class Connection:
    """A connection whose database is locked so many times. code: SQLite's extended result code."""

    def __init__(self, times, code):
        self.times, self.code, self.begun = times, code, 0

    def execute(self, text):
        if text == "BEGIN IMMEDIATE":
            if self.times:
                self.times -= 1
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = self.code
                raise error
            self.begun += 1


@pytest.mark.parametrize("code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY, sqlite3.SQLITE_BUSY_SNAPSHOT])
def test_a_lock_that_another_process_holds_for_a_moment_is_waited_for(code, monkeypatch):
    monkeypatch.setattr(sqlite_rows, "QUICK_S", 60.0)  # a moment, also for a machine that does other things
    connection = Connection(3, code)
    assert SqliteRows("x")._begins(connection)
    assert connection.begun == 1


def test_another_error_is_none_to_wait_for():
    with pytest.raises(sqlite3.OperationalError):
        SqliteRows("x")._begins(Connection(1, sqlite3.SQLITE_FULL))


@pytest.mark.parametrize(("held_s", "within_s"), [(0.1, 5.0), (60.0, 0.05)])
def test_a_lock_that_is_held_longer_is_waited_for_as_long_as_is_said(tmp_path, held_s, within_s):
    db = database(tmp_path)
    other = sqlite3.connect(tmp_path / "consilium.db", check_same_thread=False, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(held_s, lambda: other.execute("COMMIT"))
    began = time.monotonic()
    release.start()
    row = {"executor_id": "x", "beat_at": 1.0}
    if within_s > held_s:
        db.add_one(executor, row, within_s)
        assert time.monotonic() - began > held_s - sqlite_rows.QUICK_S
    else:
        with pytest.raises(Busy):
            db.add_one(executor, row, within_s)
    release.cancel()
    release.join()
    other.close()
    db.dispose()


def test_a_statement_that_is_made_for_one_call_is_not_kept_for_ever(tmp_path):
    db = database(tmp_path)
    first = select(executor.c.executor_id)
    gone = weakref.ref(first)
    with db.record() as run:
        run(first, {})
        del first
        for _ in range(sqlite_rows.MOST_TEXTS):
            run(select(executor.c.beat_at), {})
    gc.collect()
    assert gone() is None
    db.dispose()
