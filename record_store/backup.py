"""The whole database into files and back, while it is written to: one moment of it, and proof that it is the same.

SQLite is copied page by page within one snapshot (sqlite3's online backup), which keeps no writer waiting.
PostgreSQL gives its tables by COPY, in one REPEATABLE READ transaction; they go into an empty database.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Integer, Table, func, inspect, select, text
from sqlalchemy.engine import make_url

from clinical.errors import Fault, PreconditionMissing
from record_store.backup_files import BackupFolder, Kept, pieces_of
from record_store.database import Database, open_database
from record_store.dbos_port import jobs_url
from record_store.flush import flush
from record_store.migrate import migrate
from record_store.tables import audit, instance, metadata, reading, resource, result_object

PAGES = 2_000  # 8 MB between two looks at the clock
STORE, JOBS = "consilium.db", "jobs.db"
_ROWS = 2_000
_WIDE = 1 << 256

Progress = Callable[[str, int, int], None]
BLOB_COLUMNS = (instance.c.sha256, result_object.c.sha256, reading.c.mask_sha256)


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy holds. files: what was written. tables: name -> (rows, digest over them)."""

    files: Mapping[str, Kept]
    tables: Mapping[str, tuple[int, str]]
    blobs: tuple[str, ...]


def copy_out(db: Database, folder: BackupFolder, staging: Path, progress: Progress) -> Copied:
    """Write the database as it is at one moment into a backup. staging: a folder for what is copied first.

    The jobs' own database is copied before: a job that is lost is queued again, one too many would find no study.
    Raises Busy when the database is away or the disk is full.
    """
    if db.dialect == "postgresql":
        with db.read() as conn:
            files = {f"{table.name}.copy": _table_out(conn, table, folder, progress) for table in _tables()}
            return Copied(files, digests(conn), tuple(_blobs(conn)))
    files = {}
    if (jobs := _file_of(jobs_url(db))).exists():
        with _sqlite_copy(jobs, staging, progress) as copy:
            files[JOBS] = folder.write(JOBS, pieces_of(copy))
    with _sqlite_copy(_file_of(db.url), staging, progress) as copy:
        files[STORE] = folder.write(STORE, pieces_of(copy))
        with _reading(copy) as conn:
            return Copied(files, digests(conn), tuple(_blobs(conn)))


def copy_in(db: Database, folder: BackupFolder, copied: Copied, progress: Progress) -> None:
    """Make the database that a backup holds, where there is none yet, and compare every table with what it was.

    Raises PreconditionMissing when there is one already (`demand_room`), Fault when what came back is not what was
    written; then SQLite's file is not in its place, and PostgreSQL's tables are empty.
    """
    if db.dialect == "postgresql":
        _tables_in(db, folder, copied, progress)
        return
    demand_room(db)
    place = _file_of(db.url)
    part = place.with_name(f"{place.name}.part")
    try:
        for name, target in ((JOBS, place.with_name(f"{JOBS}.part")), (STORE, part)):
            if name in copied.files:
                _file_in(folder, name, copied.files[name], target, progress)
        with _reading(part) as conn:
            _compare(digests(conn), copied.tables)
        if JOBS in copied.files:
            place.with_name(f"{JOBS}.part").replace(place.with_name(JOBS))
        part.replace(place)
        flush(place.parent)
    finally:
        for rest in place.parent.glob("*.db.part*"):
            rest.unlink()


def demand_room(db: Database) -> None:
    """Raise PreconditionMissing when SQLite's file is there, or a journal, which would be played into another."""
    if db.dialect != "sqlite":
        return
    place, jobs = _file_of(db.url), _file_of(jobs_url(db))
    journals = [file.with_name(file.name + end) for file in (place, jobs) for end in ("-wal", "-journal")]
    if any(file.exists() for file in (place, *journals)):
        raise PreconditionMissing(
            "there is a database already, or what a server left of one: restore into an empty data folder"
        )


def digests(conn: Connection) -> dict[str, tuple[int, str]]:
    """Return for each table the number of its rows and a digest over them, whatever their order."""
    return {table.name: _digest(conn, table) for table in _tables() if inspect(conn).has_table(table.name)}


def _digest(conn: Connection, table: Table) -> tuple[int, str]:
    rows, total = 0, 0
    columns = sorted(table.c.keys())
    found = conn.execution_options(yield_per=_ROWS).execute(select(*(table.c[name] for name in columns)))
    for row in found:
        written = orjson.dumps(list(row), default=_as_text)
        total = (total + int.from_bytes(hashlib.sha256(written).digest(), "big")) % _WIDE
        rows += 1
    return rows, f"{total:064x}"


