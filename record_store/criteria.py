"""What a search can ask of a resource, as values (R4 3.1.1). `criteria_sql` is their one translation.

What a parameter means (which element is a `date`, how a token is written) is decided in `fhir_adapters/search`.
`param` names the parameter whose index rows are asked, or several with a bar between.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, TypeGuard

UPDATED = "_lastUpdated"
_COMPARISON, _JOIN = 4, 20  # weights: what an index cannot list at once, and a way to another resource


class Rows(StrEnum):
    """The index tables, by the search type of what they hold."""

    TOKEN = "token"  # noqa: S105 - a FHIR search type
    STRING = "string"
    DATE = "date"
    REFERENCE = "reference"
    QUANTITY = "quantity"
    URI = "uri"


class Compare(StrEnum):
    """How a stored range lies to the range asked for (R4 3.1.1.4.5). AP: they overlap."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    LT = "lt"
    GE = "ge"
    LE = "le"
    SA = "sa"
    EB = "eb"
    AP = "ap"


class DateRange(NamedTuple):
    """A comparison with the range lo..hi, both ends included."""

    compare: Compare
    lo: str
    hi: str


class Amount(NamedTuple):
    """A comparison with numbers from lo up to, not including, hi (EQ, NE), to hi (AP), or with lo = hi alone."""

    compare: Compare
    lo: float
    hi: float


class QuantityMatch(NamedTuple):
    """An amount in a unit, or the same amount in base units; either finds it.

    amount: as it is stored, None when only the base units count. system: None matches any. code: of the unit, or
    its words where no system is asked for; None matches any. canonical: the amount in base units, and their UCUM
    code ("" for a number): what is commensurable is found by it.
    """

    amount: Amount | None = None
    system: str | None = None
    code: str | None = None
    canonical: tuple[Amount, str] | None = None


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
class TokenBelow:
    """Some code of the system starts with one of these: below them, where codes begin as those above do."""

    param: str
    system: str
    starts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenText:
    """The words of some token (of its concept, its code, its identifier's type) start with one of these."""

    param: str
    prefixes: tuple[str, ...]


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


@dataclass(frozen=True, slots=True)
class StringContains:
    """Some text holds one of these anywhere (normalised as the rows are)."""

    param: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StringIs:
    """Some text is one of these, case and accents included."""

    param: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DateIn:
    """Some date compares to one of these. param UPDATED is the time of the version."""

    param: str
    alternatives: tuple[DateRange, ...]


@dataclass(frozen=True, slots=True)
class QuantityIn:
    """Some quantity or number compares to one of these."""

    param: str
    alternatives: tuple[QuantityMatch, ...]


@dataclass(frozen=True, slots=True)
class UriIn:
    """Some URI is one of `uris`, or starts with one of `starts`."""

    param: str
    uris: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()


RowCriterion = (
    TokenIn
    | TokenBelow
    | TokenText
    | ReferenceIn
    | StringStarts
    | StringContains
    | StringIs
    | DateIn
    | QuantityIn
    | UriIn
)


@dataclass(frozen=True, slots=True)
class Present:
    """There is some index row of the parameter (`:missing=false`).

    target_types: of references, only to these types; empty for any.
    """

    param: str
    rows: Rows
    target_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SamePart:
    """Rows of one part of the resource (itself, a component) meet all of these (composite, R4 3.1.1.4.12)."""

    rows: tuple[RowCriterion, ...]


@dataclass(frozen=True, slots=True)
class Chained:
    """A reference points to a resource of that type that meets the criterion (R4 3.1.1.4.10).

    hot: the parameter is the patient that `NewResource.patient` holds.
    """

    param: str
    target_type: str
    criterion: "Criterion"
    hot: bool = False


@dataclass(frozen=True, slots=True)
class Has:
    """Some resource of that type points here and meets the criterion (R4 3.1.1.4.11).

    hot: this is a Patient, and the parameter is the one that the other's `NewResource.patient` holds.
    """

    source_type: str
    param: str
    criterion: "Criterion"
    hot: bool = False


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one holds; of none, always."""

    criteria: "tuple[Criterion, ...]"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one holds; of none, never."""

    criteria: "tuple[Criterion, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """It does not hold."""

    criterion: "Criterion"


Criterion = RowCriterion | IdIn | PatientIn | Present | SamePart | Chained | Has | AllOf | AnyOf | Not

RestrictionOf = Callable[[str], Criterion | None]
"""What a client may see of a type; None: everything."""


def everything(_type: str) -> None:
    """Restrict nothing."""


def is_row(criterion: Criterion) -> TypeGuard[RowCriterion]:
    """Tell whether one index row decides it."""
    return isinstance(criterion, RowCriterion)


def rows_of(criterion: RowCriterion) -> Rows:
    """Return the kind of the index rows that decide it."""
    match criterion:
        case TokenIn() | TokenText() | TokenBelow():
            return Rows.TOKEN
        case ReferenceIn():
            return Rows.REFERENCE
        case DateIn():
            return Rows.DATE
        case QuantityIn():
            return Rows.QUANTITY
        case UriIn():
            return Rows.URI
        case _:
            return Rows.STRING


def restricted(criteria: Iterable[Criterion], resource_type: str, allowed: RestrictionOf) -> tuple[Criterion, ...]:
    """Return the criteria as a client with these rights may ask them: nothing is found by what it may not see."""
    own = allowed(resource_type)
    inner = tuple(_within(criterion, allowed) for criterion in criteria)
    return inner if own is None else (*inner, own)


def _within(criterion: Criterion, allowed: RestrictionOf) -> Criterion:
    match criterion:
        case Chained(_, other, inner) | Has(other, _, inner):
            return replace(criterion, criterion=_all(restricted((inner,), other, allowed)))
        case AllOf(several):
            return AllOf(tuple(_within(one, allowed) for one in several))
        case AnyOf(several):
            return AnyOf(tuple(_within(one, allowed) for one in several))
        case Not(inner):
            return Not(_within(inner, allowed))
        case _:
            return criterion


def _all(criteria: tuple[Criterion, ...]) -> Criterion:
    return criteria[0] if len(criteria) == 1 else AllOf(criteria)


def weight(criterion: Criterion) -> int:
    """Return what a criterion costs, as a number of values that an index is asked for."""
    match criterion:
        case IdIn(values) | PatientIn(values) | StringStarts(_, values) | StringIs(_, values):
            return len(values)
        case TokenIn(_, values) | ReferenceIn(_, values) | TokenText(_, values):
            return len(values)
        case TokenBelow(_, _, starts):
            return _COMPARISON * len(starts)
        case UriIn(_, uris, starts):
            return len(uris) + len(starts)
        case DateIn(_, values) | QuantityIn(_, values) | StringContains(_, values):
            return _COMPARISON * len(values)
        case SamePart(several) | AllOf(several) | AnyOf(several):
            return sum(map(weight, several))
        case Not(inner):
            return weight(inner)
        case Chained(_, _, inner) | Has(_, _, inner):
            return _JOIN + weight(inner)
        case Present():
            return 1
