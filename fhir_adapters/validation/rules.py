"""What the invariants are written with: a rule, and the questions that several of them ask of an element."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fhir_adapters.search.dates import range_of

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """One invariant. key: the standard's. at: the element it is told of, within the one it stands on."""

    key: str
    text: str
    holds: Callable[[Json], bool]
    at: tuple[str, ...] = ()


def parts(value: Json, name: str) -> list[Json]:
    """Return the objects that a list element holds."""
    held = value.get(name)
    return [one for one in held if isinstance(one, dict)] if isinstance(held, list) else []


def part(value: Json, name: str) -> Json:
    """Return an element that is an object, an empty one otherwise."""
    held = value.get(name)
    return held if isinstance(held, dict) else {}


def has(value: Json, choice: str) -> bool:
    """Tell whether a choice element is there in any form."""
    return any(name.startswith((choice, "_" + choice)) for name in value)


def codes_of(concept: object) -> set[tuple[str, str]]:
    """Return the (system, code) pairs of a CodeableConcept."""
    return (
        {(str(one.get("system", "")), str(one.get("code"))) for one in parts(concept, "coding")}
        if isinstance(concept, dict)
        else set()
    )


def decimal_of(value: object) -> Decimal | None:
    """Return a JSON number as a decimal, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    return Decimal(str(value))


def in_order(value: Json, first: str, last: str) -> bool:
    """Tell whether two dates of whatever precision can be in order."""
    start, end = value.get(first), value.get(last)
    if not isinstance(start, str) or not isinstance(end, str):
        return True
    begun, ended = range_of(start), range_of(end)
    return begun is None or ended is None or begun[0] <= ended[1]


def together(name: str, needs: str) -> Callable[[Json], bool]:
    """Make the rule that `name` needs another element beside it."""
    return lambda value: name not in value or needs in value


def apart(name: str, other: str) -> Callable[[Json], bool]:
    """Make the rule that two elements do not stand together."""
    return lambda value: name not in value or other not in value


def some(*names: str) -> Callable[[Json], bool]:
    """Make the rule that one of these elements is there."""
    return lambda value: any(name in value for name in names)
