"""Which message becomes what: the events that are taken (tables 0076, 0003), and the header that each must have.

Pure: a message and a site in, resources out. What is here already is met in `apply`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo

from fhir_adapters.hl7v2 import diagnoses, encounters, orders, people, results, times
from fhir_adapters.hl7v2.errors import (
    EVENT_CODE,
    MESSAGE_TYPE,
    PROCESSING_ID,
    REQUIRED_FIELD,
    SEGMENT_SEQUENCE,
    VERSION_ID,
    MessageError,
    Place,
)
from fhir_adapters.hl7v2.message import Message, Segment
from fhir_adapters.hl7v2.parts import Mapped, Parts, Way
from fhir_adapters.hl7v2.site import Context, Sender, Site

_PERSON = frozenset(("A28", "A31"))


def sender_of(message: Message, zone: tzinfo) -> Sender:
    """Return who sent a message. Its times are in the zone that MSH-7 says, or the site's."""
    header = message.header
    return Sender(header.text(3), header.text(4), times.zone_of(header.text(7)) or zone)


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of message. what: for people. make: adds its parts."""

    what: str
    make: Callable[[Message, str, Context, Parts], None]


def check_header(message: Message, site: Site) -> None:
    """Raise MessageError unless this is a message that a receiver may take at all (v2.9 2.9.2.2)."""
    header = message.header
    header.required(10)
    processing = header.text(11) or "P"
    if processing.upper() not in site.processing_ids:
        raise MessageError(PROCESSING_ID, "expected a message for this environment", header.place(11))
    if not header.text(12).startswith("2."):
        raise MessageError(VERSION_ID, "expected a version of HL7 v2", header.place(12))
    kind, event = kind_of(message)
    if kind not in TYPES:
        raise MessageError(MESSAGE_TYPE, f"expected one of {', '.join(TYPES)}", header.place(9, 1))
    if (kind, event) not in EVENTS:
        raise MessageError(EVENT_CODE, f"expected an event of {kind} that is taken", header.place(9, 2))


def kind_of(message: Message) -> tuple[str, str]:
    """Return MSH-9.1 and MSH-9.2; the event of an ADT may stand in EVN-1 alone (until v2.3)."""
    header = message.header
    kind, event = header.text(9, 1).upper(), header.text(9, 2).upper()
    evn = message.first("EVN")
    return kind, event or (evn.text(1).upper() if evn else "") or _ONLY.get(kind, "")


def map_message(message: Message, site: Site) -> Mapped:
    """Return the resources of a message. Raises MessageError when it cannot be taken as a whole."""
    check_header(message, site)
    kind, event = kind_of(message)
    context = Context(site, sender_of(message, site.zone))
    parts = Parts()
    EVENTS[kind, event].make(message, event, context, parts)
    return parts.mapped()


def _admission(message: Message, event: str, context: Context, parts: Parts) -> None:
    pid = _one_patient(message)
    subject = parts.add(people.identified(people.patient(pid, context, Way.MERGE), context))
    if event not in _PERSON:
        visit = encounters.encounter(message, event, context, subject, parts)
        diagnoses.conditions(message, context, subject, visit, parts)


def _merge(message: Message, _event: str, context: Context, parts: Parts) -> None:
    """A40: each PID is the chart that stays, the MRG after it the one that is no longer used."""
    pid: Segment | None = None
    for one in message.segments:
        if one.name == "PID":
            pid = one
        elif one.name == "MRG":
            if pid is None:
                raise MessageError(SEGMENT_SEQUENCE, "expected a PID before the MRG", one.place())
            survivor = people.identified(people.patient(pid, context, Way.MERGE), context)
            old = people.identified(people.retired(one, context), context)
            parts.add(survivor)
            parts.retired.append((old, survivor))
    if not parts.retired:
        raise MessageError(SEGMENT_SEQUENCE, "expected this segment", Place("MRG"))


def _orders(message: Message, _event: str, context: Context, parts: Parts) -> None:
    pid = _one_patient(message)
    subject = parts.add(people.identified(people.patient(pid, context, Way.KEEP), context))
    for order in orders.orders_of(message):
        orders.service_request(order, message, context, subject, parts)


def _results(message: Message, _event: str, context: Context, parts: Parts) -> None:
    for result in results.results_of(message):
        patient = people.identified(people.patient(result.pid, context, Way.KEEP), context)
        results.report(result, context, parts.add(patient), parts)


def _one_patient(message: Message) -> Segment:
    pid = message.need("PID")
    second = next((one for one in message.segments if one.name == "PID" and one is not pid), None)
    if second is not None:
        raise MessageError(SEGMENT_SEQUENCE, "expected one patient in this message", second.place())
    if not pid.raw(3):
        raise MessageError(REQUIRED_FIELD, "expected the patient's identifier", pid.place(3, 1))
    return pid


EVENTS: Mapping[tuple[str, str], Event] = {
    ("ADT", "A01"): Event("admission", _admission),
    ("ADT", "A03"): Event("discharge", _admission),
    ("ADT", "A04"): Event("registration", _admission),
    ("ADT", "A05"): Event("pre-admission", _admission),
    ("ADT", "A08"): Event("patient information changed", _admission),
    ("ADT", "A11"): Event("admission cancelled", _admission),
    ("ADT", "A13"): Event("discharge cancelled", _admission),
    ("ADT", "A28"): Event("person added", _admission),
    ("ADT", "A31"): Event("person changed", _admission),
    ("ADT", "A40"): Event("patients merged", _merge),
    ("ORM", "O01"): Event("order", _orders),
    ("OMG", "O19"): Event("general clinical order", _orders),
    ("OMI", "O23"): Event("imaging order", _orders),
    ("ORU", "R01"): Event("result", _results),
}
TYPES = tuple(dict.fromkeys(kind for kind, _ in EVENTS))
_ONLY = {"ORM": "O01", "OMG": "O19", "OMI": "O23", "ORU": "R01"}
