"""FHIR R4 SampledData: a run of equally spaced samples in one element (datatypes.html#SampledData).

A sample's value is origin + factor * number. "E" (error), "L" and "U" (beyond the detection limits) are no values.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from clinical.codes import UCUM
from fhir_adapters.features.elements import Quantity, Resource, number, quantity

MOST_SAMPLES = 700_000  # a week at one sample a second
NO_VALUE = frozenset("EUL")


@dataclass(frozen=True, slots=True)
class Samples:
    """offsets_s: seconds from the first sample. values: in `unit` (UCUM), NaN for E, U and L; same shape (n,)."""

    offsets_s: NDArray[np.float64]
    values: NDArray[np.float64]
    unit: str | None

    @property
    def period_s(self) -> float:
        """Seconds from one sample to the next; 0 with fewer than two."""
        return float(self.offsets_s[1]) if len(self.offsets_s) > 1 else 0.0


def samples(element: object) -> Samples | str:
    """Return the samples, or why they cannot be read, in words without patient data."""
    if not isinstance(element, dict):
        return "the samples are no SampledData"
    origin, period = quantity(element.get("origin")), number(element.get("period"))
    if origin is None or period is None or period <= 0:
        return "the samples have no origin or no period"
    if number(element.get("dimensions")) != 1:
        return "the samples have more than one dimension"
    factor = number(element["factor"]) if "factor" in element else 1.0
    found = _numbers(element.get("data"))
    if factor is None or found is None:
        return "the samples hold something that is no number"
    return _samples(found, origin, factor, period)


def _samples(found: NDArray[np.float64], origin: Quantity, factor: float, period_ms: float) -> Samples:
    offsets = np.arange(len(found), dtype=np.float64) * (period_ms / 1000)
    return Samples(offsets, np.asarray(origin.value + factor * found, np.float64), origin.unit)


def _numbers(data: object) -> NDArray[np.float64] | None:
    """Return the numbers of the text, NaN for what is no value; None when it is not such a text."""
    if not isinstance(data, str):
        return None
    words = data.split(maxsplit=MOST_SAMPLES)
    if len(words) > MOST_SAMPLES:
        return None
    found = np.full(len(words), np.nan)
    for place, word in enumerate(words):
        if word in NO_VALUE:
            continue
        try:
            value = float(word)
        except ValueError:
            return None
        if not isfinite(value):
            return None
        found[place] = value
    return found


def sampled_at(start: datetime, taken: Samples) -> NDArray[np.int64]:
    """Return the minute of each sample, counted from 1970 in UTC."""
    return np.floor((start.timestamp() + taken.offsets_s) / 60).astype(np.int64)


def sampled_data(start: datetime, values: NDArray[np.float64], unit: str) -> Resource:
    """Return one-minute samples as an Observation's elements: effectivePeriod and valueSampledData.

    start: with a zone; UTC is written "Z", which says that the person's own clock is not known.
    The way in for recordings that come as files: they are then read by the very code that reads an EHR's.
    """
    text = " ".join("E" if np.isnan(value) else repr(float(value)) for value in values)
    end = start + timedelta(minutes=len(values))
    return {
        "effectivePeriod": {"start": _written(start), "end": _written(end)},
        "valueSampledData": {
            "origin": {"value": 0, "system": UCUM, "code": unit},
            "period": 60_000,
            "dimensions": 1,
            "data": text,
        },
    }


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z") if moment.tzinfo is UTC else moment.isoformat()
