"""A legal context of each hook of the library, for a patient and a user of one's own."""

import json
from typing import Any

from cds.wire_schema import schema

# As the examples of the wire schema have them.
_PATIENT, _USER, _ENCOUNTER = "1288992", "Practitioner/example", "89284"


def example_context(hook: str, patient_id: str, user_id: str, number: int = 0) -> dict[str, Any] | None:
    """Return the wire schema's example of that number, about this patient; None for a hook that is not HL7's."""
    examples = schema("contexts")["$defs"].get(hook, {}).get("examples")
    if not examples:
        return None
    text = json.dumps(examples[number]).replace(_PATIENT, patient_id).replace(_ENCOUNTER, "enc-1")
    context: dict[str, Any] = json.loads(text.replace(_USER, user_id))
    return context
