"""Single statements that read, on kept connections and without SQLAlchemy: what a read by id waits for.

A statement outside of a transaction sees one snapshot, its own. SQLite takes 0.02 ms for one row by its key; with
SQLAlchemy's connection, transaction and statement around it that was 0.2 ms (measured).
"""

import sqlite3
from collections import deque
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote


class SqliteReads:
    """Connections that are idle, each of one thread at a time. Safe for threads; of one process."""

    def __init__(self, path: str, busy_s: float) -> None:
        self._path, self._busy_s = path, busy_s
        self._idle: deque[sqlite3.Connection] = deque()

    def rows(self, text: str, values: Sequence[str | int]) -> list[tuple[Any, ...]]:
        """Return what a statement finds. Raises sqlite3.Error, also for a statement that writes."""
        try:
            conn = self._idle.pop()
        except IndexError:
            conn = self._open()
        try:
            found = conn.execute(text, values).fetchall()
        except BaseException:
            # Whatever it is, the next one begins with a connection that is known to be well.
            conn.close()
            raise
        self._idle.append(conn)
        return found

    def close(self) -> None:
        """Close what is idle; the next use opens anew."""
        while self._idle:
            self._idle.pop().close()

    def _open(self) -> sqlite3.Connection:
        # Read-write without create: a database that is not there is a mistake, and WAL's readers write its index.
        conn = sqlite3.connect(
            f"file:{quote(self._path)}?mode=rw",
            uri=True,
            timeout=self._busy_s,
            isolation_level=None,
            check_same_thread=False,
        )
        conn.execute("PRAGMA query_only=ON").close()
        return conn
