"""What `diabetes-risk` reads, from which codes, how old it may be, and which graph reads what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.codes import (
    ACTIVE_DAYS_A_WEEK,
    BODY_HEIGHT,
    BODY_MASS_INDEX,
    BODY_WEIGHT,
    DIABETES_MELLITUS,
    DIASTOLIC_BLOOD_PRESSURE,
    FAMILY_HISTORY_OF_DIABETES,
    FASTING_GLUCOSE,
    FASTING_GLUCOSE_MOLES,
    FASTING_INSULIN,
    HEALTH_STATUS,
    NO_FAMILY_HISTORY_OF_DIABETES,
    PREGNANCIES,
    SELF_RATED_HEALTH,
    TOBACCO_SMOKING_STATUS,
    VIGOROUS_ACTIVITY,
    WAIST_CIRCUMFERENCE,
    Coding,
)
from clinical.explanation import ITSELF, OVER_ROOT, PRODUCT, RATIO, column_of
from model_runtime.tasks.coding import coding_document
from model_runtime.tasks.risk import Feature

Array = NDArray[np.float64]
YEAR = 365
OWN_WAY = "none: missing goes its own way in the trees and has a height of its own in the additive part"
# Birth date and gender are elements of Patient; the codes are those under which a record would hold them.
BIRTH_DATE = Coding("http://loinc.org", "21112-8", "Birth date")
SEX = Coding("http://loinc.org", "46098-0", "Sex")


def _feature(
    name: str,
    label: str,
    unit: str,
    limits: tuple[float, float],
    codes: Sequence[Coding],
    look_back_days: int | None = None,
    *,
    required: bool = False,
    imputation: str = OWN_WAY,
) -> Feature:
    return Feature(name, label, unit, required, *limits, tuple(codes), look_back_days, imputation)


FEATURES = (
    _feature(
        "age", "Age", "a", (20, 120), [BIRTH_DATE], required=True, imputation="none: required; above 80 as 80"
    ),
    _feature("sex_male", "Sex", "", (0, 1), [SEX], required=True, imputation="none: required"),
    _feature(
        "bmi",
        "Body mass index",
        "kg/m2",
        (10, 100),
        [BODY_MASS_INDEX, BODY_HEIGHT, BODY_WEIGHT],
        3 * YEAR,
        imputation=f"computed from weight and height where nobody recorded it; then {OWN_WAY}",
    ),
    _feature(
        "waist_cm",
        "Waist circumference",
        "cm",
        (40, 250),
        [WAIST_CIRCUMFERENCE],
        3 * YEAR,
        imputation=f"{OWN_WAY}; it counts in relation to the body mass index, so only together with it",
    ),
    _feature(
        "diastolic_mm_hg", "Diastolic blood pressure", "mm[Hg]", (20, 200), [DIASTOLIC_BLOOD_PRESSURE], 2 * YEAR
    ),
    _feature(
        "family_history",
        "Diabetes in a close relative",
        "",
        (0, 1),
        [DIABETES_MELLITUS, FAMILY_HISTORY_OF_DIABETES, NO_FAMILY_HISTORY_OF_DIABETES],
    ),
    _feature(
        "general_health", "Self-rated health (1 excellent to 5 poor)", "", (1, 5),
        [SELF_RATED_HEALTH, HEALTH_STATUS], 2 * YEAR,
    ),
    _feature(
        "smoking", "Smoking (0 never, 1 former, 2 current)", "", (0, 2), [TOBACCO_SMOKING_STATUS], 5 * YEAR
    ),
    _feature(
        "activity", "Activity in leisure (0 none, 1 moderate, 2 vigorous)", "", (0, 2),
        [ACTIVE_DAYS_A_WEEK, VIGOROUS_ACTIVITY], 2 * YEAR,
    ),
    _feature(
        "pregnancies", "Pregnancies", "{#}", (0, 20), [PREGNANCIES], imputation=f"{OWN_WAY}; so it is for men"
    ),
    _feature(
        "fasting_glucose_mg_dl", "Fasting glucose", "mg/dL", (20, 800), [FASTING_GLUCOSE, FASTING_GLUCOSE_MOLES],
        YEAR, imputation="none: without it the graph without laboratory is used",
    ),
    _feature("fasting_insulin_u_ml", "Fasting insulin", "u[IU]/mL", (0, 1000), [FASTING_INSULIN], YEAR),
)  # fmt: skip
NAMES = tuple(feature.name for feature in FEATURES)
NO_LAB, LAB = "no_lab", "lab"
GLUCOSE = NAMES.index("fasting_glucose_mg_dl")
REQUIRED = (0, 1)  # age and sex


@dataclass(frozen=True, slots=True)
class Column:
    """One number that the parts of a blend see. kind: of clinical.explanation, made of features first, second.

    owner: the feature whose part it is in an explanation. rising: 1 where more never lowers the risk, else 0.
    corners: of its broken line; none for quantiles.
    """

    kind: int
    first: str
    second: str
    owner: str
    rising: int = 0
    corners: tuple[float, ...] = ()


def _itself(name: str, rising: int = 0, corners: tuple[float, ...] = ()) -> Column:
    return Column(ITSELF, name, name, name, rising, corners)


# Monotone where medicine says so. Not glucose: under treatment a low one is a sign of diabetes too; not age:
# survivors above 75 have less of it; not pressure, which treatment lowers.
_COLUMNS = (
    _itself("age"),
    _itself("sex_male"),
    _itself("bmi", 1),
    _itself("diastolic_mm_hg"),
    _itself("family_history", 1),
    _itself("general_health", 1),
    _itself("smoking"),
    _itself("activity"),
    _itself("pregnancies"),
    # The waist for its body mass index (as ABSI, Krakauer 2012): where the weight sits, and not how much there is.
    Column(OVER_ROOT, "waist_cm", "bmi", "waist_cm", 1),
)
# Most glucose is normal, so quantiles would see the raised ones as one: corners at and between the limits of
# hypoglycaemia (70), impaired fasting glucose (100) and diabetes (126), ADA.
_GLUCOSE_CORNERS = (70.0, 85.0, 95.0, 105.0, 115.0, 126.0, 150.0, 200.0, 300.0)
_LABORATORY = (
    _itself("fasting_glucose_mg_dl", corners=_GLUCOSE_CORNERS),
    _itself("fasting_insulin_u_ml"),
    # Resistance (HOMA-IR is this product) and how much insulin answers the glucose.
    Column(PRODUCT, "fasting_glucose_mg_dl", "fasting_insulin_u_ml", "fasting_insulin_u_ml"),
    Column(RATIO, "fasting_insulin_u_ml", "fasting_glucose_mg_dl", "fasting_insulin_u_ml"),
)


@dataclass(frozen=True, slots=True)
class Boosting:
    """Settings of boosted trees. everyone: learns from all persons, else only from those whom the graph is for."""

    iterations: int
    leaves: int
    everyone: bool = True
    learning_rate: float = 0.05
    smallest_leaf: int = 30
    penalty: float = 5.0
    columns_per_split: float = 0.3


@dataclass(frozen=True, slots=True)
class Design:
    """One graph: which features in which order, which columns of them, and what is averaged."""

    graph: str
    features: tuple[str, ...]
    requires: tuple[str, ...]
    columns: tuple[Column, ...]
    boosters: tuple[Boosting, ...]
    lines_penalty: float

    @property
    def picked(self) -> list[int]:
        """Positions of the features among FEATURES."""
        return [NAMES.index(name) for name in self.features]

    def table(self, rows: Array) -> Array:
        """Return the columns (n, columns) of rows (n, 12), in the arithmetic of the graph."""
        pairs = [(column.kind, NAMES.index(column.first), NAMES.index(column.second)) for column in self.columns]
        return np.stack([column_of(kind, rows[:, a], rows[:, b]) for kind, a, b in pairs], axis=1)

    def applies(self, rows: Array) -> NDArray[np.bool_]:
        """Return which rows (n, 12) hold what the graph requires."""
        required = rows[:, [NAMES.index(name) for name in self.requires]]
        return np.asarray(~np.isnan(required).any(axis=1))


DESIGNS: Mapping[str, Design] = MappingProxyType(
    {
        LAB: Design(
            LAB, NAMES, ("age", "sex_male", "fasting_glucose_mg_dl"), (*_COLUMNS[:-1], *_LABORATORY[:2],
            _COLUMNS[-1], *_LABORATORY[2:]),
            (Boosting(150, 6, everyone=False),) * 2 + (Boosting(250, 8),) * 2, 100.0,
        ),
        NO_LAB: Design(
            NO_LAB, NAMES[:GLUCOSE], ("age", "sex_male"), _COLUMNS, (Boosting(200, 8),) * 4, 100.0
        ),
    }
)  # fmt: skip


def feature_document(feature: Feature) -> dict[str, Any]:
    """Return a feature as the manifest writes it."""
    return {
        "name": feature.name,
        "label": feature.label,
        "unit": feature.unit,
        "required": feature.required,
        "minimum": feature.minimum,
        "maximum": feature.maximum,
        "codes": [coding_document(code) for code in feature.codes],
        "look_back_days": feature.look_back_days,
        "imputation": feature.imputation,
    }
