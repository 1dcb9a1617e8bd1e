"""The CSV layouts of the two public sets, told apart by their header.

`fitbit`: Fitbit minute means as of Zenodo 53894 (wearer, minute by the device's clock, hr, steps). `lab`: Apple
Watch and Fitbit minutes of a treadmill protocol, Harvard Dataverse 10.7910/DVN/ZS2Z2J (person, order, device,
heart_rate, steps, calories); it has no clock, so the time of each person's first minute is told.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from clinical.errors import IncorrectInput
from fhir_adapters.wearables.readings import ENERGY, HEART, STEPS, Measure, Reading, Series, Unread

MINUTE_S = 60
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,12})?")  # without an exponent: R4, SampledData.data
Row = Mapping[str, str]
Firsts = dict[tuple[str, str], int]
"""The first `order` of each person and device of a file."""


@dataclass(frozen=True, slots=True)
class Clock:
    """What the files do not say. zone: of the device's clock. start: of the first minute, for `lab`."""

    zone: tzinfo
    start: datetime | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """columns: those by which it is known. measures: column -> what it measures."""

    name: str
    columns: frozenset[str]
    person: str
    device: Callable[[Row], str]
    at: Callable[[Row, Clock, Firsts], datetime]
    measures: Mapping[str, Measure]


def _fitbit_at(row: Row, clock: Clock, _firsts: Firsts) -> datetime:
    return datetime.fromisoformat(row["minute"]).replace(tzinfo=clock.zone)


def _lab_at(row: Row, clock: Clock, firsts: Firsts) -> datetime:
    # `order` counts the rows of the whole set; a person's and device's follow one another by the minute.
    if clock.start is None:
        raise IncorrectInput("this layout has no clock: say when its first minute was (--start)")
    order = int(row["order"])
    return clock.start + timedelta(minutes=order - firsts.setdefault((row["person"], row["device"]), order))


LAYOUTS = (
    Layout(
        "fitbit",
        frozenset({"wearer", "minute", "hr"}),
        "wearer",
        lambda _row: "Fitbit",
        _fitbit_at,
        {"hr": HEART, "steps": STEPS},
    ),
    Layout(
        "lab",
        frozenset({"person", "order", "device", "heart_rate", "activity"}),
        "person",
        lambda row: row["device"],
        _lab_at,
        {"heart_rate": HEART, "steps": STEPS, "calories": ENERGY},
    ),
)


def readings_of(lines: Iterable[str], source: str, clock: Clock) -> Iterator[Reading | Unread]:
    """Yield what a file holds. Raises IncorrectInput for a header that no layout has, and for what is no CSV."""
    rows = csv.DictReader(lines)
    try:
        yield from _rows(rows, source, clock)
    except csv.Error:
        raise IncorrectInput(f"line {rows.reader.line_num}: expected CSV (a quote that is not closed?)") from None


def _rows(rows: "csv.DictReader[str]", source: str, clock: Clock) -> Iterator[Reading | Unread]:
    header = frozenset(rows.fieldnames or ())
    layout = next((one for one in LAYOUTS if one.columns <= header), None)
    if layout is None:
        names = "; ".join(f"{one.name}: {', '.join(sorted(one.columns))}" for one in LAYOUTS)
        raise IncorrectInput(f"the columns are those of no layout ({names})")
    known: dict[tuple[str, str, str], Series] = {}
    firsts: Firsts = {}
    for row in rows:
        try:
            person, device, at = row[layout.person], layout.device(row), layout.at(row, clock, firsts)
        except (TypeError, ValueError):
            yield Unread(rows.line_num, "the time cannot be read")
            continue
        if person:
            yield from _values(layout, row, rows.line_num, (source, person, device, at), known)
        else:
            yield Unread(rows.line_num, "there is no wearer")


def _values(
    layout: Layout,
    row: Row,
    line: int,
    who: tuple[str, str, str, datetime],
    known: dict[tuple[str, str, str], Series],
) -> Iterator[Reading | Unread]:
    source, person, device, at = who
    for column, measure in layout.measures.items():
        text = row.get(column) or ""
        if text and not NUMBER.fullmatch(text):
            yield Unread(line, f"{column} is no number")
        elif text:
            key = (person, device, column)
            if key not in known:
                known[key] = Series(source, person, device, measure, MINUTE_S)
            yield Reading(known[key], at, text, line)
