"""What senders ask of us: whether we keep what we took (PS3.4 annex J). A row a question, until it is answered.

A claim is a lease, as with deliveries: the question of a process that died is due again by itself.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Row, func, select, update

from clinical.errors import Busy
from record_store.database import Database
from record_store.deliveries import RetryPolicy
from record_store.sql import insert_once
from record_store.tables import commitment_request as table
from record_store.tables import instance, result_object
from record_store.times import to_text

PENDING, REPORTED, DEAD = "pending", "reported", "dead"
MOST_WAITING = 1000  # of one sender: nobody may fill the disk with questions
_AT_ONCE = 500  # UIDs in one statement


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """One request. objects: SOP class and instance UIDs. attempts: of telling the answer."""

    calling_ae: str
    transaction_uid: str
    objects: tuple[tuple[str, str], ...]
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class RequestRow:
    """Where a question stands. objects: how many were asked about. state: pending, reported or dead."""

    calling_ae: str
    objects: int
    state: str
    attempts: int
    last_problem: str | None


def keep(conn: Connection, request: CommitmentRequest, now: datetime, first_try_at: datetime) -> bool:
    """Store a question; False when its transaction UID stands for other objects of this sender already.

    The same question again is due again. Raises Busy when too many of this sender's wait.
    """
    objects = json.dumps(request.objects)
    mine = (table.c.calling_ae == request.calling_ae, table.c.state == PENDING)
    if conn.execute(select(func.count()).select_from(table).where(*mine)).scalar_one() >= MOST_WAITING:
        raise Busy("too many questions of this sender wait for their answer")
    values = {
        "calling_ae": request.calling_ae,
        "transaction_uid": request.transaction_uid,
        "objects": objects,
        "state": PENDING,
        "attempts": 0,
        "next_attempt_at": to_text(first_try_at),
        "updated_at": to_text(now),
    }
    if insert_once(conn, table, values, ["calling_ae", "transaction_uid"]):
        return True
    again = update(table).where(*_this(request), table.c.objects == objects)
    values = {name: values[name] for name in ("state", "attempts", "next_attempt_at", "updated_at")}
    return conn.execute(again.values(**values)).rowcount == 1


def due_senders(db: Database, now: datetime) -> list[str]:
    """Return the AE titles of senders to whom an answer is due."""
    query = select(table.c.calling_ae).where(table.c.state == PENDING, table.c.next_attempt_at <= to_text(now))
    with db.read() as conn:
        return list(conn.execute(query.distinct().order_by(table.c.calling_ae)).scalars())


def claim(db: Database, calling_ae: str, now: datetime, lease_s: float) -> CommitmentRequest | None:
    """Take a sender's oldest question that is due, or None."""
    due = (
        select(table)
        .where(table.c.calling_ae == calling_ae, table.c.state == PENDING, table.c.next_attempt_at <= to_text(now))
        .order_by(table.c.next_attempt_at)
        .limit(1)
    )
    with db.write() as conn:
        return _claimed(conn, conn.execute(due.with_for_update(skip_locked=True)).first(), now, lease_s)


def claim_this(
    db: Database, request: CommitmentRequest, now: datetime, lease_s: float
) -> CommitmentRequest | None:
    """Take a question that nobody has tried to answer yet, due or not, or None."""
    query = select(table).where(*_this(request), table.c.state == PENDING, table.c.attempts == 0)
    with db.write() as conn:
        return _claimed(conn, conn.execute(query.with_for_update()).first(), now, lease_s)


def due_now(conn: Connection, request: CommitmentRequest, now: datetime) -> None:
    """Make a question due at once, unless somebody else has taken it since."""
    same = (*_this(request), table.c.state == PENDING, table.c.attempts == request.attempts)
    conn.execute(update(table).where(*same).values(next_attempt_at=to_text(now)))


def told(
    conn: Connection, request: CommitmentRequest, problem: str | None, now: datetime, retry: RetryPolicy
) -> str:
    """Write down whether the sender took the answer (problem: why not) and return the state."""
    state = REPORTED
    if problem is not None:
        state = DEAD if request.attempts >= retry.max_attempts else PENDING
    later = now + timedelta(seconds=retry.delay_s(max(request.attempts, 1)))
    values = {
        "state": state,
        "last_problem": problem,
        "updated_at": to_text(now),
        "next_attempt_at": to_text(later),
    }
    conn.execute(update(table).where(*_this(request), table.c.state == PENDING).values(**values))
    return state


def requests(conn: Connection) -> list[RequestRow]:
    """Return the questions and where they stand, oldest change first."""
    query = select(table).order_by(table.c.updated_at, table.c.transaction_uid)
    return [
        RequestRow(row.calling_ae, len(json.loads(row.objects)), row.state, row.attempts, row.last_problem)
        for row in conn.execute(query)
    ]


def held(conn: Connection, sop_instance_uids: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return of these the ones that we hold, received or made here: SOP class UID and the sha256 of the bytes."""
    wanted, found = sorted(sop_instance_uids), {}
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        for rows in (instance, result_object):
            query = select(rows.c.sop_instance_uid, rows.c.sop_class_uid, rows.c.sha256)
            for row in conn.execute(query.where(rows.c.sop_instance_uid.in_(some))):
                found[row.sop_instance_uid] = (row.sop_class_uid, row.sha256)
    return found


def purge(conn: Connection, before: datetime) -> int:
    """Remove questions that were settled before then; return how many."""
    settled = table.delete().where(table.c.state != PENDING, table.c.updated_at < to_text(before))
    return conn.execute(settled).rowcount


def _this(request: CommitmentRequest) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return table.c.calling_ae == request.calling_ae, table.c.transaction_uid == request.transaction_uid


def _claimed(
    conn: Connection, row: Row[tuple[object, ...]] | None, now: datetime, lease_s: float
) -> CommitmentRequest | None:
    if row is None:
        return None
    columns = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
    objects = tuple((sop_class, uid) for sop_class, uid in json.loads(columns["objects"]))
    one = CommitmentRequest(columns["calling_ae"], columns["transaction_uid"], objects, columns["attempts"] + 1)
    lease = to_text(now + timedelta(seconds=lease_s))
    values = {"attempts": one.attempts, "next_attempt_at": lease, "updated_at": to_text(now)}
    conn.execute(update(table).where(*_this(one)).values(**values))
    return one
