"""Answers of people about themselves, from coded Observations: health, smoking, activity, pregnancies.

As with measurements the newest Observation decides: when it cannot be understood the input is missing and says
so, although an older one may be clear.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from clinical.codes import (
    ACTIVE_DAYS_A_WEEK,
    HEALTH_STATUS,
    LOINC,
    PREGNANCIES,
    SELF_RATED_HEALTH,
    SNOMED_CT,
    TOBACCO_SMOKING_STATUS,
    VIGOROUS_ACTIVITY,
    Coding,
)
from fhir_adapters.features.elements import Resource, effective, number, objects, quantity, reference_to, word
from fhir_adapters.features.measurements import (
    AHEAD,
    COUNTS,
    DAYS_A_WEEK,
    MINUTES,
    NO_DATE,
    NOT_RECORDED,
    Index,
    Measured,
    Missing,
    Reading,
    older_than,
    too_old,
)

Answers = Mapping[tuple[str, str], tuple[float, str]]  # (system, code) -> (value, word)
NOT_UNDERSTOOD = "the newest answer is not one that is understood"
# LOINC answer list LL4280-5, and the SNOMED CT findings that say the same; 1 is best.
HEALTH: Answers = MappingProxyType(
    {
        (LOINC, "LA9206-9"): (1.0, "excellent"),
        (LOINC, "LA13913-1"): (2.0, "very good"),
        (LOINC, "LA8967-7"): (3.0, "good"),
        (LOINC, "LA8968-5"): (4.0, "fair"),
        (LOINC, "LA8969-3"): (5.0, "poor"),
        (SNOMED_CT, "135816001"): (1.0, "excellent"),
        (SNOMED_CT, "135815002"): (3.0, "good"),
        (SNOMED_CT, "135817005"): (4.0, "fair"),
        (SNOMED_CT, "135818000"): (5.0, "poor"),
    }
)
# SNOMED CT codes of US Core's smoking status; "smoker, current status unknown" is neither former nor current.
SMOKING: Answers = MappingProxyType(
    {
        (SNOMED_CT, "266919005"): (0.0, "never"),
        (SNOMED_CT, "8517006"): (1.0, "former"),
        (SNOMED_CT, "77176002"): (2.0, "current"),
        (SNOMED_CT, "449868002"): (2.0, "current, every day"),
        (SNOMED_CT, "428041000124106"): (2.0, "current, some days"),
        (SNOMED_CT, "428071000124103"): (2.0, "current, heavy"),
        (SNOMED_CT, "428061000124105"): (2.0, "current, light"),
    }
)
ACTIVITY_WORDS = ("none", "moderate", "vigorous")


def self_rated_health(index: Index, now: datetime, look_back_days: int | None) -> Reading:
    """Return 1 (excellent) to 5 (poor). index: of `measurements.by_loinc`."""
    return _coded(index, (SELF_RATED_HEALTH, HEALTH_STATUS), HEALTH, now, look_back_days)


def smoking_status(index: Index, now: datetime, look_back_days: int | None) -> Reading:
    """Return 0 never, 1 former, 2 current."""
    return _coded(index, (TOBACCO_SMOKING_STATUS,), SMOKING, now, look_back_days)


def activity(index: Index, now: datetime, look_back_days: int | None) -> Reading:
    """Return 0 none, 1 moderate, 2 vigorous activity in leisure.

    "Moderate to strenuous" days a week say that there is some; that it is vigorous only its own code says.
    """
    vigorous = _amount(index, VIGOROUS_ACTIVITY, MINUTES, now, look_back_days)
    if isinstance(vigorous, Measured) and vigorous.value > 0:
        return _level(vigorous, 2.0)
    days = _amount(index, ACTIVE_DAYS_A_WEEK, DAYS_A_WEEK, now, look_back_days)
    return _level(days, float(days.value > 0)) if isinstance(days, Measured) else days


def pregnancies(index: Index, now: datetime, look_back_days: int | None) -> Reading:
    """Return how many there were."""
    return _amount(index, PREGNANCIES, COUNTS, now, look_back_days)


def _level(found: Measured, level: float) -> Measured:
    return Measured(level, ACTIVITY_WORDS[int(level)], found.taken_at, found.source)


def _coded(
    index: Index, codes: Iterable[Coding], answers: Answers, now: datetime, look_back_days: int | None
) -> Reading:
    found = _newest(index, codes, ("valueCodeableConcept",), now, look_back_days)
    if isinstance(found, Missing):
        return found
    part, observation, taken_at = found
    concept: Any = part.get("valueCodeableConcept")
    for coding in objects(concept, "coding") if isinstance(concept, dict) else ():
        known = answers.get((word(coding, "system"), word(coding, "code")))
        if known is not None:
            return Measured(*known, taken_at, reference_to(observation))
    return Missing(NOT_UNDERSTOOD)


def _amount(
    index: Index, code: Coding, units: Mapping[str, float], now: datetime, look_back_days: int | None
) -> Reading:
    """Return a count or an amount; a whole number without a unit is what the code says it is."""
    found = _newest(index, (code,), ("valueInteger", "valueQuantity"), now, look_back_days)
    if isinstance(found, Missing):
        return found
    part, observation, taken_at = found
    value, factor = number(part.get("valueInteger")), 1.0
    if value is None:
        measured = quantity(part.get("valueQuantity"))
        known = None if measured is None else units.get(measured.unit or "")
        if measured is None or known is None:
            return Missing(NOT_UNDERSTOOD)
        value, factor = measured.value, known
    return Measured(value * factor, f"{value * factor:g}", taken_at, reference_to(observation))


def _newest(
    index: Index, codes: Iterable[Coding], elements: Iterable[str], now: datetime, look_back_days: int | None
) -> tuple[Resource, Resource, datetime] | Missing:
    """Return the newest part that has one of the value elements, its Observation, and when it was said."""
    parts = [
        pair for code in codes for pair in index.get(code.code, ()) if any(name in pair[0] for name in elements)
    ]
    dated = [(part, observation, effective(observation)) for part, observation in parts]
    past = [(part, observation, at) for part, observation, at in dated if at is not None and at <= now + AHEAD]
    if not past:
        return Missing(NO_DATE if parts and all(at is None for _, _, at in dated) else NOT_RECORDED)
    newest = max(past, key=lambda item: (item[2], reference_to(item[1]) or ""))
    return Missing(older_than(look_back_days)) if too_old(newest[2], now, look_back_days) else newest
