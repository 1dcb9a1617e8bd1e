"""The values of one code in Observations, single (valueQuantity) and sampled (valueSampledData), in one unit."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache

import numpy as np

from clinical.errors import IncorrectInput
from clinical.ucum import convert
from clinical.windows import Floats
from fhir_adapters.features.elements import Resource, effective, instant, objects, quantity, word
from fhir_adapters.features.sampled_data import samples

NO_RESULTS = frozenset({"entered-in-error", "cancelled", "unknown", "registered"})


@dataclass(frozen=True, slots=True)
class Values:
    """Values of one Observation or component. offsets_s: seconds since `start`; same shape (n,) as values."""

    start: datetime
    offsets_s: Floats
    values: Floats
    unit: str | None


def values_in(observation: Resource, system: str | None, code: str) -> Iterator[Values]:
    """Yield the values of a code in an Observation and its components; system None: under any system.

    What is no number, has no time, or is no result is left out.
    """
    start = _start(observation)
    if start is None or word(observation, "status") in NO_RESULTS:
        return
    for part in (observation, *objects(observation, "component")):
        if not _means(part.get("code"), system, code):
            continue
        if "valueSampledData" in part:
            taken = samples(part["valueSampledData"])
            if not isinstance(taken, str):
                yield Values(start, taken.offsets_s, taken.values, taken.unit)
        elif (amount := quantity(part.get("valueQuantity"))) is not None:
            yield Values(start, np.zeros(1), np.array([amount.value]), amount.unit)


def in_unit(found: Values, unit: str | None) -> Floats | None:
    """Return values in another unit, None where there is no way from one to the other (UCUM)."""
    if found.unit == unit:
        return found.values
    line = _line(found.unit, unit) if found.unit and unit else None
    return None if line is None else found.values * line[0] + line[1]


@lru_cache(maxsize=256)
def _line(unit: str, wanted: str) -> tuple[float, float] | None:
    """Return slope and intercept from one unit to the other: UCUM's units differ by those, but for a few."""
    try:
        zero, one, ten = (convert(Decimal(at), unit, wanted) for at in (0, 1, 10))
    except IncorrectInput:
        return None
    straight = abs((ten - zero) - 10 * (one - zero)) <= abs(ten - zero) * Decimal("1e-12")
    return (float(one - zero), float(zero)) if straight else None


def _start(observation: Resource) -> datetime | None:
    """Return when the first value was taken; of a period that is its start."""
    period = observation.get("effectivePeriod")
    begun = instant(period.get("start")) if isinstance(period, dict) else None
    return begun or effective(observation)


def _means(concept: object, system: str | None, code: str) -> bool:
    codings = objects(concept, "coding") if isinstance(concept, dict) else ()
    return any(word(one, "code") == code and system in (None, word(one, "system")) for one in codings)
