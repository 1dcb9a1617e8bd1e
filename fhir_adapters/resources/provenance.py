"""Who made a result from what: Provenance (R4 6.3) in the shape of AI-Provenance (HL7 AI Transparency on FHIR)."""

from collections.abc import Sequence
from datetime import datetime

from clinical.codes import AI_ASSERTED, Coding
from fhir_adapters.resources.labels import (
    AI_PROVENANCE_PROFILE,
    ARTIFICIAL_INTELLIGENCE,
    Json,
    ai_asserted,
    concept,
    instant,
    reference,
)

AUTHOR = Coding("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "author", "Author")
CREATE = Coding("http://terminology.hl7.org/CodeSystem/v3-DataOperation", "CREATE", "create")


def provenance(
    *,
    resource_id: str,
    targets: Sequence[Json],
    device_id: str,
    sources: Sequence[Json],
    recorded: datetime,
) -> Json:
    """Return the Provenance of results that one model made.

    targets: References to what was made; at least one. sources: References to what it was made from.
    The guide also wants the model card as an entity; it comes once DocumentReference is served here.
    """
    resource: Json = {
        "resourceType": "Provenance",
        "id": resource_id,
        "meta": {"profile": [AI_PROVENANCE_PROFILE], **ai_asserted()},
        "target": list(targets),
        "recorded": instant(recorded),
        "reason": [concept(AI_ASSERTED)],
        "activity": concept(CREATE),
        "agent": [
            {
                "type": concept(AUTHOR),
                "role": [concept(ARTIFICIAL_INTELLIGENCE)],
                "who": reference("Device", device_id),
            }
        ],
    }
    if sources:
        resource["entity"] = [{"role": "source", "what": source} for source in sources]
    return resource