def _as_text(value: object) -> str:
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else str(value)


def _compare(found: Mapping[str, tuple[int, str]], wanted: Mapping[str, tuple[int, str]]) -> None:
    different = [name for name, told in wanted.items() if found.get(name) != tuple(told)]
    if different:
        raise Fault(f"what came back is not what was written: {', '.join(sorted(different))}")


def _blobs(conn: Connection) -> list[str]:
    """Return the names of the blobs that rows name. Files of bulk exports are not: they can be made again."""
    names = {name for column in BLOB_COLUMNS for name in conn.execute(select(column).distinct()).scalars()}
    return sorted(name for name in names if name)


def _tables() -> list[Table]:
    return list(metadata.sorted_tables)


def _file_of(url: str) -> Path:
    return Path(make_url(url).database or "")


@contextmanager
def _reading(file: Path) -> Iterator[Connection]:
    db = open_database(f"sqlite:///{file.absolute()}")
    try:
        with db.read() as conn:
            yield conn
    finally:
        db.dispose()


@contextmanager
def _sqlite_copy(source: Path, staging: Path, progress: Progress) -> Iterator[Path]:
    """Yield a copy of a SQLite file as it is at one moment; it is removed again."""
    target = staging / f"backup-{source.name}"

    def told(_status: int, left: int, whole: int) -> None:
        progress(source.name, whole - left, whole)

    try:
        target.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(source, isolation_level=None)) as read,
            closing(sqlite3.connect(target)) as made,
        ):
            # One snapshot from here to the end: without it every commit of others would begin the copy anew.
            read.execute("PRAGMA query_only=ON")
            read.execute("BEGIN")
            read.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            read.backup(made, pages=PAGES, progress=told, sleep=0)
        yield target
    finally:
        for rest in staging.glob(f"{target.name}*"):
            rest.unlink()


def _file_in(folder: BackupFolder, name: str, kept: Kept, target: Path, progress: Progress) -> None:
    done = 0
    with target.open("wb") as file:
        for piece in folder.read(name, kept):
            file.write(piece)
            done += len(piece)
            progress(name, done, kept.size)
        file.flush()
        os.fsync(file.fileno())


def _table_out(conn: Connection, table: Table, folder: BackupFolder, progress: Progress) -> Kept:
    names = ", ".join(f'"{name}"' for name in sorted(table.c.keys()))
    conn.execute(text("SELECT 1"))  # begins the transaction whose snapshot all tables are read in
    cursor: Any = conn.connection.cursor()
    with cursor, cursor.copy(f'COPY "{table.name}" ({names}) TO STDOUT') as copy:
        kept = folder.write(f"{table.name}.copy", _gathered(bytes(piece) for piece in copy))
    progress(table.name, kept.size, kept.size)
    return kept


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= 1 << 18:
            yield bytes(held)
            held.clear()
    yield bytes(held)


def _tables_in(db: Database, folder: BackupFolder, copied: Copied, progress: Progress) -> None:
    migrate(db)
    with db.read() as conn:
        for table in (resource, instance, audit):
            if conn.execute(select(table).limit(1)).first() is not None:
                raise PreconditionMissing("the database is in use: restore into an empty one")
    with db.write(within_s=60) as conn:
        for table in _tables():
            names = ", ".join(f'"{name}"' for name in sorted(table.c.keys()))
            conn.execute(table.delete())  # what a migration may have put there
            cursor: Any = conn.connection.cursor()
            with cursor, cursor.copy(f'COPY "{table.name}" ({names}) FROM STDIN') as copy:
                for piece in folder.read(f"{table.name}.copy", copied.files[f"{table.name}.copy"]):
                    copy.write(piece)
            _go_on_counting(conn, table)
            progress(table.name, 1, 1)
        _compare(digests(conn), copied.tables)


def _go_on_counting(conn: Connection, table: Table) -> None:
    """Let the next number that the database gives out be above those that came back."""
    for column in table.primary_key:
        if column.autoincrement is True and isinstance(column.type, Integer):
            name = {"table": table.name, "column": column.name}
            sequence = conn.execute(text("SELECT pg_get_serial_sequence(:table, :column)"), name).scalar()
            if sequence:
                newest = select(func.setval(sequence, func.coalesce(func.max(column), 0) + 1, False))
                conn.execute(newest)
