"""Pages of the index of headers, newest first, narrowed by what a database decides quickly.

Narrowing lets through all that match, and more: who searches decides by PS3.4 in Python, so that SQLite and
PostgreSQL, whatever their collations, give the same answers. Each page is a short transaction of its own, so a
peer that reads slowly holds no snapshot open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, or_, select

from record_store.tables import instance_header, series_header, study_header


class Depth(IntEnum):
    """What one row is about; it holds the columns of the tables above as well."""

    STUDY = 0
    SERIES = 1
    INSTANCE = 2


_TABLES = (study_header, series_header, instance_header)


@dataclass(frozen=True, slots=True)
class Among:
    """The column holds one of the values, exactly."""

    depth: Depth
    column: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """The column's digits lie between two others, both inclusive; "" is open."""

    depth: Depth
    column: str
    low: str
    high: str


@dataclass(frozen=True, slots=True)
class Containing:
    """The column contains the pieces (ASCII letters and digits) of one list in their order, in capitals or not."""

    depth: Depth
    column: str
    pieces: tuple[tuple[str, ...], ...]


Narrowing = Among | Between | Containing
Row = Mapping[tuple[Depth, str], str]


def header_page(
    conn: Connection, depth: Depth, narrowings: Sequence[Narrowing], before: int | None, limit: int
) -> tuple[list[Row], int | None]:
    """Return rows by (depth, column), and from where the next page goes on; None when there is none.

    before: what the page before returned, None for the first.
    """
    own = _TABLES[depth]
    tables = _TABLES[: depth + 1]
    columns = [
        (Depth(place), column)
        for place, table in enumerate(tables)
        for column in table.columns
        if column.name != "row"
    ]
    query = select(own.c.row, *(column.label(f"{place}_{column.name}") for place, column in columns))
    query = query.select_from(_joined(depth))
    if before is not None:
        query = query.where(own.c.row < before)
    query = query.where(*(_condition(one) for one in narrowings)).order_by(own.c.row.desc()).limit(limit)
    found = conn.execute(query).all()
    names = [(place, column.name) for place, column in columns]
    rows: list[Row] = [dict(zip(names, map(str, values[1:]), strict=True)) for values in found]
    return rows, int(found[-1][0]) if len(found) == limit else None


def _joined(depth: Depth) -> Any:  # noqa: ANN401 - SQLAlchemy's own from-clause types
    if depth is Depth.STUDY:
        return study_header
    if depth is Depth.SERIES:
        return series_header.join(study_header, series_header.c.study_uid == study_header.c.study_uid)
    return instance_header.join(
        series_header,
        and_(
            instance_header.c.study_uid == series_header.c.study_uid,
            instance_header.c.series_uid == series_header.c.series_uid,
        ),
    ).join(study_header, instance_header.c.study_uid == study_header.c.study_uid)


def _condition(one: Narrowing) -> ColumnElement[bool]:
    table: Table = _TABLES[one.depth]
    column = table.c[one.column]
    match one:
        case Among(values=values):
            return column.in_(values)
        case Between(low=low, high=high):
            return and_(*([column >= low] if low else []), *([column <= high] if high else []), column != "")
        case Containing(pieces=lists):
            return or_(*(column.ilike(_pattern(pieces)) for pieces in lists))


def _pattern(pieces: Sequence[str]) -> str:
    """Return a LIKE pattern; pieces are letters and digits, of which none means anything there."""
    return f"%{'%'.join(pieces)}%" if pieces else "%"
