"""AI results on their way to other FHIR servers: a row a resource and destination, claimed, tried again, parked.

A later version takes the row of the one before, so that only the newest is sent. A claim is a lease, as in
`deliveries`; sending twice is harmless, because a create names an identifier and an update its version.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, func, or_, select, update

from record_store.database import Database
from record_store.sql import insert_once
from record_store.tables import fhir_delivery as table
from record_store.tables import resource
from record_store.times import to_text

PENDING, SENT, DEAD = "pending", "sent", "dead"
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class FhirDelivery:
    """One resource for one destination. version: that is to be there. remote_*: what is there of it."""

    type: str
    id: str
    destination: str
    version: int
    state: str
    attempts: int
    last_status: int | None
    last_problem: str | None
    updated_at: str
    sent_version: int | None
    remote_id: str | None
    remote_etag: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. problem: None exactly when it is there. pause: until the next try; None: never."""

    status: int | None = None
    problem: str | None = None
    pause: timedelta | None = None
    remote_id: str | None = None
    remote_etag: str | None = None


def offer(conn: Connection, kind: str, own: str, version: int, destination: str, now: datetime) -> None:
    """Let a version be sent, due at once; an older one that waits is not sent any more."""
    at = to_text(now)
    due = {"version": version, "state": PENDING, "attempts": 0, "next_attempt_at": at, "updated_at": at}
    key = {"type": kind, "id": own, "destination": destination}
    if not insert_once(conn, table, key | due, tuple(key)):
        conn.execute(update(table).where(*_is(key), table.c.version < version).values(due))


def known(conn: Connection, keys: Collection[Key]) -> set[Key]:
    """Return those resources that a destination has, or is to have."""
    asked = [and_(table.c.type == kind, table.c.id == own) for kind, own in keys]
    if not asked:
        return set()
    return {
        (row[0], row[1]) for row in conn.execute(select(table.c.type, table.c.id).where(or_(*asked)).distinct())
    }


def due_destinations(db: Database, now: datetime) -> list[str]:
    """Return the destinations for which something is due, the longest due first."""
    query = (
        select(table.c.destination)
        .where(table.c.state == PENDING, table.c.next_attempt_at <= to_text(now))
        .group_by(table.c.destination)
        .order_by(func.min(table.c.next_attempt_at), table.c.destination)
    )
    with db.read() as conn:
        return list(conn.execute(query).scalars())


def claim(db: Database, destination: str, now: datetime, lease_s: float) -> FhirDelivery | None:
    """Take the next due one for `lease_s` seconds; None when nothing is due. Safe with several workers."""
    due = (
        select(table)
        .where(
            table.c.destination == destination,
            table.c.state == PENDING,
            table.c.next_attempt_at <= to_text(now),
        )
        # What others refer to goes first: a report names its observations.
        .order_by(table.c.type == "DiagnosticReport", table.c.next_attempt_at, table.c.type, table.c.id)
        .limit(1)
    )
    with db.write() as conn:
        row = conn.execute(due.with_for_update(skip_locked=True)).first()
        if row is None:
            return None
        found = _delivery(row)
        leased = {"attempts": found.attempts + 1, "next_attempt_at": to_text(now + timedelta(seconds=lease_s))}
        conn.execute(update(table).where(*_is(_key(found))).values(leased))
        return found


def settle(conn: Connection, claimed: FhirDelivery, outcome: Outcome, now: datetime) -> str:
    """Write down how an attempt ended and return the state; a version that came meanwhile stays due."""
    taken = outcome.problem is None
    state = SENT if taken else PENDING if outcome.pause is not None else DEAD
    values = {"last_status": outcome.status, "last_problem": outcome.problem, "updated_at": to_text(now)}
    if taken:
        there = {
            "remote_id": outcome.remote_id,
            "remote_etag": outcome.remote_etag,
            "sent_version": claimed.version,
        }
        values |= there
    conn.execute(update(table).where(*_is(_key(claimed))).values(values))
    mine = (*_is(_key(claimed)), table.c.version == claimed.version, table.c.state == PENDING)
    again = to_text(now + (outcome.pause or timedelta()))
    conn.execute(update(table).where(*mine).values(state=state, next_attempt_at=again))
    return state


def sent(conn: Connection, destination: str, keys: Collection[Key]) -> dict[Key, str]:
    """Return the ids at a destination of those resources that are there."""
    asked = [and_(table.c.type == kind, table.c.id == own) for kind, own in keys]
    if not asked:
        return {}
    query = select(table.c.type, table.c.id, table.c.remote_id).where(
        table.c.destination == destination, table.c.remote_id.is_not(None), or_(*asked)
    )
    return {(row[0], row[1]): row[2] for row in conn.execute(query)}


def listed(conn: Connection, state: str | None = None, destination: str | None = None) -> list[FhirDelivery]:
    """Return deliveries, of one state or destination or all, the last changed first."""
    query = select(table).order_by(table.c.updated_at.desc(), table.c.type, table.c.id)
    if state is not None:
        query = query.where(table.c.state == state)
    if destination is not None:
        query = query.where(table.c.destination == destination)
    return [_delivery(row) for row in conn.execute(query)]


def resend(conn: Connection, destination: str | None, now: datetime) -> int:
    """Make the dead ones due again, with all their attempts, of one destination or all; return how many."""
    at = to_text(now)
    wanted = [table.c.state == DEAD] + ([table.c.destination == destination] if destination is not None else [])
    due = {"state": PENDING, "attempts": 0, "next_attempt_at": at, "updated_at": at}
    return conn.execute(update(table).where(*wanted).values(due)).rowcount


def purge(db: Database, before: datetime, slice_: int = 1_000) -> int:
    """Remove rows settled before then whose resource is deleted here, or that never arrived; return how many.

    What is there of a resource that lives is remembered: it says which version an update replaces. They are looked
    for without a turn to write, as most rows are of what lives, and removed in slices: no other writer waits long.
    """
    gone = exists().where(resource.c.type == table.c.type, resource.c.id == table.c.id, resource.c.deleted == 1)
    never = and_(table.c.state == DEAD, table.c.remote_id.is_(None))
    over = and_(table.c.state.in_((SENT, DEAD)), table.c.updated_at < to_text(before), or_(gone, never))
    keys = select(table.c.type, table.c.id, table.c.destination).where(over).limit(slice_)
    removed = 0
    while True:
        with db.read() as conn:
            found = [dict(row._mapping) for row in conn.execute(keys)]  # noqa: SLF001 - SQLAlchemy's public name
        with db.write() as conn:
            for key in found:  # unless it was written anew meanwhile
                removed += conn.execute(delete(table).where(*_is(key), over)).rowcount
        if len(found) < slice_:
            return removed


def _key(one: FhirDelivery) -> dict[str, str]:
    return {"type": one.type, "id": one.id, "destination": one.destination}


def _is(key: dict[str, str]) -> list[ColumnElement[bool]]:
    return [table.c[name] == value for name, value in key.items()]


def _delivery(row: Row[tuple[object, ...]]) -> FhirDelivery:
    said = row._mapping  # noqa: SLF001 - SQLAlchemy's public name
    return FhirDelivery(**{name: said[name] for name in FhirDelivery.__dataclass_fields__})
