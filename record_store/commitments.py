"""Whether an archive has confirmed that it keeps what it took: states on the rows of deliveries.

Wanted, then asked under a transaction UID; the answer makes it committed, or the object is sent again. A
question that nobody answers is asked again under a new UID, with growing pauses, and given up in the end.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, select, update

from record_store.database import Database
from record_store.deliveries import DEAD, PENDING, SENT, RetryPolicy
from record_store.tables import delivery as table
from record_store.tables import result_object
from record_store.times import to_text

WANTED, ASKED, COMMITTED, UNCONFIRMED = "wanted", "asked", "committed", "unconfirmed"
NO_ANSWER = "the archive never confirmed that it keeps the object"


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask one destination under one transaction UID. objects: SOP class and instance UIDs."""

    transaction_uid: str
    destination: str
    objects: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """What an answer did to one delivery. state: committed, or pending or dead when the object is not kept."""

    sop_instance_uid: str
    destination: str
    state: str


def want(conn: Connection, delivery_id: int, now: datetime) -> None:
    """Have the destination asked about an object that it has just taken."""
    conn.execute(
        update(table)
        .where(table.c.delivery_id == delivery_id, table.c.state == SENT)
        .values(commitment=WANTED, commitment_uid=None, commitment_asks=0, commitment_due_at=to_text(now))
    )


def due_destinations(db: Database, now: datetime) -> list[str]:
    """Return the destinations for which a question is due."""
    query = select(table.c.destination).where(_due(now)).distinct().order_by(table.c.destination)
    with db.read() as conn:
        return list(conn.execute(query).scalars())


def _due(now: datetime) -> ColumnElement[bool]:
    open_questions = table.c.commitment.in_((WANTED, ASKED))
    return and_(open_questions, table.c.commitment_due_at <= to_text(now), table.c.state == SENT)


def claim_question(
    db: Database, now: datetime, destination: str, retry: RetryPolicy, new_uid: Callable[[], str], limit: int = 100
) -> Question | None:
    """Take up to `limit` objects whose question to this destination is due, as one question; None when none is.

    The transaction UID is committed before anything is sent, so that an answer finds its rows whoever receives
    it. retry: pauses between questions, and how many there are.
    """
    query = (
        select(table, result_object.c.sop_class_uid)
        .join(result_object, result_object.c.sop_instance_uid == table.c.sop_instance_uid)
        .where(_due(now), table.c.destination == destination)
        .order_by(table.c.delivery_id)
        .limit(limit)
    )
    uid, objects = new_uid(), []
    with db.write() as conn:
        for row in conn.execute(query.with_for_update(skip_locked=True, of=table)).all():
            if row.commitment_asks >= retry.max_attempts:
                _set(conn, row.delivery_id, commitment=UNCONFIRMED, last_problem=NO_ANSWER)
                continue
            asks = row.commitment_asks + 1
            _set(
                conn,
                row.delivery_id,
                commitment=ASKED,
                commitment_uid=uid,
                commitment_asks=asks,
                commitment_due_at=to_text(now + timedelta(seconds=retry.delay_s(asks))),
            )
            objects.append((row.sop_class_uid, row.sop_instance_uid))
    return Question(uid, destination, tuple(objects)) if objects else None


def put_off(conn: Connection, transaction_uid: str, problem: str) -> None:
    """Say why a question did not reach its archive; it is asked again when it is due."""
    conn.execute(
        update(table)
        .where(table.c.commitment_uid == transaction_uid, table.c.commitment == ASKED)
        .values(commitment=WANTED, last_problem=problem)
    )


def settle(
    conn: Connection,
    transaction_uid: str,
    destinations: Collection[str],
    committed: Collection[str],
    failed: Mapping[str, str],
    now: datetime,
    retry: RetryPolicy,
) -> list[Settled]:
    """Write down an answer. What is not kept is due again, or dead after all its attempts.

    destinations: those for which the answering AE may speak. failed: SOP instance UID -> why, in words. Objects
    that were not asked about under this UID change nothing; the same answer again changes nothing.
    """
    asked = select(table).where(
        table.c.commitment_uid == transaction_uid,
        table.c.commitment.in_((ASKED, WANTED)),  # wanted: the answer overtook a question that seemed lost
        table.c.destination.in_(destinations),
        table.c.state == SENT,
    )
    settled = []
    for row in conn.execute(asked.with_for_update()).all():
        uid = row.sop_instance_uid
        if uid in failed:
            state = DEAD if row.attempts >= retry.max_attempts else PENDING
            pause = timedelta(seconds=retry.delay_s(max(row.attempts, 1)))
            problem = f"taken, but not kept: {failed[uid]}"
            due = to_text(now + pause)
            again = {"state": state, "last_problem": problem, "next_attempt_at": due, "updated_at": to_text(now)}
            _set(conn, row.delivery_id, commitment=None, commitment_uid=None, commitment_due_at=None, **again)
        elif uid in committed:
            state = COMMITTED
            _set(conn, row.delivery_id, commitment=COMMITTED, last_problem=None, updated_at=to_text(now))
        else:
            continue
        settled.append(Settled(uid, row.destination, state))
    return settled


def _set(conn: Connection, delivery_id: int, **values: object) -> None:
    conn.execute(update(table).where(table.c.delivery_id == delivery_id).values(**values))
