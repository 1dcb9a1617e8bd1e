"""FHIR R4 resources of one patient -> the row that the model `diabetes-risk` reads, in the manifest's order.

The caller has checked that everything is this patient's. Ethnicity and race are not read and not asked for.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from clinical.codes import (
    BODY_HEIGHT,
    BODY_MASS_INDEX,
    BODY_WEIGHT,
    DIASTOLIC_BLOOD_PRESSURE,
    FASTING_GLUCOSE,
    FASTING_GLUCOSE_MOLES,
    FASTING_INSULIN,
    WAIST_CIRCUMFERENCE,
    Coding,
)
from clinical.errors import Fault
from clinical.inputs import InputUsed
from clinical.units import shown_unit
from fhir_adapters.features.age import age_in_years, birth, years_between
from fhir_adapters.features.answers import activity, pregnancies, self_rated_health, smoking_status
from fhir_adapters.features.elements import Resource, reference_to, word
from fhir_adapters.features.family_history import family_history_of_diabetes
from fhir_adapters.features.measurements import (
    BODY_MASS_INDEX_UNITS,
    CENTIMETRES,
    GLUCOSE_MG_DL,
    INSULIN_UNITS_ML,
    KILOGRAMS,
    MILLIMETRES_OF_MERCURY,
    NOT_RECORDED,
    Index,
    Measured,
    Missing,
    Reading,
    brief,
    by_loinc,
    newest,
)
from model_runtime.tasks.risk import Feature

ADULT_FROM_YEARS = 18


@dataclass(frozen=True, slots=True)
class MissingInput:
    """What the model would have read and did not get. reason: without patient data."""

    name: str
    label: str
    required: bool
    reason: str


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One patient for the model.

    values: feature name -> value, NaN where missing, in the manifest's order (dicts keep it).
    """

    values: Mapping[str, float]
    used: tuple[InputUsed, ...]
    missing: tuple[MissingInput, ...]


@dataclass(frozen=True, slots=True)
class _Record:
    resources: tuple[Resource, ...]
    patient: Resource
    measured: Index
    now: datetime

    def value(self, codes: Sequence[Coding], units: Mapping[str, float], look_back_days: int | None) -> Reading:
        """Return the newest value under one of the codes."""
        return newest(self.measured, codes, units, self.now, look_back_days)


def feature_row(resources: Iterable[Resource], features: Sequence[Feature], now: datetime) -> FeatureRow:
    """Return the model's inputs from the Patient, Observations and FamilyMemberHistory of one patient.

    features: the manifest's. now: values dated later are ignored, and age is counted to here.

    Raises Fault when the model asks for a feature that nothing here reads.
    """
    everything = tuple(resources)
    patient = next((item for item in everything if item.get("resourceType") == "Patient"), {})
    record = _Record(everything, patient, by_loinc(everything), now)
    values: dict[str, float] = {}
    used: list[InputUsed] = []
    missing: list[MissingInput] = []
    for feature in features:
        reader = _READERS.get(feature.name)
        if reader is None:
            raise Fault(f"the model asks for the feature {feature.name}, which is not read from FHIR")
        found = _plausible(reader(record, feature.look_back_days), feature)
        if isinstance(found, Missing):
            values[feature.name] = math.nan
            missing.append(MissingInput(feature.name, feature.label, feature.required, found.reason))
            continue
        values[feature.name] = found.value
        used.append(
            InputUsed(
                feature.name, feature.label, found.value, found.shown, feature.unit, found.taken_at, found.source
            )
        )
    return FeatureRow(MappingProxyType(values), tuple(used), tuple(missing))


def _plausible(found: Reading, feature: Feature) -> Reading:
    if isinstance(found, Missing) or feature.minimum <= found.value <= feature.maximum:
        return found
    unit = shown_unit(feature.unit)
    return Missing(f"the value is outside {feature.minimum:g} to {feature.maximum:g} {unit}".rstrip())


def _age(record: _Record, _look_back_days: int | None) -> Reading:
    return age_in_years(record.patient, record.now)


def _sex_male(record: _Record, _look_back_days: int | None) -> Reading:
    gender = word(record.patient, "gender")
    if gender not in {"male", "female"}:
        return Missing("the administrative gender is not recorded as male or female")
    return Measured(float(gender == "male"), gender, None, reference_to(record.patient))


def _bmi(record: _Record, look_back_days: int | None) -> Reading:
    """Return what was recorded; computed from the weight, and a height of any adult age, where nothing was."""
    recorded = record.value((BODY_MASS_INDEX,), BODY_MASS_INDEX_UNITS, look_back_days)
    if recorded != Missing(NOT_RECORDED):
        return recorded
    height = record.value((BODY_HEIGHT,), CENTIMETRES, None)
    weight = record.value((BODY_WEIGHT,), KILOGRAMS, look_back_days)
    if isinstance(height, Missing) or isinstance(weight, Missing) or height.value <= 0:
        return recorded
    if _measured_in_childhood(height, record.patient):
        return Missing("none recorded, and the height was measured in childhood")
    value = weight.value / (height.value / 100) ** 2
    shown = f"{brief(value)} (from {brief(height.value)} cm and {brief(weight.value)} kg)"
    return Measured(value, shown, weight.taken_at, weight.source)


def _measured_in_childhood(height: Measured, patient: Resource) -> bool:
    born = birth(patient)
    return (
        born is not None
        and height.taken_at is not None
        and years_between(born[1], height.taken_at.date()) < ADULT_FROM_YEARS
    )


def _waist(record: _Record, look_back_days: int | None) -> Reading:
    return record.value((WAIST_CIRCUMFERENCE,), CENTIMETRES, look_back_days)


def _diastolic(record: _Record, look_back_days: int | None) -> Reading:
    return record.value((DIASTOLIC_BLOOD_PRESSURE,), MILLIMETRES_OF_MERCURY, look_back_days)


def _fasting_glucose(record: _Record, look_back_days: int | None) -> Reading:
    return record.value((FASTING_GLUCOSE, FASTING_GLUCOSE_MOLES), GLUCOSE_MG_DL, look_back_days)


def _fasting_insulin(record: _Record, look_back_days: int | None) -> Reading:
    return record.value((FASTING_INSULIN,), INSULIN_UNITS_ML, look_back_days)


def _family_history(record: _Record, _look_back_days: int | None) -> Reading:
    return family_history_of_diabetes(record.resources, record.now)


def _pregnancies(record: _Record, look_back_days: int | None) -> Reading:
    if word(record.patient, "gender") == "male":
        return Missing("not asked of men")
    return pregnancies(record.measured, record.now, look_back_days)


_READERS: Mapping[str, Callable[[_Record, int | None], Reading]] = MappingProxyType(
    {
        "age": _age,
        "sex_male": _sex_male,
        "bmi": _bmi,
        "waist_cm": _waist,
        "diastolic_mm_hg": _diastolic,
        "family_history": _family_history,
        "general_health": lambda record, days: self_rated_health(record.measured, record.now, days),
        "smoking": lambda record, days: smoking_status(record.measured, record.now, days),
        "activity": lambda record, days: activity(record.measured, record.now, days),
        "pregnancies": _pregnancies,
        "fasting_glucose_mg_dl": _fasting_glucose,
        "fasting_insulin_u_ml": _fasting_insulin,
    }
)
