"""Bulk exports that clients asked for: rows, so that a killed worker's work is taken up where it stood.

A worker holds an export by a lease that it renews; the place up to which files are stored moves in the transaction
that adds the file. What an export means is decided in `fhir_adapters/bulk`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, or_, select, text, update

from clinical.clock import Clock
from record_store.database import Database
from record_store.resources import lock_key
from record_store.sql import insert_once
from record_store.tables import bulk_export as table
from record_store.tables import bulk_export_file as files
from record_store.times import from_text, to_text

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
_UNFINISHED = (QUEUED, RUNNING)
_ON_ITS_WAY = -1  # the number of a file that gets its name in the blob store just now
_WRITERS_WAIT = "200ms"  # at most so long behind us, for the moment in which no writer is under way


@dataclass(frozen=True, slots=True)
class Place:
    """Up to where files are stored. step: number of the step under way. after: the last id in it, "" for none."""

    step: int = 0
    after: str = ""


@dataclass(frozen=True, slots=True)
class Export:
    """One export. asked: JSON, as `fhir_adapters/bulk` wrote it. at: its transaction time, once it has begun.

    resources: written so far. attempts: since it last came on. settled_at: when it became what it is now.
    """

    id: str
    client: str
    kickoff: str
    asked: dict[str, Any]
    state: str
    at: str | None
    place: Place
    resources: int
    attempts: int
    problem: str | None
    settled_at: datetime


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One file. kind: output, deleted or error. sha256: of its blob, which is gzip. size: of the blob."""

    kind: str
    type: str
    resources: int
    sha256: str
    size: int


def ask(conn: Connection, export: str, client: str, kickoff: str, asked: dict[str, Any], now: datetime) -> None:
    """Queue an export."""
    row = {
        "id": export,
        "client": client,
        "kickoff": kickoff,
        "asked": json.dumps(asked),
        "state": QUEUED,
        "step": 0,
        "after": "",
        "resources": 0,
        "attempts": 0,
        "leased_until": to_text(now),
        "settled_at": to_text(now),
    }
    conn.execute(insert(table).values(**row))


def under_way(conn: Connection, client: str) -> int:
    """Return how many exports of a client wait or are made; until we end nobody else adds one for it."""
    lock_key(conn, f"bulk-export/{client}")
    counted = select(func.count()).select_from(table)
    mine = (table.c.client == client, table.c.state.in_(_UNFINISHED))
    return int(conn.execute(counted.where(*mine)).scalar_one())


def of_client(conn: Connection, export: str, client: str) -> Export | None:
    """Return an export, None when there is none of this client."""
    row = conn.execute(select(table).where(table.c.id == export, table.c.client == client)).mappings().first()
    return None if row is None else _export(dict(row))


def every(conn: Connection) -> list[Export]:
    """Return all exports that are kept, oldest first."""
    query = select(table).order_by(table.c.settled_at, table.c.id)
    return [_export(dict(row)) for row in conn.execute(query).mappings()]


def files_of(conn: Connection, export: str) -> list[ExportFile]:
    """Return the files that are stored, in their order."""
    columns = (files.c.kind, files.c.type, files.c.resources, files.c.sha256, files.c.size)
    query = select(*columns).where(files.c.export == export, files.c.number >= 0).order_by(files.c.number)
    return [ExportFile(*row) for row in conn.execute(query)]


def on_its_way(conn: Connection, export: str) -> str | None:
    """Return the name of the blob that was announced and has no row: whoever made it has not come back."""
    query = select(files.c.sha256).where(files.c.export == export, files.c.number == _ON_ITS_WAY)
    return conn.execute(query).scalar()


def announce(conn: Connection, export: str, executor: str, made: ExportFile) -> bool:
    """Write down that a file is about to be stored; False when the export is not ours any more.

    Whatever was on its way before must be gone: only one is remembered.
    """
    if conn.execute(select(table.c.id).where(*_held(export, executor)).with_for_update()).first() is None:
        return False
    _arrived(conn, export)
    conn.execute(insert(files).values(_row(export, _ON_ITS_WAY, made)))
    return True


def _arrived(conn: Connection, export: str) -> None:
    conn.execute(files.delete().where(files.c.export == export, files.c.number == _ON_ITS_WAY))


def _row(export: str, number: int, one: ExportFile) -> dict[str, Any]:
    return {
        "export": export,
        "number": number,
        "kind": one.kind,
        "type": one.type,
        "resources": one.resources,
        "sha256": one.sha256,
        "size": one.size,
    }


def cancel(conn: Connection, export: str, client: str, now: datetime) -> bool:
    """Have no more of it; False when there is none of this client. Its files are removed by `clear`."""
    own = (table.c.id == export, table.c.client == client)
    values = {"state": CANCELLED, "settled_at": to_text(now)}
    return conn.execute(update(table).where(*own, table.c.state != CANCELLED).values(**values)).rowcount == 1


