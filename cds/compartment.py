"""Is this resource about the patient of the call? (DESIGN promise 4, threat T4)

A mixed-up prefetch is the worst thing that can reach a model: the answer looks right and is somebody else's.
So what cannot be shown to be this patient's is refused, rather than left out.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fhir_adapters.allow_list import parse_url

# Types of the patient compartment that services read, and the element that says whose they are.
_OWNER = {
    "Observation": "subject",
    "Condition": "subject",
    "DiagnosticReport": "subject",
    "ImagingStudy": "subject",
    "MedicationRequest": "subject",
    "MedicationStatement": "subject",
    "Procedure": "subject",
    "RiskAssessment": "subject",
    "ServiceRequest": "subject",
    "Encounter": "subject",
    "FamilyMemberHistory": "patient",
    "AllergyIntolerance": "patient",
    "Immunization": "patient",
}
_REFERENCE = re.compile(
    r"(?:(?P<base>https?://[^?#]+)/)?Patient/(?P<id>[A-Za-z0-9\-.]{1,64})(?:/_history/[^/?#]+)?"
)


def stranger(resource: Mapping[str, Any], patient_id: str, base: str | None, path: str) -> str | None:
    """Return the path of the first thing that is not about the patient, or None when everything is.

    base: the FHIR base URL of the client, when it named one; absolute references must lie there.
    path: where `resource` stands, for the answer.
    """
    if resource.get("resourceType") != "Bundle":
        return _stranger(resource, patient_id, base, path)
    for number, entry in enumerate(resource.get("entry", [])):
        inner = entry.get("resource")
        found = None if inner is None else _stranger(inner, patient_id, base, f"{path}.entry[{number}].resource")
        if found is not None:
            return found
    return None


def _stranger(resource: Mapping[str, Any], patient_id: str, base: str | None, path: str) -> str | None:
    kind = resource.get("resourceType")
    if kind == "Patient":
        return None if resource.get("id") == patient_id else f"{path}.id"
    owner = _OWNER.get(str(kind))
    if owner is not None and not isinstance(resource.get(owner), dict):
        return f"{path}.{owner}"
    for number, item in enumerate(_actors(resource) if kind == "Appointment" else ()):
        # Several come to one appointment; whoever of them is a patient must be this one.
        if not all(_is_ours(reference, patient_id, base, required=False) for reference in _references(item)):
            return f"{path}.participant[{number}].actor"
    for element in ("subject", "patient", "for") if kind == "Task" else ("subject", "patient"):
        value = resource.get(element)
        if value is None or (isinstance(value, dict) and value.get("reference") == f"Patient/{patient_id}"):
            continue  # nearly every resource, so nothing more is done for it
        for reference in _references(value):
            if not _is_ours(reference, patient_id, base, required=element == owner):
                return f"{path}.{element}"
    return None


def _actors(resource: Mapping[str, Any]) -> Iterator[object]:
    several = resource.get("participant")
    for item in several if isinstance(several, list) else ():
        yield item.get("actor") if isinstance(item, dict) else None


def _references(value: object) -> Iterator[object]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            yield item.get("reference")


def _is_ours(reference: object, patient_id: str, base: str | None, *, required: bool) -> bool:
    match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
    if match is None:
        # A device's or a group's: fine where the type allows it, no proof where a patient is due.
        return not required and not _may_be_patient(reference)
    return match["id"] == patient_id and (match["base"] is None or base is None or _same(match["base"], base))


def _may_be_patient(reference: object) -> bool:
    return isinstance(reference, str) and ("Patient" in reference or reference.startswith(("urn:", "#")))


def _same(one: str, other: str) -> bool:
    first, second = parse_url(one.rstrip("/")), parse_url(other.rstrip("/"))
    return first is not None and second is not None and (first.origin, first.path) == (second.origin, second.path)
