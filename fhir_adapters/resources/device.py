"""A model as a FHIR Device (R4 8.15) in the shape of AI-Device (HL7 AI Transparency on FHIR)."""

from clinical.codes import Coding
from clinical.finding import ModelRef
from fhir_adapters.resources.labels import (
    AI_DEVICE_PROFILE,
    AI_KIND,
    ALTERNATE_REFERENCE,
    ARTIFICIAL_INTELLIGENCE,
    CLINICAL_MONITORING,
    DEEP_LEARNING,
    DETERMINISTIC,
    IMAGING_DATA,
    MACHINE_LEARNING,
    MEDICAL_IMAGE_ANALYSIS,
    MODEL_CARD_EXTENSION,
    MODEL_IDENTIFIER,
    MULTIMODAL_DATA,
    PHYSIOLOGICAL_SIGNALS,
    STRUCTURED_CLINICAL_DATA,
    Json,
    concept,
    reference,
)
from model_runtime.manifest import Task

IMAGE_MODEL_KINDS = (DEEP_LEARNING, MEDICAL_IMAGE_ANALYSIS, IMAGING_DATA, DETERMINISTIC)
RECORD_MODEL_KINDS = (MACHINE_LEARNING, STRUCTURED_CLINICAL_DATA, DETERMINISTIC)
# What sort of AI a model is, by what it does: all of ours give the same output for the same input.
KINDS = {
    Task.SEGMENTATION: IMAGE_MODEL_KINDS,
    Task.LESION: (DEEP_LEARNING, MEDICAL_IMAGE_ANALYSIS, MULTIMODAL_DATA, DETERMINISTIC),
    Task.RISK: RECORD_MODEL_KINDS,
    Task.FORECAST: (DEEP_LEARNING, CLINICAL_MONITORING, PHYSIOLOGICAL_SIGNALS, DETERMINISTIC),
}


def device(
    model: ModelRef,
    *,
    resource_id: str,
    kinds: tuple[Coding, ...] = IMAGE_MODEL_KINDS,
    model_card_id: str | None = None,
) -> Json:
    """Return the Device of one version of a model.

    kinds: what sort of AI it is, codes of AIdeviceTypeCS. model_card_id: of the DocumentReference that holds its
    card, where that is served beside it. The digest of the manifest is a version beside the version's name, so
    that two files can never pass for one model.
    """
    extensions: list[Json] = [{"url": AI_KIND, "valueCodeableConcept": concept(kind)} for kind in kinds]
    if model_card_id is not None:
        card = reference("DocumentReference", model_card_id)
        extensions.append({"url": MODEL_CARD_EXTENSION, "valueReference": card})
    return {
        "resourceType": "Device",
        "id": resource_id,
        "meta": {"profile": [AI_DEVICE_PROFILE]},
        "extension": extensions,
        "identifier": [model_identifier(model)],
        "status": "active",
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "type": concept(ARTIFICIAL_INTELLIGENCE),
        "version": [
            {"type": {"text": "model version"}, "value": model.version},
            {"type": {"text": "sha256 of the model's manifest"}, "value": model.digest},
        ],
        "note": [{"text": "Research software, not a medical device."}],
    }


def model_identifier(model: ModelRef) -> Json:
    """Return the Identifier of a model's version: what `ai-model` searches by."""
    return {"system": MODEL_IDENTIFIER, "value": f"{model.name}@{model.version}"}


def method(model: ModelRef) -> Json:
    """Return how a result was made: the model with its version, as a CodeableConcept."""
    coding = {"system": MODEL_IDENTIFIER, "version": model.version, "code": model.name, "display": model.label}
    return {"coding": [coding], "text": f"{model.label} (AI model)"}


def made_by(model: ModelRef, device_id: str) -> Json:
    """Return a Reference to a model's Device that says which model it is without being followed."""
    return {
        **reference("Device", device_id),
        "type": "Device",
        "identifier": model_identifier(model),
        "display": model.label,
    }


def performed_by(model: ModelRef, device_id: str) -> Json:
    """Return a `performer` for where R4 lets no Device stand: the guide names it by an extension."""
    named = {"url": ALTERNATE_REFERENCE, "valueReference": made_by(model, device_id)}
    return {"extension": [named], "display": f"{model.label} (AI model)"}
