"""A model as a FHIR Device (R4 8.15) in the shape of AI-Device (HL7 AI Transparency on FHIR)."""

from clinical.codes import Coding
from clinical.finding import ModelRef
from fhir_adapters.resources.labels import (
    AI_DEVICE_PROFILE,
    AI_KIND,
    ARTIFICIAL_INTELLIGENCE,
    DEEP_LEARNING,
    MEDICAL_IMAGE_ANALYSIS,
    Json,
    concept,
)

MODEL_IDENTIFIER = "urn:consilium:model"
IMAGE_MODEL_KINDS = (DEEP_LEARNING, MEDICAL_IMAGE_ANALYSIS)


def device(model: ModelRef, *, resource_id: str, kinds: tuple[Coding, ...] = IMAGE_MODEL_KINDS) -> Json:
    """Return the Device of one version of a model.

    kinds: what sort of AI it is, codes of AIdeviceTypeCS. The digest of the ONNX file is a version beside
    the version's name, so that two files can never pass for one model.
    """
    return {
        "resourceType": "Device",
        "id": resource_id,
        "meta": {"profile": [AI_DEVICE_PROFILE]},
        "extension": [{"url": AI_KIND, "valueCodeableConcept": concept(kind)} for kind in kinds],
        "identifier": [{"system": MODEL_IDENTIFIER, "value": f"{model.name}|{model.version}"}],
        "status": "active",
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "type": concept(ARTIFICIAL_INTELLIGENCE),
        "version": [
            {"type": {"text": "model version"}, "value": model.version},
            {"type": {"text": "sha256 of the model's manifest"}, "value": model.digest},
        ],
        "note": [{"text": "Research software, not a medical device."}],
    }
