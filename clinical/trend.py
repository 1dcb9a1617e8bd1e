"""Heart rate by the minute -> what the trend model reads: one code for the trainer and the server.

Arrays in, arrays out; nothing here knows FHIR, files or models. A window looks back from one minute, its end,
and never forward. What was not measured is NaN, in the series and in the windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from clinical.errors import IncorrectInput

Array = NDArray[np.floating]
Minutes = NDArray[np.intp]

BIN_MIN = 5  # the unit of history and forecast: one wrist reading a minute is too restless
RECENT_BINS = 24  # two hours of five-minute means
LAST_MINUTES = 15
DAY_HOURS = 24
PAST_DAYS = 7
DAY_MIN = 24 * 60
HORIZONS_MIN = (15, 30, 60)
# A forecast wants a reading now, and at least an hour of the last two.
RULE_BINS, RULE_KNOWN = RECENT_BINS, 12
LOWEST, HIGHEST = 20.0, 250.0  # per minute; outside, a reading is a fault of the sensor
SHARES = (0.02, 0.1, 0.5, 0.9, 0.98)
SHARES_FROM_MIN = 60  # fewer readings than an hour's give no personal quantiles
HOUR_KNOWN_MIN = 10
USUAL = 75.0
SAME_TIME_KNOWN_MIN = 5
PERSON = (
    "p02", "p10", "p50", "p90", "p98", "hours_known", "same_time_now", "same_time_15", "same_time_30",
    "same_time_60", "clock_sin", "clock_cos",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MinuteSeries:
    """One person's readings on a grid of minutes.

    start: the first minute, by the person's wall clock. heart_rate: beats per minute, shape (minutes,).
    steps: steps per minute, same shape. clock_known: False when the wall clock is not the person's (UTC).

    Raises IncorrectInput when the shapes differ.
    """

    start: datetime
    heart_rate: Array = field(repr=False)
    steps: Array = field(repr=False)
    clock_known: bool = True

    def __post_init__(self) -> None:
        if self.heart_rate.ndim != 1 or self.heart_rate.shape != self.steps.shape:
            raise IncorrectInput("heart rate and steps are two series of the same minutes")

    def __len__(self) -> int:
        return len(self.heart_rate)


@dataclass(frozen=True, slots=True)
class Windows:
    """What the model reads, one row for each end.

    recent: (rows, 24, 3) five-minute means, oldest first: heart rate, its spread within the bin, steps a minute.
    minutes: (rows, 15) the newest minutes' heart rate. hours: (rows, 24) hourly means. person: (rows, 12), see
        PERSON: quantiles of the past seven days, hours of record in them, the same time of day on past days,
        and the clock as sine and cosine.
    """

    recent: NDArray[np.float32]
    minutes: NDArray[np.float32]
    hours: NDArray[np.float32]
    person: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.recent)

    @property
    def last(self) -> NDArray[np.float32]:
        """The newest five-minute mean: the forecast of persistence at every horizon. shape (rows,)."""
        return self.recent[:, -1, 0]

    def inputs(self) -> dict[str, NDArray[np.float32]]:
        """Return the tensors under the names of the graph's inputs."""
        return {"recent": self.recent, "minutes": self.minutes, "hours": self.hours, "person": self.person}

    def rows(self, chosen: NDArray[np.generic]) -> "Windows":
        """Return some rows: indices or a mask."""
        return Windows(*(tensor[chosen] for tensor in self.inputs().values()))


def joined(parts: Sequence[Windows]) -> Windows:
    """Return the rows of several windows, one part after the other."""
    columns = zip(*(part.inputs().values() for part in parts), strict=True)
    return Windows(*(np.concatenate(column) for column in columns))


def mean_over(values: Array, width: int, need: int = 1) -> Array:
    """Return, for every minute, the mean of the `width` minutes that end with it; NaN with fewer than `need`."""
    known = ~np.isnan(values)
    counts = np.concatenate(([0], np.cumsum(known)))
    sums = np.concatenate(([0.0], np.cumsum(np.where(known, values, 0.0))))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    count = counts[ends] - counts[starts]
    mean = (sums[ends] - sums[starts]) / np.maximum(count, 1)
    return np.where(count >= need, mean, np.nan)


def at(values: Array, index: Minutes) -> Array:
    """Return values[index], NaN where the index lies outside."""
    inside = (index >= 0) & (index < len(values))
    return np.where(inside, values[np.clip(index, 0, len(values) - 1)], np.nan)


def usable(series: MinuteSeries, ends: Minutes) -> NDArray[np.bool_]:
    """True for each end at which a forecast may be made: a reading in the newest bin, and half of two hours."""
    known = ~np.isnan(_bins(mean_over(series.heart_rate, BIN_MIN), ends, RULE_BINS))
    return np.asarray(known[:, -1] & (known.sum(axis=1) >= RULE_KNOWN))


def targets(series: MinuteSeries, ends: Minutes) -> Array:
    """Return the mean of the five minutes that end at each horizon, NaN where not measured. shape (rows, 3).

    The only function here that looks beyond an end.
    """
    means = mean_over(series.heart_rate, BIN_MIN)
    return np.stack([at(means, ends + horizon) for horizon in HORIZONS_MIN], axis=1)


