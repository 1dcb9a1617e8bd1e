"""An access to the FHIR API as AuditEvent: IHE Basic Audit Log Patterns (BALP 1.1) for R4.

https://profiles.ihe.net/ITI/BALP: Read, Query, Create, Update and Delete, each with and without a patient; who
holds an OAuth token is an agent of its own, with the token's id. The patterns are of what succeeded: a refusal has
the same shape and claims no profile.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from clinical.codes import DICOM_DCM, Coding
from fhir_adapters.resources.labels import Json, coding, concept, reference
from fhir_adapters.search.index import ID, target_of

BALP = "https://profiles.ihe.net/ITI/BALP"
_PROFILE = f"{BALP}/StructureDefinition/IHE.BasicAudit."
_REST = Coding("http://terminology.hl7.org/CodeSystem/audit-event-type", "rest", "Restful Operation")
_INTERACTION = "http://hl7.org/fhir/restful-interaction"
_ENTITY = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_SOURCE = Coding(DICOM_DCM, "110153", "Source Role ID")
_DESTINATION = Coding(DICOM_DCM, "110152", "Destination Role ID")
_APPLICATION = Coding(DICOM_DCM, "110150", "Application")
_CUSTODIAN = Coding("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "custodian", "Custodian")
_OAUTH_AGENT = Coding(f"{BALP}/CodeSystem/UserAgentTypes", "UserOauthAgent", "User OAuth Agent participant")
_REQUEST_ID = Coding(f"{BALP}/CodeSystem/BasicAuditEntityType", "XrequestId", "X-Request-Id")
_PERSON, _OBJECT = Coding(_ENTITY, "1", "Person"), Coding(_ENTITY, "2", "System Object")
_PATIENT, _RESOURCE = Coding(_ROLE, "1", "Patient"), Coding(_ROLE, "4", "Domain Resource")
_QUERY, _JOB = Coding(_ROLE, "24", "Query"), Coding(_ROLE, "20", "Job")
_PURPOSE = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
_SERVER_TYPE = Coding("http://terminology.hl7.org/CodeSystem/security-source-type", "4", "Application Server")
_OUTCOMES = {"success": "0", "minor": "4", "serious": "8", "major": "12"}
_IP_ADDRESS, _URI = "2", "5"  # R4 network-type
CLIENT_IDENTIFIER = "urn:consilium:fhir-client"

# interaction -> (pattern, action, the client's role, the server's role); of all others, Query.
_PATTERNS: Mapping[str, tuple[str, str, Coding, Coding]] = {
    "read": ("Read", "R", _DESTINATION, _SOURCE),
    "vread": ("Read", "R", _DESTINATION, _SOURCE),
    "history-instance": ("Read", "R", _DESTINATION, _SOURCE),
    "$export-file": ("Read", "R", _DESTINATION, _SOURCE),
    "create": ("Create", "C", _SOURCE, _DESTINATION),
    "update": ("Update", "U", _SOURCE, _DESTINATION),
    "patch": ("Update", "U", _SOURCE, _DESTINATION),
    "delete": ("Delete", "D", _APPLICATION, _CUSTODIAN),
}
_OF_QUERIES = ("Query", "E", _SOURCE, _DESTINATION)
_NAMES_A_PATIENT = frozenset({"patient", "subject", "subject:Patient"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessFacts:
    """What an audit row says (`record_store.accesses`). at: an instant as FHIR writes it. query: in Base64.

    resource_type, resource_id: of the subject, "" where it has none. subject: as it stands.
    """

    interaction: str
    outcome: str
    at: str
    who: str
    subject: str
    resource_type: str = ""
    resource_id: str = ""
    version: int | None = None
    query: str = ""
    client_id: str = ""
    token_id: str = ""
    purpose: str = ""
    address: str = ""
    request_id: str = ""
    problem: str = ""

    @property
    def is_query(self) -> bool:
        """True when it asked a question and named no resource."""
        return self.interaction not in _PATTERNS


def access_event(facts: AccessFacts, *, resource_id: str, base_url: str, patient_id: str | None) -> Json:
    """Return the AuditEvent of an access.

    base_url: ours, of the FHIR API. patient_id: of the Patient whom what was accessed is about, None when it is of
    none that is known.
    """
    pattern, action, client_role, server_role = _PATTERNS.get(facts.interaction, _OF_QUERIES)
    whose = "Patient" if patient_id else ""
    profiled = facts.outcome == "success"
    return {
        "resourceType": "AuditEvent",
        "id": resource_id,
        **({"meta": {"profile": [f"{_PROFILE}{whose}{pattern}"]}} if profiled else {}),
        "type": coding(_REST),
        "subtype": [_subtype(facts.interaction)],
        "action": action,
        "recorded": facts.at,
        "outcome": _OUTCOMES.get(facts.outcome, "8"),
        **({"outcomeDesc": facts.problem} if facts.problem else {}),
        "agent": [
            _client(facts, client_role),
            {
                "type": concept(server_role),
                "who": {"identifier": {"value": base_url}, "display": "Consilium"},
                "requestor": False,
                "network": {"address": base_url, "type": _URI},
            },
            *_holder_of_token(facts),
        ],
        "source": {
            "observer": {"identifier": {"value": base_url}, "display": "Consilium"},
            "type": [coding(_SERVER_TYPE)],
        },
        "entity": [*_patients(patient_id), *_data(facts), *_request(facts)],
    }


def patient_in_query(facts: AccessFacts, request: str, base_url: str) -> str | None:
    """Return the id of the one Patient that a request names. request: method and address, as sent."""
    if facts.resource_type == "Patient" and facts.resource_id:
        return facts.resource_id
    pairs = parse_qsl(request.partition("?")[2])
    named = {value for name, value in pairs if name in _NAMES_A_PATIENT}
    named |= {value for name, value in pairs if name == "_id" and facts.resource_type == "Patient"}
    if len(named) != 1:
        return None
    kind, found = target_of(named.pop(), base_url)
    return found if kind in ("", "Patient") and ID.fullmatch(found) else None


def _subtype(interaction: str) -> Json:
    known = {"search-compartment": "search-type"}.get(interaction, interaction)
    if known.startswith("$"):
        return {"system": _INTERACTION, "code": "operation", "display": known}
    return {"system": _INTERACTION, "code": known, "display": known}


def _client(facts: AccessFacts, role: Coding) -> Json:
    return {
        "type": concept(role),
        "who": _who(facts),
        "requestor": not facts.client_id,  # else who holds the token is
        "network": {"address": facts.address or "unknown", "type": _IP_ADDRESS},
    }


def _holder_of_token(facts: AccessFacts) -> list[Json]:
    if not facts.client_id:
        return []
    purpose = [{"coding": [{"system": _PURPOSE, "code": facts.purpose}]}] if facts.purpose else []
    return [
        {
            "type": concept(_OAUTH_AGENT),
            "who": _who(facts),
            "requestor": True,
            **({"policy": [facts.token_id]} if facts.token_id else {}),
            **({"purposeOfUse": purpose} if purpose else {}),
        }
    ]


def _who(facts: AccessFacts) -> Json:
    if facts.client_id:
        return {"identifier": {"system": CLIENT_IDENTIFIER, "value": facts.client_id}, "display": facts.who}
    return {"identifier": {"value": facts.who}, "display": facts.who}


def _patients(patient_id: str | None) -> list[Json]:
    if not patient_id:
        return []
    return [{"what": reference("Patient", patient_id), "type": coding(_PERSON), "role": coding(_PATIENT)}]


def _data(facts: AccessFacts) -> list[Json]:
    if facts.is_query:
        query = {"query": facts.query} if facts.query else {"name": facts.subject or facts.interaction}
        return [{"type": coding(_OBJECT), "role": coding(_QUERY), **query}]
    if not (facts.resource_type and facts.resource_id):
        what = {"identifier": {"value": facts.subject or facts.interaction}}
        return [{"what": what, "type": coding(_OBJECT), "role": coding(_JOB)}]
    what = reference(facts.resource_type, facts.resource_id, facts.version)
    return [{"what": what, "type": coding(_OBJECT), "role": coding(_RESOURCE)}]


def _request(facts: AccessFacts) -> list[Json]:
    if not facts.request_id:
        return []
    return [{"what": {"identifier": {"value": facts.request_id}}, "type": coding(_REQUEST_ID)}]
