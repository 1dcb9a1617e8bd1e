"""Where resources come from: the Provenance of one message (R4 6.3; HL7 v2-to-FHIR, MSH[Provenance])."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from clinical.codes import Coding
from fhir_adapters.hl7v2 import times
from fhir_adapters.hl7v2.message import Message
from fhir_adapters.hl7v2.site import LOCAL, Sender
from fhir_adapters.resources.labels import coding, concept, instant

Json = dict[str, Any]

CONTROL_ID = LOCAL + "message"  # identifier system: MSH-3, MSH-4 and MSH-10
APPLICATION = LOCAL + "application"  # identifier system: MSH-3 and MSH-4
_URI = "urn:ietf:rfc:3986"
_TYPE = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
_INFORMANT = Coding(_TYPE, "informant", "Informant")
_EVENT = "http://terminology.hl7.org/CodeSystem/v2-0003"
_CREATE = Coding("http://terminology.hl7.org/CodeSystem/v3-DataOperation", "CREATE", "create")


def of(
    message: Message, digest: str, about: Sequence[str], resource_id: str, sender: Sender, now: datetime
) -> Json:
    """Return the Provenance of what a message said. about: references of its resources; at least one.

    The message is named by sender and control id, and by the sha256 of its bytes.
    """
    header = message.header
    made: Json = {
        "resourceType": "Provenance",
        "id": resource_id,
        "target": [{"reference": one} for one in about],
    }
    if occurred := times.date_time(header.text(7), sender.zone):
        made["occurredDateTime"] = occurred
    event = header.text(9, 2)
    activity = concept(_CREATE) if not event else {"coding": [coding(_CREATE), {"system": _EVENT, "code": event}]}
    who = {"identifier": {"system": APPLICATION, "value": sender.name}}
    shown = " ".join(text for text in (sender.application, sender.facility) if text)
    return made | {
        "recorded": instant(now),
        "activity": activity,
        "agent": [{"type": concept(_INFORMANT), "who": who | ({"display": shown} if shown else {})}],
        "entity": [
            _source({"system": CONTROL_ID, "value": f"{sender.name}|{header.text(10)}"}),
            _source({"system": _URI, "value": f"urn:hash::sha256:{digest}"}),
        ],
    }


def _source(identifier: Json) -> Json:
    return {"role": "source", "what": {"identifier": identifier}}
