"""Observations of heart rate and steps -> one series by the minute, as the model `heart-rate-trend` reads it.

Single values (valueQuantity) and runs (valueSampledData), also as components. A value of another unit, outside the
plausible range, without a time of day or from the future is left out, and `ignored` says how often and why.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from clinical.codes import HEART_RATE, STEPS_24_HOURS, STEPS_UNSPECIFIED_TIME
from clinical.trend import BIN_MIN, DAY_MIN, HIGHEST, LOWEST, PAST_DAYS, MinuteSeries, mean_over, usable
from fhir_adapters.features.elements import Resource, instant, quantity, reference_to, word
from fhir_adapters.features.measurements import by_loinc
from fhir_adapters.features.sampled_data import Samples, sampled_at, samples

FRESH_MIN = 15
AHEAD = timedelta(minutes=5)  # clocks differ; what is dated later is not believed
LONGEST_COUNT_MIN = 15  # steps of a longer time say nothing of a minute
MOST_STEPS = 400.0
_ANNOTATION = re.compile(r"\{[^{}]*\}")  # UCUM: braces annotate and do not change a unit
_PER_MINUTE = frozenset(("/min", "1/min"))
_COUNT = frozenset(("", "1"))
_WRONG_UNIT = "the unit is not understood"
_NO_TIME = "no time of day, or no time at all"
_IMPLAUSIBLE = f"outside {LOWEST:g} to {HIGHEST:g} per minute, or steps outside 0 to {MOST_STEPS:g}"
_FUTURE = "dated in the future"
_NO_VALUE = "no value"
HEART, STEPS = "heart rate", "steps"


@dataclass(frozen=True, slots=True)
class Ignored:
    """Values that were not used. what: heart rate or steps; reason: without patient data."""

    what: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Readings:
    """What Observations hold, value by value: minutes since 1970 in UTC, and values, of the same shape (n,).

    newest: when the last heart rate was taken, in the zone that it was written with, and its resource.
    clock_known: False when that zone is "Z", which says UTC and not where the person is (RFC 9557, section 2).
    """

    heart_minutes: NDArray[np.int64]
    heart_rate: NDArray[np.float64]
    step_minutes: NDArray[np.int64]
    steps: NDArray[np.float64]
    newest: datetime | None
    source: str | None
    clock_known: bool
    ignored: tuple[Ignored, ...]


@dataclass(frozen=True, slots=True)
class HeartRateRecord:
    """One patient for the model. series: up to the minute of the newest reading, at most a week.

    missing: what the model would have read and did not get, in words.
    """

    series: MinuteSeries
    newest_at: datetime
    source: str | None
    missing: tuple[str, ...]
    ignored: tuple[Ignored, ...]

    @property
    def end(self) -> NDArray[np.intp]:
        """The index of the newest minute, for clinical.trend.windows."""
        return np.array([len(self.series) - 1])


@dataclass(slots=True)
class _Found:
    """Pieces of minutes and values under way, and a count of what was left out."""

    minutes: list[NDArray[np.int64]] = field(default_factory=list)
    values: list[NDArray[np.float64]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, minutes: NDArray[np.int64], values: NDArray[np.float64], low: float, high: float) -> None:
        known = ~np.isnan(values)
        good = known & (values >= low) & (values <= high)
        self.left_out[_NO_VALUE] += int(np.count_nonzero(~known))
        self.left_out[_IMPLAUSIBLE] += int(np.count_nonzero(known & ~good))
        self.minutes.append(minutes[good])
        self.values.append(values[good])

    def arrays(self, until: int | None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        minutes = np.concatenate([np.empty(0, np.int64), *self.minutes])
        values = np.concatenate([np.empty(0), *self.values])
        if until is None:
            return minutes, values
        past = minutes <= until
        self.left_out[_FUTURE] += int(np.count_nonzero(~past))
        return minutes[past], values[past]

    def ignored(self, what: str) -> tuple[Ignored, ...]:
        return tuple(Ignored(what, reason, count) for reason, count in sorted(self.left_out.items()) if count)


def readings(resources: Iterable[Resource], now: datetime | None = None) -> Readings:
    """Return every usable value of heart rate and steps. now: what is dated later is left out; None keeps all."""
    index = by_loinc(resources)
    heart, steps = _Found(), _Found()
    times: list[tuple[int, datetime, str | None, bool]] = []
    for part, observation in index.get(HEART_RATE.code, ()):
        _add_heart_rate(heart, part, observation, times)
    for code in (STEPS_UNSPECIFIED_TIME.code, STEPS_24_HOURS.code):
        for part, observation in index.get(code, ()):
            _add_steps(steps, part, observation)
    until = None if now is None else _minute(now + AHEAD)
    heart_minutes, rate = heart.arrays(until)
    step_minutes, count = steps.arrays(until)
    believed = [one for one in times if until is None or one[0] <= until]
    _, zone, source, clock_known = max(believed, key=lambda one: one[0], default=(0, None, None, False))
    newest = None
    if zone is not None and len(heart_minutes):
        newest = datetime.fromtimestamp(int(heart_minutes.max()) * 60, zone.tzinfo)
    return Readings(
        heart_minutes,
        rate,
        step_minutes,
        count,
        newest,
        source,
        clock_known,
        heart.ignored(HEART) + steps.ignored(STEPS),
    )


def series_of(found: Readings, *, longest_min: int | None = None) -> MinuteSeries | None:
    """Return the readings by the minute, up to the newest heart rate; None when there is none.

    longest_min: how many minutes at most; None for all. Several values of a minute are averaged.
    """
    if found.newest is None:
        return None
    last = int(found.heart_minutes.max())
    first = int(found.heart_minutes.min())
    if longest_min is not None:
        first = max(first, last - longest_min + 1)
    start = datetime.fromtimestamp(first * 60, found.newest.tzinfo)
    return MinuteSeries(
        start,
        _by_minute(found.heart_minutes, found.heart_rate, first, last),
        _by_minute(found.step_minutes, found.steps, first, last),
        found.clock_known,
    )


def heart_rate_record(resources: Iterable[Resource], now: datetime) -> HeartRateRecord | str:
    """Return the record of the last week, or what is needed for a forecast and lacking, in words.

    The caller has checked that everything is this patient's.
    """
    found = readings(resources, now)
    series = series_of(found, longest_min=PAST_DAYS * DAY_MIN)
    if series is None or found.newest is None:
        return "no heart rate (LOINC 8867-4) with a unit per minute and a time of day is recorded"
    if found.newest < now - timedelta(minutes=FRESH_MIN):
        return f"the newest heart rate is older than {FRESH_MIN} minutes"
    record = HeartRateRecord(series, found.newest, found.source, _missing(series), found.ignored)
    if not usable(series, record.end)[0]:
        return "readings in at least 12 of the last 24 five-minute intervals (one hour of the last two) are needed"
    return record


def _missing(series: MinuteSeries) -> tuple[str, ...]:
    lacking = []
    if np.isnan(series.steps).all():
        lacking.append("Steps: none recorded for this time")
    if not series.clock_known:
        lacking.append("Time of day: the readings are dated in UTC, so the patient's own clock is not known")
    if np.count_nonzero(~np.isnan(series.heart_rate)) < DAY_MIN // 2:
        lacking.append("The patient's own days: less than twelve hours of readings")
    return tuple(lacking)


def newest_mean(series: MinuteSeries) -> float:
    """Return the mean of the newest five minutes, per minute."""
    return float(mean_over(series.heart_rate[-BIN_MIN:], BIN_MIN)[-1])


def _add_heart_rate(
    heart: _Found, part: Resource, observation: Resource, times: list[tuple[int, datetime, str | None, bool]]
) -> None:
    start, text = _start(observation)
    taken = _values(part)
    if start is None:
        heart.left_out[_NO_TIME] += 1
    elif isinstance(taken, str):
        heart.left_out[taken] += 1
    elif _bare(taken.unit) not in _PER_MINUTE:
        heart.left_out[_WRONG_UNIT] += len(taken.values)
    elif len(taken.values):
        minutes = sampled_at(start, taken)
        heart.add(minutes, taken.values, LOWEST, HIGHEST)
        times.append((int(minutes[-1]), start, reference_to(observation), not text.endswith("Z")))


def _add_steps(steps: _Found, part: Resource, observation: Resource) -> None:
    start, _ = _start(observation)
    taken = _values(part)
    if start is None:
        steps.left_out[_NO_TIME] += 1
    elif isinstance(taken, str):
        steps.left_out[taken] += 1
    elif "valueSampledData" not in part and _bare(taken.unit) in _COUNT:
        _add_count(steps, float(taken.values[0]), start, observation)
    elif _bare(taken.unit) in _PER_MINUTE:
        steps.add(sampled_at(start, taken), taken.values, 0.0, MOST_STEPS)
    elif _bare(taken.unit) in _COUNT and taken.period_s > 0:
        steps.add(sampled_at(start, taken), taken.values * (60 / taken.period_s), 0.0, MOST_STEPS)
    else:
        steps.left_out[_WRONG_UNIT] += len(taken.values)


def _add_count(steps: _Found, count: float, start: datetime, observation: Resource) -> None:
    """Spread a count over the minutes of its period."""
    period = observation.get("effectivePeriod")
    end = instant(period.get("end")) if isinstance(period, dict) else None
    minutes = 0 if end is None else max(1, round((end - start).total_seconds() / 60))
    if not 0 < minutes <= LONGEST_COUNT_MIN:
        steps.left_out[f"a count without a period of at most {LONGEST_COUNT_MIN} minutes"] += 1
        return
    steps.add(_minute(start) + np.arange(minutes), np.full(minutes, count / minutes), 0.0, MOST_STEPS)


def _values(part: Resource) -> Samples | str:
    """Return the value or values of an Observation or component, or why there are none."""
    if "valueSampledData" in part:
        return samples(part["valueSampledData"])
    amount = quantity(part.get("valueQuantity"))
    if amount is None:
        return _NO_VALUE
    return Samples(np.zeros(1), np.array([amount.value]), amount.unit)


def _start(observation: Resource) -> tuple[datetime | None, str]:
    """Return when the first value was taken, and the text that said so; a bare day is no time."""
    period = observation.get("effectivePeriod")
    for text in _times(observation, period if isinstance(period, dict) else {}):
        moment = instant(text)
        if "T" in text and moment is not None:
            return moment, text
    return None, ""


def _times(observation: Resource, period: Resource) -> Iterator[str]:
    yield word(period, "start")
    yield word(observation, "effectiveDateTime")
    yield word(observation, "effectiveInstant")


def _bare(unit: str | None) -> str | None:
    return None if unit is None else _ANNOTATION.sub("", unit)


def _minute(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() // 60)


def _by_minute(
    minutes: NDArray[np.int64], values: NDArray[np.float64], first: int, last: int
) -> NDArray[np.float64]:
    """Return the mean of the values of each minute, NaN where there is none. shape (last - first + 1,)."""
    within = (minutes >= first) & (minutes <= last)
    place, length = minutes[within] - first, last - first + 1
    counts = np.bincount(place, minlength=length)
    sums = np.bincount(place, weights=values[within], minlength=length)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def used_of(record: HeartRateRecord) -> Sequence[tuple[str, str]]:
    """Return what was used, as label and words, for people."""
    rate, steps = (~np.isnan(values) for values in (record.series.heart_rate, record.series.steps))
    said = [
        ("Heart rate, newest five minutes", f"{newest_mean(record.series):.0f} per minute"),
        ("Minutes with a heart rate, last two hours", str(int(rate[-120:].sum()))),
        ("Hours with a heart rate, last seven days", f"{rate.sum() / 60:.1f}"),
    ]
    if steps.any():
        said.append(("Minutes with steps, last two hours", str(int(steps[-120:].sum()))))
    return said
