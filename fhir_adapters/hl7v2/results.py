"""OBR and OBX into DiagnosticReport and Observations (HL7 v2-to-FHIR, ORU_R01)."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from clinical.codes import LOINC
from fhir_adapters.hl7v2 import datatypes, encounters, orders, people, tables, times
from fhir_adapters.hl7v2.errors import REQUIRED_FIELD, SEGMENT_SEQUENCE, TABLE_VALUE, MessageError, Place
from fhir_adapters.hl7v2.message import Message, Segment
from fhir_adapters.hl7v2.parts import Part, Parts, Way
from fhir_adapters.hl7v2.site import Context
from fhir_adapters.hl7v2.text import coded
from fhir_adapters.hl7v2.values import attachment, reference_range, value_of

Json = dict[str, Any]

# The vital signs of R4's profile (observation-vitalsigns), which have to say that they are.
_VITAL_SIGNS = frozenset(
    ("85353-1", "9279-1", "8867-4", "2708-6", "59408-5", "8310-5", "8302-2", "9843-4", "29463-7", "39156-5",
     "85354-9", "8480-6", "8462-4", "8478-0")
)  # fmt: skip
# Of table 0085: the document is of another patient, deleted, or not to be had. It is shown to nobody.
_WITHDRAWN = frozenset(("D", "W", "X"))


@dataclass(slots=True)
class Result:
    """The segments of one report: those that follow its OBR."""

    pid: Segment
    obr: Segment
    pv1: Segment | None = None
    orc: Segment | None = None
    notes: list[Segment] = field(default_factory=list)
    observations: list[tuple[Segment, list[Segment]]] = field(default_factory=list)


def results_of(message: Message) -> list[Result]:
    """Return the reports of an ORU, each with the patient that its group begins with."""
    found: list[Result] = []
    pid: Segment | None = None
    pv1: Segment | None = None
    orc: Segment | None = None
    for one in message.segments:
        match one.name:
            case "PID":
                pid, pv1, orc = one, None, None
            case "PV1":
                pv1 = one
            case "ORC":
                orc = one
            case "OBR":
                if pid is None:
                    raise MessageError(SEGMENT_SEQUENCE, "expected a PID before the OBR", one.place())
                found.append(Result(pid, one, pv1, orc))
                orc = None
            case "OBX" if found and found[-1].pid is pid:
                found[-1].observations.append((one, []))
            case "OBX":
                raise MessageError(SEGMENT_SEQUENCE, "expected an OBR before the OBX", one.place())
            # After a PID or an ORC it is about the next patient or order, not about the result before.
            case "NTE" if found and found[-1].pid is pid and orc is None:
                inside = found[-1].observations
                (inside[-1][1] if inside else found[-1].notes).append(one)
            case _:
                pass
    if not found:
        raise MessageError(SEGMENT_SEQUENCE, "expected an OBR", Place("OBR"))
    return found


def report(result: Result, context: Context, subject: Json, parts: Parts) -> None:
    """Add the DiagnosticReport of one OBR and its Observations."""
    obr = result.obr
    code = datatypes.what(obr.value(4), context)
    if code is None:
        raise MessageError(REQUIRED_FIELD, "expected what was done", obr.place(4, 1))
    identifiers = orders.identifiers_of(result.orc, obr, None, context)
    keys = orders.keys_of(identifiers)
    if not keys:
        raise MessageError(REQUIRED_FIELD, "expected the number of its filler or placer", obr.place(3, 1))
    # The filler's number names it; where several services share one, their codes tell them apart.
    key = (*keys[-1], obr.text(4) or obr.text(4, 4) or obr.text(4, 2))
    shared: Json = {"subject": subject}
    visit = encounters.mention(result.pv1, context, parts)
    shared |= {"encounter": visit} if visit else {}
    resource: Json = {
        "resourceType": "DiagnosticReport",
        "identifier": identifiers,
        "status": _status(obr),
        "code": code,
        **shared,
    }
    order = orders.mention(result.orc, obr, context, parts)
    resource |= {"basedOn": [order]} if order else {}
    resource |= _report(result, context, parts)
    made = _Observations(result, context, key, shared, parts)
    resource |= made.members()
    parts.add(Part("DiagnosticReport", context.site.derive("DiagnosticReport", *key), resource, Way.REPLACE))


def _status(obr: Segment) -> str:
    status = tables.REPORT_STATUS.get(obr.required(25).upper())
    if status is None:
        raise MessageError(TABLE_VALUE, "expected a code of the field's table", obr.place(25))
    return status


def _report(result: Result, context: Context, parts: Parts) -> Json:
    obr, zone = result.obr, context.sender.zone
    made: Json = {}
    if section := coded(obr.text(24)):
        made["category"] = [{"coding": [{"system": tables.SECTION, "code": section}]}]
    start, end = times.date_time(obr.text(7), zone), times.date_time(obr.text(8), zone)
    if start and end:
        made["effectivePeriod"] = {"start": start, "end": end}
    elif start:
        made["effectiveDateTime"] = start
    if issued := times.instant(obr.text(22), zone):
        made["issued"] = issued
    if by := people.organization(context.sender.facility):
        made["performer"] = [by]
    interpreter = obr.value(32).part(1)
    if not interpreter.empty and (who := people.practitioner(interpreter, context, parts)):
        made["resultsInterpreter"] = [who]
    remarks = "\n".join(note["text"] for note in datatypes.annotations(result.notes))
    if remarks:
        made["conclusion"] = remarks
    return made


class _Observations:
    """The Observations of one report, and its attachments."""

    def __init__(self, result: Result, context: Context, key: tuple[str, ...], shared: Json, parts: Parts) -> None:
        self._result, self._context, self._key, self._shared, self._parts = result, context, key, shared, parts
        self._seen: Counter[tuple[str, ...]] = Counter()
        self._forms: list[Json] = []
        self._withdrawn = False
        self._references: list[Json] = []
        for obx, notes in result.observations:
            self._add(obx, notes)

    def members(self) -> Json:
        """Return what the report holds of them."""
        made: Json = {"result": self._references} if self._references else {}
        return made | ({"presentedForm": self._forms} if self._forms or self._withdrawn else {})

    def _add(self, obx: Segment, notes: list[Segment]) -> None:
        context = self._context
        code = datatypes.what(obx.value(3), context)
        if code is None:
            raise MessageError(REQUIRED_FIELD, "expected what was observed", obx.place(3, 1))
        if obx.text(2).upper() == "ED":
            if obx.text(11).upper() in _WITHDRAWN:
                self._withdrawn = True
                return
            title = {"title": code["text"]} if "text" in code else {}
            self._forms += [attachment(value, obx, context) | title for value in obx.values(5)]
            return
        status = tables.OBSERVATION_STATUS.get(obx.required(11).upper())
        if status is None:
            raise MessageError(TABLE_VALUE, "expected a code of the field's table", obx.place(11))
        vital = any(one.get("system") == LOINC and one["code"] in _VITAL_SIGNS for one in code.get("coding", ()))
        resource: Json = {
            "resourceType": "Observation",
            "status": status,
            "category": [_category(self._result.obr, vital=vital)],
            "code": code,
            **self._shared,
        }
        resource |= value_of(obx, context) | _observed(obx, self._result.obr, context, self._parts)
        if comments := datatypes.annotations(notes):
            resource["note"] = comments
        # U: "final now, and the value as it was told before" (table 0085).
        way = Way.MERGE if obx.text(11).upper() == "U" and not obx.values(5) else Way.REPLACE
        part = Part("Observation", self._id(obx), resource, way)
        self._references.append(self._parts.add(part))

    def _id(self, obx: Segment) -> str:
        """Return the id: what was observed and OBX-4 name it within its report, not its place in the message."""
        name = (obx.text(3) or obx.text(3, 4) or obx.text(3, 2), obx.text(3, 3), obx.value(4).whole().strip())
        self._seen[name] += 1
        again = (str(self._seen[name]),) if self._seen[name] > 1 else ()
        return self._context.site.derive("Observation", *self._key, *name, *again)


def _category(obr: Segment, *, vital: bool) -> Json:
    imaging = coded(obr.text(24)).upper() in tables.IMAGING_SECTIONS
    code = "vital-signs" if vital else "imaging" if imaging else "laboratory"
    return {"coding": [{"system": tables.CATEGORY, "code": code}]}


def _observed(obx: Segment, obr: Segment, context: Context, parts: Parts) -> Json:
    zone = context.sender.zone
    made: Json = {}
    at = times.date_time(obx.text(14), zone) or times.date_time(obr.text(7), zone)
    if at:
        made["effectiveDateTime"] = at
    if issued := times.instant(obr.text(22), zone):
        made["issued"] = issued
    performers = [who for value in obx.values(16) if (who := people.practitioner(value, context, parts))]
    if by := people.organization(obx.text(23) or obx.text(15, 2) or obx.text(15)):
        performers.append(by)
    if performers:
        made["performer"] = performers
    flags = [one for value in obx.values(8) if (one := _flag(value.text(1), value.text(2)))]
    if flags:
        made["interpretation"] = flags
    for name, field_ in (("bodySite", 20), ("method", 17)):
        if found := datatypes.concept(obx.value(field_), context):
            made[name] = found
    if device := obx.value(18).text(1):
        made["device"] = {"display": device}
    if normal := reference_range(obx):
        made["referenceRange"] = [normal]
    return made


def _flag(code: str, text: str) -> Json | None:
    known = tables.INTERPRETATION.get(code.upper())
    if known is not None:
        return datatypes.of(known)
    return {"text": text or code} if text or code else None
