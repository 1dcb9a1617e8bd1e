"""What a model says about one image, as a preliminary DiagnosticReport (R4 10.3), also when it saw nothing."""

from collections.abc import Sequence
from datetime import datetime

from clinical.codes import CHEST_IMAGING_STUDY, LOINC, Coding
from clinical.finding import LENGTH_DECIMALS, PROBABILITY_DECIMALS, Finding, Reading
from fhir_adapters.resources.labels import NOT_REVIEWED, Json, ai_asserted, concept, instant, reference
from fhir_adapters.resources.observation import size_origin

REPLACES = "http://hl7.org/fhir/StructureDefinition/diagnosticReport-replaces"
RADIOLOGY = Coding(LOINC, "LP29684-5", "Radiology")
RADIOLOGY_SECTION = Coding("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD", "Radiology")


def diagnostic_report(
    reading: Reading,
    *,
    resource_id: str,
    patient_id: str,
    observation_ids: Sequence[str],
    imaging_study_id: str,
    issued: datetime,
    effective: str | None = None,
    replaces: str | None = None,
) -> Json:
    """Return the report of one reading.

    observation_ids: of its findings, in their order; empty when there is none. resultsInterpreter stays
    empty until a person has looked at it. replaces: id of the report of the reading that this one replaces.
    """
    resource: Json = {
        "resourceType": "DiagnosticReport",
        "id": resource_id,
        "meta": ai_asserted(),
        "status": "preliminary",
        "category": [concept(RADIOLOGY, RADIOLOGY_SECTION)],
        "code": concept(CHEST_IMAGING_STUDY),
        "subject": reference("Patient", patient_id),
        "issued": instant(issued),
        "imagingStudy": [reference("ImagingStudy", imaging_study_id)],
        "conclusion": conclusion(reading),
    }
    if effective:
        resource["effectiveDateTime"] = effective
    if replaces:
        resource["extension"] = [{"url": REPLACES, "valueReference": reference("DiagnosticReport", replaces)}]
    if observation_ids:
        resource["result"] = [reference("Observation", each) for each in observation_ids]
        resource["conclusionCode"] = [concept(reading.terms.observation)]
    return resource


def conclusion(reading: Reading) -> str:
    """Return the reading in plain words."""
    label = reading.terms.label
    if not reading.findings:
        return (
            f"{NOT_REVIEWED} {reading.model.label} looked at one {reading.image.modality} image and marked no"
            f" {label} (no probability of {_shown(reading.threshold)} or more). This does not exclude a {label}."
            f" {reading.caveat}"
        ).rstrip()
    count = len(reading.findings)
    listed = (_listed(reading, each) for each in reading.findings)
    marked = f"{reading.model.label} marked {count} possible {label}{'' if count == 1 else 's'}"
    found = f"{marked} on one {reading.image.modality} image: {'; '.join(listed)}."
    return " ".join(words for words in (NOT_REVIEWED, found, size_origin(reading), reading.caveat) if words)


def _listed(reading: Reading, finding: Finding) -> str:
    lesion = reading.lesion(finding.number)
    judged = "" if lesion is None else f", {lesion.in_words}"
    return f"({finding.number}) {_size(finding)}, probability {_shown(finding.probability)}{judged}"


def _size(finding: Finding) -> str:
    unit = "mm" if finding.has_length else "pixels"
    return f"{finding.long_axis.value:.{LENGTH_DECIMALS}f} x {finding.short_axis.value:.{LENGTH_DECIMALS}f} {unit}"


def _shown(probability: float) -> str:
    return f"{probability:.{PROBABILITY_DECIMALS}f}"
