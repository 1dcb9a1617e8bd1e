"""An imaging order of a worklist as a ServiceRequest (R4 12.6): what was asked for, of which side, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from clinical.codes import BILATERAL, IMAGING_PROCEDURE, LEFT, RIGHT, Coding
from fhir_adapters.resources.labels import Json, coding, concept, dicom_uid, instant, reference
from fhir_adapters.resources.provenance import CREATE

_ACSN = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN", "display": "Accession ID"}
_SIDES = {"L": LEFT, "R": RIGHT, "B": BILATERAL}
FROM_WORKLIST = "urn:consilium:worklist"  # meta.source of an order that a worklist told of, and nobody else
UPDATE = Coding(CREATE.system, "UPDATE", "revise")
_INFORMANT = Coding("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "informant", "Informant")


@dataclass(frozen=True, slots=True)
class Procedure:
    """What is to be done, in codes and words."""

    codes: tuple[Coding, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class ImagingOrder:
    """An order in FHIR's words. side: "L", "R", "B" or "". occurrence: a FHIR dateTime.

    accession_system: identifier system of the number's issuer, "" where nobody has told. procedures: that it asks
    for. study_uid: that the images are to have.
    """

    accession_number: str
    procedures: tuple[Procedure, ...] = ()
    reason: str = ""
    side: str = ""
    occurrence: str | None = None
    accession_system: str = ""
    study_uid: str = ""


def imaging_order(order: ImagingOrder, *, resource_id: str, patient_id: str) -> Json:
    """Return the ServiceRequest: active, intent order. The side is an order detail, which needs a code (prr-1).

    An accession number is one order. When it asks for several procedures they are details, and the code their
    words: a CodeableConcept means one thing.
    """
    system = {"system": order.accession_system} if order.accession_system else {}
    resource: Json = {
        "resourceType": "ServiceRequest",
        "id": resource_id,
        "meta": {"source": FROM_WORKLIST},
        "identifier": [{"type": {"coding": [_ACSN]}, **system, "value": order.accession_number}],
        "status": "active",
        "intent": "order",
        "category": [concept(IMAGING_PROCEDURE)],
        "subject": reference("Patient", patient_id),
    }
    asked = [made for one in order.procedures if (made := _code(one.codes, one.text))]
    if asked:
        words = "; ".join(one.text for one in order.procedures if one.text)
        resource["code"] = asked[0] if len(asked) == 1 else {"text": words or "several procedures"}
    details = [
        *(asked if len(asked) > 1 else ()),
        *([concept(_SIDES[order.side])] if order.side in _SIDES else ()),
    ]
    if asked and details:
        resource["orderDetail"] = details
    if order.occurrence:
        resource["occurrenceDateTime"] = order.occurrence
    if order.reason:
        resource["reasonCode"] = [{"text": order.reason}]
    return resource


def order_provenance(
    order: ImagingOrder, *, resource_id: str, order_id: str, version: int, worklist: str, recorded: datetime
) -> Json:
    """Return where a version of an order comes from (R4 6.3): a Modality Worklist, by its AE title."""
    item = {"display": "Modality Worklist item"}
    return {
        "resourceType": "Provenance",
        "id": resource_id,
        "target": [reference("ServiceRequest", order_id, version)],
        "recorded": instant(recorded),
        "activity": concept(CREATE if version == 1 else UPDATE),
        "agent": [
            {"type": concept(_INFORMANT), "who": {"type": "Device", "display": f"Modality Worklist {worklist}"}}
        ],
        "entity": [
            {
                "role": "source",
                "what": ({"identifier": dicom_uid(order.study_uid)} if order.study_uid else {}) | item,
            },
        ],
    }


def _code(codes: Sequence[Coding], text: str) -> Json:
    code: Json = {"coding": [coding(one) for one in codes]} if codes else {}
    return code | ({"text": text} if text else {})
