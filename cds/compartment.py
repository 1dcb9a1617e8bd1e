"""Is this resource about the patient of the call? (DESIGN promise 4, threat T4)

A mixed-up prefetch is the worst thing that can reach a model: the answer looks right and is somebody else's.
So what cannot be shown to be this patient's is refused, rather than left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cds.references import parse_reference

_BY_SUBJECT = (
    "Observation Condition DiagnosticReport ImagingStudy MedicationRequest MedicationStatement Procedure "
    "RiskAssessment ServiceRequest Encounter AdverseEvent CarePlan CareTeam ChargeItem ClinicalImpression "
    "Communication Composition DeviceRequest DeviceUseStatement DocumentReference Flag Goal Media "
    "MedicationAdministration MedicationDispense QuestionnaireResponse Specimen"
)
_BY_PATIENT = (
    "FamilyMemberHistory AllergyIntolerance Immunization BodyStructure Claim ClaimResponse DetectedIssue "
    "EpisodeOfCare ExplanationOfBenefit ImmunizationEvaluation ImmunizationRecommendation NutritionOrder "
    "RelatedPerson VisionPrescription"
)
# Types of the patient compartment (R4 2.19) and the element that must say whose they are. Where FHIR leaves that
# open (Observation.subject is 0..1), a resource that says nothing is nobody's.
_OWNER = {
    **dict.fromkeys(_BY_SUBJECT.split(), "subject"),
    **dict.fromkeys(_BY_PATIENT.split(), "patient"),
    "Coverage": "beneficiary",
    "ResearchSubject": "individual",
}
_USUAL = ("subject", "patient")
# What else may name a patient, without having to.
_FURTHER = {
    "Task": (*_USUAL, "for"),
    "Coverage": (*_USUAL, "beneficiary"),
    "ResearchSubject": (*_USUAL, "individual"),
}


def stranger(resource: Mapping[str, Any], patient_id: str, base: str | None, path: str) -> str | None:
    """Return the path of the first thing that is not about the patient, or None when everything is.

    base: the FHIR base URL of the client, when it named one; absolute references must lie there.
    path: where `resource` stands, for the answer.
    """
    whose = _Whose(patient_id, base, f"Patient/{patient_id}")
    if resource.get("resourceType") != "Bundle":
        element = _stranger(resource, whose)
        return None if element is None else f"{path}.{element}"
    for number, entry in enumerate(resource.get("entry", [])):
        inner = entry.get("resource")
        element = None if inner is None else _stranger(inner, whose)
        if element is not None:
            return f"{path}.entry[{number}].resource.{element}"
    return None


@dataclass(frozen=True, slots=True)
class _Whose:
    """The patient, and how nearly every reference to it is written."""

    patient_id: str
    base: str | None
    usual: str


def _stranger(resource: Mapping[str, Any], whose: _Whose) -> str | None:
    """Return the element that is not about the patient."""
    kind = str(resource.get("resourceType"))
    if kind == "Patient":
        return None if resource.get("id") == whose.patient_id else "id"
    owner = _OWNER.get(kind)
    if owner is not None and not isinstance(resource.get(owner), dict):
        return owner
    for number, item in enumerate(_actors(resource) if kind == "Appointment" else ()):
        # Several come to one appointment; whoever of them is a patient must be this one.
        if not all(_is_ours(reference, whose, required=False) for reference in _references(item)):
            return f"participant[{number}].actor"
    for element in _FURTHER.get(kind, _USUAL):
        value = resource.get(element)
        if value is None or (isinstance(value, dict) and value.get("reference") == whose.usual):
            continue  # nearly every resource, so nothing more is done for it
        for reference in _references(value):
            if not _is_ours(reference, whose, required=element == owner):
                return element
    return None


def _actors(resource: Mapping[str, Any]) -> Iterator[object]:
    several = resource.get("participant")
    for item in several if isinstance(several, list) else ():
        yield item.get("actor") if isinstance(item, dict) else None


def _references(value: object) -> Iterator[object]:
    """Yield what each says it refers to; what is no Reference at all is judged by its own text."""
    for item in value if isinstance(value, list) else [value]:
        yield item.get("reference") if isinstance(item, dict) else item


def _is_ours(text: object, whose: _Whose, *, required: bool) -> bool:
    reference = parse_reference(text)
    if reference is None or reference.kind != "Patient":
        # A device's or a group's: fine where the type allows it, no proof where a patient is due.
        return not required and not _may_be_patient(text)
    return reference.ident == whose.patient_id and (whose.base is None or reference.at(whose.base))


def _may_be_patient(reference: object) -> bool:
    return isinstance(reference, str) and ("Patient" in reference or reference.startswith(("urn:", "#")))
