"""Tables of patients: CSV read strictly, every refusal with line and column, and what a loader hands on.

A refusal names the line and the column and never the value: it may be shown and logged.
"""

import csv
import gzip
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clinical.errors import IncorrectInput
from model_export.datasets.splits import Groups, groups_of


@dataclass(frozen=True, slots=True)
class Number:
    """A numeric column: name in the file, UCUM unit, plausible range (inclusive). Empty is missing, NaN."""

    name: str
    unit: str
    minimum: float
    maximum: float
    needed: bool = False

    def read(self, row: "Row") -> float:
        """Return the value. Raises IncorrectInput when it is no number or implausible."""
        text = row.text(self.name)
        if not text:
            if self.needed:
                raise row.refused(self.name, "is missing")
            return math.nan
        try:
            value = float(text)
        except ValueError:
            raise row.refused(self.name, "is not a number") from None
        if not self.minimum <= value <= self.maximum:
            raise row.refused(self.name, f"is outside {self.minimum:g}..{self.maximum:g}")
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """A column with few words, each with its number. Nothing else is read, not even in other letters."""

    name: str
    codes: Mapping[str, float]
    unit: str = ""

    def read(self, row: "Row") -> float:
        """Return the number of the word. Raises IncorrectInput when it is none of them."""
        text = row.text(self.name)
        if text not in self.codes:
            allowed = ", ".join(code or "empty" for code in self.codes)
            raise row.refused(self.name, f"must be one of {allowed}")
        return self.codes[text]


Column = Number | Choice
YES_NO = {"No": 0.0, "Yes": 1.0}
ZERO_ONE = {"0": 0.0, "1": 1.0}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file."""

    file: str
    line: int
    cells: Mapping[str, str]

    def text(self, name: str) -> str:
        """Return a cell without the blanks around it."""
        return (self.cells[name] or "").strip()

    def refused(self, name: str, why: str) -> IncorrectInput:
        """Return the error that names line and column."""
        return IncorrectInput(f"{self.file}, line {self.line}: {name} {why}")


@dataclass(frozen=True, slots=True)
class Table:
    """Persons with an outcome.

    columns: what the features are, in order. features: float64 (n, features), NaN = missing. outcome: bool (n,).
    groups: rows that must stay together in a split. sha256: of the file.
    """

    columns: tuple[Column, ...]
    features: NDArray[np.float64]
    outcome: NDArray[np.bool_]
    groups: Groups
    sha256: str

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.outcome)


def read(path: Path, columns: Iterable[str], aliases: Mapping[str, str] | None = None) -> list[Row]:
    """Read a CSV, gzipped when its name ends in .gz, UTF-8. Raises IncorrectInput when it lacks a column.

    aliases: other names of columns, as some publishers write them.
    """
    try:
        packed = path.read_bytes()
        lines = (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode("utf-8-sig").splitlines()
        reader = csv.reader(lines, strict=True)
        header = [(aliases or {}).get(name, name) for name in next(reader, [])]
        cells = [(reader.line_num, row) for row in reader if row]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as problem:
        raise IncorrectInput(f"{path.name} cannot be read as CSV") from problem
    if len(set(header)) != len(header):
        raise IncorrectInput(f"{path.name} names a column twice")
    lacks = sorted(set(columns) - set(header))
    if lacks:
        raise IncorrectInput(f"{path.name} lacks the columns {', '.join(lacks)}")
    if not cells:
        raise IncorrectInput(f"{path.name} holds no rows")
    for line, row in cells:
        if len(row) != len(header):
            raise IncorrectInput(f"{path.name}, line {line}: {len(row)} fields where the header has {len(header)}")
    return [Row(path.name, line, dict(zip(header, row, strict=True))) for line, row in cells]


def load(path: Path, columns: Sequence[Column], outcome: Choice, same: str | None = None) -> Table:
    """Read the columns that are features and the outcome; no other column can become a feature.

    same: a column whose equal values mark copies or one person, beside the copies that are found.
    """
    rows = read(path, [*(column.name for column in columns), outcome.name, *([same] if same else [])])
    features = np.array([[column.read(row) for column in columns] for row in rows])
    truth = np.array([outcome.read(row) for row in rows]) > 0
    groups = groups_of(features, [row.text(same) for row in rows] if same else None)
    return Table(tuple(columns), features, truth, groups, hashlib.sha256(path.read_bytes()).hexdigest())
