"""An exchange with a peer as AuditEvent (R4 6.4), with the events and roles that DICOM gives them (PS3.15 A.5.3).

The shape is that of IHE BALP: agents with their roles and network addresses, the patient as a reference and never
by name, the study as an entity. BALP profiles FHIR's own interactions and none of DICOM's: no profile is claimed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from clinical.codes import DICOM_DCM, Coding
from fhir_adapters.resources.labels import Json, coding, concept, dicom_uid, reference

# PS3.16 CID 400 and 401. An association is the nearest of them: its node attached itself to ours.
_EVENTS: Mapping[str, tuple[Coding, Coding | None, str]] = {
    "activity": (Coding(DICOM_DCM, "110100", "Application Activity"), None, "E"),
    "association": (Coding(DICOM_DCM, "110108", "Network Entry"), Coding(DICOM_DCM, "110124", "Attach"), "E"),
    "refused": (
        Coding(DICOM_DCM, "110113", "Security Alert"),
        Coding(DICOM_DCM, "110126", "Node Authentication"),
        "E",
    ),
    "query": (Coding(DICOM_DCM, "110112", "Query"), None, "E"),
    "transfer-begun": (Coding(DICOM_DCM, "110102", "Begin Transferring DICOM Instances"), None, "E"),
    "transferred": (Coding(DICOM_DCM, "110104", "DICOM Instances Transferred"), None, "C"),
    "accessed": (Coding(DICOM_DCM, "110103", "DICOM Instances Accessed"), None, "R"),
}
_OUTCOMES = {"success": "0", "minor": "4", "serious": "8", "major": "12"}
_SOURCE, _DESTINATION = (
    Coding(DICOM_DCM, "110153", "Source Role ID"),
    Coding(DICOM_DCM, "110152", "Destination Role ID"),
)
_APPLICATION_SERVER = Coding(
    "http://terminology.hl7.org/CodeSystem/security-source-type", "4", "Application Server"
)
_ENTITY_TYPE = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_OBJECT_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_PERSON, _OBJECT = Coding(_ENTITY_TYPE, "1", "Person"), Coding(_ENTITY_TYPE, "2", "System Object")
_PATIENT, _REPORT = Coding(_OBJECT_ROLE, "1", "Patient"), Coding(_OBJECT_ROLE, "3", "Report")
_QUERY = Coding(_OBJECT_ROLE, "24", "Query")
_IP_ADDRESS = "2"  # R4 network-type


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeFacts:
    """What an audit row says; names as in record_store.exchanges. at: an instant as FHIR writes it."""

    kind: str
    outcome: str
    at: str
    source: str
    source_address: str = ""
    source_certificate: str = ""
    destination: str
    destination_address: str = ""
    destination_certificate: str = ""
    asked_by_destination: bool = False
    study_uid: str = ""
    instances: int | None = None
    what: str = ""
    note: str = ""
    times: int = 1


def audit_event(
    facts: ExchangeFacts, *, resource_id: str, observer: str, patient_id: str | None = None
) -> Json | None:
    """Return the AuditEvent of an exchange, or None for a kind that DICOM has no event for.

    observer: our AE title. patient_id: of the Patient whose study it is, None when it is of none that is known.
    """
    if facts.kind not in _EVENTS:
        return None
    kind, subtype, action = _EVENTS[facts.kind]
    resource: Json = {
        "resourceType": "AuditEvent",
        "id": resource_id,
        "type": coding(kind),
        **({"subtype": [coding(subtype)]} if subtype else {}),
        "action": action,
        "recorded": facts.at,
        "outcome": _OUTCOMES.get(facts.outcome, "8"),
        **({"outcomeDesc": facts.note} if facts.note and facts.kind != "query" else {}),
        "agent": _agents(facts),
        "source": {
            "observer": {"identifier": {"value": observer}, "display": observer},
            "type": [coding(_APPLICATION_SERVER)],
        },
    }
    entities = [*_patients(patient_id), *_studies(facts), *_queries(facts)]
    return resource | ({"entity": entities} if entities else {})


def _agents(facts: ExchangeFacts) -> list[Json]:
    asked = facts.asked_by_destination
    sides = (
        (_SOURCE, facts.source, facts.source_address, facts.source_certificate, not asked),
        (_DESTINATION, facts.destination, facts.destination_address, facts.destination_certificate, asked),
    )
    return [_agent(*side) for side in sides]


def _agent(role: Coding, name: str, address: str, certificate: str, requestor: bool) -> Json:
    who = name or "unknown"
    agent: Json = {
        "type": concept(role),
        "who": {"identifier": {"value": who}, "display": who},
        **({"altId": name} if name else {}),  # PS3.15 A.5.2: AE titles
        "requestor": requestor,
    }
    if certificate:
        agent["name"] = f"certificate sha256:{certificate}"
    if address:
        agent["network"] = {"address": address, "type": _IP_ADDRESS}
    return agent


def _patients(patient_id: str | None) -> list[Json]:
    if patient_id is None:
        return []
    return [{"what": reference("Patient", patient_id), "type": coding(_PERSON), "role": coding(_PATIENT)}]


def _studies(facts: ExchangeFacts) -> list[Json]:
    if not facts.study_uid:
        return []
    told = [("NumberOfInstances", facts.instances), ("Service", facts.what or None), ("Times", facts.times)]
    details = [{"type": name, "valueString": str(value)} for name, value in told if value is not None]
    return [
        {
            "what": {"identifier": dicom_uid(facts.study_uid)},
            "type": coding(_OBJECT),
            "role": coding(_REPORT),
            "detail": details,
        }
    ]


def _queries(facts: ExchangeFacts) -> list[Json]:
    # R4 sev-1: an entity has a name or a query. The query's values would name patients, so only its keys are kept.
    if facts.kind != "query":
        return []
    entity: Json = {"type": coding(_OBJECT), "role": coding(_QUERY), "name": facts.what or "query"}
    return [entity | ({"description": f"keys: {facts.note}"} if facts.note else {})]
