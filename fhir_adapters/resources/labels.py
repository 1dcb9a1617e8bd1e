"""Parts that several resources share, and the labels of HL7 AI Transparency on FHIR.

The URLs follow the guide's canonical http://hl7.org/fhir/uv/aitransparency (hl7.fhir.uv.aitransparency, STU1
ballot for R4 4.0.1, repository HL7/aitransparency-ig: sushi-config.yaml, AIDevice.fsh, AIProvenance.fsh,
AIconfidence.fsh). It is a ballot: they may still change, so they stand here and nowhere else.
"""

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from clinical.codes import AI_ASSERTED, UCUM, Coding
from clinical.finding import Measurement

Json = dict[str, Any]

AI_TRANSPARENCY = "http://hl7.org/fhir/uv/aitransparency"
AI_DEVICE_PROFILE = f"{AI_TRANSPARENCY}/StructureDefinition/AI-Device"
AI_PROVENANCE_PROFILE = f"{AI_TRANSPARENCY}/StructureDefinition/AI-Provenance"
AI_CONFIDENCE = f"{AI_TRANSPARENCY}/StructureDefinition/AIconfidence"
AI_KIND = f"{AI_TRANSPARENCY}/StructureDefinition/aitransparency.AIKind"
MODEL_CARD_EXTENSION = f"{AI_TRANSPARENCY}/StructureDefinition/aitransparency.modelCardDescription"
AI_MODEL_CARD_PROFILE = f"{AI_TRANSPARENCY}/StructureDefinition/AI-ModelCard"
AI_INPUTS = f"{AI_TRANSPARENCY}/CodeSystem/AIinputsCS"
AI_DEVICE_TYPE = f"{AI_TRANSPARENCY}/CodeSystem/AIdeviceTypeCS"

ARTIFICIAL_INTELLIGENCE = Coding(AI_DEVICE_TYPE, "Artificial-Intelligence", "All kinds of Artificial Intelligence")
MACHINE_LEARNING = Coding(AI_DEVICE_TYPE, "Machine-Learning-Models", "Machine Learning Models")
DEEP_LEARNING = Coding(AI_DEVICE_TYPE, "Deep-Learning-Models", "Deep Learning Models")
MEDICAL_IMAGE_ANALYSIS = Coding(AI_DEVICE_TYPE, "Medical-Image-Analysis", "Medical Image Analysis")
STRUCTURED_CLINICAL_DATA = Coding(AI_DEVICE_TYPE, "AI-for-Structured-Clinical-Data", "Structured Clinical Data")

CLINICAL_MONITORING = Coding(
    AI_DEVICE_TYPE, "Clinical-Monitoring-and-Early-Warning", "Clinical Monitoring and Early Warning"
)
DETERMINISTIC = Coding(AI_DEVICE_TYPE, "Deterministic-AI", "Deterministic AI")
IMAGING_DATA = Coding(AI_DEVICE_TYPE, "AI-for-Medical-Imaging-Data", "AI for Medical Imaging Data")
MULTIMODAL_DATA = Coding(AI_DEVICE_TYPE, "AI-for-Multimodal-Data", "AI for Multimodal Data")
PHYSIOLOGICAL_SIGNALS = Coding(
    AI_DEVICE_TYPE, "AI-for-Physiological-Signal-Data", "AI for Physiological Signal Data"
)
MODEL_CARD = Coding(AI_INPUTS, "AIModelCard", "AI Model-Card")
MODEL_CARD_IN_MARKDOWN = Coding(AI_INPUTS, "AIModelCardMarkdownFormat", "Markdown Format")

# Where R4 lets no Device stand (Observation.performer), the guide names it by this extension.
ALTERNATE_REFERENCE = "http://hl7.org/fhir/StructureDefinition/alternate-reference"
MODEL_IDENTIFIER = "urn:consilium:model"  # value: name@version
SHA256_IDENTIFIER = "urn:consilium:sha256"  # value: hexadecimal digest of a model's manifest or of what it read

DICOM_UID = "urn:dicom:uid"  # R4 ImagingStudy.identifier: the system of DICOM UIDs
NOT_REVIEWED = "AI result, not reviewed by a human."


def coding(what: Coding) -> Json:
    """Return a Coding."""
    return {"system": what.system, "code": what.code, "display": what.display}


def concept(*what: Coding, text: str | None = None) -> Json:
    """Return a CodeableConcept."""
    return {"coding": [coding(each) for each in what]} | ({"text": text} if text else {})


def reference(resource_type: str, resource_id: str, version: int | None = None) -> Json:
    """Return a relative Reference; version: to that version alone (R4 2.3.0, version specific)."""
    own = "" if version is None else f"/_history/{version}"
    return {"reference": f"{resource_type}/{resource_id}{own}"}


def sha256_identifier(digest: str) -> Json:
    """Return the Identifier of what has this SHA-256 (hexadecimal)."""
    return {"system": SHA256_IDENTIFIER, "value": digest}


def dicom_uid(uid: str) -> Json:
    """Return the Identifier of a DICOM UID (R4 ImagingStudy notes: urn:oid: before the UID)."""
    return {"system": DICOM_UID, "value": f"urn:oid:{uid}"}


def quantity(measured: Measurement) -> Json:
    """Return a Quantity in UCUM. Pixels are an annotation, {pixel}, so nobody reads them as a length."""
    shown = measured.unit.strip("{}") or "1"
    return {"value": measured.value, "unit": shown, "system": UCUM, "code": measured.unit}


def instant(at: datetime) -> str:
    """Return a FHIR instant in UTC with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def uri(text: str) -> str:
    """Return text as a FHIR uri, which has no blanks (an issuer's name may have)."""
    if " " not in text and text.isprintable():  # most have none, and every message asks several times
        return text
    return re.sub(r"\s", lambda blank: quote(blank.group()), text)


def ai_asserted() -> Json:
    """Return the meta of a resource that an AI asserted: security label AIAST."""
    return {"security": [coding(AI_ASSERTED)]}


def ai_confidence(probability: float) -> Json:
    """Return the AIconfidence extension: the model's probability (0..1) that this result is right."""
    return {"url": AI_CONFIDENCE, "valueDecimal": probability}
