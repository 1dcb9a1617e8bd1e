"""NHANES 2009-2012 adults with blood pressure and lipids: `data.csv.gz`, one row a person.

The persons of 2011-2012 also stand in `nhanes_diabetes`; those of 2009-2010 are the earlier, external cycle.
Waist, family history, pregnancies and laboratory are not in this extract: to the model they are missing.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from clinical.errors import IncorrectInput
from model_export.datasets import nhanes_diabetes as nhanes
from model_export.datasets.folders import folder_digest
from model_export.datasets.table import YES_NO, ZERO_ONE, Choice, Number, Row, read

NAME = "nhanes_2009_2012"
FILE = "data.csv.gz"
LAYOUT = (f"{FILE}#hdl_mmol_l",)
LICENCE = "public domain (US government work); extract of the R package NHANES 2.1.1 (GPL-2 or later)"
CITATION = (
    "Centers for Disease Control and Prevention, National Center for Health Statistics. National Health and "
    "Nutrition Examination Survey (NHANES) 2009-2010, 2011-2012, through the R package NHANES 2.1.1 (Pruim R)."
)
EXTERNAL_CYCLE = "2009-2010"
SEX = Choice("sex", {"female": 0.0, "male": 1.0})
# In the words of the other set, so that subgroups have one name.
RACES: Mapping[str, str] = {
    "White": "nh_white", "Black": "nh_black", "Mexican": "mexican_american", "Hispanic": "other_hispanic",
    "Other": "other", "": "",
}  # fmt: skip
RACE = Choice("race", dict.fromkeys(RACES, 0.0))
HEALTH = Choice(
    "general_health", {"Excellent": 1.0, "Vgood": 2.0, "Good": 3.0, "Fair": 4.0, "Poor": 5.0, "": math.nan}
)
YES_NO_UNKNOWN = {**YES_NO, "": math.nan}
SMOKES, EVER_SMOKED = Choice("smoke_now", YES_NO_UNKNOWN), Choice("smoke_100", YES_NO_UNKNOWN)
ACTIVE = Choice("phys_active", YES_NO_UNKNOWN)
DIAGNOSED = Choice("diagnosed", ZERO_ONE)
AGE = Number("age", "a", 20, 120, needed=True)
BMI = Number("bmi", "kg/m2", 10, 100)
DIASTOLIC = Number("diastolic_bp", "mm[Hg]", 0, 200)
COLUMNS = (SEX, RACE, HEALTH, SMOKES, EVER_SMOKED, ACTIVE, DIAGNOSED, AGE, BMI, DIASTOLIC)


def load(folder: Path, cycle: str | None = None) -> nhanes.Persons:
    """Read the table, or one cycle of it, with features as `nhanes_diabetes` has them.

    Raises IncorrectInput naming column and line when a field is not what it must be.
    """
    rows = read(folder / FILE, ["seqn", "cycle", "hdl_mmol_l", *(column.name for column in COLUMNS)])
    rows = [row for row in rows if cycle in (None, row.text("cycle"))]
    people = tuple(row.text("seqn") for row in rows)
    if len(set(people)) != len(people):
        raise IncorrectInput("a person (seqn) stands twice: copies would leak across a split")
    for row in rows:
        RACE.read(row)
    return nhanes.Persons(
        person=people,
        features=np.array([_features(row) for row in rows]).reshape(len(rows), len(nhanes.FEATURES)),
        diagnosed=np.array([DIAGNOSED.read(row) for row in rows]) > 0,
        borderline=np.zeros(len(rows), np.bool_),  # the extract does not tell them apart
        race=tuple(RACES[row.text("race")] for row in rows),
        sha256=folder_digest(folder),
    )


def _features(row: Row) -> list[float]:
    known = {
        "age": AGE.read(row),
        "sex_male": SEX.read(row),
        "bmi": BMI.read(row),
        "diastolic_mm_hg": _pressure(DIASTOLIC.read(row)),
        "general_health": HEALTH.read(row),
        "smoking": _smoking(EVER_SMOKED.read(row), SMOKES.read(row)),
        # The extract does not say how vigorous.
        "activity": ACTIVE.read(row),
    }
    return [known.get(name, math.nan) for name in nhanes.FEATURES]


def _pressure(value: float) -> float:
    return math.nan if value < nhanes.LOWEST_DIASTOLIC_MM_HG else value


def _smoking(ever: float, now: float) -> float:
    if ever == 0:
        return nhanes.NEVER
    return math.nan if math.isnan(now) else nhanes.CURRENT if now else nhanes.FORMER
