"""One database, SQLite or PostgreSQL by URL: a snapshot to read in, a transaction to write in.

SQLite runs in WAL mode with synchronous=FULL: with NORMAL the last commits may be lost with the power, and
a C-STORE was answered with Success for them.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, insert
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from clinical.errors import Busy, IncorrectInput
from record_store.database_file import DatabaseFile
from record_store.driver_errors import translated
from record_store.flush import flush
from record_store.pooler import is_pooled
from record_store.sql import Run, insert_once, placed, run_on
from record_store.sqlite_reads import SqliteReads
from record_store.sqlite_rows import AddRows, SqliteRows

BUSY_TIMEOUT_S = 5.0
_WAL_STEP_S = 0.005
_WRITES = "consilium_writes"
_DURABLE = "consilium_durable"
_WITHIN = "consilium_within_ms"
_POOLED = "consilium_pooled"


class Database:
    """A lazily opened database: every process makes its own pool.

    To be carried over a fork with nothing open (`dispose`): a copy of an open SQLite connection believes that it
    has its locks, which only the parent has (decision 062).

    dialect: "sqlite" or "postgresql".
    """

    def __init__(self, url: URL) -> None:
        self._url = url
        self._engines: dict[int, Engine] = {}
        self._kept: dict[tuple[int, bool], SqliteRows] = {}  # by process and durability
        self._reads: dict[int, SqliteReads] = {}
        self._turns: dict[int, threading.Lock] = {}
        self.dialect = url.get_backend_name()
        self._file = DatabaseFile(url.database or "") if self.dialect == "sqlite" else None

    @property
    def url(self) -> str:
        """The address, with its password: for opening the same database again, never for a log."""
        return self._url.render_as_string(hide_password=False)

    def __repr__(self) -> str:
        return f"Database({self.dialect})"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees one consistent snapshot and refuses to write.

        Raises Busy when the database is away or overloaded, Fault when it refuses a statement.
        """
        options: dict[str, Any] = {_WRITES: False}
        if self.dialect == "postgresql":
            options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self._usable(), self._engine().connect() as conn:
            yield conn.execution_options(**options)

    def rows_of(self, text: str, values: Sequence[str | int]) -> Sequence[Sequence[Any]]:
        """Return what one statement of ours finds ("?" for each value): `read` at a fraction of its cost.

        It sees a snapshot of its own. Raises as `read`.
        """
        with self._usable():
            if self.dialect == "sqlite":
                pid = os.getpid()
                reads = self._reads.get(pid) or self._reads.setdefault(
                    pid, SqliteReads(self._url.database or "", BUSY_TIMEOUT_S)
                )
                return reads.rows(text, values)
            with self._engine().connect() as conn:
                conn = conn.execution_options(isolation_level="AUTOCOMMIT")  # noqa: PLW2901 - the same connection
                return conn.exec_driver_sql(placed(conn, text), tuple(values)).all()

    @contextmanager
    def write(self, *, durable: bool = True, within_s: float = BUSY_TIMEOUT_S) -> Iterator[Connection]:
        """Yield a connection in a transaction: committed on exit, rolled back when an error leaves.

        SQLite takes its one write lock at the start (BEGIN IMMEDIATE), so that a transaction never fails
        half way because another one wrote in between.

        durable: False does not wait for the disk (measured 0.04 ms instead of 1.6 ms on SQLite). What was
        committed survives the death of our processes, but a power cut may take the last moments of it: only for
        what a caller need not have been promised.
        within_s: how long another writer may keep us waiting.

        Raises Busy when the database is away, locked or full, Fault when it refuses a statement.
        """
        options = {_WRITES: True, _DURABLE: durable, _WITHIN: _milliseconds(within_s)}
        with self._usable(), self._turn(within_s), self._engine().connect() as conn:
            conn = conn.execution_options(**options)  # noqa: PLW2901 - the same connection
            with conn.begin():
                if self.dialect == "postgresql":
                    settings = _postgres_settings(durable, within_s, pooled=conn.info[_POOLED])
                    if settings:
                        conn.exec_driver_sql(f"SELECT {settings}")
                yield conn

    @contextmanager
    def append(self, within_s: float = BUSY_TIMEOUT_S) -> Iterator[AddRows]:
        """Yield what adds rows in one transaction: `write(durable=False)` at a fraction of its cost."""
        if self.dialect != "sqlite":
            with self.write(durable=False, within_s=within_s) as conn:
                yield lambda table, rows: _insert(conn, table, rows)
            return
        with self._usable(), self._turn(within_s), self._rows().transaction(within_s) as add:
            yield add

    def add_one(self, table: Table, row: Mapping[str, object], within_s: float = BUSY_TIMEOUT_S) -> None:
        """Add one row in a transaction of its own, as cheaply as can be; it does not wait for the disk.

        PostgreSQL is asked once: the statement is its own transaction and says itself that it is not waited for.
        """
        if self.dialect == "sqlite":
            with self.append(within_s) as add:
                add(table, [row])
            return
        names = ", ".join(row)
        marks = ", ".join(["%s"] * len(row))
        soon = "WITH soon AS (SELECT set_config('synchronous_commit', 'off', true))"
        text = f"{soon} INSERT INTO {table.name} ({names}) SELECT {marks} FROM soon"  # noqa: S608 - our own names
        with translated(), self._engine().connect() as conn:
            conn.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(text, tuple(row.values()))

    @contextmanager
    def record(self, within_s: float = BUSY_TIMEOUT_S, *, durable: bool = True) -> Iterator[Run]:
        """Yield what runs statements in one transaction: `write` at a fraction of its cost on SQLite.

        durable: False leaves that to `settle`, on SQLite; PostgreSQL is always waited for.
        """
        if self.dialect != "sqlite":
            with self.write(within_s=within_s) as conn:
                yield run_on(conn)
            return
        with self._usable(), self._turn(within_s), self._rows(durable=durable).statements(within_s) as run:
            yield run

    def count_rows(self) -> None:
        """Let PostgreSQL's planner know at once how much there is, after much was written.

        Its autovacuum does so within a minute or two; until then it plans for the empty tables of before, and a
        search by patient and code took 25 ms and not 2. SQLite's plans are written down (`migrations.planner`).
        """
        if self.dialect == "postgresql":
            with self.write() as conn:
                conn.exec_driver_sql("ANALYZE")

    def settle(self) -> None:
        """Make all that is committed durable. Raises Busy when the disk does not say that it is."""
        if self.dialect != "sqlite":
            return
        log = Path(f"{self._url.database}-wal")
        with self._usable():
            try:
                # What is not in the log any more was flushed into the database before it was taken out of it.
                with suppress(FileNotFoundError):
                    for path in (log, log.parent):
                        flush(path)
            except OSError:
                raise Busy("the database's log cannot be flushed") from None

    def add_once(
        self, table: Table, row: Mapping[str, object], key: Sequence[str], *, within_s: float = BUSY_TIMEOUT_S
    ) -> bool:
        """Add a row unless one with the same `key` columns is there, as cheaply as `append`; True when added.

        A concurrent addition of the same key is waited for, so False means that the other row is committed.
        """
        if self.dialect != "sqlite":
            with self.write(durable=False, within_s=within_s) as conn:
                return insert_once(conn, table, row, key)
        with self._usable(), self._turn(within_s):
            return self._rows().add_once(table, row, key, within_s)

    def pooled(self) -> Engine | None:
        """Return this process's engine when a pooler stands before the server, for who would make one of his own.

        Behind PgBouncer in transaction mode no session is one's own: this engine leaves nothing in it, neither
        settings nor prepared statements (docs/operations.md, "Behind PgBouncer"). Raises as `read`.
        """
        if self.dialect == "sqlite":
            return None
        with self._usable(), self._engine().connect() as conn:
            return self._engine() if conn.info[_POOLED] else None

    def dispose(self) -> None:
        """Close this process's connections; the next use opens new ones."""
        if self._file is not None:
            self._file.forget()
        engine = self._engines.pop(os.getpid(), None)
        if engine is not None:
            engine.dispose()
        reads = self._reads.pop(os.getpid(), None)
        if reads is not None:
            reads.close()
        for durable in (False, True):
            rows = self._kept.pop((os.getpid(), durable), None)
            if rows is not None:
                rows.close()

    def _rows(self, *, durable: bool = False) -> SqliteRows:
        key = (os.getpid(), durable)
        return self._kept.get(key) or self._kept.setdefault(
            key, SqliteRows(self._url.database or "", durable=durable)
        )

    @contextmanager
    def _usable(self) -> Iterator[None]:
        with translated(), self._file.in_place() if self._file else nullcontext():
            yield

    @contextmanager
    def _turn(self, within_s: float) -> Iterator[None]:
        # SQLite lets a writer that finds the lock taken sleep and try again. The threads of one process
        # queue here instead: four of them then commit 5 to 8 times as much (measured 84-141 and 280-1,126/s).
        if self.dialect != "sqlite":
            yield
            return
        turn = self._turns.setdefault(os.getpid(), threading.Lock())  # by process, as the engines are
        if not turn.acquire(timeout=within_s):
            raise Busy("the database is busy with another writer")
        try:
            yield
        finally:
            turn.release()

    def _engine(self) -> Engine:
        # No lock, because a lock held by another thread at a fork would stay held in the child. Two
        # threads may both make an engine; the one that loses has no connection yet and is dropped.
        # The parent's engine stays referenced in a child, so that its connections are not closed there.
        pid = os.getpid()
        return self._engines.get(pid) or self._engines.setdefault(pid, _make_engine(self._url))


