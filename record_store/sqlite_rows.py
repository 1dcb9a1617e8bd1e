"""Rows added to SQLite on one kept connection, without SQLAlchemy: what every hook call writes.

SQLite itself takes little of what a transaction costs: two rows 0.06 ms of CPU here, 0.5 ms through SQLAlchemy
(measured). Not flushed (`synchronous=NORMAL`): see `Database.append`.
"""

import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import quote

from sqlalchemy import Table

CHECKPOINT_PAGES = 10_000  # 40 MB of log, about 1,500 calls

WAIT_STEP_MS = 50

AddRows = Callable[[Table, Sequence[Mapping[str, object]]], None]
"""Adds rows to a table; every row has the same columns."""


class SqliteRows:
    """The connection. One thread at a time (`Database` sees to it), one process."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._kept: sqlite3.Connection | None = None
        self._wait_ms = 0
        self._statements: dict[tuple[str, ...], str] = {}

    @contextmanager
    def transaction(self, within_s: float) -> Iterator[AddRows]:
        """Yield what adds rows: committed on exit, rolled back when an error leaves. within_s: for the lock."""
        conn = self._kept or self._open()
        try:
            self._wait_for(conn, within_s)
            conn.execute("BEGIN IMMEDIATE")
            yield lambda table, rows: self._add(conn, table, rows)
            conn.commit()
        except sqlite3.Error:
            # Whatever it is, the next one begins with a connection that is known to be well.
            self.close()
            raise
        except BaseException:
            conn.rollback()
            raise

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
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "wal_autocheckpoint=4000"):
            conn.execute(f"PRAGMA {pragma}").close()
        self._kept, self._wait_ms = conn, 0
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
