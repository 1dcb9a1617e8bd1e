"""Steps that others created here (UPS Push), as the data sets that they are: DICOM JSON in a row each."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, func, select, tuple_, update

from record_store.sql import insert_once
from record_store.tables import own_step, ups_subscription, workitem
from record_store.times import from_text, to_text


@dataclass(frozen=True, slots=True)
class OwnStep:
    """A step. state: Procedure Step State. transaction_uid: its performer's, None before it is claimed.

    created_by: AE title.
    """

    workitem_uid: str
    state: str
    transaction_uid: str | None
    body: str = field(repr=False)
    created_by: str
    created_at: datetime


def create(conn: Connection, workitem_uid: str, state: str, body: str, created_by: str, now: datetime) -> bool:
    """Keep a new step; False when there is one of this UID."""
    values = {
        "workitem_uid": workitem_uid,
        "state": state,
        "created_by": created_by,
        "body": body,
        "created_at": to_text(now),
        "updated_at": to_text(now),
    }
    return insert_once(conn, own_step, values, ["workitem_uid"])


def read(conn: Connection, workitem_uid: str, *, to_change: bool = False) -> OwnStep | None:
    """Return a step, or None. to_change: in a write transaction, so that nobody changes it meanwhile."""
    query = select(own_step).where(own_step.c.workitem_uid == workitem_uid)
    row = conn.execute(query.with_for_update() if to_change else query).first()
    return None if row is None else _step(row)


def write(conn: Connection, step: OwnStep, now: datetime) -> None:
    """Write a step that was read to be changed."""
    values = {"state": step.state, "transaction_uid": step.transaction_uid, "body": step.body}
    mine = update(own_step).where(own_step.c.workitem_uid == step.workitem_uid)
    conn.execute(mine.values(**values, updated_at=to_text(now)))


def not_begun(conn: Connection, state: str, worklist: str, after: OwnStep | None, limit: int) -> list[OwnStep]:
    """Return steps in a state that this worklist has no row of yet, the oldest first.

    after: the last one of the page before, None for the first page.
    """
    table = own_step.c
    known = select(workitem.c.workitem_uid).where(
        workitem.c.worklist == worklist, workitem.c.workitem_uid == table.workitem_uid
    )
    query = select(own_step).where(table.state == state, ~known.exists())
    if after is not None:
        place = (to_text(after.created_at), after.workitem_uid)
        query = query.where(tuple_(table.created_at, table.workitem_uid) > place)
    return [_step(row) for row in conn.execute(query.order_by(table.created_at, table.workitem_uid).limit(limit))]


def page(conn: Connection, after: str, limit: int) -> list[OwnStep]:
    """Return the next steps by UID. after: the last one of the page before, "" for the first page."""
    query = select(own_step).where(own_step.c.workitem_uid > after).order_by(own_step.c.workitem_uid)
    return [_step(row) for row in conn.execute(query.limit(limit))]


def count_of(conn: Connection, created_by: str, states: tuple[str, ...]) -> int:
    """Return how many steps an AE has created that are in these states."""
    mine = (own_step.c.created_by == created_by, own_step.c.state.in_(states))
    return int(conn.execute(select(func.count()).select_from(own_step).where(*mine)).scalar_one())


def purge(conn: Connection, states: tuple[str, ...], before: datetime, locked_before: datetime) -> int:
    """Remove steps in these states that were changed last before then; return how many.

    locked_before: the same for those of which a subscriber has asked that they be kept.
    """
    table, lock = own_step.c, ups_subscription.c
    locks = select(lock.workitem_uid).where(lock.workitem_uid == table.workitem_uid, lock.deletion_lock == 1)
    old = (~locks.exists() & (table.updated_at < to_text(before))) | (table.updated_at < to_text(locked_before))
    return conn.execute(own_step.delete().where(table.state.in_(states), old)).rowcount


def _step(row: object) -> OwnStep:
    values = row._mapping  # type: ignore[attr-defined]  # noqa: SLF001 - SQLAlchemy's public name for a row
    return OwnStep(
        values["workitem_uid"],
        values["state"],
        values["transaction_uid"],
        values["body"],
        values["created_by"],
        from_text(values["created_at"]),
    )
