"""Searching FHIR resources: a page of matches in order, and how many there are.

Order: a resource without the sorted value stands first ascending and last descending, and ties are broken by
id, so that a page can be continued after the last row seen (keyset), whatever was written in between.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, literal, or_, select, tuple_

from record_store.criteria import AllOf, Criterion, Rows
from record_store.criteria_sql import holds, matching
from record_store.reindexing import require_rows
from record_store.resources import STORED, StoredResource
from record_store.rows_sql import of_param, table_of
from record_store.tables import resource


class SortBy(StrEnum):
    """What a sort key reads."""

    ID = "id"
    UPDATED = "updated"
    HOT_DATE = "hot-date"
    TOKEN = "token"  # noqa: S105 - a FHIR search type
    DATE = "date"
    STRING = "string"
    REFERENCE = "reference"
    QUANTITY = "quantity"
    URI = "uri"


Place = tuple[str | float, ...]


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key. param: the index rows' parameter, for all but ID, UPDATED, HOT_DATE (the least value counts)."""

    by: SortBy
    descending: bool = False
    param: str = ""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """All criteria hold (AND), each by one of its alternatives (OR).

    after: sort values and id of the last row seen, as `Match.place`; None starts at the front.
    """

    type: str
    criteria: tuple[Criterion, ...] = ()
    sort: tuple[SortKey, ...] = ()
    after: Place | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Match:
    """One found resource and its place in the order, to continue from."""

    resource: StoredResource
    place: Place = field(repr=False)


def search(conn: Connection, query: SearchQuery, *also: ColumnElement[bool]) -> list[Match]:
    """Return at most `query.limit` matches in order, starting after `query.after`.

    also: conditions on rows of `resource` beside the criteria.
    Raises Busy while the index rows that it needs are being made (`reindexing`).
    """
    _require_rows(conn, query)
    keys = [(_sort_value(key), key.descending) for key in query.sort]
    # The tie is broken in the direction of the last key: one walk along one index.
    keys.append((resource.c.id, keys[-1][1] if keys else False))
    labels = [value.label(f"place_{number}") for number, (value, _) in enumerate(keys)]
    statement = matching(select(*STORED, *labels), resource, query.type, query.criteria).where(*also)
    if query.after is not None:
        statement = statement.where(beyond(keys, query.after))
    ordered = statement.order_by(*(value.desc() if down else value.asc() for value, down in keys))
    rows = conn.execute(ordered.limit(query.limit)).all()
    width = len(STORED)
    return [Match(StoredResource(*row[:width]), tuple(row[width:])) for row in rows]


def count(conn: Connection, query: SearchQuery) -> int:
    """Return how many resources match, whatever the page. Raises Busy as `search`."""
    _require_rows(conn, query)
    counted = select(func.count()).select_from(resource)
    return int(conn.execute(matching(counted, resource, query.type, query.criteria)).scalar_one())


def _require_rows(conn: Connection, query: SearchQuery) -> None:
    require_rows(conn, query.type, query.criteria, [key.param for key in query.sort if key.param])


def condition(resource_type: str, criteria: Sequence[Criterion]) -> ColumnElement[bool]:
    """Return "the current version meets all criteria", for a statement over `resource` rows of that type."""
    return holds(resource, resource_type, AllOf(tuple(criteria)))


def _sort_value(key: SortKey) -> ColumnElement[Any]:
    match key.by:
        case SortBy.ID:
            return resource.c.id
        case SortBy.UPDATED:
            return resource.c.updated
        case SortBy.HOT_DATE:
            return resource.c.date_lo
        case _:
            return _least(key)


# The column of an index table that orders, and what stands for a resource without a row: less than every value.
_ORDERED: Mapping[SortBy, tuple[Rows, str, str | float]] = {
    SortBy.TOKEN: (Rows.TOKEN, "code", ""),
    SortBy.DATE: (Rows.DATE, "lo", ""),
    SortBy.STRING: (Rows.STRING, "value", ""),
    SortBy.REFERENCE: (Rows.REFERENCE, "target_id", ""),
    SortBy.QUANTITY: (Rows.QUANTITY, "canon_lo", float("-inf")),
    SortBy.URI: (Rows.URI, "value", ""),
}


def _least(key: SortKey) -> ColumnElement[Any]:
    rows, name, without = _ORDERED[key.by]
    table = table_of(rows)
    owned = [table.c.type == resource.c.type, table.c.id == resource.c.id, of_param(table, key.param)]
    if key.by is SortBy.TOKEN:
        owned.append(table.c.code != "")  # words without a code
    least: ColumnElement[Any] = select(func.min(table.c[name])).where(*owned).scalar_subquery()
    return func.coalesce(least, literal(without))


def beyond(keys: Sequence[tuple[ColumnElement[Any], bool]], after: Place) -> ColumnElement[bool]:
    """Return "the place comes after that one". keys: what makes it, and whether it descends."""
    values = [value for value, _ in keys]
    if len({down for _, down in keys}) == 1:
        here, there = tuple_(*values), tuple_(*(literal(value) for value in after))
        return here < there if keys[0][1] else here > there
    steps = []
    for number, (value, down) in enumerate(keys):
        same = [value == place for value, place in zip(values[:number], after[:number], strict=True)]
        steps.append(and_(*same, value < after[number] if down else value > after[number]))
    return or_(*steps)
