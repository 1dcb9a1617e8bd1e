"""DG1 of an ADT into Condition: what the visit is for, as the hospital's system codes it (HL7 v2-to-FHIR, DG1)."""

from typing import Any

from fhir_adapters.hl7v2 import datatypes, times
from fhir_adapters.hl7v2.errors import REQUIRED_FIELD, MessageError
from fhir_adapters.hl7v2.message import Message, Segment
from fhir_adapters.hl7v2.parts import Part, Parts, Way
from fhir_adapters.hl7v2.site import Context

Json = dict[str, Any]

_CATEGORY = "http://terminology.hl7.org/CodeSystem/condition-category"
_CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
_VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
# 0052 Diagnosis Type -> condition-ver-status
CERTAINTY = {"A": "provisional", "W": "provisional", "F": "confirmed"}
DELETED = "D"  # 0206 Segment Action Code


def conditions(message: Message, context: Context, subject: Json, visit: Json | None, parts: Parts) -> None:
    """Add a Condition for each DG1.

    DG1-20 names it; without one its code does, within its visit, or the patient where there is none. One that is
    deleted (DG1-21) is entered-in-error.
    """
    for dg1 in message.segments:
        if dg1.name == "DG1":
            parts.add(_condition(dg1, context, subject, visit))


def _condition(dg1: Segment, context: Context, subject: Json, visit: Json | None) -> Part:
    code = datatypes.what(dg1.value(3), context)
    if code is None and dg1.text(4):
        code = {"text": dg1.text(4)}  # until v2.3 the words stood by themselves
    if code is None:
        raise MessageError(REQUIRED_FIELD, "expected what was diagnosed", dg1.place(3, 1))
    own = datatypes.identifier_ei(dg1.value(20), context, "")
    certainty = "entered-in-error" if dg1.text(21).upper() == DELETED else CERTAINTY.get(dg1.text(6).upper())
    resource: Json = {
        "resourceType": "Condition",
        "category": [_one(_CATEGORY, "encounter-diagnosis")],
        "code": code,
        "subject": {"reference": subject["reference"]},
    }
    if own is not None:
        resource["identifier"] = [own]
    if certainty != "entered-in-error":  # con-5
        resource["clinicalStatus"] = _one(_CLINICAL, "active")
    if certainty:
        resource["verificationStatus"] = _one(_VERIFICATION, certainty)
    if visit is not None:
        resource["encounter"] = {"reference": visit["reference"]}
    if at := times.date_time(dg1.text(5), context.sender.zone):
        resource["recordedDate"] = at
    return Part(
        "Condition", context.site.derive("Condition", *_key(dg1, own, subject, visit)), resource, Way.REPLACE
    )


def _key(dg1: Segment, own: Json | None, subject: Json, visit: Json | None) -> tuple[str, ...]:
    if own is not None:
        return own["system"], own["value"]
    name = dg1.text(3) or dg1.text(3, 4) or dg1.text(3, 2) or dg1.text(4)
    return (visit or subject)["reference"], name, dg1.text(3, 3), dg1.text(6)


def _one(system: str, code: str) -> Json:
    return {"coding": [{"system": system, "code": code}]}
