"""Sending results back: one row per object and destination, claimed, tried again, parked.

A claim is a lease: it moves the next attempt past the lease, so that the delivery of a worker which died is
due again by itself. Sending twice is harmless, because the object keeps its SOP instance UID.
"""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import Connection, Row, func, select, update

from clinical.errors import NotFound
from record_store.database import Database
from record_store.sql import insert_once
from record_store.tables import delivery as table
from record_store.times import from_text, to_text

PENDING, SENT, DEAD, SUPERSEDED = "pending", "sent", "dead", "superseded"
NEWER = "a newer reading of the image replaces it"
RECALLED = "its model was recalled"
RECALLED_THERE = "its model was recalled after it was sent: the archive still keeps it"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One object for one destination.

    attempts: claims so far, this one included. last_status: DIMSE status of the last answer, None when
        there was none. commitment: what record_store.commitments knows, None when the destination is not asked.
    """

    delivery_id: int
    sop_instance_uid: str
    destination: str
    state: str
    attempts: int
    next_attempt_at: datetime
    last_status: int | None
    last_problem: str | None
    updated_at: datetime
    commitment: str | None = None


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a delivery is tried: 5 s, 10 s, 20 s ... 1 h, about 9 hours in all.

    jitter: returns 0..1; half of every delay is spread by it, so that what failed together does not come
        back together.
    """

    max_attempts: int = 18
    first_s: float = 5.0
    ceiling_s: float = 3600.0
    jitter: Callable[[], float] = random.random

    def delay_s(self, attempts: int) -> float:
        """Return the pause after this many attempts (at least 1), in seconds."""
        full = min(self.first_s * 2.0 ** min(attempts - 1, 60), self.ceiling_s)
        return full * (0.5 + 0.5 * self.jitter())


def enqueue(conn: Connection, sop_instance_uid: str, destination: str, now: datetime) -> bool:
    """Add a delivery that is due at once; False when this object is known for this destination."""
    values = {
        "sop_instance_uid": sop_instance_uid,
        "destination": destination,
        "state": PENDING,
        "attempts": 0,
        "next_attempt_at": to_text(now),
        "updated_at": to_text(now),
    }
    return insert_once(conn, table, values, ["sop_instance_uid", "destination"])


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


def claim_due(
    db: Database, now: datetime, lease_s: float, limit: int, destination: str | None = None
) -> list[Delivery]:
    """Take up to `limit` due deliveries for `lease_s` seconds, the longest due first. destination: None for any.

    Safe with several workers: PostgreSQL passes over rows that another one is taking (SKIP LOCKED), SQLite
    lets one writer in at a time. Send them and call `record_outcome` before the lease is over.
    """
    due = (
        select(table.c.delivery_id)
        .where(table.c.state == PENDING, table.c.next_attempt_at <= to_text(now))
        .order_by(table.c.next_attempt_at, table.c.delivery_id)
        .limit(limit)
    )
    if destination is not None:
        due = due.where(table.c.destination == destination)
    with db.read() as conn:  # an idle poll takes no write lock
        if conn.execute(due.limit(1)).first() is None:
            return []
    with db.write() as conn:
        ids = list(conn.execute(due.with_for_update(skip_locked=True)).scalars())
        if not ids:
            return []
        conn.execute(
            update(table)
            .where(table.c.delivery_id.in_(ids))
            .values(
                attempts=table.c.attempts + 1,
                next_attempt_at=to_text(now + timedelta(seconds=lease_s)),
                updated_at=to_text(now),
            )
        )
        rows = conn.execute(select(table).where(table.c.delivery_id.in_(ids)))
        return sorted((_delivery(row) for row in rows), key=lambda taken: ids.index(taken.delivery_id))


def give_back(conn: Connection, claimed: Collection[Delivery], now: datetime) -> None:
    """Make claimed deliveries that were not tried due again at once, and do not count the attempt."""
    for one in claimed:
        mine = (table.c.delivery_id == one.delivery_id, table.c.attempts == one.attempts, table.c.state == PENDING)
        conn.execute(update(table).where(*mine).values(attempts=one.attempts - 1, next_attempt_at=to_text(now)))


