"""What was written, version by version, until somebody has looked whom it concerns (`subscriptions`).

`resources.put_all` adds a row for each version in the transaction that writes it, so a version that is committed
is never overlooked, and one that is rolled back never told. Whoever reads rows removes them in the transaction in
which it writes down what follows from them: nothing is lost or done twice when it dies in between.

PostgreSQL gives out positions before they are committed, so rows appear below others that were seen. That skips
nothing, because nobody keeps a place: what is here is not done. Versions of one resource keep their order, because
the writer of one waits until the one before is committed, and only then gets a position.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select

from record_store.database import Database
from record_store.tables import outbox as table

_ADD = "INSERT INTO outbox (type, id, version) VALUES (?, ?, ?)"
_ADD_POSTGRES = (
    "INSERT INTO outbox (type, id, version) SELECT * FROM unnest(%s::varchar[], %s::varchar[], %s::integer[])"
)
_ROWS = select(table.c.position, table.c.type, table.c.id, table.c.version).order_by(table.c.position)


class Written(NamedTuple):
    """One version. position: of one resource always in the order of its versions."""

    position: int
    type: str
    id: str
    version: int


def add(conn: Connection, versions: Sequence[tuple[str, str, int]]) -> None:
    """Tell of versions (type, id, version) that this transaction writes.

    Through the driver: the statement builder took four times as long, and each row of PostgreSQL's a message.
    """
    if not versions:
        return
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql(_ADD_POSTGRES, tuple(list(column) for column in zip(*versions, strict=True)))
    else:
        conn.exec_driver_sql(_ADD, list(versions))


def waiting(db: Database) -> bool:
    """Return whether there is anything to read: the question of an idle loop."""
    with db.read() as conn:
        return conn.execute(select(table.c.position).limit(1)).first() is not None


def size(db: Database) -> int:
    """Return how many versions nobody has looked at yet."""
    with db.read() as conn:
        return int(conn.execute(select(func.count()).select_from(table)).scalar_one())


def peek(conn: Connection, limit: int) -> list[Written]:
    """Return up to `limit` versions, those of one resource in their order.

    What follows is worked out without keeping any writer waiting, and then written down together with `remove`.
    """
    return [Written(*row) for row in conn.execute(_ROWS.limit(limit))]


def remove(conn: Connection, seen: Sequence[Written]) -> bool:
    """Remove what was seen; False when another worker was quicker with any of it: then roll back, it is told."""
    removed = 0
    for first in range(0, len(seen), 500):
        positions = [one.position for one in seen[first : first + 500]]
        removed += conn.execute(delete(table).where(table.c.position.in_(positions))).rowcount
    return removed == len(seen)
