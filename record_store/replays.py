"""Requests to compute a result again, and their answers: asked by the web, carried out by a worker.

A request that a dead worker had taken is due again after LEASE; a settled one is removed after KEPT.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from record_store.tables import ai_replay as table
from record_store.times import to_text

ASKED, TAKEN, DONE, REFUSED = "asked", "taken", "done", "refused"
LEASE = timedelta(minutes=5)
KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ReplayRow:
    """One request. answer: JSON of the Parameters when done, of the OperationOutcome when refused, else "".

    status: the HTTP status of the answer.
    """

    id: str
    type: str
    resource_id: str
    state: str
    status: int
    answer: str


def ask(conn: Connection, request_id: str, resource_type: str, resource_id: str, now: datetime) -> None:
    """Add a request."""
    row = {"id": request_id, "type": resource_type, "resource_id": resource_id, "state": ASKED}
    conn.execute(insert(table), row | {"status": 0, "answer": "", "at": to_text(now)})


def pending(conn: Connection, resource_type: str, resource_id: str) -> str | None:
    """Return the id of a request for this result that nobody has answered yet, or None."""
    same = and_(
        table.c.type == resource_type, table.c.resource_id == resource_id, table.c.state.in_((ASKED, TAKEN))
    )
    return conn.execute(select(table.c.id).where(same).limit(1)).scalar()


def waiting(conn: Connection) -> int:
    """Return how many requests nobody has answered yet."""
    unanswered = select(func.count()).select_from(table).where(table.c.state.in_((ASKED, TAKEN)))
    return int(conn.execute(unanswered).scalar_one())


def row_of(conn: Connection, request_id: str) -> ReplayRow | None:
    """Return a request, or None."""
    columns = (table.c.id, table.c.type, table.c.resource_id, table.c.state, table.c.status, table.c.answer)
    row = conn.execute(select(*columns).where(table.c.id == request_id)).first()
    return None if row is None else ReplayRow(*row)


def due(conn: Connection, now: datetime) -> str | None:
    """Return the id of the request that waits longest, None when none does."""
    return conn.execute(select(table.c.id).where(_is_due(now)).order_by(table.c.at).limit(1)).scalar()


def take(conn: Connection, request_id: str, now: datetime) -> bool:
    """Take a request; False when another worker was quicker."""
    mine = update(table).where(table.c.id == request_id, _is_due(now))
    return conn.execute(mine.values(state=TAKEN, at=to_text(now))).rowcount == 1


def settle(conn: Connection, request_id: str, state: str, status: int, answer: str, now: datetime) -> None:
    """Write the answer, and remove what was settled long ago."""
    values = {"state": state, "status": status, "answer": answer, "at": to_text(now)}
    conn.execute(update(table).where(table.c.id == request_id).values(**values))
    conn.execute(delete(table).where(table.c.state.in_((DONE, REFUSED)), table.c.at < to_text(now - KEPT)))


def _is_due(now: datetime) -> ColumnElement[bool]:
    stale = and_(table.c.state == TAKEN, table.c.at < to_text(now - LEASE))
    return or_(table.c.state == ASKED, stale)
