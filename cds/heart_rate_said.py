"""A forecast of the heart rate as what is kept of it: the summary of what was read, and from which resources."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from cds.heart_rate_proposal import ADVICE, TITLES
from clinical.forecast import HeartRateForecast
from clinical.said import HeartRateSummary, ModelInputs, Said, SaidForecast
from clinical.trend import DAY_MIN, Windows
from fhir_adapters.features.elements import effective, reference_to
from fhir_adapters.features.heart_rate import HeartRateRecord
from model_runtime.graphs import MODEL

MOST_SOURCES = 100  # of a value a minute; the digest of the inputs covers all
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
Resource = Mapping[str, Any]


def said_of(
    forecast: HeartRateForecast,
    record: HeartRateRecord,
    read: Windows,
    resources: Iterable[Resource],
    *,
    judged: str,
    input_sha256: str,
    now: datetime,
) -> Said:
    """Return what was said. resources: the Observations of heart rates that were sent."""
    steps = ADVICE[forecast.alarm] if forecast.sure else ()
    return Said(
        model=forecast.model,
        input_sha256=input_sha256,
        inputs=ModelInputs(MODEL, dict(read.inputs())),
        at=now,
        what=SaidForecast(
            forecast, summary_of(record), judged, " ".join(steps), TITLES[forecast.alarm], tuple(steps)
        ),
        sources=newest_sources(resources),
    )


def summary_of(record: HeartRateRecord) -> HeartRateSummary:
    """Return mean, least and most of the last day with a reading in it."""
    rate = record.series.heart_rate[-DAY_MIN:]
    known = np.flatnonzero(~np.isnan(rate))
    start = record.newest_at - timedelta(minutes=int(len(rate) - 1 - known[0]))
    values = rate[known]
    return HeartRateSummary(
        start, record.newest_at, float(values.mean()), float(values.min()), float(values.max()), len(known)
    )


def newest_sources(resources: Iterable[Resource]) -> tuple[str, ...]:
    """Return references of the newest of these, MOST_SOURCES at most."""
    newest = sorted(resources, key=lambda one: effective(one) or _NEVER, reverse=True)
    named = (reference_to(one) for one in newest[:MOST_SOURCES])
    return tuple(dict.fromkeys(one for one in named if one))
