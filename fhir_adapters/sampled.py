"""SampledData as the search index needs it: the least and the greatest value of a run (R4 datatypes, SampledData).

R4's `value-quantity` reads `Observation.value as SampledData` too; a run is found by the range of what it holds:
`gt120` finds the runs with some value above 120. Plain Python: it stands on the path of every write.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, NamedTuple

NO_VALUE = frozenset("EUL")  # an error, above and below the limits of detection


class Bounds(NamedTuple):
    """The range of a run's values, in the unit of its origin; system and code are "" when it has none."""

    lo: float
    hi: float
    system: str
    code: str


def bounds_of(element: Mapping[str, Any]) -> Bounds | None:
    """Return the range of the values of a SampledData, None when it holds none.

    A value is origin + factor * number. With several dimensions the range is over all of them.
    """
    origin, data = element.get("origin"), element.get("data")
    if not isinstance(origin, dict) or not isinstance(data, str):
        return None
    base, factor = _number(origin.get("value", 0)), _number(element.get("factor", 1))
    if base is None or factor is None:
        return None
    try:
        found = [float(word) for word in data.split() if word not in NO_VALUE]
    except ValueError:
        return None
    if not found or not all(map(isfinite, found)):
        return None
    ends = [float(base + factor * Decimal(str(one))) for one in (min(found), max(found))]
    system, code = origin.get("system", ""), origin.get("code", origin.get("unit", ""))
    return Bounds(min(ends), max(ends), str(system), str(code))


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return None
