"""A recall of AI results as AuditEvent (R4 6.4), in the shape of IHE BALP's update: who, whose, each version."""

from collections.abc import Sequence
from datetime import datetime

from clinical.codes import DICOM_DCM, Coding
from fhir_adapters.resources.labels import Json, coding, concept, instant, reference
from record_store.resources import NewResource

_REST = Coding("http://terminology.hl7.org/CodeSystem/audit-event-type", "rest", "RESTful Operation")
_OPERATION = Coding("http://hl7.org/fhir/restful-interaction", "operation", "operation")
_APPLICATION = Coding(DICOM_DCM, "110150", "Application")
_PERSON = Coding("http://terminology.hl7.org/CodeSystem/audit-entity-type", "1", "Person")
_PATIENT = Coding("http://terminology.hl7.org/CodeSystem/object-role", "1", "Patient")
_OBJECT = Coding("http://terminology.hl7.org/CodeSystem/audit-entity-type", "2", "System Object")
_DOMAIN_RESOURCE = Coding("http://terminology.hl7.org/CodeSystem/object-role", "4", "Domain Resource")


def recall_event(
    news: Sequence[NewResource], *, resource_id: str, who: str, recorded: datetime, base: str
) -> Json:
    """Return the AuditEvent of one batch. base: the URL of this server's FHIR API, its observer."""
    return {
        "resourceType": "AuditEvent",
        "id": resource_id,
        "type": coding(_REST),
        "subtype": [coding(_OPERATION)],
        "action": "U",
        "recorded": instant(recorded),
        "outcome": "0",
        "outcomeDesc": "results of a model were recalled",
        "agent": [{"type": concept(_APPLICATION), "who": {"display": who}, "requestor": True}],
        "source": {"observer": {"identifier": {"value": base}, "display": base}},
        "entity": [
            *(
                {"what": reference("Patient", one), "type": coding(_PERSON), "role": coding(_PATIENT)}
                for one in dict.fromkeys(each.patient for each in news if each.patient)
            ),
            *(
                {
                    "what": reference(one.type, one.id, one.version),
                    "type": coding(_OBJECT),
                    "role": coding(_DOMAIN_RESOURCE),
                }
                for one in news
            ),
        ],
    }