def windows(series: MinuteSeries, ends: Minutes) -> Windows:
    """Return what the model reads at each end (an index into the series, the newest minute included)."""
    rate = series.heart_rate
    several = ends[:, None]
    recent = np.stack(
        [
            _bins(means, ends, RECENT_BINS)
            for means in (mean_over(rate, BIN_MIN), _spread(rate), mean_over(series.steps, BIN_MIN))
        ],
        axis=2,
    )
    hourly = mean_over(rate, 60, HOUR_KNOWN_MIN)
    return Windows(
        recent=recent.astype(np.float32),
        minutes=at(rate, several - np.arange(LAST_MINUTES)[::-1]).astype(np.float32),
        hours=at(hourly, several - 60 * np.arange(DAY_HOURS)[::-1]).astype(np.float32),
        person=_person(series, ends).astype(np.float32),
    )


# What an explanation takes away, and how it is called: tensor, rows of its second axis, channel (None for all).
BLOCKS = {
    "The newest quarter of an hour": (
        ("recent", slice(-3, -1), 0),
        ("minutes", slice(0, LAST_MINUTES - BIN_MIN), None),
    ),
    "15 to 60 minutes ago": (("recent", slice(-12, -3), 0),),
    "One to two hours ago": (("recent", slice(0, -12), 0),),
    "The last day, hour by hour": (("hours", slice(None), None),),
    "The past week's range": (("person", slice(0, len(SHARES)), None),),
    "This time of day on past days": (("person", slice(6, 10), None),),
    "The time of day": (("person", slice(10, 12), None),),
    "Steps": (("recent", slice(None), 2),),
}


def occlusions(read: Windows) -> Windows:
    """Return one window with each of BLOCKS taken away in turn, in that order. read: one row.

    The newest five minutes stay: without them there is no forecast.
    """
    names = ("recent", "minutes", "hours", "person")
    tensors = {name: np.repeat(read.inputs()[name], len(BLOCKS), axis=0) for name in names}
    for row, parts in enumerate(BLOCKS.values()):
        for name, rows, channel in parts:
            tensors[name][(row, rows) if channel is None else (row, rows, channel)] = np.nan
    return Windows(**tensors)


def summaries(read: Windows) -> dict[str, NDArray[np.float64]]:
    """Return what drift is watched by, (rows,) each: the newest mean, its steps, and how much is known."""
    return {
        "newest_mean": read.last.astype(np.float64),
        "known_bins": np.count_nonzero(~np.isnan(read.recent[:, :, 0]), axis=1).astype(np.float64),
        "steps": read.recent[:, -1, 2].astype(np.float64),
        "week_median": read.person[:, PERSON.index("p50")].astype(np.float64),
        "hours_known": read.person[:, PERSON.index("hours_known")].astype(np.float64),
    }


def past_quantiles(rate: Array, end: int, shares: Sequence[float] = SHARES) -> Array:
    """Return quantiles of the readings of the seven days up to `end`; NaN with less than an hour of them."""
    past = rate[max(0, end + 1 - PAST_DAYS * DAY_MIN) : end + 1]
    past = np.sort(past[~np.isnan(past)])
    if len(past) < SHARES_FROM_MIN:
        return np.full(len(shares), np.nan)
    return np.asarray(past[np.floor(np.array(shares) * (len(past) - 1)).astype(int)])


def _bins(means: Array, ends: Minutes, count: int) -> Array:
    return at(means, ends[:, None] - BIN_MIN * np.arange(count)[::-1])


def _spread(rate: Array) -> Array:
    """Return the standard deviation within each bin; one reading has none."""
    centred = rate - USUAL  # small squares: no cancellation
    variance = mean_over(centred**2, BIN_MIN, 2) - mean_over(centred, BIN_MIN, 2) ** 2
    return np.sqrt(np.maximum(variance, 0.0))


def _person(series: MinuteSeries, ends: Minutes) -> Array:
    rate = series.heart_rate
    quantiles = np.array([past_quantiles(rate, int(end)) for end in ends]).reshape(len(ends), len(SHARES))
    known_hours = mean_over((~np.isnan(rate)).astype(float), PAST_DAYS * DAY_MIN)
    reach = np.minimum(ends + 1, PAST_DAYS * DAY_MIN)
    hours = known_hours[ends] * reach / 60
    same_time = [_same_time(rate, ends + ahead) for ahead in (0, *HORIZONS_MIN)]
    return np.column_stack([quantiles, hours, *same_time, _clock(series, ends)])


def _same_time(rate: Array, moment: Minutes) -> Array:
    """Return the mean of the half hours around this time of day on the past days; NaN when none is known.

    Reaches to 15 minutes after the furthest horizon of the day before: long before the end of the window.
    """
    half_hours = mean_over(rate, 31, SAME_TIME_KNOWN_MIN)
    days = np.stack([at(half_hours, moment + 15 - DAY_MIN * day) for day in range(1, PAST_DAYS + 1)])
    known = ~np.isnan(days)
    total = np.where(known, days, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def _clock(series: MinuteSeries, ends: Minutes) -> Array:
    first = series.start.hour * 60 + series.start.minute
    angle = 2 * np.pi * ((first + ends) % DAY_MIN) / DAY_MIN
    clock = np.column_stack([np.sin(angle), np.cos(angle)])
    return clock if series.clock_known else np.full_like(clock, np.nan)
