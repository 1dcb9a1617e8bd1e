"""FHIR R4 resources of one patient -> the record that a lesion model reads: age, descriptors, BI-RADS category.

The caller has checked that everything is this patient's. A descriptor is an Observation, or a component of one,
whose code and coded value are among the manifest's; words are not guessed at. Of each feature the newest statement
counts: one that is not understood makes the feature missing, although an older one may exist. What an AI asserted
is no record.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from clinical.breast_codes import SIDES
from clinical.codes import ABSENT, AI_ASSERTED, PRESENT, Coding
from clinical.inputs import InputUsed
from clinical.lesion import Kind, RecordFeature, RecordValues, Side
from fhir_adapters.features.age import age_in_years
from fhir_adapters.features.elements import (
    Resource,
    effective,
    objects,
    reference_to,
    word,
)
from fhir_adapters.features.measurements import AHEAD, NO_DATE, NOT_A_RESULT, NOT_RECORDED, Measured, Missing

AGE = "age"
NOT_UNDERSTOOD = "the newest value is not one that the model knows"
OTHER_BREAST = "recorded of the other breast only"
_BOOLEAN = {True: PRESENT, False: ABSENT}
Code = tuple[str, str]


@dataclass(frozen=True, slots=True)
class MissingPart:
    """What the model would have read and did not get. reason: without patient data."""

    name: str
    label: str
    reason: str


@dataclass(frozen=True, slots=True)
class LesionRecord:
    """What is known of a lesion and its patient. used: one a known feature; missing: one each of the others."""

    values: RecordValues
    used: tuple[InputUsed, ...]
    missing: tuple[MissingPart, ...]


@dataclass(frozen=True, slots=True)
class _Told:
    """What one Observation says of a feature.

    names: of values; None when a code of it is not known. side: which breast it is about, None when it tells none.
    """

    taken_at: datetime
    names: frozenset[str] | None
    source: str | None
    side: Side | None


def lesion_record(
    resources: Iterable[Resource], features: Sequence[RecordFeature], now: datetime, side: Side | None = None
) -> LesionRecord:
    """Return what the model reads of a patient's resources.

    now: later statements are ignored, and age is counted to here. side: what is said of a lesion of the other
    breast is left out; None takes both.
    """
    everything = tuple(resources)
    patient = next((item for item in everything if item.get("resourceType") == "Patient"), {})
    told = _told_by_feature(everything, features)
    values: dict[str, float | frozenset[str]] = {}
    used: list[InputUsed] = []
    missing: list[MissingPart] = []
    for feature in features:
        found = (
            _age(patient, feature, now)
            if feature.kind is Kind.NUMBER
            else _newest(told.get(feature.name, ()), feature, now, side)
        )
        if isinstance(found, Missing):
            missing.append(MissingPart(feature.name, feature.label, found.reason))
            continue
        value, measured = found
        values[feature.name] = value
        used.append(
            InputUsed(
                feature.name,
                feature.label,
                measured.value,
                measured.shown,
                feature.unit,
                measured.taken_at,
                measured.source,
            )
        )
    return LesionRecord(MappingProxyType(values), tuple(used), tuple(missing))


def _age(patient: Resource, feature: RecordFeature, now: datetime) -> tuple[float, Measured] | Missing:
    found = age_in_years(patient, now) if feature.name == AGE else Missing(NOT_RECORDED)
    if isinstance(found, Missing):
        return found
    low, high = feature.minimum or 0.0, feature.maximum or 0.0
    if not low <= found.value <= high:
        return Missing(f"the value is outside {low:g} to {high:g}")
    return found.value, found


def _newest(
    told: Sequence[_Told | None], feature: RecordFeature, now: datetime, side: Side | None
) -> tuple[frozenset[str], Measured] | Missing:
    dated = [one for one in told if one is not None]
    if feature.of_lesion and side is not None:
        same = [one for one in dated if one.side in {None, side}]
        if dated and not same:
            return Missing(OTHER_BREAST)
        dated = same
    past = [one for one in dated if one.taken_at <= now + AHEAD]
    if not past:
        return Missing(NO_DATE if told and not dated else NOT_RECORDED)
    latest = max(one.taken_at for one in past)
    if feature.look_back_days is not None and latest < now - timedelta(days=feature.look_back_days):
        return Missing(f"the newest value is older than {feature.look_back_days} days")
    together = [one for one in past if one.taken_at == latest]
    names = frozenset(name for one in together for name in one.names or ())
    if any(one.names is None for one in together) or not names:
        return Missing(NOT_UNDERSTOOD)
    if feature.kind is Kind.CHOICE and len(names) > 1:
        return Missing("the newest values contradict each other")
    shown = ", ".join(value.label for value in feature.values if value.name in names)
    return names, Measured(1.0, shown, latest, min((one.source for one in together if one.source), default=None))


def _told_by_feature(
    resources: Iterable[Resource], features: Sequence[RecordFeature]
) -> Mapping[str, Sequence[_Told | None]]:
    """Return what every usable Observation says of each feature, None where it has no full date."""
    by_code = {(code.system, code.code): feature for feature in features for code in feature.codes}
    names = {feature.name: _names(feature) for feature in features}
    told: dict[str, list[_Told | None]] = {}
    for resource in resources:
        if resource.get("resourceType") != "Observation" or not _is_record(resource):
            continue
        taken_at, side = effective(resource), _side(resource)
        for part in (resource, *objects(resource, "component")):
            codes = list(_stated(part))
            asked = {by_code[code].name for code in _codes(part.get("code")) if code in by_code}
            for name in asked if codes else ():
                said = _read(codes, names[name])
                one = None if taken_at is None else _Told(taken_at, said, reference_to(resource), side)
                told.setdefault(name, []).append(one)
    return told


def _side(resource: Resource) -> Side | None:
    """Return the one breast that an Observation is about."""
    sites = set(_codes(resource.get("bodySite")))
    found = [side for side, code in SIDES if _key(code) in sites]
    return found[0] if len(found) == 1 else None


def _is_record(resource: Resource) -> bool:
    meta = resource.get("meta")
    labels = objects(meta, "security") if isinstance(meta, dict) else iter(())
    by_ai = any((word(one, "system"), word(one, "code")) == _key(AI_ASSERTED) for one in labels)
    return not by_ai and word(resource, "status") not in NOT_A_RESULT


def _names(feature: RecordFeature) -> Mapping[Code, str]:
    return {_key(code): value.name for value in feature.values for code in value.codes}


def _read(stated: Sequence[Sequence[Code]], names: Mapping[Code, str]) -> frozenset[str] | None:
    """Return the value that each concept is; None when one is none of them. stated: the codes of each concept."""
    found = [{names[code] for code in codes if code in names} for codes in stated]
    # Two codings of one concept that mean different values cannot both be right.
    if any(len(one) != 1 for one in found):
        return None
    return frozenset(name for one in found for name in one)


def _stated(part: Resource) -> Iterator[Sequence[Code]]:
    """Yield the codes of the value; a boolean is Present or Absent."""
    concept, flag = part.get("valueCodeableConcept"), part.get("valueBoolean")
    if isinstance(concept, dict):
        yield list(_codes(concept))
    elif isinstance(flag, bool):
        yield [_key(_BOOLEAN[flag])]


def _codes(concept: object) -> Iterator[Code]:
    for coding in objects(concept, "coding") if isinstance(concept, dict) else ():
        yield word(coding, "system"), word(coding, "code")


def _key(coding: Coding) -> Code:
    return coding.system, coding.code
