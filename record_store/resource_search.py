"""Searching FHIR resources: criteria as values, and their one translation to SQL.

What a parameter means (which element is a `date`, how a token is written) is decided in
`fhir_adapters/search`; this module compares rows, the same on both databases.

Order: a resource without the sorted value stands first ascending and last descending, and ties are broken by
id, so that a page can be continued after the last row seen (keyset), whatever was written in between.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
)

from record_store.resources import STORED, StoredResource, cut, fit, hot_code
from record_store.tables import resource, sp_date, sp_reference, sp_string, sp_token


@dataclass(frozen=True, slots=True)
class IdIn:
    """The resource's own id is one of these."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PatientIn:
    """The hot patient column is one of these."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenIn:
    """Some token equals one of (system, code); None matches any system or any code.

    hot: the parameter is the one that `NewResource.code` holds.
    """

    param: str
    alternatives: tuple[tuple[str | None, str | None], ...]
    hot: bool = False


@dataclass(frozen=True, slots=True)
class ReferenceIn:
    """Some reference equals one of (type, id); None matches any type of ours."""

    param: str
    alternatives: tuple[tuple[str | None, str], ...]


@dataclass(frozen=True, slots=True)
class StringStarts:
    """Some text starts with one of these (normalised as the rows are)."""

    param: str
    prefixes: tuple[str, ...]


UPDATED = "_lastUpdated"


class Compare(StrEnum):
    """How a stored range lies to the range asked for (R4 3.1.1.4.5)."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    LT = "lt"
    GE = "ge"
    LE = "le"
    SA = "sa"
    EB = "eb"


class DateRange(NamedTuple):
    """A comparison with the range lo..hi, both ends included."""

    compare: Compare
    lo: str
    hi: str


@dataclass(frozen=True, slots=True)
class DateIn:
    """Some date compares to one of these. param UPDATED is the time of the version."""

    param: str
    alternatives: tuple[DateRange, ...]


Criterion = IdIn | PatientIn | TokenIn | ReferenceIn | StringStarts | DateIn


class SortBy(StrEnum):
    """What a sort key reads."""

    ID = "id"
    UPDATED = "updated"
    HOT_DATE = "hot-date"
    TOKEN = "token"  # noqa: S105 - a FHIR search type
    DATE = "date"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key. param: the index rows' parameter, for TOKEN, DATE and STRING (the least value counts)."""

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
    after: tuple[str, ...] | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Match:
    """One found resource and its place in the order, to continue from."""

    resource: StoredResource
    place: tuple[str, ...] = field(repr=False)


def search(conn: Connection, query: SearchQuery) -> list[Match]:
    """Return at most `query.limit` matches in order, starting after `query.after`."""
    keys = [(_sort_value(key), key.descending) for key in query.sort]
    # The tie is broken in the direction of the last key: one walk along one index.
    keys.append((resource.c.id, keys[-1][1] if keys else False))
    labels = [value.label(f"place_{number}") for number, (value, _) in enumerate(keys)]
    statement = _where(select(*STORED, *labels), query)
    if query.after is not None:
        statement = statement.where(_beyond(keys, query.after))
    ordered = statement.order_by(*(value.desc() if down else value.asc() for value, down in keys))
    rows = conn.execute(ordered.limit(query.limit)).all()
    width = len(STORED)
    return [Match(StoredResource(*row[:width]), tuple(row[width:])) for row in rows]


def count(conn: Connection, query: SearchQuery) -> int:
    """Return how many resources match, whatever the page."""
    return int(conn.execute(_where(select(func.count()).select_from(resource), query)).scalar_one())


_ALIVE = resource.c.deleted == 0


def _where(statement: Select[Any], query: SearchQuery) -> Select[Any]:
    statement = statement.where(resource.c.type == query.type, _ALIVE)
    driver = _driver(query.criteria)
    for criterion in query.criteria:
        statement = statement.where(_condition(query.type, criterion, criterion is driver))
    return statement


def _driver(criteria: Sequence[Criterion]) -> Criterion | None:
    """Return the criterion whose index lists the candidates; the others are then asked of each candidate.

    None when an id or a patient narrows enough already.
    """
    if any(isinstance(criterion, IdIn | PatientIn) for criterion in criteria):
        return None
    listed = [criterion for criterion in criteria if isinstance(criterion, TokenIn | ReferenceIn | StringStarts)]
    dated = [criterion for criterion in criteria if isinstance(criterion, DateIn) and criterion.param != UPDATED]
    return next(iter([*listed, *dated]), None)


