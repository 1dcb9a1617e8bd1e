"""What a watch says: values of one wearer and device, each at its time."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from clinical.codes import CALORIES_BURNED, HEART_RATE, STEPS_UNSPECIFIED_TIME, Coding


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured. unit: UCUM."""

    coding: Coding
    unit: str


HEART = Measure(HEART_RATE, "/min")
STEPS = Measure(STEPS_UNSPECIFIED_TIME, "{steps}")
ENERGY = Measure(CALORIES_BURNED, "kcal")


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one kind, of one wearer by one device, every `period_s` seconds.

    source: URI of whoever knows the wearer by the name `person`; with it the series is the same in every file.
    ours: `person` is the id of a Patient that is here.
    """

    source: str
    person: str
    device: str
    measure: Measure
    period_s: int
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """One value. at: with a zone. text: the number as it was written, no digit lost. line: where it stood."""

    series: Series
    at: datetime
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Unread:
    """A line that holds no reading. reason: without what stands there."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Window:
    """A day, or an hour, of the wearer's own clock. name: part of the Observation's identifier."""

    name: str
    start: datetime


def day_of(at: datetime, zone: tzinfo) -> Window:
    """Return the day in which a time lies."""
    local = at.astimezone(zone)
    return Window(local.date().isoformat(), _midnight(local.date(), zone))


def hour_of(at: datetime, zone: tzinfo) -> Window:
    """Return the hour in which a time lies."""
    local = at.astimezone(zone)
    into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    # Of the two hours of one name, when clocks go back, each has its own offset.
    return Window(local.strftime("%Y-%m-%dT%H%z"), (local.astimezone(UTC) - into).astimezone(zone))


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time(), zone)
