"""Fitbit heart rate by the minute: ten wearers in the spring of 2016, steps for some.

`minutes.csv.gz` has the columns wearer, minute (naive device clock), hr, hr_n, steps, intensity, part. Only
wearer, minute, hr and steps are read; `part` says which file a row is in and nothing else. Long gaps are normal.
"""

import csv
import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clinical.errors import IncorrectInput
from clinical.trend import BIN_MIN, HIGHEST, LOWEST, MinuteSeries

NAME = "fitbit_hr"
FILE = "minutes.csv.gz"
LAYOUT = (f"{FILE}#wearer",)
CITATION = (
    "Furberg, Brinton, Keating, Ortiz: Crowd-sourced Fitbit datasets 03.12.2016-05.12.2016, Zenodo 53894; "
    "minutes of ten wearers"
)
LICENCE = "CC BY 4.0 at Zenodo, CC0 at Kaggle (as recalled by the set's README, not checked)"
COLUMNS = ("wearer", "minute", "hr", "steps")
MOST_STEPS = 400.0  # a minute; faster is a fault of the device
MOST_MINUTES = 1_000_000  # of one wearer, first to last: a wrong year would ask for all memory


@dataclass(frozen=True, slots=True)
class Recordings:
    """series: wearer -> readings, by name. rows: how many minutes had a heart rate."""

    series: Mapping[str, MinuteSeries]
    rows: int


def folder_of(data: Path | None) -> Path:
    """Return what was given. Raises IncorrectInput for nothing: this set does not come with any package."""
    if data is None:
        raise IncorrectInput(f"the folder of {NAME} is needed")
    return data


def load(folder: Path) -> Recordings:
    """Read the set. Raises IncorrectInput when a column is absent or a field is not what it should be."""
    minutes: dict[str, dict[datetime, tuple[float, float]]] = {}
    rows = 0
    for line, row in enumerate(_rows(folder / FILE), start=2):
        try:
            moment, reading = _reading(row)
        except ValueError:
            # The value itself is not repeated: the text may end in a log.
            raise IncorrectInput(
                f"{FILE}, line {line}: a minute, heart rate or steps are not as expected"
            ) from None
        # A minute that stands twice counts once: the last one written.
        minutes.setdefault(row["wearer"], {})[moment] = reading
        rows += 1
    if not rows:
        raise IncorrectInput(f"{FILE} holds no minute")
    return Recordings({wearer: _series(minutes[wearer]) for wearer in sorted(minutes)}, rows)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if lacking:
                raise IncorrectInput(f"{FILE} has no column {', '.join(lacking)}")
            yield from reader
    except (OSError, EOFError, UnicodeDecodeError, csv.Error):
        raise IncorrectInput(f"{FILE} cannot be read as gzipped CSV") from None


def _reading(row: Mapping[str, str]) -> tuple[datetime, tuple[float, float]]:
    """Return the minute, and heart rate and steps. Raises ValueError."""
    moment = datetime.fromisoformat(row["minute"])
    if moment.tzinfo or moment.second or moment.microsecond:
        raise ValueError("not a whole minute of a naive clock")
    return moment, (_number(row["hr"], LOWEST, HIGHEST), _number(row["steps"], 0.0, MOST_STEPS))


def _number(text: str | None, low: float, high: float) -> float:
    if not text:
        return np.nan
    value = float(text)
    if not low <= value <= high:
        raise ValueError("out of range")
    return value


def _series(minutes: Mapping[datetime, tuple[float, float]]) -> MinuteSeries:
    start = min(minutes)
    length = _minutes_between(start, max(minutes)) + 1
    if length > MOST_MINUTES:
        raise IncorrectInput(f"{FILE}: the minutes of one wearer lie years apart")
    values = np.full((2, length), np.nan)
    for moment, reading in minutes.items():
        values[:, _minutes_between(start, moment)] = reading
    return MinuteSeries(start, values[0], values[1])


def _minutes_between(start: datetime, end: datetime) -> int:
    return (end - start) // timedelta(minutes=1)


def part(series: MinuteSeries, start: int, end: int) -> MinuteSeries:
    """Return the minutes from start up to, without, end: what lies before is forgotten."""
    return MinuteSeries(
        series.start + timedelta(minutes=start),
        series.heart_rate[start:end],
        series.steps[start:end],
        series.clock_known,
    )


def at_share(series: MinuteSeries, share: float) -> int:
    """Return the minute before which this share of the heart rates lies (0..1)."""
    measured = np.flatnonzero(~np.isnan(series.heart_rate))
    count = round(share * len(measured))
    return len(series) if count >= len(measured) else int(measured[count])


def five_minute_ends(series: MinuteSeries) -> NDArray[np.intp]:
    """Return the last minutes of the clock's five-minute bins (minute 4, 9, ... of the hour)."""
    first = (BIN_MIN - 1 - (series.start.hour * 60 + series.start.minute)) % BIN_MIN
    return np.arange(first, len(series), BIN_MIN)
