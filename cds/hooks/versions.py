"""All FHIR in one context is of one version (CDS Hooks, "Hook context").

A resource does not say its version, so it is told by what exists in some versions only: types that came or went,
and elements that changed their form in R5. Where nothing tells, every version is possible.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from cds.hooks.fields import wrong

EVERY = frozenset({"DSTU2", "STU3", "R4", "R5"})
_FROM_STU3 = frozenset({"STU3", "R4", "R5"})
_FROM_R4 = frozenset({"R4", "R5"})
_UP_TO_STU3 = frozenset({"DSTU2", "STU3"})
_OF_TYPE = {
    "MedicationOrder": frozenset({"DSTU2"}),
    "DiagnosticOrder": frozenset({"DSTU2"}),
    "DeviceUseRequest": frozenset({"DSTU2"}),
    "ReferralRequest": _UP_TO_STU3,
    "ProcedureRequest": _UP_TO_STU3,
    "MedicationRequest": _FROM_STU3,
    "DeviceRequest": _FROM_STU3,
    "Task": _FROM_STU3,
    "ServiceRequest": _FROM_R4,
}


def check_one_version(held: Sequence[tuple[str, Any]]) -> None:
    """Raise IncorrectInput at the first resource that cannot be of the version that those before it are.

    held: (JSON path, a resource, a Bundle or a list of resources).
    """
    possible = EVERY
    for path, value in held:
        for where, resource in _each(path, value):
            possible &= _versions_of(resource)
            if not possible:
                raise wrong(where, "expected all FHIR in the context to be of one version")


def _each(path: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401 - FHIR JSON
    if isinstance(value, list):
        yield from ((f"{path}[{number}]", item) for number, item in enumerate(value))
    elif value["resourceType"] == "Bundle":
        yield from (
            (f"{path}.entry[{number}].resource", entry["resource"])
            for number, entry in enumerate(value.get("entry", []))
        )
    else:
        yield path, value


def _versions_of(resource: dict[str, Any]) -> frozenset[str]:
    kind = resource["resourceType"]
    versions = _OF_TYPE.get(kind, EVERY)
    if kind == "MedicationRequest":
        if "medicationCodeableConcept" in resource or "medicationReference" in resource:
            versions -= {"R5"}
        elif "medication" in resource:
            versions &= {"R5"}
    elif kind == "ServiceRequest" and isinstance(resource.get("code"), dict):
        # R5 made it a CodeableReference, which has a concept where a CodeableConcept has codings.
        if "concept" in resource["code"] or "reference" in resource["code"]:
            versions &= {"R5"}
        elif "coding" in resource["code"]:
            versions &= {"R4"}
    return versions
