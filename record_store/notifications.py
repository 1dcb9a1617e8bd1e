"""Events for Subscriptions: a row for each version that one asked for, numbered, until it is delivered and longer.

Order: events of one resource are sent to a subscription in the order of their versions; one that its endpoint does
not take holds back the later ones of that resource and no other. What was sent is kept for a while ($events).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)

from record_store.database import Database
from record_store.tables import notification as table
from record_store.tables import subscription
from record_store.times import to_text

PENDING, SENT, WITHHELD = "pending", "sent", "withheld"
SLICE = 5_000  # removed in one transaction


@dataclass(frozen=True, slots=True)
class Event:
    """A version that concerns a subscription. at: when it was written. deleted: it says that it is gone."""

    type: str
    id: str
    version: int
    at: str
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Notification:
    """One event for one subscription. number: counts from 1. last_status: HTTP, None when there was no answer."""

    subscription: str
    number: int
    event: Event
    state: str
    attempts: int
    next_attempt_at: str
    last_status: int | None
    last_problem: str | None
    updated_at: str


def add(conn: Connection, own: str, events: Sequence[Event], now: datetime) -> None:
    """Write events down for a subscription, in this order, due at once."""
    if not events:
        return
    at = to_text(now)
    mine = subscription.c.id == own
    last = conn.execute(select(subscription.c.events).where(mine).with_for_update()).scalar_one_or_none()
    if last is None:
        return
    rows = [
        {
            "subscription": own,
            "number": last + place,
            "type": one.type,
            "id": one.id,
            "version": one.version,
            "deleted": int(one.deleted),
            "state": PENDING,
            "next_attempt_at": at,
            "at": one.at,
            "updated_at": at,
        }
        for place, one in enumerate(events, 1)
    ]
    conn.execute(insert(table), rows)
    conn.execute(update(subscription).where(mine).values(events=last + len(events)))


def due(conn: Connection, own: str, now: datetime, limit: int) -> list[Notification]:
    """Return the next pending event of each resource, of those that are due, in their order."""
    earlier = table.alias()
    held_back = exists().where(
        earlier.c.subscription == table.c.subscription,
        earlier.c.type == table.c.type,
        earlier.c.id == table.c.id,
        earlier.c.number < table.c.number,
        earlier.c.state == PENDING,
    )
    wanted = and_(_pending(own), table.c.next_attempt_at <= to_text(now), ~held_back)
    rows = conn.execute(select(table).where(wanted).order_by(table.c.number).limit(limit))
    return [_notification(row) for row in rows]


def due_in_order(conn: Connection, own: str, now: datetime, limit: int) -> list[Notification]:
    """Return the next pending events whatever they are about, or none when the first is not due."""
    found = waiting(conn, own, limit)
    return found if found and found[0].next_attempt_at <= to_text(now) else []


def settle(
    conn: Connection, own: str, numbers: Collection[int], state: str, now: datetime, status: int | None = None
) -> None:
    """Write down that events were sent, or are withheld."""
    mine = and_(table.c.subscription == own, table.c.number.in_(numbers), table.c.state == PENDING)
    values = {"state": state, "last_status": status, "last_problem": None, "updated_at": to_text(now)}
    conn.execute(update(table).where(mine).values(attempts=table.c.attempts + 1, **values))


def failed(
    conn: Connection, own: str, numbers: Collection[int], status: int | None, problem: str, due_at: datetime
) -> None:
    """Write down that an attempt failed, why, and when the next one is due."""
    mine = and_(table.c.subscription == own, table.c.number.in_(numbers), table.c.state == PENDING)
    values = {"last_status": status, "last_problem": problem, "next_attempt_at": to_text(due_at)}
    conn.execute(update(table).where(mine).values(attempts=table.c.attempts + 1, **values))


def between(conn: Connection, own: str, first: int, last: int | None, limit: int) -> list[Notification]:
    """Return events by their numbers, both ends included, whatever became of them."""
    query = select(table).where(table.c.subscription == own, table.c.number >= first)
    if last is not None:
        query = query.where(table.c.number <= last)
    return [_notification(row) for row in conn.execute(query.order_by(table.c.number).limit(limit))]


def waiting(conn: Connection, own: str, limit: int) -> list[Notification]:
    """Return the first events that are not delivered, due or not."""
    rows = conn.execute(select(table).where(_pending(own)).order_by(table.c.number).limit(limit))
    return [_notification(row) for row in rows]


def counts(conn: Connection, own: str | None = None) -> dict[tuple[str, str], int]:
    """Return how many events there are, by subscription and state; of one, or of all."""
    query = select(table.c.subscription, table.c.state, func.count()).group_by(table.c.subscription, table.c.state)
    rows = conn.execute(query if own is None else query.where(table.c.subscription == own))
    return {(name, state): count for name, state, count in rows}


def pending(conn: Connection) -> dict[str, int]:
    """Return how many events are not delivered, by subscription: by an index, however many are kept."""
    query = select(table.c.subscription, func.count()).where(table.c.state == PENDING)
    return {row[0]: row[1] for row in conn.execute(query.group_by(table.c.subscription))}


def purge(db: Database, before: datetime) -> int:
    """Remove what was settled before then, and what waits for subscriptions that are off; return how many.

    In slices: other writers come in between.
    """
    old = table.c.updated_at < to_text(before)
    off = select(subscription.c.id).where(subscription.c.status == "off")
    settled = and_(table.c.state.in_((SENT, WITHHELD)), old)
    waiting = and_(table.c.state == PENDING, old, table.c.subscription.in_(off))
    return _removed(db, settled) + _removed(db, waiting)


def _removed(db: Database, which: ColumnElement[bool]) -> int:
    keys = select(table.c.subscription.label("own"), table.c.number.label("which")).where(which).limit(SLICE)
    one = delete(table).where(table.c.subscription == bindparam("own"), table.c.number == bindparam("which"))
    removed = 0
    while True:
        with db.write() as conn:
            found = [dict(row) for row in conn.execute(keys).mappings()]
            if found:
                conn.execute(one, found)
        removed += len(found)
        if len(found) < SLICE:
            return removed


def _pending(own: str) -> ColumnElement[bool]:
    return and_(table.c.subscription == own, table.c.state == PENDING)


def _notification(row: Row[Any]) -> Notification:
    event = Event(row.type, row.id, row.version, row.at, bool(row.deleted))
    return Notification(
        row.subscription,
        row.number,
        event,
        row.state,
        row.attempts,
        row.next_attempt_at,
        row.last_status,
        row.last_problem,
        row.updated_at,
    )
