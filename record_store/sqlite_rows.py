"""Statements run on SQLite on one kept connection, without SQLAlchemy: what every hook call and C-STORE writes.

SQLite itself takes little of what a transaction costs: two rows 0.06 ms of CPU here, 0.5 ms through SQLAlchemy
(measured). Not flushed unless asked for: see `Database.append` and `Database.record`.
"""

import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from urllib.parse import quote

from sqlalchemy import ClauseElement, Executable, Table
from sqlalchemy.dialects import sqlite

from record_store.sql import Run

CHECKPOINT_PAGES = 10_000  # 40 MB of log, about 1,500 calls

WAIT_STEP_MS = 50
MOST_TEXTS = 256
# SQLite itself sleeps a millisecond or more each time; a transaction of a few rows takes a fifth of one.
QUICK_S, QUICK_STEP_S = 0.005, 0.0002

AddRows = Callable[[Table, Sequence[Mapping[str, object]]], None]
"""Adds rows to a table; every row has the same columns."""


class SqliteRows:
    """The connection. One thread at a time (`Database` sees to it), one process."""

    def __init__(self, path: str, *, durable: bool = False) -> None:
        self._path, self._synchronous = path, "FULL" if durable else "NORMAL"
        self._kept: sqlite3.Connection | None = None
        self._wait_ms = -1
        self._doubtful = False  # a flush has failed
        self._statements: dict[tuple[str, ...], str] = {}

    @contextmanager
    def transaction(self, within_s: float) -> Iterator[AddRows]:
        """Yield what adds rows: committed on exit, rolled back when an error leaves. within_s: for the lock."""
        with self._begun(within_s) as conn:
            yield lambda table, rows: self._add(conn, table, rows)

    @contextmanager
    def statements(self, within_s: float) -> Iterator[Run]:
        """Yield what runs statements in one transaction, as `transaction`; their values are named."""
        with self._begun(within_s) as conn:
            yield lambda statement, values: conn.execute(_text(statement, tuple(values)), values).fetchall()

    @contextmanager
    def _begun(self, within_s: float) -> Iterator[sqlite3.Connection]:
        conn = self._kept or self._open()
        try:
            if not self._begins(conn):
                self._wait_for(conn, within_s)
                conn.execute("BEGIN IMMEDIATE")
            yield conn
            conn.commit()
        except sqlite3.Error as error:
            # Whatever it is, the next one begins with a connection that is known to be well.
            self._doubtful |= getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR
            self.close()
            raise
        except BaseException:
            conn.rollback()
            raise

    def _begins(self, conn: sqlite3.Connection) -> bool:
        """Begin, if the lock is free within a moment: what holds it is mostly another process's few rows."""
        self._wait_for(conn, 0)
        until = time.monotonic() + QUICK_S
        while True:
            try:
                conn.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                # Also while another process makes the log's index anew, for one was killed (SQLITE_BUSY_RECOVERY).
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                if time.monotonic() > until:
                    return False
                time.sleep(QUICK_STEP_S)
            else:
                return True

    def _wait_for(self, conn: sqlite3.Connection, seconds: float) -> None:
        # In steps, for a statement that is another text each time is also parsed each time.
        milliseconds = math.ceil(seconds * 1000 / WAIT_STEP_MS) * WAIT_STEP_MS
        if milliseconds != self._wait_ms:
            conn.execute(f"PRAGMA busy_timeout={milliseconds}")
            self._wait_ms = milliseconds

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        if self._kept is not None:
            self._kept.close()
        self._kept = None

    def _open(self) -> sqlite3.Connection:
        # Read-write without create: a database that is not there is a mistake, and no empty one.
        conn = sqlite3.connect(
            f"file:{quote(self._path)}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
        )
        # At the usual 1000 pages every 120th call would wait for a checkpoint; a WAL of 16 MB is no burden.
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={self._synchronous}",
            "foreign_keys=ON",
            "wal_autocheckpoint=4000",
        ):
            conn.execute(f"PRAGMA {pragma}").close()
        if self._doubtful:
            # The system forgets pages that it failed to write, so a second flush of the log would succeed and
            # leave a hole that ends the log for whoever reads it after a power cut. A new log has none.
            busy, *_ = conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise sqlite3.OperationalError("the log cannot be begun anew while it is read")
            self._doubtful = False
        self._kept, self._wait_ms = conn, -1
        return conn

    def add_once(self, table: Table, row: Mapping[str, object], key: Sequence[str], within_s: float) -> bool:
        """Add one row in a transaction of its own; return False when one with this key is there."""
        with self.transaction(within_s):
            conn = self._kept or self._open()
            text = f"{self._statement(table, tuple(row))} ON CONFLICT ({', '.join(key)}) DO NOTHING"
            return conn.execute(text, row).rowcount == 1

    def _add(self, conn: sqlite3.Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
        conn.executemany(self._statement(table, tuple(rows[0])), rows)

    def _statement(self, table: Table, names: tuple[str, ...]) -> str:
        text = self._statements.get((table.name, *names))
        if text is None:
            values = ", ".join(f":{name}" for name in names)
            text = f'INSERT INTO "{table.name}" ({", ".join(names)}) VALUES ({values})'  # noqa: S608 - our own names
            self._statements[table.name, *names] = text
        return text


# Of the process: those that are forked from it need not compile again. Statements are made once; should somebody
# make one for each call, it costs time and not memory for ever.
@lru_cache(maxsize=MOST_TEXTS)
def _text(statement: Executable, names: tuple[str, ...]) -> str:
    if not isinstance(statement, ClauseElement):
        raise TypeError("only SQLAlchemy's own statements are run")
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="named"), column_keys=list(names)))
