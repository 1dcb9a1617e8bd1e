"""A heart rate's forecast as a value, the person's own range, and what may be said of both.

The model gives changes as shares of the newest five-minute mean; everything a person reads is decided here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from clinical.finding import ModelRef
from clinical.trend import DAY_MIN, PAST_DAYS, past_quantiles


class Trend(StrEnum):
    """Where it goes, in the order of the model's classes."""

    FALLING = "falling"
    STEADY = "steady"
    RISING = "rising"


class Alarm(StrEnum):
    """On which side of the personal range the forecast leaves it."""

    NONE = "none"
    HIGH = "high"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Moved:
    """How far knowing one block of history moved the middle of the forecast, per minute."""

    label: str
    change: float


@dataclass(frozen=True, slots=True)
class Policy:
    """When something is said, and when it warns.

    direction_from: least |P(rising) - P(falling)| for which a direction is said.
    widest: for each horizon, the widest interval (per minute) that is still shown as a forecast.
    usual_shares: quantiles of the past week that bound the personal range; usual_from_hours: fewer hours of
        record give no personal range.
    guard: the range, per minute, that a personal range may not leave, and that stands for one when it is missing.
    """

    direction_from: float
    widest: tuple[float, ...]
    usual_shares: tuple[float, float]
    usual_from_hours: float
    guard: tuple[float, float]


@dataclass(frozen=True, slots=True)
class UsualRange:
    """low, high: per minute. hours: of record that it comes from; None when it is the guard range alone."""

    low: float
    high: float
    hours: float | None


@dataclass(frozen=True, slots=True)
class Step:
    """The forecast at one horizon. low, middle, high: per minute (P10, P50, P90); chances: of each Trend.

    sure: False when the interval is too wide to be shown as a forecast.
    """

    minutes: int
    low: float
    middle: float
    high: float
    chances: tuple[float, float, float]
    sure: bool

    def alarm(self, usual: UsualRange) -> Alarm:
        """Return on which side the interval leaves the range, the side where it reaches further when on both.

        P10 or P90 beyond the range: at least one chance in ten that the heart rate goes there. To wait until the
        middle of the forecast lies outside would miss 99 of 100 of those hours (the model's card has the figures).
        """
        above, below = self.high - usual.high, usual.low - self.low
        if not self.sure or max(above, below) <= 0:
            return Alarm.NONE
        return Alarm.HIGH if above >= below else Alarm.LOW


@dataclass(frozen=True, slots=True)
class HeartRateForecast:
    """newest: the mean of the five minutes up to `at`; it is also what persistence says for every horizon."""

    newest: float
    at: datetime
    steps: tuple[Step, ...]
    usual: UsualRange
    model: ModelRef

    @property
    def sure(self) -> bool:
        """True when some horizon is sure enough to be shown."""
        return any(step.sure for step in self.steps)

    @property
    def alarm(self) -> Alarm:
        """The alarm of the first step that has one."""
        return next((step.alarm(self.usual) for step in self.alarming()), Alarm.NONE)

    def alarming(self) -> tuple[Step, ...]:
        """Return the steps that leave the range."""
        return tuple(step for step in self.steps if step.alarm(self.usual) is not Alarm.NONE)

    def when(self, step: Step) -> datetime:
        """Return the moment of a step."""
        return self.at + timedelta(minutes=step.minutes)


def steps_of(
    newest: float,
    change: NDArray[np.floating],
    trend: NDArray[np.floating],
    horizons: Sequence[int],
    policy: Policy,
) -> tuple[Step, ...]:
    """Return the steps of one row of the model's outputs.

    change: (horizon, 3), rising, as shares of the newest mean. trend: (horizon, 3).
    """
    steps = []
    for minutes, widest, row, chances in zip(horizons, policy.widest, change, trend, strict=True):
        low, middle, high = (newest * (1 + float(value)) for value in row)
        falling, steady, rising = (float(chance) for chance in chances)
        steps.append(Step(minutes, low, middle, high, (falling, steady, rising), high - low <= widest))
    return tuple(steps)


def direction(step: Step, policy: Policy) -> Trend | None:
    """Return the trend that may be said: the likeliest class, None when the model leans to neither side enough.

    Steady is said when it is likeliest; a direction needs a lead of one side over the other as well.
    """
    falling, steady, rising = step.chances
    if steady >= max(falling, rising):
        return Trend.STEADY
    if abs(rising - falling) < policy.direction_from:
        return None
    return Trend.RISING if rising > falling else Trend.FALLING


def usual_range(rate: NDArray[np.floating], policy: Policy) -> UsualRange:
    """Return the range of a person's past week, kept within the guard range. rate: by the minute, newest last."""
    low, high = policy.guard
    hours = float(np.count_nonzero(~np.isnan(rate[-PAST_DAYS * DAY_MIN :]))) / 60
    own_low, own_high = past_quantiles(rate, len(rate) - 1, policy.usual_shares)
    # A week spent wholly outside the guard range is no reason to call it usual.
    if hours < policy.usual_from_hours or not (own_low < high and own_high > low):
        return UsualRange(low, high, None)
    return UsualRange(max(low, float(own_low)), min(high, float(own_high)), hours)
