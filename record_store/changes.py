"""Whether anything was committed since: what a worker at rest asks, in place of each of its loops' questions.

SQLite keeps a number for that (PRAGMA data_version, 0.01 ms). PostgreSQL's is the snapshot that a statement would
see: it moves with each transaction that has written anything in the server, also in another database of it.
NOTIFY would have to be said by whoever writes, and makes them take turns at their commits.
"""

import os
import sqlite3
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from sqlalchemy import URL, make_url

from clinical.errors import Busy
from record_store.driver_errors import translated
from record_store.pooler import is_pooled

if TYPE_CHECKING:
    from psycopg import Connection

_SNAPSHOT = "SELECT pg_current_snapshot()::text"
_CONNECT: dict[str, Any] = {"connect_timeout": 5, "application_name": "consilium", "tcp_user_timeout": 10_000}


class Changes(Protocol):
    """What somebody asks again and again; for one thread at a time."""

    def __call__(self) -> Hashable:
        """Return another value than before whenever anybody has committed a change to the database.

        Raises Busy or Fault when the database is away.
        """

    def close(self) -> None:
        """Close its connection; the next question opens another one."""


def changes_of(url: str) -> Changes:
    """Return what sees the changes of the database at `url`; nothing is opened before its first use."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return SqliteChanges(parsed.database or "")
    return PostgresChanges(parsed)


class SqliteChanges:
    """Keeps a connection that never writes: its number moves with everybody's commits."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._conn: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def __call__(self) -> Hashable:
        """See `Changes`."""
        try:
            status = os.stat(self._path)  # noqa: PTH116 - in 1 us, many times a second
        except OSError:
            raise Busy("the database's file is not there") from None
        file = status.st_dev, status.st_ino
        with translated():
            if self._conn is None or file != self._file:
                self._open(file)
            return (*file, self._version())

    def close(self) -> None:
        """See `Changes`."""
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def _version(self) -> int:
        if self._conn is None:
            raise Busy("the database is not open")
        version: int = self._conn.execute("PRAGMA data_version").fetchone()[0]
        return version

    def _open(self, file: tuple[int, int]) -> None:
        self.close()
        address = f"file:{quote(self._path)}?mode=rw"
        self._conn = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        self._file = file


class PostgresChanges:
    """Keeps a connection outside of any transaction, and of the pool: asked there it took five times as long."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._conn: Connection[tuple[str]] | None = None
        self._prepare = True

    def __call__(self) -> Hashable:
        """See `Changes`."""
        import psycopg  # noqa: PLC0415 - only who has a PostgreSQL

        try:
            if self._conn is None or self._conn.closed:
                # SQLAlchemy reads the address, as it does for the pool: libpq refuses some that it takes (a space
                # in a password, several hosts).
                _, given = self._url.get_dialect()().create_connect_args(self._url)
                self._conn = psycopg.connect(autocommit=True, **{**given, **_CONNECT})
                self._prepare = not is_pooled(self._conn)
            return self._conn.execute(_SNAPSHOT, prepare=self._prepare).fetchone()
        except psycopg.Error:
            self.close()
            raise Busy("the database is away") from None

    def close(self) -> None:
        """See `Changes`."""
        if self._conn is not None:
            self._conn.close()
            self._conn = None
