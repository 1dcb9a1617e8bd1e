"""Apple Watch and Fitbit by the minute, in a 65-minute treadmill protocol of about fifty persons.

Persons lay, sat, walked and ran; the rows keep the order of the protocol but no clock, and the authors imputed and
smoothed heart rate and steps. So nothing is learnt from it: it shows whether forecasts survive a laboratory and
whether steps move them the right way.
"""

import csv
import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from clinical.errors import IncorrectInput
from clinical.trend import HIGHEST, LOWEST, MinuteSeries

NAME = "applewatch_fitbit_lab"
FILE = "minutes.csv.gz"
LAYOUT = (f"{FILE}#activity",)
CITATION = "Fuller et al., Harvard Dataverse, DOI 10.7910/DVN/ZS2Z2J"
LICENCE = "CC0 (as recalled by the set's README, not checked)"
COLUMNS = ("person", "device", "activity", "order", "heart_rate", "steps")
_NO_DATE = datetime(2000, 1, 1)  # noqa: DTZ001 - the rows have no clock: `clock_known` is False


@dataclass(frozen=True, slots=True)
class Session:
    """One person with one device. activities: of each minute, in the order of the protocol."""

    person: str
    device: str
    activities: tuple[str, ...]
    series: MinuteSeries


def load(folder: Path) -> tuple[Session, ...]:
    """Read the set, by person and device. Raises IncorrectInput when a column or a number is not as expected."""
    rows: dict[tuple[str, str], list[tuple[float, str, float, float]]] = {}
    for line, row in enumerate(_rows(folder / FILE), start=2):
        try:
            order, rate, steps = (float(row[name]) for name in ("order", "heart_rate", "steps"))
        except (TypeError, ValueError):
            raise IncorrectInput(f"{FILE}, line {line}: order, heart rate or steps are no numbers") from None
        rows.setdefault((row["person"], row["device"]), []).append((order, row["activity"], rate, steps))
    if not rows:
        raise IncorrectInput(f"{FILE} holds no minute")
    return tuple(_session(person, device, sorted(found)) for (person, device), found in sorted(rows.items()))


def _rows(path: Path) -> Iterator[Mapping[str, str]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if lacking:
                raise IncorrectInput(f"{FILE} has no column {', '.join(lacking)}")
            yield from reader
    except (OSError, EOFError, UnicodeDecodeError, csv.Error):
        raise IncorrectInput(f"{FILE} cannot be read as gzipped CSV") from None


def _session(person: str, device: str, rows: list[tuple[float, str, float, float]]) -> Session:
    rate = np.array([row[2] for row in rows])
    steps = np.array([row[3] for row in rows])
    believable = np.where((rate >= LOWEST) & (rate <= HIGHEST), rate, np.nan)
    series = MinuteSeries(_NO_DATE, believable, np.maximum(steps, 0.0), clock_known=False)
    return Session(person, device, tuple(row[1] for row in rows), series)
