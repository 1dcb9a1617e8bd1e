"""Criteria as a question to one version in memory, the same answers as `criteria_sql` gives of stored ones.

For what has no index rows: a version that is not written yet, and one that was superseded.
"""

from collections.abc import Sequence

from clinical.errors import Fault
from record_store.criteria import (
    UPDATED,
    AllOf,
    AnyOf,
    Compare,
    Criterion,
    DateIn,
    DateRange,
    IdIn,
    Not,
    PatientIn,
    Present,
    ReferenceIn,
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
from record_store.index_rows import (
    DateRow,
    IndexRows,
    ReferenceRow,
    StringRow,
    TokenRow,
    UriRow,
    cut,
    fit,
)
from record_store.resources import NewResource

Simple = TokenIn | TokenBelow | TokenText | ReferenceIn | StringStarts | StringContains | StringIs | DateIn | UriIn
Row = TokenRow | StringRow | DateRow | ReferenceRow | UriRow


def met(criterion: Criterion, version: NewResource) -> bool:
    """Tell whether a version meets a criterion. Raises Fault for one that asks about other resources."""
    match criterion:
        case IdIn(ids):
            return version.id in ids
        case PatientIn(ids):
            return version.patient in ids
        case AllOf(several):
            return all(met(one, version) for one in several)
        case AnyOf(several):
            return any(met(one, version) for one in several)
        case Not(inner):
            return not met(inner, version)
        case Present(param, rows, types):
            found = _of(version.index, rows, param)
            return any(not types or (isinstance(row, ReferenceRow) and row.target_type in types) for row in found)
        case DateIn(param, ranges) if param == UPDATED:
            return any(_date(version.updated, version.updated, wanted) for wanted in ranges)
        case _ if isinstance(criterion, Simple):
            return any(_fits(criterion, row) for row in _of(version.index, rows_of(criterion), criterion.param))
        case _:
            raise Fault("that kind of criterion cannot be asked of a version in memory")


def can_be_met(criterion: Criterion) -> bool:
    """Tell whether `met` can answer it: not what asks about other resources, quantities and composites."""
    match criterion:
        case AllOf(several) | AnyOf(several):
            return all(map(can_be_met, several))
        case Not(inner):
            return can_be_met(inner)
        case _:
            return isinstance(criterion, IdIn | PatientIn | Present | Simple)


def _of(index: IndexRows, kind: Rows, param: str) -> list[Row]:
    held: dict[Rows, Sequence[Row]] = {
        Rows.TOKEN: index.tokens,
        Rows.STRING: index.strings,
        Rows.DATE: index.dates,
        Rows.REFERENCE: index.references,
        Rows.URI: index.uris,
    }
    names = param.split("|")
    return [row for row in held[kind] if row.param in names]


def _fits(criterion: Simple, row: Row) -> bool:
    match criterion, row:
        case TokenIn(_, tokens), TokenRow():
            code, system = fit(row.code), fit(row.system)
            return any(
                (right is None or fit(right) == code) and (left is None or fit(left) == system)
                for left, right in tokens
            )
        case TokenBelow(_, system, starts), TokenRow():
            return fit(row.system) == fit(system) and any(fit(row.code).startswith(cut(one)) for one in starts)
        case TokenText(_, prefixes), TokenRow():
            return any(cut(row.text).startswith(cut(prefix)) for prefix in prefixes)
        case ReferenceIn(_, references), ReferenceRow():
            return any(
                fit(row.target_id) == fit(wanted)
                and (row.target_type != "" if kind is None else row.target_type == kind)
                for kind, wanted in references
            )
        case StringStarts(_, prefixes), StringRow():
            return any(cut(row.value).startswith(cut(prefix)) for prefix in prefixes)
        case StringContains(_, parts), StringRow():
            return any(cut(part) in cut(row.value) for part in parts)
        case StringIs(_, texts), StringRow():
            return fit(row.exact) in map(fit, texts)
        case DateIn(_, ranges), DateRow():
            return any(_date(row.lo, row.hi, wanted) for wanted in ranges)
        case UriIn(_, uris, starts), UriRow():
            return fit(row.value) in map(fit, uris) or any(fit(row.value).startswith(cut(one)) for one in starts)
    return False


def _date(lo: str, hi: str, wanted: DateRange) -> bool:
    within = lo >= wanted.lo and hi <= wanted.hi
    return {
        Compare.EQ: within,
        Compare.NE: lo < wanted.lo or hi > wanted.hi,
        Compare.GT: hi > wanted.hi,
        Compare.LT: lo < wanted.lo,
        Compare.GE: hi > wanted.hi or within,
        Compare.LE: lo < wanted.lo or within,
        Compare.SA: lo > wanted.hi,
        Compare.EB: hi < wanted.lo,
        Compare.AP: lo <= wanted.hi and hi >= wanted.lo,
    }[wanted.compare]
