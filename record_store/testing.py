"""Databases and blobs for tests: a migrated SQLite file, a PostgreSQL database of one's own, blobs in memory.

Nothing here imports pytest; fixtures of any room use it as `tests/record_store/conftest.py` does.
"""

import hashlib
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from sqlalchemy import Connection

from clinical.errors import ClinicalError, NotFound
from record_store.blobs import StoredBlob
from record_store.database import Database, open_database
from record_store.migrate import migrate
from record_store.parts import PartFile
from record_store.tables import metadata

POSTGRES_SERVER = "postgresql://127.0.0.1:5432"
_ADMIN_DATABASE = "test"
_LARGE_TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND pg_relation_size(oid) > 1000000"


def database(folder: Path) -> Database:
    """Return a migrated SQLite database in `folder`, a new one unless it is there. The caller disposes of it."""
    path = folder.absolute() / "consilium.db"
    if not path.exists():
        path.write_bytes(_migrated_sqlite())
    return open_database(f"sqlite:///{path}")


@cache
def _migrated_sqlite() -> bytes:
    """Return the file of a migrated database, made once in a process: migrating takes 0.12 s."""
    with TemporaryDirectory() as name:
        path = Path(name) / "consilium.db"
        db = open_database(f"sqlite:///{path}")
        migrate(db)
        db.dispose()
        return path.read_bytes()


@cache
def postgres_absent() -> str | None:
    """Return why PostgreSQL cannot be used for tests, or None when it can.

    With CI=true in the environment an absent server is an error and not a reason to skip.
    """
    try:
        psycopg.connect(_admin_url(), connect_timeout=30).close()
    except psycopg.OperationalError:
        if os.environ.get("CI") == "true":
            raise
        return f"no PostgreSQL at {POSTGRES_SERVER}"
    return None


@contextmanager
def postgres_url(template: str = "template1") -> Iterator[str]:
    """Yield the URL of a new PostgreSQL database; it is dropped afterwards, with its connections.

    template: the URL or name of a database that nobody is connected to; what it holds is in the new one, too. By
        default it is empty.
    """
    name = f"consilium_test_{uuid.uuid4().hex}"
    with psycopg.connect(_admin_url(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template.rpartition('/')[2]}".encode())
    try:
        yield f"{POSTGRES_SERVER}/{name}".replace("postgresql:", "postgresql+psycopg:")
    finally:
        with psycopg.connect(_admin_url(), autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def migrated_postgres() -> Iterator[Database]:
    """Yield a new PostgreSQL database with every table; it is dropped afterwards. Ask `postgres_absent` first."""
    with postgres_url() as url:
        db = open_database(url)
        migrate(db)
        try:
            yield db
        finally:
            db.dispose()


def empty_all_tables(db: Database) -> None:
    """Delete every row, so that tests can share one database (creating one takes 0.7 s on PostgreSQL)."""
    with db.write() as conn:
        if db.dialect == "postgresql":
            _empty_postgres(conn)
            return
        for table in reversed(metadata.sorted_tables):
            conn.execute(table.delete())


def _empty_postgres(conn: Connection) -> None:
    # TRUNCATE makes new files for each table and its indexes: of all 44 it takes 0.3 s, where DELETE takes 1 ms.
    # It is for what a test has filled, so that the next ones do not read past its dead rows.
    large = metadata.tables.keys() & set(conn.exec_driver_sql(_LARGE_TABLES).scalars())
    conn.exec_driver_sql(_delete_every_row())
    conn.exec_driver_sql("SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'")
    if large:
        conn.exec_driver_sql(f"TRUNCATE {', '.join(sorted(large))} CASCADE")


@cache
def _delete_every_row() -> str:
    """Return the statements, worked out once in a process: that takes longer than carrying them out."""
    return "; ".join(str(table.delete()) for table in reversed(metadata.sorted_tables))


def _admin_url() -> str:
    return f"{POSTGRES_SERVER}/{_ADMIN_DATABASE}"


class MemoryBlobs:
    """Blobs in a dictionary, with the behaviour of `record_store.blobs.Blobs`.

    free: what `free_bytes` answers; set it low to test a full disk.
    """

    def __init__(self, staging: Path, free: int = 1 << 40) -> None:
        self.staging = staging
        self.free = free
        self.stored: dict[str, bytes] = {}

    def adopt(self, part: Path) -> StoredBlob:
        """Store a file's bytes and remove the file."""
        blob = self.put(part.read_bytes())
        part.unlink()
        return blob

    def adopt_all(self, parts: Sequence[PartFile]) -> list[ClinicalError | None]:
        """Store each."""
        for part in parts:
            self.adopt(part.path)
            part.close()
        return [None] * len(parts)

    def place_all(self, parts: Sequence[PartFile]) -> list[ClinicalError | None]:
        """Store each."""
        return self.adopt_all(parts)

    def settle(self, names: Sequence[str]) -> None:
        """Do nothing."""

    def put(self, data: bytes) -> StoredBlob:
        """Store bytes."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.stored[sha256] = data
        return StoredBlob(sha256, len(data))

    def get(self, sha256: str) -> bytes:
        """Return the bytes; NotFound when absent."""
        if sha256 not in self.stored:
            raise NotFound("no such object in the blob store")
        return self.stored[sha256]

    @contextmanager
    def local_path(self, sha256: str) -> Iterator[Path]:
        """Yield a temporary file with the bytes."""
        path = self.staging / f"{uuid.uuid4().hex}.read"
        path.write_bytes(self.get(sha256))
        try:
            yield path
        finally:
            path.unlink()

    def beginning(self, sha256: str, count: int) -> bytes:
        """Return the first bytes."""
        return self.get(sha256)[:count]

    def remove(self, sha256: str) -> None:
        """Forget the bytes."""
        self.stored.pop(sha256, None)

    def free_bytes(self) -> int:
        """Return `free`."""
        return self.free

    def sweep(self, older_than_s: float) -> int:
        """Remove *.part files that nobody has written to for this long."""
        limit = time.time() - older_than_s
        parts = [part for part in self.staging.glob("*.part") if part.stat().st_mtime < limit]
        for part in parts:
            part.unlink()
        return len(parts)
