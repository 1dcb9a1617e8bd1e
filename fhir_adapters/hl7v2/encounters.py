"""PV1 and PV2 into Encounter (HL7 v2-to-FHIR, segments PV1, PV2)."""

from typing import Any

from clinical.codes import Coding
from fhir_adapters.hl7v2 import datatypes, people, tables, times
from fhir_adapters.hl7v2.message import Message, Segment
from fhir_adapters.hl7v2.parts import Part, Parts, Way
from fhir_adapters.hl7v2.site import Context

Json = dict[str, Any]

# Event -> Encounter.status; others leave it as it is. A11 and A13 take back what A01 and A03 have said.
_STATUS = {
    "A01": "in-progress",
    "A03": "finished",
    "A04": "in-progress",
    "A05": "planned",
    "A11": "cancelled",
    "A13": "in-progress",
}
# PV1 field -> v3-ParticipationType
_PARTICIPANTS = (
    (7, Coding(tables.PARTICIPATION, "ATND", "attender")),
    (8, Coding(tables.PARTICIPATION, "REF", "referrer")),
    (9, Coding(tables.PARTICIPATION, "CON", "consultant")),
    (17, Coding(tables.PARTICIPATION, "ADM", "admitter")),
)


def visit(pv1: Segment | None, context: Context) -> Json | None:
    """Return the Identifier of a visit (PV1-19), None when it has none: without it nobody could find it again."""
    return datatypes.identifier_cx(pv1.value(19), context, "VN") if pv1 is not None else None


def mention(pv1: Segment | None, context: Context, parts: Parts) -> Json | None:
    """Return a Reference to the visit that a result or an order belongs to."""
    identifier = visit(pv1, context)
    if identifier is None:
        return None
    made = _part(identifier, context, {}, Way.MENTION)
    return parts.add(made) | {"type": "Encounter", "identifier": identifier}


def encounter(message: Message, event: str, context: Context, subject: Json, parts: Parts) -> Json | None:
    """Add the Encounter of an ADT message and return a Reference to it; None when its visit has no number."""
    pv1 = message.first("PV1")
    identifier = visit(pv1, context)
    if identifier is None or pv1 is None:
        return None
    resource: Json = {"resourceType": "Encounter", "identifier": [identifier], "subject": subject}
    if event in _STATUS:
        resource["status"] = _STATUS[event]
    patient_class = tables.ENCOUNTER_CLASS.get(pv1.text(2))
    if patient_class:
        resource["class"] = _coding(patient_class)
    resource |= _details(pv1, message.first("PV2"), event, context, parts)
    defaults = {"status": "in-progress", "class": _coding(tables.DEFAULT_CLASS)}
    part = _part(identifier, context, resource, Way.MERGE)
    return parts.add(Part(part.type, part.id, resource, Way.MERGE, part.identifiers, defaults))


def _part(identifier: Json, context: Context, resource: Json, way: Way) -> Part:
    key = (identifier["system"], identifier["value"])
    return Part("Encounter", context.site.derive("Encounter", *key), resource, way, (key,))


def _details(pv1: Segment, pv2: Segment | None, event: str, context: Context, parts: Parts) -> Json:
    zone = context.sender.zone
    made: Json = {}
    participants = [
        {"type": [datatypes.of(kind)], "individual": who}
        for field, kind in _PARTICIPANTS
        for value in pv1.values(field)
        if (who := people.practitioner(value, context, parts))
    ]
    if participants:
        made["participant"] = participants
    if service := datatypes.concept(pv1.value(10), context):
        made["serviceType"] = service
    period: Json = {}
    if start := times.date_time(pv1.text(44), zone):
        period["start"] = start
    if event == "A13":
        period["end"] = None  # the discharge is taken back
    elif end := times.date_time(pv1.text(45), zone):
        period["end"] = end
    if period:
        made["period"] = period
    if reason := datatypes.concept(pv2.value(3), context) if pv2 is not None else None:
        made["reasonCode"] = [reason]
    if stay := _stay(pv1, event, context):
        made["hospitalization"] = stay
    if where := datatypes.place_text(pv1.value(3)):
        made["location"] = [{"location": {"display": where}}]
    return made


def _stay(pv1: Segment, event: str, context: Context) -> Json:
    stay: Json = {}
    if source := datatypes.concept(pv1.value(14), context):
        stay["admitSource"] = source
    if event == "A13":
        stay["dischargeDisposition"] = None
    elif disposition := datatypes.concept(pv1.value(36), context):
        stay["dischargeDisposition"] = disposition
    return stay


def _coding(what: Coding) -> Json:
    return {"system": what.system, "code": what.code, "display": what.display}
