"""Pages of one search that stay those of its first moment while others write; the server keeps nothing.

A page goes on after the last place that was shown. What nobody changed since the first page has kept its place.
What was changed stands in the history as it was then, so its place of then is known: it is shown there, once, as
it is now, if it still meets the criteria. What is new is shown if its place comes later.

Which rows were changed since: on SQLite writers take turns, so the latest time that the first page saw divides
them. On PostgreSQL transactions overlap; a row's own transaction number (xmin) is compared with its snapshot.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    String,
    Table,
    Text,
    and_,
    cast,
    column,
    func,
    literal_column,
    or_,
    select,
    text,
    values,
)

from clinical.errors import IncorrectInput
from record_store.criteria_sql import matching
from record_store.resource_search import Match, Place, SearchQuery, beyond, search
from record_store.resources import STORED, StoredResource
from record_store.tables import resource, resource_history
from record_store.times import from_text, to_text

MAX_CHANGED = 2000  # matches that were changed since the first page
# No transaction is open, and no clock is wrong, for longer.
_OVERLAP = timedelta(hours=1)
_XIDS = 2**32

PlaceOf = Callable[[StoredResource], Place]
"""The place of a version in the order of the search; a body of b"" is a version that says "deleted"."""


def taken(conn: Connection, resource_type: str) -> str:
    """Return the moment of this transaction, for `changed`."""
    latest = conn.scalar(select(func.max(resource.c.updated)).where(resource.c.type == resource_type)) or ""
    if conn.dialect.name == "sqlite":
        return str(latest)
    return f"{latest} {conn.scalar(text('SELECT pg_current_snapshot()::text'))}"


def changed(conn: Connection, table: Table, snapshot: str) -> ColumnElement[bool]:
    """Return "the row was written after that moment". table: the resources or their history."""
    latest, _, transactions = snapshot.partition(" ")
    if conn.dialect.name == "sqlite":
        return table.c.updated > latest
    if not transactions:  # taken on another database
        raise IncorrectInput("the page link is of an earlier installation: search again", expression=["_page"])
    _, beyond_text, open_text = transactions.split(":")
    number = cast(cast(literal_column(f"{table.name}.xmin"), Text), BigInteger)
    half = _XIDS // 2
    # Numbers go round: what is less than half of them ahead is later. So old rows are told apart by their time.
    ahead = func.mod(number - int(beyond_text) % _XIDS + half + _XIDS, _XIDS) - half
    still_open = [int(each) % _XIDS for each in open_text.split(",") if each]
    later = or_(ahead >= 0, number.in_(still_open)) if still_open else ahead >= 0
    return and_(table.c.updated >= to_text(from_text(latest) - _OVERLAP), later) if latest else later


def search_page(conn: Connection, query: SearchQuery, snapshot: str, place_of: PlaceOf) -> list[Match]:
    """Return at most `query.limit` matches after `query.after`, in the order of the moment `snapshot`.

    Raises IncorrectInput when more than MAX_CHANGED of the matches were changed since.
    """
    moved = _moved(conn, query, snapshot, place_of)
    if not moved:
        return search(conn, query)
    still = ~and_(changed(conn, resource, snapshot), resource.c.version > 1)
    found = [*search(conn, query, still), *moved]
    by_id = {match.resource.id: match for match in found}
    return [by_id[one] for one in _in_order(conn, query, found)]


def _moved(conn: Connection, query: SearchQuery, snapshot: str, place_of: PlaceOf) -> list[Match]:
    """Return the matches that were changed since, at their places of then."""
    wanted = matching(select(*STORED), resource, query.type, query.criteria)
    wanted = wanted.where(changed(conn, resource, snapshot), resource.c.version > 1)
    rows = conn.execute(wanted.limit(MAX_CHANGED + 1)).all()
    if len(rows) > MAX_CHANGED:
        raise IncorrectInput("too much has changed since the first page: search again", expression=["_page"])
    now = {row[1]: StoredResource(*row) for row in rows}
    then = now | _as_they_were(conn, query.type, list(now), snapshot)
    return [Match(one, place_of(then[name])) for name, one in now.items()]


def _as_they_were(
    conn: Connection, resource_type: str, ids: Sequence[str], snapshot: str
) -> dict[str, StoredResource]:
    """Return the superseded versions that were the current ones at that moment."""
    if not ids:
        return {}
    past = resource_history
    columns = [past.c[name] for name in ("type", "id", "version", "updated", "body")]
    own = (past.c.type == resource_type, past.c.id.in_(ids))
    if conn.dialect.name == "sqlite":
        # The last that had been written by then; of what was made since, the first.
        rows = conn.execute(select(*columns, ~changed(conn, past, snapshot)).where(*own).order_by(past.c.version))
        found: dict[str, StoredResource] = {}
        for row in rows:
            if row[-1] or row[1] not in found:
                found[row[1]] = StoredResource(row[0], row[1], row[2], row[3], row[4])
        return found
    # A version goes into the history when the next is written: the first that went later was the current one.
    rows = conn.execute(
        select(*columns).where(*own, changed(conn, past, snapshot)).order_by(past.c.version.desc())
    )
    return {row[1]: StoredResource(row[0], row[1], row[2], row[3], row[4]) for row in rows}


def _in_order(conn: Connection, query: SearchQuery, found: Sequence[Match]) -> list[str]:
    """Return the ids of those after `query.after`, as the database orders: only it knows its collation."""
    downs = [*(key.descending for key in query.sort), query.sort[-1].descending if query.sort else False]
    kinds = [Float if isinstance(part, float) else String for part in found[0].place]
    names = [f"place_{number}" for number in range(len(kinds))]
    places = values(*(column(name, kind) for name, kind in zip(names, kinds, strict=True)), name="places")
    listed = places.data([match.place for match in found]).cte()
    keys = [(listed.c[name], down) for name, down in zip(names, downs, strict=True)]
    wanted = select(listed.c[names[-1]]).order_by(*(key.desc() if down else key.asc() for key, down in keys))
    if query.after is not None:
        wanted = wanted.where(beyond(keys, query.after))
    return list(conn.scalars(wanted.limit(query.limit)))
