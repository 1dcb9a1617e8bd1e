"""Criteria as SQL, the same answers on both databases.

A criterion is said in two ways: as a condition on one resource (`holds`), and, where its index can list what
meets it, as a list of ids (`_listed`). Of all criteria of a search one drives: its list makes the candidates, and
the others are asked of each candidate.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    and_,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    union,
)

from record_store.criteria import (
    UPDATED,
    AllOf,
    AnyOf,
    Chained,
    Criterion,
    DateIn,
    Has,
    IdIn,
    Not,
    PatientIn,
    Present,
    QuantityIn,
    ReferenceIn,
    RowCriterion,
    SamePart,
    StringIs,
    StringStarts,
    TokenIn,
    UriIn,
    is_row,
)
from record_store.resources import hot_code
from record_store.rows_sql import any_of, compared, condition, of_param, row, table_of
from record_store.tables import resource, sp_reference

# Codes of which nearly every resource has one of few: as candidates they list half of the table.
_COARSE = frozenset({"status", "gender", "active", "intent", "outcome", "action"})
_Flag = ColumnElement[bool]


def matching(
    statement: Select[Any], owner: FromClause, resource_type: str, criteria: Sequence[Criterion]
) -> Select[Any]:
    """Return the statement with only the living resources of `owner` that meet all criteria."""
    statement = statement.where(owner.c.type == resource_type, owner.c.deleted == 0)
    driver = _driver(criteria)
    for criterion in criteria:
        if criterion is driver and isinstance(criterion, Chained) and criterion.hot:
            statement = statement.where(owner.c.patient.in_(_ids(criterion.target_type, criterion.criterion)))
        elif criterion is driver:
            statement = statement.where(owner.c.id.in_(_listed(resource_type, criterion)))
        else:
            statement = statement.where(holds(owner, resource_type, criterion))
    return statement


def _driver(criteria: Sequence[Criterion]) -> Criterion | None:
    """Return the criterion whose index lists the candidates.

    None when an id or a patient narrows enough already, or nothing lists.
    """
    if any(isinstance(one, IdIn | PatientIn) for one in criteria):
        return None
    listing = [criterion for criterion in criteria if _lists(criterion)]
    return min(listing, key=_breadth, default=None)


def _lists(criterion: Criterion) -> bool:
    match criterion:
        case DateIn(param):
            return param != UPDATED
        case Present() | Not():
            return False
        case AnyOf(several):
            return bool(several) and all(map(_lists, several))
        case AllOf(several):
            return any(map(_lists, several))
        case _:
            return True


def _breadth(criterion: Criterion) -> int:
    """Return a guess at how many resources it lists, as a rank."""
    match criterion:
        case IdIn() | PatientIn():
            return 0
        case ReferenceIn() | Chained():
            return 1
        case StringStarts() | StringIs() | UriIn():
            return 2
        case TokenIn(param):
            return 6 if param in _COARSE else 1 if param == "identifier" else 2
        case SamePart(rows):
            return min(map(_breadth, rows))
        case AnyOf(several):
            return max(map(_breadth, several))
        case AllOf(several):
            return min(_breadth(one) for one in several if _lists(one))
        case Has():
            return 3
        case QuantityIn():
            return 4
        case _:
            return 5


def holds(owner: FromClause, resource_type: str, criterion: Criterion) -> _Flag:
    """Return the criterion as a condition on a row of `owner` (the resource table or an alias of it)."""
    match criterion:
        case IdIn(ids):
            return owner.c.id.in_(ids)
        case PatientIn(ids):
            return owner.c.patient.in_(ids) if len(ids) != 1 else owner.c.patient == ids[0]
        case TokenIn(_, alternatives, hot):
            return _token_holds(owner, resource_type, criterion, alternatives, hot=hot)
        case DateIn(param, ranges) if param == UPDATED:
            return any_of([compared(owner.c.updated, owner.c.updated, wanted) for wanted in ranges])
        case AllOf() | AnyOf() | Not():
            return _combined(owner, resource_type, criterion)
        case Present(param, rows, types):
            table = table_of(rows)
            only = [table.c.target_type.in_(types)] if types else []
            return exists().where(*_owned(table, owner, resource_type), of_param(table, param), *only)
        case Chained() | Has():
            return _linked(owner, resource_type, criterion)
        case SamePart(rows):
            tables, conditions = _joined(resource_type, rows)
            return exists().where(tables[0].c.id == owner.c.id, *conditions)
        case _:
            table, condition = row(criterion)
            return exists().where(*_owned(table, owner, resource_type), condition)


def _linked(owner: FromClause, resource_type: str, criterion: Chained | Has) -> _Flag:
    """Return "some resource that is linked meets it", asked of one candidate: only its own links are followed."""
    other, way = resource.alias(), sp_reference.alias()
    there = criterion.target_type if isinstance(criterion, Chained) else criterion.source_type
    met = (other.c.type == there, other.c.deleted == 0, holds(other, there, criterion.criterion))
    match criterion:
        case Chained(hot=True):
            return _one(other.c.id == owner.c.patient, *met)
        case Chained(param):
            points = (of_param(way, param), way.c.target_type == there, other.c.id == way.c.target_id)
            return _one(*_owned(way, owner, resource_type), *points, *met)
        case Has(hot=True):
            return _one(other.c.patient == owner.c.id, *met)
        case Has(_, param):
            points = (way.c.type == there, of_param(way, param), way.c.target_type == resource_type)
            return _one(*points, way.c.target_id == owner.c.id, other.c.id == way.c.id, *met)


def _one(*conditions: _Flag) -> _Flag:
    """Return "there is a row", asked of each candidate.

    OFFSET 0 keeps PostgreSQL from joining it with all the others of the statement: with the statistics of an empty
    table, as after an import, it then took products of whole tables, for minutes.
    """
    return select(literal(1)).where(*conditions).suffix_with("OFFSET 0", dialect="postgresql").exists()


def _combined(owner: FromClause, resource_type: str, criterion: AllOf | AnyOf | Not) -> _Flag:
    match criterion:
        case AllOf(several):
            return and_(true(), *(holds(owner, resource_type, one) for one in several))
        case AnyOf(several):
            return any_of([holds(owner, resource_type, one) for one in several])
        case Not(inner):
            # What compares with an empty hot column is neither true nor false to SQL: here it is not so.
            return not_(func.coalesce(holds(owner, resource_type, inner), false()))


def _listed(resource_type: str, criterion: Criterion) -> Any:  # noqa: ANN401 - a SELECT, or a UNION of them
    """Return the ids of what meets the criterion; the index lists them."""
    match criterion:
        case Chained(param, target_type, inner, False):
            points = _points(sp_reference, param, target_type, inner)
            return select(sp_reference.c.id).where(sp_reference.c.type == resource_type, points)
        case Chained(_, target_type, inner, True):
            own = resource.alias()
            return select(own.c.id).where(own.c.type == resource_type, own.c.patient.in_(_ids(target_type, inner)))
        case Has(source_type, _, inner, True):
            source = resource.alias()
            theirs = select(source.c.patient).where(source.c.patient.is_not(None))
            return select(_once(matching(theirs, source, source_type, _several(inner))).c.patient)
        case Has(source_type, param, inner):
            return select(sp_reference.c.target_id).where(
                sp_reference.c.type == source_type,
                of_param(sp_reference, param),
                sp_reference.c.target_type == resource_type,
                sp_reference.c.id.in_(_ids(source_type, inner)),
            )
        case SamePart(rows):
            tables, conditions = _joined(resource_type, rows)
            return select(tables[0].c.id).where(*conditions)
        case AnyOf(several):
            return union(*(_listed(resource_type, one) for one in several))
        case _ if is_row(criterion):
            table, condition = row(criterion)
            return select(table.c.id).where(table.c.type == resource_type, condition)
        case _:
            return _ids(resource_type, criterion)


def _ids(resource_type: str, criterion: Criterion) -> Select[Any]:
    """Return the ids of the living resources that meet the criterion."""
    other = resource.alias()
    return select(_once(matching(select(other.c.id), other, resource_type, _several(criterion))).c.id)


def _once(statement: Select[Any]) -> FromClause:
    """Return the statement as a table that is worked out once.

    A common table expression, because SQLite's parser takes nine selects within each other and no more;
    materialized, because PostgreSQL would else put it into the outer statement and ask it anew for each row.
    """
    return statement.cte().prefix_with("MATERIALIZED", dialect="postgresql")


def _several(criterion: Criterion) -> tuple[Criterion, ...]:
    return criterion.criteria if isinstance(criterion, AllOf) else (criterion,)


def _points(table: FromClause, param: str, target_type: str, inner: Criterion) -> _Flag:
    return and_(
        of_param(table, param), table.c.target_type == target_type, table.c.target_id.in_(_ids(target_type, inner))
    )


def _owned(table: FromClause, owner: FromClause, resource_type: str) -> tuple[_Flag, _Flag]:
    return table.c.type == resource_type, table.c.id == owner.c.id


def _token_holds(
    owner: FromClause,
    resource_type: str,
    criterion: TokenIn,
    alternatives: Sequence[tuple[str | None, str | None]],
    *,
    hot: bool,
) -> _Flag:
    table, condition = row(criterion)
    found = exists().where(*_owned(table, owner, resource_type), condition)
    codes = [code for code in (hot_code(*alternative) for alternative in alternatives) if code]
    if not hot or len(codes) != len(alternatives):
        return found
    # The hot column answers for every resource with one coding; the others leave it empty.
    return or_(owner.c.code.in_(codes), and_(owner.c.code.is_(None), found))


def _joined(resource_type: str, rows: Sequence[RowCriterion]) -> tuple[list[FromClause], list[_Flag]]:
    tables: list[FromClause] = []
    conditions: list[_Flag] = []
    for criterion in rows:
        table, _ = row(criterion)
        one = table.alias()
        conditions += [one.c.type == resource_type, condition(one, criterion)]
        if tables:
            conditions += [one.c.id == tables[0].c.id, one.c.part == tables[0].c.part]
        tables.append(one)
    return tables, conditions
