"""Recordings by the minute as the Observations that an EHR would hold, and back through the server's feature code.

So a model is judged on what the server would have read, and not on what a loader made.
"""

from collections.abc import Iterator
from datetime import UTC, timedelta, timezone
from typing import Any

import numpy as np

from clinical.codes import HEART_RATE, STEPS_UNSPECIFIED_TIME, Coding
from clinical.trend import DAY_MIN, Array, MinuteSeries
from fhir_adapters.features.heart_rate import readings, series_of
from fhir_adapters.features.sampled_data import sampled_data

# The recordings have a naive clock; any offset keeps its hours, but UTC, whose "Z" says that they are unknown.
SOME_ZONE = timezone(timedelta(hours=-5))


def through_observations(series: MinuteSeries) -> MinuteSeries | None:
    """Return the recording as the server reads it from Observations; None when it holds no heart rate."""
    return series_of(readings(observations(series)))


def observations(series: MinuteSeries, patient: str = "Patient/recorded") -> Iterator[dict[str, Any]]:
    """Yield one Observation with SampledData for each day of heart rate, and one of steps where there are any."""
    start = series.start.replace(tzinfo=SOME_ZONE if series.clock_known else UTC)
    for first in range(0, len(series), DAY_MIN):
        moment = start + timedelta(minutes=first)
        for name, code, values, unit in (
            ("rate", HEART_RATE, series.heart_rate, "/min"),
            ("steps", STEPS_UNSPECIFIED_TIME, series.steps, "{steps}/min"),
        ):
            day = values[first : first + DAY_MIN]
            if not np.isnan(day).all():
                ident = f"{name}-{first // DAY_MIN}"
                yield {**_observation(ident, code, patient), **sampled_data(moment, _numbers(day), unit)}


def _observation(ident: str, code: Coding, patient: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": ident,
        "status": "final",
        "code": {"coding": [{"system": code.system, "code": code.code, "display": code.display}]},
        "subject": {"reference": patient},
    }


def _numbers(values: Array) -> Any:  # noqa: ANN401 - an array of float64, whatever came
    return np.asarray(values, np.float64)