def claim(db: Database, executor: str, now: Clock, lease_s: float) -> Export | None:
    """Take the oldest export that nobody works at, or None. executor: who asks; what it held before is its own.

    An export that begins gets its transaction time at a moment in which no write is under way: whatever has an
    earlier time is committed. Raises Busy when there is no such moment within 200 ms (PostgreSQL).
    """
    with db.write() as conn:
        free = or_(table.c.leased_until <= to_text(now()), table.c.executor == executor)
        oldest = select(table).where(table.c.state.in_(_UNFINISHED), free)
        oldest = oldest.order_by(table.c.settled_at, table.c.id).limit(1).with_for_update(skip_locked=True)
        row = conn.execute(oldest).mappings().first()
        if row is None:
            return None
        export = _export(dict(row))
        if export.at is None and conn.dialect.name == "postgresql":
            conn.execute(text(f"SET LOCAL lock_timeout = '{_WRITERS_WAIT}'"))
            conn.execute(text("LOCK TABLE resource IN SHARE MODE"))
        at = export.at or to_text(now())
        values = {
            "state": RUNNING,
            "at": at,
            "executor": executor,
            "leased_until": to_text(now() + timedelta(seconds=lease_s)),
            "attempts": export.attempts + 1,
        }
        conn.execute(update(table).where(table.c.id == export.id).values(**values))
        return _export({**dict(row), **values})


def none_unfinished(db: Database) -> bool:
    """Tell whether no export waits or is being made."""
    with db.read() as conn:
        return conn.execute(select(table.c.id).where(table.c.state.in_(_UNFINISHED)).limit(1)).first() is None


def renew(conn: Connection, export: str, executor: str, until: datetime) -> bool:
    """Keep what is being made; False when it was cancelled or somebody else took it."""
    return (
        conn.execute(update(table).where(*_held(export, executor)).values(leased_until=to_text(until))).rowcount
        == 1
    )


def come_on(
    conn: Connection, export: Export, executor: str, made: Sequence[ExportFile], place: Place, until: datetime
) -> bool:
    """Add files and move on in one transaction; False (nothing is added) when it is not ours any more.

    export: as it was when the files were begun: who comes on from another place than it stands at is too late.
    """
    here = (table.c.step == export.place.step, table.c.after == export.place.after)
    resources = sum(one.resources for one in made if one.kind == "output")
    values = {
        "step": place.step,
        "after": place.after,
        "resources": table.c.resources + resources,
        "attempts": 0,
        "leased_until": to_text(until),
    }
    if conn.execute(update(table).where(*_held(export.id, executor), *here).values(**values)).rowcount != 1:
        return False
    _arrived(conn, export.id)
    known = select(func.count()).select_from(files).where(files.c.export == export.id)
    first = int(conn.execute(known).scalar_one())
    for number, one in enumerate(made, first):
        insert_once(conn, files, _row(export.id, number, one), ["export", "number"])
    return True


def end(conn: Connection, export: str, executor: str, now: datetime, problem: str | None = None) -> bool:
    """Say that it is done, or failed with a problem (words without patient data)."""
    values = {"state": DONE if problem is None else FAILED, "problem": problem, "settled_at": to_text(now)}
    return conn.execute(update(table).where(*_held(export, executor)).values(**values)).rowcount == 1


def let_go(conn: Connection, export: str, executor: str, until: datetime) -> None:
    """Leave it to whoever comes first after then."""
    values = {"leased_until": to_text(until), "executor": None}
    conn.execute(update(table).where(*_held(export, executor)).values(**values))


def clear(db: Database, now: datetime, life_s: float, remove: Callable[[str], None]) -> int | None:
    """Forget an export that was cancelled, or settled `life_s` ago; return the number of its files, or None.

    remove: removes a blob, and takes one that is gone. It goes first: no row would lead to a file that is left.
    """
    old = table.c.settled_at <= to_text(now - timedelta(seconds=life_s))
    over = or_(table.c.state == CANCELLED, table.c.state.in_((DONE, FAILED)) & old)
    with db.read() as conn:
        found = conn.execute(select(table.c.id).where(over).limit(1)).scalar()
        if found is None:
            return None
        names = list(conn.execute(select(files.c.sha256).where(files.c.export == found)).scalars())
    for name in names:
        remove(name)
    with db.write() as conn:
        conn.execute(files.delete().where(files.c.export == found))
        conn.execute(table.delete().where(table.c.id == found))
    return len(names)


def _held(export: str, executor: str) -> tuple[ColumnElement[bool], ...]:
    return table.c.id == export, table.c.state == RUNNING, table.c.executor == executor


def _export(row: dict[str, Any]) -> Export:
    return Export(
        id=row["id"],
        client=row["client"],
        kickoff=row["kickoff"],
        asked=json.loads(row["asked"]),
        state=row["state"],
        at=row["at"],
        place=Place(row["step"], row["after"]),
        resources=row["resources"],
        attempts=row["attempts"],
        problem=row["problem"],
        settled_at=from_text(row["settled_at"]),
    )
