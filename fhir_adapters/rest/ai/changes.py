"""A stored result with a few elements changed, and who changed it; every other byte stays as it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clinical.codes import Coding
from fhir_adapters.resources.labels import Json, concept, instant, reference
from fhir_adapters.rest.fhir import Fhir
from fhir_adapters.rest.versions import draft, next_version
from fhir_adapters.strict_json import load_object
from fhir_adapters.verbatim import dumps
from record_store.resource_history import Version
from record_store.resources import NewResource, StoredResource

ENTERED_IN_ERROR = "entered-in-error"
CONFIRMED = frozenset({"final", "amended", "corrected", "appended"})
CLIENT_SYSTEM = "urn:consilium:fhir-client"
_PARTICIPANT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
_OPERATION = "http://terminology.hl7.org/CodeSystem/v3-DataOperation"
VERIFIER, PERFORMER = Coding(_PARTICIPANT, "verifier", "Verifier"), Coding(_PARTICIPANT, "performer", "Performer")
ENTERER = Coding(_PARTICIPANT, "enterer", "Enterer")
NULLIFY, MODIFY_STATUS = (
    Coding(_OPERATION, "NULLIFY", "nullify"),
    Coding(_OPERATION, "MODIFYSTATUS", "modify status"),
)


@dataclass(frozen=True, slots=True)
class Who:
    """Who does it: a name for people and the audit, and what names them for good (a client's id, a user's URL)."""

    name: str
    ident: str = ""

    def as_reference(self) -> Json:
        """Return it as a Reference: logical (R4 2.3.0.2), for a client is no resource here."""
        named = {"identifier": {"system": CLIENT_SYSTEM, "value": self.ident}} if self.ident else {}
        return {**named, "display": self.name}


def changed(fhir: Fhir, stored: StoredResource, change: Callable[[dict[str, Any]], None]) -> NewResource:
    """Return the next version of a resource. change: does it, on what keeps every digit."""
    resource = load_object(stored.body, decimals=True)
    change(resource)
    data = dumps(resource)
    before = Version(stored, deleted=False, method="")
    drafted = draft(fhir, load_object(data), data)
    return next_version(fhir, drafted, resource_id=stored.id, before=before, method="PUT")


def with_status(status: str, words: str) -> Callable[[dict[str, Any]], None]:
    """Return the change to another status, with words about it where people read: first, before what was said."""

    def change(resource: dict[str, Any]) -> None:
        kind = resource["resourceType"]
        resource["lifecycleStatus" if kind == "Goal" else "status"] = status
        if kind == "DiagnosticReport":  # it has no notes
            resource["conclusion"] = f"{words} {resource.get('conclusion', '')}".rstrip()
        elif kind == "Flag":
            resource["code"] = {"text": f"{words} {resource.get('code', {}).get('text', '')}".rstrip()}
        else:
            resource["note"] = [{"text": words}, *resource.get("note", [])]

    return change


def decision_provenance(
    *,
    resource_id: str,
    targets: Sequence[NewResource],
    who: Who,
    role: Coding,
    activity: Coding,
    reason: str,
    recorded: datetime,
    about: Sequence[Mapping[str, Any]] = (),
) -> Json:
    """Return the Provenance of versions that somebody decided on. about: References to what it rests on."""
    made: Json = {
        "resourceType": "Provenance",
        "id": resource_id,
        "target": [reference(one.type, one.id, one.version) for one in targets],
        "recorded": instant(recorded),
        "activity": concept(activity),
        "agent": [{"type": concept(role), "who": who.as_reference()}],
        "entity": [
            *({"role": "revision", "what": reference(one.type, one.id, one.version - 1)} for one in targets),
            *({"role": "source", "what": dict(one)} for one in about),
        ],
    }
    return made | ({"reason": [{"text": reason}]} if reason else {})
