"""FHIR R4 resources of one patient -> the row that the model `diabetes-risk` reads, in the manifest's order.

The caller has checked that everything is this patient's. Ethnicity and race are not read and not asked for.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType

from clinical.codes import (
    BODY_HEIGHT,
    BODY_MASS_INDEX,
    BODY_WEIGHT,
    DIASTOLIC_BLOOD_PRESSURE,
    FASTING_GLUCOSE,
    FASTING_GLUCOSE_MOLES,
    WAIST_CIRCUMFERENCE,
)
from clinical.errors import Fault
from clinical.inputs import InputUsed
from clinical.units import shown_unit
from fhir_adapters.features.elements import Resource, reference_to, word
from fhir_adapters.features.family_history import family_history_of_diabetes
from fhir_adapters.features.measurements import (
    BODY_MASS_INDEX_UNITS,
    CENTIMETRES,
    GLUCOSE_MG_DL,
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
        found = _plausible(reader(record), feature)
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


def _age(record: _Record) -> Reading:
    born = _birth(record.patient)
    if born is None:
        return Missing("the birth date is not recorded")
    earliest, latest = born
    today = record.now.date()
    if latest > today:
        return Missing("the birth date is in the future")
    oldest, youngest = _years(earliest, today), _years(latest, today)
    if oldest == youngest:
        return Measured(float(oldest), str(oldest), None, reference_to(record.patient))
    # FHIR allows a birth date of a year or a month. The age is then known to within a year, and says so.
    return Measured(float(youngest), f"{youngest} or {oldest}", None, reference_to(record.patient))


def _birth(patient: Resource) -> tuple[date, date] | None:
    """Return the first and last day that a birth date of day, month or year precision may mean."""
    text = patient.get("birthDate")
    parts = str(text).split("-") if isinstance(text, str) else []
    if [len(part) for part in parts] not in ([4], [4, 2], [4, 2, 2]) or not all(p.isdecimal() for p in parts):
        return None
    numbers = [int(part) for part in parts]
    try:
        earliest = date(*[*numbers, 1, 1][:3])
        if len(numbers) == 3:
            return earliest, earliest
        following = date(earliest.year + 1, 1, 1) if len(numbers) == 1 or earliest.month == 12 else None
        following = following or date(earliest.year, earliest.month + 1, 1)
    except ValueError:
        return None
    return earliest, date.fromordinal(following.toordinal() - 1)


def _years(born: date, today: date) -> int:
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def _sex_male(record: _Record) -> Reading:
    gender = word(record.patient, "gender")
    if gender not in {"male", "female"}:
        return Missing("the administrative gender is not recorded as male or female")
    return Measured(float(gender == "male"), gender, None, reference_to(record.patient))


def _bmi(record: _Record) -> Reading:
    recorded = newest(record.measured, (BODY_MASS_INDEX,), BODY_MASS_INDEX_UNITS, record.now)
    if recorded != Missing(NOT_RECORDED):
        return recorded
    height = newest(record.measured, (BODY_HEIGHT,), CENTIMETRES, record.now)
    weight = newest(record.measured, (BODY_WEIGHT,), KILOGRAMS, record.now)
    if isinstance(height, Missing) or isinstance(weight, Missing) or height.value <= 0:
        return recorded
    if _measured_in_childhood(height, record.patient):
        return Missing("none recorded, and the height was measured in childhood")
    value = weight.value / (height.value / 100) ** 2
    shown = f"{brief(value)} (from {brief(height.value)} cm and {brief(weight.value)} kg)"
    return Measured(value, shown, weight.taken_at, weight.source)


def _measured_in_childhood(height: Measured, patient: Resource) -> bool:
    born = _birth(patient)
    return (
        born is not None
        and height.taken_at is not None
        and _years(born[1], height.taken_at.date()) < ADULT_FROM_YEARS
    )


def _waist(record: _Record) -> Reading:
    return newest(record.measured, (WAIST_CIRCUMFERENCE,), CENTIMETRES, record.now)


def _diastolic(record: _Record) -> Reading:
    return newest(record.measured, (DIASTOLIC_BLOOD_PRESSURE,), MILLIMETRES_OF_MERCURY, record.now)


def _fasting_glucose(record: _Record) -> Reading:
    return newest(record.measured, (FASTING_GLUCOSE, FASTING_GLUCOSE_MOLES), GLUCOSE_MG_DL, record.now)


def _family_history(record: _Record) -> Reading:
    return family_history_of_diabetes(record.resources, record.now)


_READERS: Mapping[str, Callable[[_Record], Reading]] = MappingProxyType(
    {
        "age": _age,
        "sex_male": _sex_male,
        "bmi": _bmi,
        "waist_cm": _waist,
        "diastolic_mm_hg": _diastolic,
        "family_history": _family_history,
        "fasting_glucose_mg_dl": _fasting_glucose,
    }
)
