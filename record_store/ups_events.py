"""What subscribers of steps are to be told (PS3.4 CC.2.4): written with the change itself, told in its order.

An AE that does not answer is tried again in bounds; then what waits for it is dropped: it may ask what the steps'
state is, which is never dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, update

from record_store.database import Database
from record_store.deliveries import RetryPolicy
from record_store.tables import ups_event
from record_store.times import to_text

AT_ONCE = 200  # events of one association
MOST_WAITING = 10_000  # events for one AE


@dataclass(frozen=True, slots=True)
class UpsEvent:
    """One event. kind: Event Type ID. body: its Event Information in DICOM JSON."""

    row: int
    receiving_ae: str
    workitem_uid: str
    kind: int
    body: str = field(repr=False)
    attempts: int


def add(conn: Connection, receiving_ae: str, events: Sequence[tuple[str, int, str]], now: datetime) -> int:
    """Write events for an AE: step, Event Type ID, body. Return how many were not, as too much waits for it."""
    waiting = select(func.count()).select_from(ups_event).where(ups_event.c.receiving_ae == receiving_ae)
    room = max(MOST_WAITING - int(conn.execute(waiting).scalar_one()), 0)
    same = {"receiving_ae": receiving_ae, "attempts": 0}
    same |= {"next_attempt_at": to_text(now), "created_at": to_text(now)}
    rows = [same | {"workitem_uid": uid, "kind": kind, "body": body} for uid, kind, body in events[:room]]
    if rows:
        conn.execute(ups_event.insert(), rows)
    return len(events) - len(rows)


def claim(db: Database, now: datetime, lease_s: float) -> list[UpsEvent]:
    """Take the oldest events of an AE that is not being told, and is not left alone, in their order.

    Of several AEs the one that waits longest.
    """
    table = ups_event.c
    free = (
        select(table.receiving_ae)
        .group_by(table.receiving_ae)
        .having(func.max(table.next_attempt_at) <= to_text(now))
        .order_by(func.max(table.next_attempt_at), func.min(table.row))
        .limit(1)
    )
    with db.read() as conn:  # an idle poll takes no write lock
        if conn.execute(free).first() is None:
            return []
    with db.write() as conn:
        receiver = conn.execute(free).scalar()
        if receiver is None:
            return []
        mine = table.receiving_ae == receiver
        query = select(ups_event).where(mine).order_by(table.row).limit(AT_ONCE)
        rows = conn.execute(query.with_for_update()).all()
        # Whoever was faster has them, or has told them, since it was looked for a free one.
        last = conn.execute(select(func.max(table.next_attempt_at)).where(mine)).scalar()
        if last is None or last > to_text(now):
            return []
        # All of the AE's, so that what comes meanwhile is not told by somebody else before these.
        _leave_alone(conn, receiver, now + timedelta(seconds=lease_s))
        return [
            UpsEvent(one.row, one.receiving_ae, one.workitem_uid, one.kind, one.body, one.attempts) for one in rows
        ]


def told(conn: Connection, events: Sequence[UpsEvent], now: datetime) -> None:
    """Forget events that were told, of one AE, and let the next of it be told."""
    if events:
        conn.execute(ups_event.delete().where(ups_event.c.row.in_([one.row for one in events])))
        _leave_alone(conn, events[0].receiving_ae, now)


def failed(conn: Connection, event: UpsEvent, now: datetime, retry: RetryPolicy) -> int:
    """Count an attempt on the oldest event of an AE; after the last one drop what waits, and return how much."""
    attempts, table = event.attempts + 1, ups_event.c
    if attempts >= retry.max_attempts:
        return conn.execute(ups_event.delete().where(table.receiving_ae == event.receiving_ae)).rowcount
    conn.execute(update(ups_event).where(table.row == event.row).values(attempts=attempts))
    _leave_alone(conn, event.receiving_ae, now + timedelta(seconds=retry.delay_s(attempts)))
    return 0


def _leave_alone(conn: Connection, receiving_ae: str, until: datetime) -> None:
    mine = update(ups_event).where(ups_event.c.receiving_ae == receiving_ae)
    conn.execute(mine.values(next_attempt_at=to_text(until)))
