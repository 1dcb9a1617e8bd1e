"""Simulated heart rates by the minute, for machines without recordings. Nothing here was measured.

A person has a resting rate that follows the hours of the day, sleeps, and walks now and then: steps raise the rate
towards a plateau with a delay and it comes down more slowly (one rate constant each), around slow wandering and
noise. Made from the seed alone, so a test can ask for the same person again.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from clinical.trend import DAY_MIN, HIGHEST, LOWEST, MinuteSeries

START = datetime(2026, 1, 5)  # noqa: DTZ001 - a wall clock
Minutes = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Person:
    """resting: per minute, awake. sleep_drop: how far it falls at night. effort: how far brisk walking raises it.

    up, down: share of the way that the rate goes in a minute. wakes: hour of the day.
    """

    resting: float
    sleep_drop: float
    effort: float
    up: float
    down: float
    wakes: float
    walks_a_day: float


def person(rng: np.random.Generator) -> Person:
    """Return somebody."""
    return Person(
        resting=rng.uniform(58, 82),
        sleep_drop=rng.uniform(6, 16),
        effort=rng.uniform(25, 60),
        up=rng.uniform(0.25, 0.5),
        down=rng.uniform(0.05, 0.15),
        wakes=rng.uniform(5.5, 8.5),
        walks_a_day=rng.uniform(4, 12),
    )


def recordings(count: int, days: int, seed: int) -> dict[str, MinuteSeries]:
    """Return that many people over that many days: "sim00" and so on; every other one has steps."""
    found = {}
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        found[f"sim{number:02d}"] = recording(person(rng), days, rng, with_steps=number % 2 == 0)
    return found


def recording(who: Person, days: int, rng: np.random.Generator, *, with_steps: bool) -> MinuteSeries:
    """Return one person's days, with gaps as of a device that was taken off."""
    length = days * DAY_MIN
    awake = _awake(who, length)
    steps = _steps(who, awake, rng)
    rate = who.resting - who.sleep_drop * (1 - awake) + _response(steps / 110 * who.effort, who.up, who.down)
    rate = rate + _wandering(length, rng, 0.98, 0.8) + rng.normal(0, 2.0, length)
    rate[_gaps(days, length, rng)] = np.nan
    rate[[0, -1]] = who.resting
    shown = steps if with_steps else np.full(length, np.nan)
    return MinuteSeries(START, np.clip(rate, LOWEST, HIGHEST), shown)


def _awake(who: Person, length: int) -> Minutes:
    """Return 0 asleep to 1 awake, changing over half an hour; sixteen hours a day."""
    hour = START.hour + np.arange(length) / 60
    since = (hour - who.wakes) % 24
    return np.asarray(np.clip(np.minimum(since, 16 - since) * 2 + 0.5, 0, 1), np.float64)


def _steps(who: Person, awake: Minutes, rng: np.random.Generator) -> Minutes:
    steps = np.where((awake == 1) & (rng.random(len(awake)) < 0.15), rng.uniform(5, 40, len(awake)), 0.0)
    for _ in range(rng.poisson(who.walks_a_day * len(awake) / DAY_MIN)):
        start, minutes = rng.integers(len(awake)), rng.integers(8, 45)
        if awake[start] == 1:
            steps[start : start + minutes] = rng.uniform(80, 130)
    return np.asarray(np.round(steps), np.float64)


def _response(wanted: Minutes, up: float, down: float) -> Minutes:
    """Return a value that follows what is wanted, quickly up and slowly down."""
    followed = np.empty_like(wanted)
    now = 0.0
    for minute, aim in enumerate(wanted):
        now += (up if aim > now else down) * (aim - now)
        followed[minute] = now
    return followed


def _wandering(length: int, rng: np.random.Generator, keeps: float, size: float) -> Minutes:
    moved = rng.normal(0, size, length)
    for minute in range(1, length):
        moved[minute] += keeps * moved[minute - 1]
    return moved


def _gaps(days: int, length: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    off = np.zeros(length, bool)
    for _ in range(rng.poisson(days)):
        start = rng.integers(length)
        off[start : start + rng.integers(20, 120)] = True
    return off
