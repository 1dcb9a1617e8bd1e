"""ORC and OBR into ServiceRequest (HL7 v2-to-FHIR, segments ORC, OBR[ServiceRequest], IPC, TQ1)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clinical.codes import IMAGING_PROCEDURE, Coding
from clinical.codes import SNOMED_CT as _SNOMED
from fhir_adapters.hl7v2 import datatypes, encounters, people, tables, times
from fhir_adapters.hl7v2.errors import REQUIRED_FIELD, SEGMENT_SEQUENCE, TABLE_VALUE, MessageError, Place
from fhir_adapters.hl7v2.message import Message, Segment
from fhir_adapters.hl7v2.parts import Part, Parts, Way
from fhir_adapters.hl7v2.site import Context
from fhir_adapters.hl7v2.text import coded

Json = dict[str, Any]

_LABORATORY = Coding(_SNOMED, "108252007", "Laboratory procedure")


@dataclass(slots=True)
class Order:
    """The segments of one order, as they follow its ORC or OBR."""

    orc: Segment | None = None
    obr: Segment | None = None
    timing: Segment | None = None
    imaging: Segment | None = None
    diagnoses: list[Segment] = field(default_factory=list)
    notes: list[Segment] = field(default_factory=list)


def orders_of(message: Message) -> list[Order]:
    """Return the orders of ORM, OMG and OMI: each ORC begins one, and so does an OBR after another OBR."""
    found: list[Order] = []
    for one in message.segments:
        if one.name == "ORC":
            found.append(Order(orc=one))
        elif one.name == "OBR":
            if not found or found[-1].obr is not None:
                found.append(Order(orc=found[-1].orc if found else None))
            found[-1].obr = one
        elif found:
            _keep(found[-1], one)
    if not found or any(one.obr is None for one in found):
        raise MessageError(SEGMENT_SEQUENCE, "expected an OBR in each order", Place("OBR"))
    return found


def _keep(order: Order, segment: Segment) -> None:
    match segment.name:
        case "TQ1":
            order.timing = order.timing or segment
        case "IPC":
            order.imaging = order.imaging or segment
        case "DG1":
            order.diagnoses.append(segment)
        case "NTE" if order.obr is not None:
            order.notes.append(segment)
        case _:
            pass


def identifiers_of(orc: Segment | None, obr: Segment, ipc: Segment | None, context: Context) -> list[Json]:
    """Return an order's numbers: of who placed it (PLAC), of who fills it (FILL), and its accession (ACSN)."""
    found: list[Json] = []
    for kind, in_orc, in_obr in (("PLAC", 2, 2), ("FILL", 3, 3)):
        values = (orc.value(in_orc) if orc else None, obr.value(in_obr))
        made = [one for value in values if value and (one := datatypes.identifier_ei(value, context, kind))]
        found += [one for one in made[:1] if one not in found]
    accession = (ipc.text(1) if ipc else "") or obr.text(18)
    if accession:
        kind_of = {"coding": [{"system": tables.IDENTIFIER_TYPE, "code": "ACSN"}]}
        found.append({"type": kind_of, "value": accession})
    return found


def keys_of(identifiers: Sequence[Json]) -> tuple[tuple[str, str], ...]:
    """Return what an order is found by: its placer's and filler's numbers, which have an authority."""
    return tuple((one["system"], one["value"]) for one in identifiers if "system" in one)


def mention(orc: Segment | None, obr: Segment, context: Context, parts: Parts) -> Json | None:
    """Return a Reference to the order that a result answers; a logical one where the order is not here."""
    identifiers = identifiers_of(orc, obr, None, context)
    keys = keys_of(identifiers)
    if not keys:
        return None
    own, rather = _ids(keys, obr, context)
    part = Part("ServiceRequest", own, {}, Way.MENTION, keys, rather=rather)
    return parts.add(part) | {"type": "ServiceRequest", "identifier": identifiers[0]}


