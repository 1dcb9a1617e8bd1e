"""What a model says about one image, as a preliminary DiagnosticReport (R4 10.3), also when it saw nothing."""

from collections.abc import Sequence
from datetime import datetime

from clinical.codes import CHEST_IMAGING_STUDY, CLASSIFIED_AS, LOINC, Coding
from clinical.finding import LENGTH_DECIMALS, PROBABILITY_DECIMALS, Finding, Reading
from fhir_adapters.resources.device import performed_by
from fhir_adapters.resources.labels import (
    NOT_REVIEWED,
    Json,
    ai_asserted,
    ai_confidence,
    concept,
    instant,
    reference,
)
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
    device_id: str,
    identifiers: Sequence[Json] = (),
    effective: str | None = None,
    replaces: str | None = None,
    based_on: Sequence[Json] = (),
) -> Json:
    """Return the report of one reading.

    observation_ids: of its findings, in their order, and of its comparison; empty when there is none.
    resultsInterpreter stays empty until a person has looked at it. replaces: id of the report of the reading
    that this one replaces. identifiers: of the reading. based_on: References to the orders of the study.
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
        "performer": [performed_by(reading.model, device_id)],
        "imagingStudy": [reference("ImagingStudy", imaging_study_id)],
        "conclusion": conclusion(reading),
    }
    if effective:
        resource["effectiveDateTime"] = effective
    if identifiers:
        resource["identifier"] = list(identifiers)
    if based_on:
        resource["basedOn"] = list(based_on)
    if replaces:
        resource["extension"] = [{"url": REPLACES, "valueReference": reference("DiagnosticReport", replaces)}]
    if observation_ids:
        resource["result"] = [reference("Observation", each) for each in observation_ids]
    if reading.findings:
        resource["conclusionCode"] = [_concluded(reading)]
    return resource


def _concluded(reading: Reading) -> Json:
    """Return what was found, and how sure the model is of it: of any of the findings, that of the surest."""
    codes = (reading.terms.observation, *CLASSIFIED_AS.get(reading.terms.observation, ()))
    surest = max(finding.probability for finding in reading.findings)
    return {"extension": [ai_confidence(surest)], **concept(*codes)}


def conclusion(reading: Reading) -> str:
    """Return the reading in plain words, and beside it what an earlier image showed."""
    compared = reading.comparison
    return _concluding(reading) + (f" {compared.in_words}" if compared is not None else "")


def _concluding(reading: Reading) -> str:
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
