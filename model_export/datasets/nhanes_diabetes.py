"""NHANES 2011-2016 adults with and without diagnosed diabetes: `data.csv.gz`, one row a person.

Adults of 20 years and older; ages above 80 are written 80 by the survey. About 44 % have a fasting glucose: a
random morning subsample, so its absence says nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clinical.errors import IncorrectInput
from model_export.datasets import nhanes_xpt
from model_export.datasets.folders import folder_digest
from model_export.datasets.table import ZERO_ONE, Choice, Number, Row, read

NAME = "nhanes_diabetes"
FILE = "data.csv.gz"
LAYOUT = (f"{FILE}#waist_cm",)
LICENCE = "public domain (US government work)"
CITATION = (
    "Centers for Disease Control and Prevention, National Center for Health Statistics. National Health and "
    "Nutrition Examination Survey (NHANES) 2011-2012, 2013-2014, 2015-2016."
)
# In the order of the model's features.
FEATURES = (
    "age", "sex_male", "bmi", "waist_cm", "diastolic_mm_hg", "family_history", "general_health", "smoking",
    "activity", "pregnancies", "fasting_glucose_mg_dl", "fasting_insulin_u_ml",
)  # fmt: skip
GLUCOSE = FEATURES.index("fasting_glucose_mg_dl")
UNDIAGNOSED_GLUCOSE_MG_DL = 126.0
# A cuff reads down to 0 when the fifth Korotkoff sound never vanishes; that is not a pressure.
LOWEST_DIASTOLIC_MM_HG = 20.0
MOST_PREGNANCIES = 20  # one row says 33, which is a slip of the keyboard
# Smoking and activity as the model counts them; the survey asks "now?" only those who have smoked 100 cigarettes.
NEVER, FORMER, CURRENT = 0.0, 1.0, 2.0
INACTIVE, MODERATE, VIGOROUS = 0.0, 1.0, 2.0

SEX = Choice("sex", {"female": 0.0, "male": 1.0})
RACES = Choice(
    "race",
    {
        word: number
        for number, word in enumerate(
            ("mexican_american", "other_hispanic", "nh_white", "nh_black", "nh_asian", "other", "")
        )
    },
)
TOLD = Choice("told_diabetes", {"no": 0.0, "yes": 1.0, "borderline": 0.5})
DIAGNOSED = Choice("diagnosed", ZERO_ONE)
NUMBERS = {
    column.name: column
    for column in (
        Number("age", "a", 20, 120, needed=True),
        Number("bmi", "kg/m2", 10, 100),
        Number("waist_cm", "cm", 40, 250),
        Number("diastolic_bp", "mm[Hg]", 0, 200),
        Number("family_history_diabetes", "", 0, 1),
        Number("general_health", "", 1, 5),
        Number("smokes_now", "", 0, 1),
        Number("vigorous_activity", "", 0, 1),
        Number("moderate_activity", "", 0, 1),
        Number("pregnancies", "{#}", 0, 100),
        Number("fasting_glucose_mg_dl", "mg/dL", 20, 800),
        Number("fasting_insulin_uU_ml", "u[IU]/mL", 0, 1000),
    )
}


@dataclass(frozen=True, slots=True)
class Persons:
    """The table. All arrays have one entry a person.

    features: float64 (n, 12), columns as FEATURES. NaN = missing. general_health: 1 excellent to 5 poor.
    diagnosed: a doctor told them so. borderline: a doctor told them that, which counts as not diagnosed.
    race: for reporting only, never a feature; "" where it is not recorded.
    sha256: of the folder (model_export.datasets.folders.folder_digest).
    """

    person: tuple[str, ...]
    features: NDArray[np.float64]
    diagnosed: NDArray[np.bool_]
    borderline: NDArray[np.bool_]
    race: tuple[str, ...]
    sha256: str

    def __len__(self) -> int:
        """Number of persons."""
        return len(self.person)

    @property
    def undiagnosed(self) -> NDArray[np.bool_]:
        """True for those whom nobody told and whose fasting glucose is that of diabetes (ADA)."""
        return ~self.diagnosed & (self.features[:, GLUCOSE] >= UNDIAGNOSED_GLUCOSE_MG_DL)


def load(folder: Path) -> Persons:
    """Read the table, or the CDC's transport files where there is none (model_export.datasets.nhanes_xpt).

    Raises IncorrectInput naming column and line when a field is not what it must be.
    """
    if (folder / FILE).exists() or not _has_transport_files(folder):
        rows = read(folder / FILE, ["seqn", SEX.name, RACES.name, TOLD.name, DIAGNOSED.name, *NUMBERS])
    else:
        rows = [Row("transport files, person", int(cells["seqn"]), cells) for cells in nhanes_xpt.rows(folder)]
    people = tuple(row.text("seqn") for row in rows)
    if len(set(people)) != len(people):
        raise IncorrectInput("a person (seqn) stands twice: copies would leak across a split")
    for row in rows:
        RACES.read(row)
    return Persons(
        person=people,
        features=np.array([_features(row) for row in rows]),
        diagnosed=np.array([DIAGNOSED.read(row) for row in rows]) > 0,
        borderline=np.array([TOLD.read(row) for row in rows]) == TOLD.codes["borderline"],
        race=tuple(row.text(RACES.name) for row in rows),
        sha256=folder_digest(folder),
    )


def _has_transport_files(folder: Path) -> bool:
    """True when a folder holds transport files."""
    return any(any(folder.glob(pattern)) for pattern in nhanes_xpt.LAYOUT)


def _features(row: Row) -> list[float]:
    value = {name: column.read(row) for name, column in NUMBERS.items()}
    male = SEX.read(row)
    diastolic = value["diastolic_bp"]
    return [
        value["age"],
        male,
        value["bmi"],
        value["waist_cm"],
        math.nan if diastolic < LOWEST_DIASTOLIC_MM_HG else diastolic,
        value["family_history_diabetes"],
        value["general_health"],
        _smoking(value["smokes_now"]),
        _activity(value["vigorous_activity"], value["moderate_activity"]),
        math.nan if male else _pregnancies(value),
        value["fasting_glucose_mg_dl"],
        value["fasting_insulin_uU_ml"],
    ]


def _smoking(now: float) -> float:
    """Return the status; who was not asked has not smoked 100 cigarettes in life, a few refusals apart."""
    return NEVER if math.isnan(now) else CURRENT if now else FORMER


def _activity(vigorous: float, moderate: float) -> float:
    if vigorous == 1:
        return VIGOROUS
    return moderate if not math.isnan(moderate) else math.nan  # MODERATE is 1 and INACTIVE 0, as the answers are


def _pregnancies(value: Mapping[str, float]) -> float:
    """Return how many; the question is put to those who ever were, in the interview that asks about health."""
    count = value["pregnancies"]
    if math.isnan(count):
        return math.nan if math.isnan(value["general_health"]) else 0.0
    return count if count <= MOST_PREGNANCIES else math.nan