def service_request(order: Order, message: Message, context: Context, subject: Json, parts: Parts) -> None:
    """Add the ServiceRequest of one order."""
    obr, orc = order.obr, order.orc
    if obr is None:
        return
    identifiers = identifiers_of(orc, obr, order.imaging, context)
    keys = keys_of(identifiers)
    if not keys:
        raise MessageError(REQUIRED_FIELD, "expected the order's number of its placer or filler", obr.place(2, 1))
    code = datatypes.what(obr.value(4), context)
    if code is None:
        raise MessageError(REQUIRED_FIELD, "expected what is ordered", obr.place(4, 1))
    resource: Json = {
        "resourceType": "ServiceRequest",
        "identifier": identifiers,
        "status": _status(orc, obr),
        "intent": "order",
        "code": code,
        "subject": subject,
    }
    visit = encounters.mention(message.first("PV1"), context, parts)
    resource |= {"encounter": visit} if visit else {}
    resource |= _request(order, obr, context, parts)
    own, rather = _ids(keys, obr, context)
    if parts.holds("ServiceRequest", own):  # several services under one number: the code tells them apart
        own, keys = rather, ()
    # When it was made is what its first message says; later ones have the time of their change there.
    authored = times.date_time(orc.text(9), context.sender.zone) if orc else None
    defaults = {"authoredOn": authored} if authored else {}
    parts.add(Part("ServiceRequest", own, resource, Way.MERGE, keys, defaults, rather=rather))


def _ids(keys: Sequence[tuple[str, str]], obr: Segment, context: Context) -> tuple[str, str]:
    """Return the id of an order by its number, and that of a further service under the same number."""
    derive = context.site.derive
    return derive("ServiceRequest", *keys[0]), derive("ServiceRequest", *keys[0], obr.text(4))


def _status(orc: Segment | None, obr: Segment) -> str:
    if orc is None:
        raise MessageError(SEGMENT_SEQUENCE, "expected an ORC before the OBR", obr.place())
    control = orc.required(1).upper()
    status = tables.ORDER_CONTROL.get(control)
    if control in tables.STATUS_IN_ORC_5 and orc.text(5):
        status = tables.ORDER_STATUS.get(orc.text(5).upper())
        if status is None:
            raise MessageError(TABLE_VALUE, "expected a code of the field's table", orc.place(5))
    if status is None and control not in tables.STATUS_IN_ORC_5:
        raise MessageError(TABLE_VALUE, "expected a code of the field's table", orc.place(1))
    return status or "active"


def _request(order: Order, obr: Segment, context: Context, parts: Parts) -> Json:
    zone, orc = context.sender.zone, order.orc
    made: Json = {"category": [datatypes.of(_category(order, obr))]}
    if priority := _priority(order, obr):
        made["priority"] = priority
    when = (
        (order.timing.text(7) if order.timing else "")
        or obr.text(36)
        or obr.text(27, 4)
        or (orc.text(7, 4) if orc else "")
    )
    if at := times.date_time(when or obr.text(6), zone):
        made["occurrenceDateTime"] = at
    asked_by = [*(orc.values(12) if orc else ()), *obr.values(16)][:1]
    if who := next((one for value in asked_by if (one := people.practitioner(value, context, parts))), None):
        made["requester"] = who
    reasons = datatypes.concepts(obr.values(31), context)
    reasons += [one for dg1 in order.diagnoses if (one := datatypes.concept(dg1.value(3), context))]
    if reasons:
        made["reasonCode"] = reasons
    if sites := _sites(obr):
        made["bodySite"] = sites
    if details := [*datatypes.concepts(obr.values(45), context), *datatypes.concepts(obr.values(46), context)]:
        made["orderDetail"] = details
    notes = datatypes.annotations(order.notes)
    clinical = obr.value(13).whole().strip()
    if notes or clinical:
        made["note"] = [*([{"text": clinical}] if clinical else []), *notes]
    return made


def _category(order: Order, obr: Segment) -> Coding:
    imaging = order.imaging is not None or coded(obr.text(24)).upper() in tables.IMAGING_SECTIONS
    return IMAGING_PROCEDURE if imaging else _LABORATORY


def _priority(order: Order, obr: Segment) -> str | None:
    orc, timing = order.orc, order.timing
    said = (timing.text(9) if timing else "") or obr.text(27, 6) or (orc.text(7, 6) if orc else "") or obr.text(5)
    return tables.PRIORITY.get(said.upper())


def _sites(obr: Segment) -> list[Json]:
    """Return OBR-15.4 and its modifier: where, and on which side (CM until v2.6)."""
    value = obr.value(15)
    texts = [value.text(component, 2) or value.text(component, 1) for component in (4, 5)]
    return [{"text": text} for text in texts if text]
