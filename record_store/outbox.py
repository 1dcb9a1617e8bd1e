"""What was written, version by version, until somebody has looked whom it concerns (`subscriptions`).

`resources.put_all` adds a row for each version in the transaction that writes it, so a version that is committed
is never overlooked, and one that is rolled back never told. Whoever takes rows removes them in the transaction in
which it writes down what follows from them: nothing is lost or done twice when it dies in between.

PostgreSQL gives out positions before they are committed, so the highest position seen says nothing about those
below it. Each row carries its transaction's number instead; those below the oldest transaction still running are
settled, and no row can appear among them any more. Nobody waits for that, unlike under a lock on the table.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, text

from record_store.database import Database
from record_store.tables import outbox as table

_TAKERS_LOCK = 0x6F7574626F78  # "outbox": one at a time takes
_ADD = insert(table)
_ADD_POSTGRES = _ADD.values(tx=func.txid_current())
_ROWS = select(table.c.position, table.c.type, table.c.id, table.c.version).order_by(table.c.position)


class Written(NamedTuple):
    """One version. position: in the order of writing, for one resource always that of its versions."""

    position: int
    type: str
    id: str
    version: int


def add(conn: Connection, versions: Sequence[tuple[str, str, int]]) -> None:
    """Tell of versions (type, id, version) that this transaction writes."""
    if not versions:
        return
    if conn.dialect.name == "postgresql":
        rows = [{"type": kind, "id": own, "version": number} for kind, own, number in versions]
        conn.execute(_ADD_POSTGRES, rows)
    else:
        conn.execute(
            _ADD, [{"tx": 0, "type": kind, "id": own, "version": number} for kind, own, number in versions]
        )


def waiting(db: Database) -> bool:
    """Return whether there is anything to take: the question of an idle loop, which takes no lock."""
    with db.read() as conn:
        return conn.execute(select(table.c.position).limit(1)).first() is not None


def take(conn: Connection, limit: int) -> list[Written]:
    """Return up to `limit` settled versions in the order of writing, and remove their rows with this transaction.

    Versions of one resource are returned in their order. Several workers may ask at once: one is answered, the
    others get nothing.
    """
    if conn.dialect.name != "postgresql":
        return _removed(conn, [Written(*row) for row in conn.execute(_ROWS.limit(limit))])
    if not conn.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _TAKERS_LOCK}).scalar_one():
        return []
    oldest = conn.execute(text("SELECT txid_snapshot_xmin(txid_current_snapshot())")).scalar_one()
    settled = conn.execute(_ROWS.where(table.c.tx < oldest).limit(limit))
    found = [Written(*row) for row in settled]
    return _removed(conn, _without_gaps(found, _unsettled(conn, oldest))) if found else []


def _unsettled(conn: Connection, oldest: int) -> dict[tuple[str, str], int]:
    """Return the lowest visible version of each resource that is not settled."""
    first: dict[tuple[str, str], int] = {}
    for row in conn.execute(_ROWS.where(table.c.tx >= oldest)):
        one = Written(*row)
        key = (one.type, one.id)
        first[key] = min(one.version, first.get(key, one.version))
    return first


def _without_gaps(found: Sequence[Written], unsettled: dict[tuple[str, str], int]) -> list[Written]:
    # A transaction that began early and wrote late has the lower number and the higher version.
    return [one for one in found if one.version < unsettled.get((one.type, one.id), one.version + 1)]


def _removed(conn: Connection, taken: list[Written]) -> list[Written]:
    for first in range(0, len(taken), 500):
        positions = [one.position for one in taken[first : first + 500]]
        conn.execute(delete(table).where(table.c.position.in_(positions)))
    return taken
