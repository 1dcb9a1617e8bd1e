"""An imaging order of a worklist as a ServiceRequest (R4 12.6): what was asked for, of which side, and why."""

from collections.abc import Sequence
from dataclasses import dataclass

from clinical.codes import BILATERAL, IMAGING_PROCEDURE, LEFT, RIGHT, Coding
from fhir_adapters.resources.labels import Json, coding, concept, reference

_ACSN = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN", "display": "Accession ID"}
_SIDES = {"L": LEFT, "R": RIGHT, "B": BILATERAL}


@dataclass(frozen=True, slots=True)
class ImagingOrder:
    """An order in FHIR's words. side: "L", "R", "B" or "". occurrence: a FHIR dateTime."""

    accession_number: str
    codes: tuple[Coding, ...] = ()
    text: str = ""
    reason: str = ""
    side: str = ""
    occurrence: str | None = None


def imaging_order(order: ImagingOrder, *, resource_id: str, patient_id: str) -> Json:
    """Return the ServiceRequest: active, intent order. The side is an order detail, which needs a code (prr-1)."""
    resource: Json = {
        "resourceType": "ServiceRequest",
        "id": resource_id,
        "identifier": [{"type": {"coding": [_ACSN]}, "value": order.accession_number}],
        "status": "active",
        "intent": "order",
        "category": [concept(IMAGING_PROCEDURE)],
        "subject": reference("Patient", patient_id),
    }
    code = _code(order.codes, order.text)
    if code:
        resource["code"] = code
    if code and order.side in _SIDES:
        resource["orderDetail"] = [concept(_SIDES[order.side])]
    if order.occurrence:
        resource["occurrenceDateTime"] = order.occurrence
    if order.reason:
        resource["reasonCode"] = [{"text": order.reason}]
    return resource


def _code(codes: Sequence[Coding], text: str) -> Json:
    code: Json = {"coding": [coding(one) for one in codes]} if codes else {}
    return code | ({"text": text} if text else {})
