"""Criteria that one index row decides, as SQL: how a token, a text, a date, a number, a URI is compared."""

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, FromClause, and_, false, func, or_, tuple_

from record_store.criteria import (
    Amount,
    Compare,
    DateIn,
    DateRange,
    QuantityIn,
    QuantityMatch,
    ReferenceIn,
    RowCriterion,
    Rows,
    StringContains,
    StringIs,
    StringStarts,
    TokenBelow,
    TokenIn,
    TokenText,
    UriIn,
    rows_of,
)
from record_store.index_rows import cut, fit
from record_store.tables import metadata

_Flag = ColumnElement[bool]
_FEW = 50


def table_of(rows: Rows) -> FromClause:
    """Return the index table."""
    return metadata.tables[f"sp_{rows}"]


def row(criterion: RowCriterion) -> tuple[FromClause, _Flag]:
    """Return the table whose rows decide it, and the condition on a row (its type and id aside)."""
    table = table_of(rows_of(criterion))
    return table, condition(table, criterion)


def condition(table: FromClause, criterion: RowCriterion) -> _Flag:
    """Return the condition on a row of `table` (an index table or an alias of it)."""
    return and_(of_param(table, criterion.param), _met(table, criterion))


def of_param(table: FromClause, param: str) -> _Flag:
    """Return "the row is one of this parameter's", or of any of several with a bar between."""
    return _is_one(table.c.param, param.split("|"))


def any_of(conditions: Sequence[_Flag]) -> _Flag:
    """Return "one of these holds". SQLite reads a thousand levels and each OR is two: at most a few hundred."""
    return or_(false(), *conditions)


def _met(table: FromClause, criterion: RowCriterion) -> _Flag:
    column = table.c
    match criterion:
        case TokenIn(_, tokens):
            return _tokens(table, tokens)
        case TokenBelow(_, system, starts):
            return and_(column.system == fit(system), any_of(_starts(column.code, map(cut, starts))))
        case TokenText(_, prefixes):
            return any_of(_starts(column.text, map(cut, prefixes)))
        case ReferenceIn(_, references):
            return _references(table, references)
        case StringStarts(_, prefixes):
            return any_of(_starts(column.value, map(cut, prefixes)))
        case StringContains(_, parts):
            # LIKE, whose case counts on one database only: what is compared has none.
            return any_of([column.value.contains(cut(part), autoescape=True) for part in parts])
        case StringIs(_, texts):
            return column.exact.in_([fit(text) for text in texts])
        case DateIn(_, ranges):
            return any_of([compared(column.lo, column.hi, wanted) for wanted in ranges])
        case QuantityIn(_, matches):
            return any_of([_quantity(table, wanted) for wanted in matches])
        case UriIn(_, uris, starts):
            exact = [column.value.in_([fit(uri) for uri in uris])] if uris else []
            return any_of([*exact, *_starts(column.value, map(cut, starts))])


def _starts(column: ColumnElement[str], prefixes: Iterable[str]) -> list[_Flag]:
    # Not LIKE: SQLite's ignores ASCII case, and a range would follow the database's collation.
    by_length: dict[int, list[str]] = {}
    for prefix in prefixes:
        by_length.setdefault(len(prefix), []).append(prefix)
    return [_is_one(func.substr(column, 1, length), same) for length, same in by_length.items()]


def _tokens(table: FromClause, alternatives: Iterable[tuple[str | None, str | None]]) -> _Flag:
    code, system = table.c.code, table.c.system
    codes = [fit(right) for left, right in alternatives if left is None and right is not None]
    systems = [fit(left) for left, right in alternatives if left is not None and right is None]
    pairs = [(fit(right), fit(left)) for left, right in alternatives if left is not None and right is not None]
    found = [_is_one(code, codes)] if codes else []
    found += [_is_one(system, systems)] if systems else []
    by_system: dict[str, list[str]] = {}
    for right, left in pairs:
        by_system.setdefault(left, []).append(right)
    if len(by_system) > _FEW:  # SQLite lists pairs by no index, but an OR for each is more than it reads
        return any_of([*found, tuple_(code, system).in_(pairs)])
    return any_of([*found, *(and_(_is_one(code, some), system == left) for left, some in by_system.items())])


def _references(table: FromClause, alternatives: Iterable[tuple[str | None, str]]) -> _Flag:
    kind = table.c.target_type
    by_type: dict[str | None, list[str]] = {}
    for wanted, target_id in alternatives:
        by_type.setdefault(wanted, []).append(fit(target_id))
    return any_of(
        [
            and_(_is_one(table.c.target_id, ids), kind != "" if wanted is None else kind == wanted)
            for wanted, ids in by_type.items()
        ]
    )


def _is_one(column: ColumnElement[str], values: Sequence[str]) -> _Flag:
    return column == values[0] if len(values) == 1 else column.in_(values)


def _quantity(table: FromClause, wanted: QuantityMatch) -> _Flag:
    column = table.c
    found: list[_Flag] = []
    if wanted.canonical is not None:
        amount, unit = wanted.canonical
        found.append(and_(column.canon_unit == unit, _amount(column.canon_lo, column.canon_hi, amount)))
    if wanted.amount is not None:
        same = [_amount(column.lo, column.hi, wanted.amount)]
        if wanted.code is not None:
            code = fit(wanted.code)
            same.append(column.code == code if wanted.system else or_(column.code == code, column.unit == code))
        if wanted.system is not None:
            same.append(column.system == fit(wanted.system))
        found.append(and_(*same))
    return found[0] if len(found) == 1 else any_of(found)


def _amount(lo: ColumnElement[float], hi: ColumnElement[float], wanted: Amount) -> _Flag:
    match wanted.compare:
        case Compare.EQ:
            return and_(lo >= wanted.lo, hi < wanted.hi)
        case Compare.NE:
            return or_(lo < wanted.lo, hi >= wanted.hi)
        case Compare.AP:
            return and_(lo <= wanted.hi, hi >= wanted.lo)
        case Compare.GT:
            return hi > wanted.hi
        case Compare.GE:
            return hi >= wanted.lo
        case Compare.LT:
            return lo < wanted.lo
        case Compare.LE:
            return lo <= wanted.hi
        case Compare.SA:
            return lo > wanted.hi
        case Compare.EB:
            return hi < wanted.lo


def compared(lo: ColumnElement[str], hi: ColumnElement[str], wanted: DateRange) -> _Flag:
    """Return how the range lo..hi must lie."""
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
        case Compare.AP:
            return and_(lo <= wanted.hi, hi >= wanted.lo)
