"""What Subscriptions ask for, where each stands, and what is due to it.

A client's write only says what is wanted. It counts from its place in the outbox on: when the worker comes to it,
what was written before belongs to the earlier wish and what comes after to the new one. Headers for the endpoint
are kept here and in no resource, so no interaction can serve them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, String, and_, bindparam, delete, exists, insert, or_, select, update

from clinical.errors import IncorrectInput
from record_store.database import Database
from record_store.tables import notification
from record_store.tables import subscription as table
from record_store.times import to_text

NEW, REQUESTED, ACTIVE, ERROR, OFF = "new", "requested", "active", "error", "off"
_REMOVED = "removed"  # it was deleted, and its events are not yet: it is shown to nobody
SLICE = 5_000  # events removed in one transaction
_RECORDED = (REQUESTED, ACTIVE, ERROR)  # events are written down for these
_SENT_TO = (REQUESTED, ACTIVE)
_RECEIVER = ("endpoint", "client")  # of what is asked

_AT = bindparam("at", type_=String)
_EVENT = exists().where(
    notification.c.subscription == table.c.id,
    notification.c.state == "pending",
    notification.c.next_attempt_at <= _AT,
)
# Made once: it is asked ten times a second.
_DUE = (
    select(table.c.id)
    .where(table.c.due_at <= _AT)
    .where(
        or_(table.c.status == REQUESTED, and_(table.c.status == ACTIVE, or_(_EVENT, table.c.heartbeat_at <= _AT)))
    )
    .where(or_(table.c.leased_until <= _AT, table.c.leased_by == bindparam("worker", type_=String)))
    .order_by(table.c.due_at, table.c.id)
)

Headers = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client has written. asked: JSON. headers: a value None stands for the one that is known already."""

    asked: str
    headers: Headers = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Held:
    """One Subscription as the worker sees it.

    version: of the resource that `asked` (JSON) is from. events: the number of its last event.
    failures: of its endpoint, one after another.
    """

    id: str
    version: int
    status: str
    problem: str | None
    asked: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    events: int
    failures: int
    due_at: str
    heartbeat_at: str | None
    updated_at: str


def want(conn: Connection, own: str, version: int, wanted: Wanted, updated: str) -> None:
    """Keep what a version of a Subscription asks for, until `take_over`. updated: `times.to_text`.

    Raises IncorrectInput when a header is said to be known and is not.
    """
    columns = (table.c.asked, table.c.headers, table.c.wanted, table.c.status)
    row = conn.execute(select(*columns).where(table.c.id == own)).first()
    if row is not None and row.status == _REMOVED:  # written anew before `clear`: it begins without a past
        conn.execute(delete(notification).where(notification.c.subscription == own))
        conn.execute(delete(table).where(table.c.id == own))
        row = None
    known = _known(row, wanted) if row is not None else {}
    try:
        headers = [[name, known[name.lower()] if value is None else value] for name, value in wanted.headers]
    except KeyError:
        raise IncorrectInput(
            "a header's value is not known here: send it again", expression=["Subscription.channel.header"]
        ) from None
    said = {"wanted_version": version, "wanted": json.dumps({"asked": wanted.asked, "headers": headers})}
    if row is not None:
        conn.execute(update(table).where(table.c.id == own).values(**said))
        return
    first = {"id": own, "version": version, "status": NEW, "due_at": updated, "updated_at": updated}
    conn.execute(insert(table).values(**first, **said))


def _known(row: Any, wanted: Wanted) -> dict[str, str]:  # noqa: ANN401 - a row of three columns
    """Return the headers that a Subscription has, by name in lower case; the last ones that were sent win.

    None of them when they were for another endpoint, or sent by another client: a secret goes where it was meant.
    """
    latest = json.loads(row.wanted) if row.wanted else {"asked": row.asked, "headers": json.loads(row.headers)}
    was, now = json.loads(latest["asked"]), json.loads(wanted.asked)
    if any(was.get(name) != now.get(name) for name in _RECEIVER):
        return {}
    return {name.lower(): value for name, value in latest["headers"]}


def take_over(conn: Connection, own: str, version: int, status: str, now: datetime) -> Held | None:
    """Let what is wanted count, when the outbox has come to this version; None when there is nothing to take over.

    What is pending is due again with all its attempts. A Subscription that was never taken over takes the newest
    wish at its first version: what was written since must not pass it by.
    """
    row = conn.execute(select(table).where(table.c.id == own).with_for_update()).first()
    if row is None or row.wanted is None or (row.wanted_version > version and row.status != NEW):
        return None
    wanted = json.loads(row.wanted)
    changed = {
        "version": row.wanted_version,
        "asked": wanted["asked"],
        "ends_at": json.loads(wanted["asked"]).get("end"),
        "headers": json.dumps(wanted["headers"]),
        "wanted": None,
        "wanted_version": None,
    }
    conn.execute(update(table).where(table.c.id == own).values(**changed))
    set_status(conn, own, status, None, now)
    return get(conn, own)


def set_status(conn: Connection, own: str, status: str, problem: str | None, now: datetime) -> None:
    """Set where a Subscription stands. One that is sent to again begins anew: no failures, all attempts.

    One that was deleted stays so: a message to it may have been under way, and fails later.
    """
    at = to_text(now)
    values = {"status": status, "problem": problem, "updated_at": at}
    if status in _SENT_TO:
        values |= {"failures": 0, "due_at": at}  # type: ignore[dict-item]
        again = {"attempts": 0, "next_attempt_at": at}
        mine = (notification.c.subscription == own, notification.c.state == "pending")
        conn.execute(update(notification).where(*mine, notification.c.attempts > 0).values(**again))
    conn.execute(update(table).where(table.c.id == own, table.c.status != _REMOVED).values(**values))