def _condition(resource_type: str, criterion: Criterion, drives: bool) -> ColumnElement[bool]:
    match criterion:
        case IdIn(ids):
            return resource.c.id.in_(ids)
        case PatientIn(ids):
            return resource.c.patient.in_(ids) if len(ids) != 1 else resource.c.patient == ids[0]
        case TokenIn(param, alternatives, hot):
            found = _some_row(sp_token, resource_type, param, _tokens(alternatives), drives)
            codes = [code for code in (hot_code(*alternative) for alternative in alternatives) if code]
            if not hot or drives or len(codes) != len(alternatives):
                return found
            # The hot column answers for every resource with one coding; the others leave it empty.
            return or_(resource.c.code.in_(codes), and_(resource.c.code.is_(None), found))
        case ReferenceIn(param, alternatives):
            return _some_row(sp_reference, resource_type, param, _references(alternatives), drives)
        case StringStarts(param, prefixes):
            return _some_row(sp_string, resource_type, param, _prefixes(prefixes), drives)
        case DateIn(param, ranges) if param == UPDATED:
            at = resource.c.updated
            return or_(*(_compared(at, at, wanted) for wanted in ranges))
        case DateIn(param, ranges):
            compared = or_(*(_compared(sp_date.c.lo, sp_date.c.hi, wanted) for wanted in ranges))
            return _some_row(sp_date, resource_type, param, compared, drives)


def _some_row(
    table: Table, resource_type: str, param: str, condition: ColumnElement[bool], drives: bool
) -> ColumnElement[bool]:
    """Return "some index row of the resource meets the condition"."""
    if drives:
        rows = select(table.c.id).where(table.c.type == resource_type, table.c.param == param, condition)
        return resource.c.id.in_(rows)
    return exists().where(
        table.c.type == resource_type, table.c.id == resource.c.id, table.c.param == param, condition
    )


def _tokens(alternatives: Iterable[tuple[str | None, str | None]]) -> ColumnElement[bool]:
    return or_(
        *(
            and_(
                true() if code is None else sp_token.c.code == fit(code),
                true() if system is None else sp_token.c.system == fit(system),
            )
            for system, code in alternatives
        )
    )


def _references(alternatives: Iterable[tuple[str | None, str]]) -> ColumnElement[bool]:
    kind = sp_reference.c.target_type
    return or_(
        *(
            and_(sp_reference.c.target_id == fit(target_id), kind != "" if wanted is None else kind == wanted)
            for wanted, target_id in alternatives
        )
    )


def _prefixes(prefixes: Iterable[str]) -> ColumnElement[bool]:
    # Not LIKE: SQLite's ignores ASCII case, and a range would follow the database's collation.
    fitting = [cut(prefix) for prefix in prefixes]
    return or_(*(func.substr(sp_string.c.value, 1, len(prefix)) == prefix for prefix in fitting))


def _compared(lo: ColumnElement[str], hi: ColumnElement[str], wanted: DateRange) -> ColumnElement[bool]:
    within = and_(lo >= wanted.lo, hi <= wanted.hi)
    match wanted.compare:
        case Compare.EQ:
            return within
        case Compare.NE:
            return or_(lo < wanted.lo, hi > wanted.hi)
        case Compare.GT:
            return hi > wanted.hi
        case Compare.LT:
            return lo < wanted.lo
        case Compare.GE:
            return or_(hi > wanted.hi, within)
        case Compare.LE:
            return or_(lo < wanted.lo, within)
        case Compare.SA:
            return lo > wanted.hi
        case Compare.EB:
            return hi < wanted.lo


def _sort_value(key: SortKey) -> ColumnElement[str]:
    match key.by:
        case SortBy.ID:
            return resource.c.id
        case SortBy.UPDATED:
            return resource.c.updated
        case SortBy.HOT_DATE:
            return resource.c.date_lo
        case SortBy.TOKEN:
            return _least(sp_token, sp_token.c.code, key.param)
        case SortBy.DATE:
            return _least(sp_date, sp_date.c.lo, key.param)
        case SortBy.STRING:
            return _least(sp_string, sp_string.c.value, key.param)


def _least(table: Table, column: ColumnElement[str], param: str) -> ColumnElement[str]:
    owned = (table.c.type == resource.c.type, table.c.id == resource.c.id, table.c.param == param)
    return func.coalesce(select(func.min(column)).where(*owned).scalar_subquery(), "")


def _beyond(keys: Sequence[tuple[ColumnElement[str], bool]], after: Sequence[str]) -> ColumnElement[bool]:
    values = [value for value, _ in keys]
    if len({down for _, down in keys}) == 1:
        here, there = tuple_(*values), tuple_(*(literal(value) for value in after))
        return here < there if keys[0][1] else here > there
    steps = []
    for number, (value, down) in enumerate(keys):
        same = [value == place for value, place in zip(values[:number], after[:number], strict=True)]
        steps.append(and_(*same, value < after[number] if down else value > after[number]))
    return or_(*steps)