def record_outcome(
    conn: Connection,
    delivery_id: int,
    *,
    status: int | None,
    problem: str | None,
    now: datetime,
    retry: RetryPolicy,
    final: bool = False,
) -> str:
    """Write down how an attempt ended and return the state: sent, pending (later again) or dead.

    status: DIMSE status of the answer, None when there was none. problem: None exactly when the
        destination has taken the object (the sender's table knows which statuses mean that); otherwise
        one sentence without patient data. final: trying again cannot help, so it is dead at once.

    Raises NotFound for an unknown delivery.
    """
    row = conn.execute(select(table).where(table.c.delivery_id == delivery_id).with_for_update()).first()
    if row is None:
        raise NotFound("no such delivery")
    before = _delivery(row)
    taken = problem is None and status is not None
    if before.state in (SENT, SUPERSEDED) and not taken:
        return before.state  # an attempt whose lease ran out, or whose object is of no more interest, reports late
    state = SENT if taken else DEAD if final or before.attempts >= retry.max_attempts else PENDING
    pause = timedelta(seconds=retry.delay_s(max(before.attempts, 1)) if state == PENDING else 0)
    conn.execute(
        update(table)
        .where(table.c.delivery_id == delivery_id)
        .values(
            state=state,
            last_status=status,
            last_problem=problem,
            next_attempt_at=to_text(now + pause),
            updated_at=to_text(now),
        )
    )
    return state


def resend(conn: Connection, sop_instance_uid: str, destination: str, now: datetime) -> None:
    """Make a delivery due again whatever became of it, with all its attempts. Raises NotFound."""
    statement = (
        update(table)
        .where(table.c.sop_instance_uid == sop_instance_uid, table.c.destination == destination)
        .values(state=PENDING, attempts=0, next_attempt_at=to_text(now), updated_at=to_text(now), commitment=None)
    )
    if conn.execute(statement).rowcount != 1:
        raise NotFound("no such delivery")


def supersede(conn: Connection, sop_instance_uids: Collection[str], now: datetime) -> int:
    """Send no more of these objects, because newer ones say it; what was sent stays sent. Return how many."""
    waiting = (table.c.sop_instance_uid.in_(sop_instance_uids), table.c.state.in_((PENDING, DEAD)))
    values = {"state": SUPERSEDED, "last_problem": NEWER, "updated_at": to_text(now), "commitment": None}
    return conn.execute(update(table).where(*waiting).values(**values)).rowcount


def recall(conn: Connection, sop_instance_uids: Collection[str], now: datetime) -> None:
    """Send no more of these objects; those that were sent stay so, with a word that they were recalled since."""
    mine, at = table.c.sop_instance_uid.in_(sop_instance_uids), to_text(now)
    withdrawn = {"state": SUPERSEDED, "last_problem": RECALLED, "updated_at": at, "commitment": None}
    conn.execute(update(table).where(mine, table.c.state.in_((PENDING, DEAD))).values(**withdrawn))
    there = {"last_problem": RECALLED_THERE, "updated_at": at}
    conn.execute(update(table).where(mine, table.c.state == SENT).values(**there))


def of_objects(conn: Connection, sop_instance_uids: Sequence[str]) -> list[Delivery]:
    """Return the deliveries of these objects, in the order they were enqueued."""
    found: list[Delivery] = []
    for start in range(0, len(sop_instance_uids), 500):
        some = table.c.sop_instance_uid.in_(sop_instance_uids[start : start + 500])
        rows = conn.execute(select(table).where(some).order_by(table.c.delivery_id))
        found += [_delivery(row) for row in rows]
    return found


def deliveries(conn: Connection, state: str | None = None, destination: str | None = None) -> list[Delivery]:
    """Return the deliveries, of one state or destination or all, in the order they were enqueued."""
    query = select(table).order_by(table.c.delivery_id)
    if state is not None:
        query = query.where(table.c.state == state)
    if destination is not None:
        query = query.where(table.c.destination == destination)
    return [_delivery(row) for row in conn.execute(query)]


def _delivery(row: Row[tuple[object, ...]]) -> Delivery:
    columns = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
    values = {one.name: columns[one.name] for one in fields(Delivery)}
    times = {name: from_text(values[name]) for name in ("next_attempt_at", "updated_at")}
    return Delivery(**values | times)
