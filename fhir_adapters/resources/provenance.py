"""Who made a result from what: Provenance (R4 6.3) in the shape of AI-Provenance (HL7 AI Transparency on FHIR)."""

from collections.abc import Sequence
from datetime import datetime

from clinical.codes import AI_ASSERTED, Coding
from clinical.finding import ModelRef
from fhir_adapters.resources.device import made_by
from fhir_adapters.resources.labels import (
    AI_PROVENANCE_PROFILE,
    ARTIFICIAL_INTELLIGENCE,
    Json,
    ai_asserted,
    concept,
    instant,
    sha256_identifier,
)

AUTHOR = Coding("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "author", "Author")
CREATE = Coding("http://terminology.hl7.org/CodeSystem/v3-DataOperation", "CREATE", "create")
# The guide fixes the whole concept (agent.role, "exactly"), so it has no display.
_ROLE = {"coding": [{"system": ARTIFICIAL_INTELLIGENCE.system, "code": ARTIFICIAL_INTELLIGENCE.code}]}


def provenance(
    model: ModelRef,
    *,
    resource_id: str,
    targets: Sequence[Json],
    device_id: str,
    sources: Sequence[Json],
    recorded: datetime,
    model_card: Json | None = None,
    input_sha256: str | None = None,
) -> Json:
    """Return the Provenance of results that one model made.

    targets: References to what was made, version specific where the version is known; at least one. sources:
    References to what it was made from. model_card: a Reference to its DocumentReference. input_sha256: of the
    bytes that the model read (an image's file), or of its inputs (`cds.about.input_hash`).
    """
    resource: Json = {
        "resourceType": "Provenance",
        "id": resource_id,
        "meta": {"profile": [AI_PROVENANCE_PROFILE], **ai_asserted()},
        "target": list(targets),
        "recorded": instant(recorded),
        "reason": [concept(AI_ASSERTED)],
        "activity": concept(CREATE),
        "agent": [{"type": concept(AUTHOR), "role": [_ROLE], "who": made_by(model, device_id)}],
    }
    model_file = {"identifier": sha256_identifier(model.digest), "display": f"Manifest of model {model.label}"}
    entities = [{"role": "source", "what": source} for source in sources]
    if input_sha256 is not None:
        read = {"identifier": sha256_identifier(input_sha256), "display": "What the model read"}
        entities.append({"role": "source", "what": read})
    entities.append({"role": "derivation", "what": model_file})
    if model_card is not None:
        entities.append({"role": "derivation", "what": model_card})
    return resource | {"entity": entities}