def remove(conn: Connection, own: str) -> None:
    """Forget a Subscription that was deleted, and its events; of many, some now, and the rest by `clear`."""
    if _removed_some(conn, own):
        conn.execute(delete(table).where(table.c.id == own))
        return
    nothing = {"asked": "{}", "headers": "[]", "wanted": None, "wanted_version": None, "ends_at": None}
    conn.execute(update(table).where(table.c.id == own).values(status=_REMOVED, **nothing))


def clear(db: Database) -> int:
    """Remove what is left of deleted Subscriptions, in slices: other writers come in between; return how many."""
    with db.read() as conn:
        left = list(conn.execute(select(table.c.id).where(table.c.status == _REMOVED)).scalars())
    for own in left:
        while True:
            with db.write() as conn:
                mine = (table.c.id == own, table.c.status == _REMOVED)
                is_left = conn.execute(select(table.c.id).where(*mine).with_for_update()).first() is not None
                if not is_left or _removed_some(conn, own):
                    conn.execute(delete(table).where(*mine))
                    break
    return len(left)


def _removed_some(conn: Connection, own: str) -> bool:
    """Remove up to SLICE events; True when none is left."""
    mine = notification.c.subscription == own
    numbers = select(notification.c.number).where(mine).order_by(notification.c.number)
    last = conn.execute(numbers.offset(SLICE - 1).limit(1)).scalar()
    conn.execute(delete(notification).where(mine if last is None else and_(mine, notification.c.number <= last)))
    return last is None


def get(conn: Connection, own: str) -> Held | None:
    """Return one, or None."""
    row = conn.execute(select(table).where(table.c.id == own, table.c.status != _REMOVED)).first()
    return None if row is None else _held(row)


def every(conn: Connection, statuses: Sequence[str] = ()) -> list[Held]:
    """Return all, or those of some statuses, by id."""
    query = select(table).order_by(table.c.id)
    wanted = table.c.status.in_(statuses) if statuses else table.c.status != _REMOVED
    rows = conn.execute(query.where(wanted))
    return [_held(row) for row in rows]


def recorded(conn: Connection) -> list[Held]:
    """Return those whose events are written down: also while their endpoint is in error."""
    return every(conn, _RECORDED)


def over(conn: Connection, now: datetime, given_up: datetime) -> list[str]:
    """Return the ids of those whose end has come, and of those in error since before `given_up`: by indexes."""
    ended = select(table.c.id).where(table.c.ends_at <= to_text(now), table.c.status.in_(_RECORDED))
    mended_by_nobody = select(table.c.id).where(table.c.status == ERROR, table.c.updated_at <= to_text(given_up))
    return sorted(conn.execute(ended.union(mended_by_nobody)).scalars())


def due(db: Database, now: datetime, worker: str) -> list[str]:
    """Return the ids of those that something is due to and no other worker is sending to, the longest due first.

    worker: as for `lease`.
    """
    with db.read() as conn:
        return list(conn.execute(_DUE, {"at": to_text(now), "worker": worker}).scalars())


def lease(db: Database, own: str, worker: str, now: datetime, seconds: float) -> Held | None:
    """Take a Subscription for so long, so that one worker at a time sends to it; None when another one has it.

    worker: a stable name; one that was killed takes up its own at once.
    """
    free = or_(table.c.leased_until <= to_text(now), table.c.leased_by == worker)
    until = to_text(now + timedelta(seconds=seconds))
    with db.write(durable=False) as conn:
        mine = update(table).where(table.c.id == own, table.c.status.in_(_SENT_TO), free)
        if conn.execute(mine.values(leased_by=worker, leased_until=until)).rowcount != 1:
            return None
        return get(conn, own)


def give_back(db: Database, own: str, worker: str) -> None:
    """End a lease."""
    with db.write(durable=False) as conn:
        mine = (table.c.id == own, table.c.leased_by == worker)
        conn.execute(update(table).where(*mine).values(leased_by="", leased_until=""))


def reached(conn: Connection, own: str, heartbeat_at: datetime | None) -> None:
    """Write down that the endpoint has answered as it should. heartbeat_at: when it is to hear from us again."""
    at = None if heartbeat_at is None else to_text(heartbeat_at)
    conn.execute(update(table).where(table.c.id == own).values(failures=0, problem=None, heartbeat_at=at))


def failed(conn: Connection, own: str, problem: str, due_at: datetime) -> None:
    """Write down that the endpoint has not; nothing is sent to it before `due_at`."""
    values = {"failures": table.c.failures + 1, "problem": problem, "due_at": to_text(due_at)}
    conn.execute(update(table).where(table.c.id == own).values(**values))


def _held(row: Row[Any]) -> Held:
    headers = tuple((str(name), str(value)) for name, value in json.loads(row.headers))
    names = ("id", "version", "status", "problem", "asked", "events", "failures", "due_at", "heartbeat_at")
    values = {name: getattr(row, name) for name in (*names, "updated_at")}
    if row.status == NEW and row.wanted is not None:  # nothing counts yet, and this is what will
        values["asked"] = json.loads(row.wanted)["asked"]
    return Held(headers=headers, **values)
