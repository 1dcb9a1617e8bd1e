"""Survey persons as FHIR resources, so that what a model learns from is read by the server's own feature code.

The values stand in the units of the survey, dated on the day of the examination.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.codes import (
    ACTIVE_DAYS_A_WEEK,
    BODY_MASS_INDEX,
    DIABETES_MELLITUS,
    DIASTOLIC_BLOOD_PRESSURE,
    FASTING_GLUCOSE,
    FASTING_INSULIN,
    LOINC,
    NO_FAMILY_HISTORY_OF_DIABETES,
    PREGNANCIES,
    SELF_RATED_HEALTH,
    SNOMED_CT,
    TOBACCO_SMOKING_STATUS,
    UCUM,
    V3_ROLE_CODE,
    VIGOROUS_ACTIVITY,
    WAIST_CIRCUMFERENCE,
    Coding,
)
from fhir_adapters.features.diabetes_risk import feature_row
from model_export.datasets.nhanes_diabetes import FEATURES
from model_runtime.tasks.risk import Feature

Array = NDArray[np.float64]
Json = dict[str, Any]
EXAMINED = datetime(2016, 7, 1, 12, tzinfo=UTC)
QUANTITIES = {
    "bmi": (BODY_MASS_INDEX, "kg/m2"),
    "waist_cm": (WAIST_CIRCUMFERENCE, "cm"),
    "diastolic_mm_hg": (DIASTOLIC_BLOOD_PRESSURE, "mm[Hg]"),
    "pregnancies": (PREGNANCIES, "{#}"),
    "fasting_glucose_mg_dl": (FASTING_GLUCOSE, "mg/dL"),
    "fasting_insulin_u_ml": (FASTING_INSULIN, "u[IU]/mL"),
}
HEALTH = {1: "LA9206-9", 2: "LA13913-1", 3: "LA8967-7", 4: "LA8968-5", 5: "LA8969-3"}
SMOKING = {0: "266919005", 1: "8517006", 2: "77176002"}


def server_rows(values: Array, features: Sequence[Feature]) -> Array:
    """Return the rows that the server would read from these persons' records, in the order of `features`.

    values: float64 (n, 12), columns as model_export.datasets.nhanes_diabetes.FEATURES, NaN for missing.
    """
    rows = [feature_row(resources(row), features, EXAMINED).values for row in values]
    return np.array([list(row.values()) for row in rows]).reshape(len(rows), len(features))


def resources(row: Array) -> list[Json]:
    """Return Patient, Observations and FamilyMemberHistory of one person; nothing for what is missing."""
    known = {name: float(value) for name, value in zip(FEATURES, row, strict=True) if not math.isnan(value)}
    patient = {
        "resourceType": "Patient",
        "gender": "male" if known["sex_male"] else "female",
        "birthDate": f"{EXAMINED.year - int(known['age'])}-01-01",
    }
    measured = [
        _observation(code, valueQuantity={"value": known[name], "system": UCUM, "code": unit})
        for name, (code, unit) in QUANTITIES.items()
        if name in known
    ]
    return [patient, *measured, *_answers(known)]


def _answers(known: dict[str, float]) -> Iterator[Json]:
    if "general_health" in known:
        answer = _concept(LOINC, HEALTH[int(known["general_health"])])
        yield _observation(SELF_RATED_HEALTH, valueCodeableConcept=answer)
    if "smoking" in known:
        yield _observation(
            TOBACCO_SMOKING_STATUS, valueCodeableConcept=_concept(SNOMED_CT, SMOKING[int(known["smoking"])])
        )
    if "activity" in known:
        amount = {"value": min(known["activity"], 1), "system": UCUM, "code": "d/wk"}
        yield _observation(ACTIVE_DAYS_A_WEEK, valueQuantity=amount)
        if known["activity"] > 1:
            minutes = {"value": 10, "system": UCUM, "code": "min/wk"}  # the survey asks for ten at least
            yield _observation(VIGOROUS_ACTIVITY, valueQuantity=minutes)
    if known.get("family_history") == 1:
        yield {
            "resourceType": "FamilyMemberHistory",
            "status": "partial",
            "relationship": _concept(V3_ROLE_CODE, "PRN"),
            "condition": [{"code": _concept(SNOMED_CT, DIABETES_MELLITUS.code)}],
        }
    elif "family_history" in known:
        yield _observation(NO_FAMILY_HISTORY_OF_DIABETES)


def _observation(code: Coding, **value: Json) -> Json:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": _concept(code.system, code.code),
        "effectiveDateTime": EXAMINED.isoformat(),
        **value,
    }


def _concept(system: str, code: str) -> Json:
    return {"coding": [{"system": system, "code": code}]}
