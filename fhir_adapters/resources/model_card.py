"""A model's card as a DocumentReference (R4 10.4) in the shape of AI-ModelCard (HL7 AI Transparency on FHIR)."""

import base64
import hashlib
from dataclasses import dataclass

from clinical.codes import Coding
from clinical.errors import NotFound
from clinical.finding import ModelRef
from fhir_adapters.resources.device import KINDS, made_by, model_identifier
from fhir_adapters.resources.ids import device_id, model_card_id
from fhir_adapters.resources.labels import (
    AI_MODEL_CARD_PROFILE,
    MODEL_CARD,
    MODEL_CARD_IN_MARKDOWN,
    Json,
    concept,
    sha256_identifier,
)
from model_runtime.engine import Engine
from model_runtime.manifest import Manifest

MARKDOWN = "text/markdown"
NO_CARD = "The card of this version is no longer here.\n"


@dataclass(frozen=True, slots=True)
class AiModel:
    """What is said of a model beside its results.

    kinds: codes of AIdeviceTypeCS. card: Markdown.
    """

    ref: ModelRef
    title: str
    kinds: tuple[Coding, ...]
    card: str

    @property
    def card_id(self) -> str:
        """The id of its DocumentReference: another one for each version of the model."""
        return model_card_id(self.ref)


def ai_model(manifest: Manifest, card: str) -> AiModel:
    """Return what a manifest says of its model."""
    return AiModel(manifest.ref, manifest.title, KINDS[manifest.task], card)


def ai_model_of(engine: Engine, name: str, version: str) -> AiModel:
    """Return what is said of a version of a model, also when another has come since. Raises as Engine.manifest."""
    manifest = engine.manifest(name)
    try:
        card = engine.card(name) if manifest.version == version else NO_CARD
    except NotFound:
        card = NO_CARD
    return ai_model(manifest, card)


def model_card(model: AiModel) -> Json:
    """Return the DocumentReference. Attachment.hash is SHA-1 in R4 (2.24.0.8); the identifier has the SHA-256."""
    data = model.card.encode()
    attachment = {
        "contentType": MARKDOWN,
        "data": base64.b64encode(data).decode(),
        "size": len(data),
        "hash": base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode(),
        "title": f"Model card of {model.ref.label}",
    }
    return {
        "resourceType": "DocumentReference",
        "id": model.card_id,
        "meta": {"profile": [AI_MODEL_CARD_PROFILE]},
        "identifier": [model_identifier(model.ref), sha256_identifier(hashlib.sha256(data).hexdigest())],
        "status": "current",
        # The guide's slicing is closed: no other coding may stand beside it.
        "type": concept(MODEL_CARD),
        "category": [concept(MODEL_CARD_IN_MARKDOWN)],
        "description": f"{model.title}. Not a medical device.",
        "content": [{"attachment": attachment}],
        "context": {"related": [made_by(model.ref, device_id(model.ref))]},
    }
