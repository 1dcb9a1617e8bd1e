"""The check before a write: enough structure that what is stored can be read, found and understood.

Table-driven and quick; full validation (every level, bindings, profiles) is another module's job. Problems
name the element and never its value.
"""

import re
from collections.abc import Mapping
from typing import Any

from clinical.errors import IncorrectInput
from fhir_adapters.rest.elements import CHOICES, CODES, ELEMENTS, Element
from fhir_adapters.search.dates import range_of

Json = Mapping[str, Any]

_DATE_TIME = re.compile(
    r"[0-9]{4}(-[0-9]{2}(-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2}))?)?)?"
)
_KIND_NAMES = {"o": "an object", "s": "a text", "t": "a date", "b": "true or false", "n": "a number"}


def check(resource: Json, resource_type: str) -> None:
    """Raise IncorrectInput at the first problem of a resource that is to be stored as resource_type."""
    if resource.get("resourceType") != resource_type:
        raise IncorrectInput(f"resourceType must be {resource_type} here", expression=["resourceType"])
    elements = ELEMENTS[resource_type]
    for name, value in resource.items():
        if name != "resourceType":
            _check_member(elements, resource_type, name, value)
    for name, element in elements.items():
        if element.required and name not in resource:
            raise _problem(f"{resource_type}.{name}", "is required")
    for choice in CHOICES.get(resource_type, ()):
        given = [name for name in resource if name.startswith(choice) and name in elements]
        if len(given) > 1:
            raise _problem(f"{resource_type}.{choice}[x]", "may stand once only")
    _check_emptiness(resource, resource_type)
    _check_rules(resource, resource_type)


def _check_member(elements: Mapping[str, Element], resource_type: str, name: str, value: object) -> None:
    element = elements.get(name.removeprefix("_"))
    if element is None or (name.startswith("_") and element.kind == "o"):
        # The name came from outside, so it is shown only when it looks like one.
        place = f"{resource_type}.{name}" if re.fullmatch("_?[A-Za-z]{1,40}", name) else resource_type
        raise _problem(place, "is no element of this type (R4 4.0.1)" if place != resource_type else "is misnamed")
    place = f"{resource_type}.{name}"
    if element.repeats != isinstance(value, list):
        raise _problem(place, "must be a list" if element.repeats else "must stand once, not as a list")
    kind = "o" if name.startswith("_") else element.kind
    for each in value if isinstance(value, list) else [value]:
        if not _is_kind(each, kind) and not (each is None and element.repeats and element.kind != "o"):
            raise _problem(place, f"must be {_KIND_NAMES[kind]}")
    codes = CODES.get((resource_type, name))
    if codes is not None and value not in codes:
        raise _problem(place, f"must be one of: {', '.join(sorted(codes))}")
    if name.endswith("Period") and isinstance(value, dict):
        for end in ("start", "end"):
            if end in value and not _is_kind(value[end], "t"):
                raise _problem(f"{place}.{end}", "must be a date")


def _is_kind(value: object, kind: str) -> bool:
    match kind:
        case "o":
            return isinstance(value, dict)
        case "b":
            return isinstance(value, bool)
        case "n":
            return isinstance(value, int) and not isinstance(value, bool)
        case "t":
            return isinstance(value, str) and bool(_DATE_TIME.fullmatch(value)) and range_of(value) is not None
        case _:
            return isinstance(value, str)


def _check_emptiness(resource: Json, resource_type: str) -> None:
    """R4 2.6.2 (JSON): no null except beside an extension, no empty text, list or object."""
    waiting: list[tuple[str, object]] = [(resource_type, resource)]
    while waiting:
        place, value = waiting.pop()
        if value is None or value in ("", [], {}) or (isinstance(value, str) and not value.strip()):
            raise _problem(place, "must not be null or empty")
        if isinstance(value, dict):
            for name, inner in value.items():
                beside = name[1:] if name.startswith("_") else f"_{name}"
                # Names of the first level are known to be elements; deeper ones are the client's own words.
                where = f"{place}.{name}" if place == resource_type else place
                waiting.extend((where, each) for each in _parts(inner, paired=beside in value))


def _parts(value: object, *, paired: bool) -> list[object]:
    if isinstance(value, list) and value:
        return [each for each in value if each is not None or not paired]
    return [value]


def _check_rules(resource: Json, resource_type: str) -> None:
    """The invariants that writers of results break most: obs-6, obs-7, ras-2."""
    if resource_type == "Observation":
        has_value = any(name.startswith("value") for name in resource)
        if has_value and "dataAbsentReason" in resource:
            raise _problem("Observation.dataAbsentReason", "must be absent beside a value (obs-6)")
        own = _codings(resource.get("code"))
        for component in resource.get("component", []):
            if has_value and own & _codings(component.get("code")):
                raise _problem("Observation.component.code", "repeats Observation.code beside a value (obs-7)")
    if resource_type == "RiskAssessment":
        for prediction in resource.get("prediction", []):
            share = prediction.get("probabilityDecimal", 0)
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 100:
                raise _problem("RiskAssessment.prediction.probability", "is a percentage of 0 to 100 (ras-2)")


def _codings(concept: object) -> set[tuple[str, str]]:
    codings = concept.get("coding") if isinstance(concept, dict) else None
    if not isinstance(codings, list):
        return set()
    return {(str(each.get("system")), str(each.get("code"))) for each in codings if isinstance(each, dict)}


def _problem(place: str, text: str) -> IncorrectInput:
    return IncorrectInput(f"{place} {text}", expression=[place])
