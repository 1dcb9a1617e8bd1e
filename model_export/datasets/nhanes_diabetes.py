"""NHANES 2011-2016 adults with and without diagnosed diabetes: `data.csv.gz`, one row a person.

Licence: US government work (CDC/NCHS), public domain. Adults of 20 years and older; ages above 80 are written 80
by the survey. About 44 % have a fasting glucose: a random morning subsample, so its absence says nothing.
"""

import csv
import gzip
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clinical.errors import IncorrectInput

NAME = "nhanes_diabetes"
FILE = "data.csv.gz"
LAYOUT = (f"{FILE}#waist_cm",)
LICENCE = "public domain (US government work)"
CITATION = (
    "Centers for Disease Control and Prevention, National Center for Health Statistics. National Health and "
    "Nutrition Examination Survey (NHANES) 2011-2012, 2013-2014, 2015-2016."
)
SEXES = {"female": 0.0, "male": 1.0}
UNDIAGNOSED_GLUCOSE_MG_DL = 126.0
# A cuff reads down to 0 when the fifth Korotkoff sound never vanishes; that is not a pressure.
LOWEST_DIASTOLIC_MM_HG = 20.0


@dataclass(frozen=True, slots=True)
class Column:
    """One numeric column: its name in the file, the unit, and the plausible range, inclusive."""

    name: str
    unit: str
    minimum: float
    maximum: float


# In the order of the model's features; sex stands between age and bmi.
COLUMNS = (
    Column("age", "a", 20, 80),
    Column("bmi", "kg/m2", 10, 100),
    Column("waist_cm", "cm", 40, 250),
    Column("diastolic_bp", "mm[Hg]", 0, 200),
    Column("family_history_diabetes", "", 0, 1),
    Column("fasting_glucose_mg_dl", "mg/dL", 20, 800),
)


@dataclass(frozen=True, slots=True)
class Persons:
    """The table. All arrays have one entry a person.

    features: float64 (n, 7): age, sex_male, bmi, waist_cm, diastolic_mm_hg, family_history,
        fasting_glucose_mg_dl; rounded to float32, because scikit-learn's trees compare in float32. NaN = missing.
    diagnosed: a doctor told them so. sex, race: for reporting; race is never a feature.
    """

    person: tuple[str, ...]
    features: NDArray[np.float64]
    diagnosed: NDArray[np.bool_]
    sex: tuple[str, ...]
    race: tuple[str, ...]
    sha256: str

    def __len__(self) -> int:
        """Number of persons."""
        return len(self.person)

    def part(self, chosen: NDArray[np.bool_]) -> "Persons":
        """Return the chosen persons."""
        rows = np.flatnonzero(chosen)
        return Persons(
            tuple(self.person[n] for n in rows),
            self.features[rows],
            self.diagnosed[rows],
            tuple(self.sex[n] for n in rows),
            tuple(self.race[n] for n in rows),
            self.sha256,
        )


def load(folder: Path) -> Persons:
    """Read the table. Raises IncorrectInput naming column and line when a field is not what it must be."""
    path = folder / FILE
    try:
        packed = path.read_bytes()
        lines = gzip.decompress(packed).decode("utf-8").splitlines()
    except (OSError, EOFError, UnicodeDecodeError) as problem:
        raise IncorrectInput(f"{FILE} cannot be read as compressed CSV") from problem
    rows = list(csv.DictReader(lines))
    _check_header(rows)
    people = tuple(row["seqn"] for row in rows)
    if len(set(people)) != len(people):
        raise IncorrectInput("a person (seqn) stands twice: copies would leak across a split")
    values = np.array([_features(row, line) for line, row in enumerate(rows, start=2)])
    return Persons(
        person=people,
        features=values.astype(np.float32).astype(np.float64),
        diagnosed=np.array([_one_of(row, "diagnosed", {"0": 0.0, "1": 1.0}, n) for n, row in enumerate(rows, 2)])
        > 0,
        sex=tuple(row["sex"] for row in rows),
        race=tuple(row["race"] for row in rows),
        sha256=hashlib.sha256(packed).hexdigest(),
    )


def held_out(people: Iterable[str], *, seed: int, share: float = 0.25) -> NDArray[np.bool_]:
    """Return True for persons that training must not see.

    By a hash of the person, so that who is held out does not depend on who else is in the file.
    """
    digests = (hashlib.sha256(f"{seed}:{person}".encode()).digest() for person in people)
    return np.array([int.from_bytes(digest[:8], "big") / 2**64 < share for digest in digests])


def _check_header(rows: list[dict[str, str]]) -> None:
    if not rows:
        raise IncorrectInput(f"{FILE} holds no rows")
    wanted = {"seqn", "sex", "race", "diagnosed", *(column.name for column in COLUMNS)}
    missing = sorted(wanted - set(rows[0]))
    if missing:
        raise IncorrectInput(f"{FILE} lacks the columns {', '.join(missing)}")


def _features(row: Mapping[str, str], line: int) -> list[float]:
    age, *others = (_number(row, column, line) for column in COLUMNS)
    if math.isnan(age):
        raise IncorrectInput(f"line {line}: age is missing")
    bmi, waist, diastolic, family, glucose = others
    if diastolic < LOWEST_DIASTOLIC_MM_HG:
        diastolic = math.nan
    return [age, _one_of(row, "sex", SEXES, line), bmi, waist, diastolic, family, glucose]


def _number(row: Mapping[str, str], column: Column, line: int) -> float:
    text = row[column.name]
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        raise IncorrectInput(f"line {line}: {column.name} is not a number") from None
    if not column.minimum <= value <= column.maximum:
        raise IncorrectInput(f"line {line}: {column.name} is outside {column.minimum:g}..{column.maximum:g}")
    return value


def _one_of(row: Mapping[str, str], name: str, allowed: Mapping[str, float], line: int) -> float:
    if row[name] not in allowed:
        raise IncorrectInput(f"line {line}: {name} must be one of {', '.join(allowed)}")
    return allowed[row[name]]