def open_database(url: str) -> Database:
    """Return the database at `url`; nothing is opened before its first use.

    url: "sqlite:////absolute/path.db" or "postgresql+psycopg://user:password@host/name".

    Raises IncorrectInput when the URL is neither; the text does not repeat it, it may hold a password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise IncorrectInput("the database URL cannot be read") from None
    if parsed.drivername == "sqlite" and parsed.database and Path(parsed.database).is_absolute():
        return Database(parsed)
    if parsed.drivername in {"postgresql", "postgresql+psycopg"} and parsed.database:
        return Database(parsed.set(drivername="postgresql+psycopg"))
    raise IncorrectInput("a database URL is sqlite:////absolute/path or postgresql+psycopg://host/name")


def _make_engine(url: URL) -> Engine:
    # hide_parameters: values are patients' data and must not reach an exception's text.
    common: dict[str, Any] = {"hide_parameters": True, "pool_timeout": BUSY_TIMEOUT_S, "max_overflow": 20}
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, **common)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    connect = {
        "connect_timeout": int(BUSY_TIMEOUT_S),
        "application_name": "consilium",
        "tcp_user_timeout": int(2 * BUSY_TIMEOUT_S * 1000),  # ms; a server that vanished is away, not slow
    }
    engine = create_engine(url, pool_pre_ping=True, connect_args=connect, **common)
    event.listen(engine, "connect", _prepare_postgres)
    return engine


def _prepare_postgres(dbapi_connection: Any, record: Any) -> None:  # noqa: ANN401 - psycopg's and the pool's
    record.info[_POOLED] = pooled = is_pooled(dbapi_connection)
    if pooled:
        dbapi_connection.prepare_threshold = None
    else:
        # A C-STORE that waits for a lock longer than this answers "busy" and not nothing at all. By a statement
        # and not by a start-up option, which PgBouncer refuses.
        dbapi_connection.execute(f"SET lock_timeout = '{_milliseconds(BUSY_TIMEOUT_S)}ms'")
    dbapi_connection.commit()


def _prepare_sqlite(dbapi_connection: sqlite3.Connection, _record: object) -> None:
    dbapi_connection.isolation_level = None  # the driver must not begin transactions of its own
    _turn_to_wal(dbapi_connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        dbapi_connection.execute(f"PRAGMA {pragma}").close()


def _turn_to_wal(connection: sqlite3.Connection) -> None:
    # Of two processes that turn a new file at once SQLite refuses one there and then: its busy time-out is not for
    # that. A first start failed so.
    until = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_WAL_STEP_S)
        else:
            return


def _begin_sqlite(conn: Connection) -> None:
    options = conn.get_execution_options()
    writes, durable = options.get(_WRITES, True), options.get(_DURABLE, True)
    conn.exec_driver_sql(f"PRAGMA query_only={'OFF' if writes else 'ON'}")
    if writes:
        within_ms = options.get(_WITHIN, _milliseconds(BUSY_TIMEOUT_S))
        conn.exec_driver_sql(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        conn.exec_driver_sql(f"PRAGMA busy_timeout={within_ms}")
    conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgres_settings(durable: bool, within_s: float, *, pooled: bool) -> str:
    """Return what sets this transaction's own settings in one statement: each is a way to the server and back.

    pooled: nothing is set for the session, so all is for the transaction.
    """
    settings = {
        "synchronous_commit": None if durable else "off",
        "lock_timeout": f"{_milliseconds(within_s)}ms" if pooled or within_s != BUSY_TIMEOUT_S else None,
    }
    return ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items() if value)


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))  # 0 would be "for ever" to PostgreSQL


def _insert(conn: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    conn.execute(insert(table), rows)
