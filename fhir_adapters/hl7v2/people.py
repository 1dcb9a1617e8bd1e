"""PID into Patient, MRG into a retired Patient, XCN into Practitioner (HL7 v2-to-FHIR, segments PID, MRG)."""

from dataclasses import replace
from typing import Any

from clinical.identity import PatientKey
from fhir_adapters.hl7v2 import datatypes, tables, times
from fhir_adapters.hl7v2.errors import DATA_TYPE, REQUIRED_FIELD, TABLE_VALUE, MessageError
from fhir_adapters.hl7v2.message import Segment, Value
from fhir_adapters.hl7v2.parts import Part, Parts, Way
from fhir_adapters.hl7v2.site import Context
from fhir_adapters.resources.labels import uri

Json = dict[str, Any]

# Field of PID -> element of Patient that `""` in it deletes.
_DELETED_BY = {
    5: ("name",), 7: ("birthDate",), 8: ("gender",), 11: ("address",), 15: ("communication",),
    16: ("maritalStatus",), 29: ("deceasedDateTime",), 30: ("deceasedBoolean",),
}  # fmt: skip


def patient(pid: Segment, context: Context, way: Way) -> Part:
    """Return the person that a PID names; of a result or order (way KEEP) only who it is."""
    keys = _keys(pid, 3, context)
    identifiers = [datatypes.patient_identifier(value, context) for value in pid.values(3)]
    resource: Json = {"resourceType": "Patient", "identifier": [one for one in identifiers if one is not None]}
    resource |= _demographics(pid, context)
    return _person(keys, resource, way, _removed(pid))


def retired(mrg: Segment, context: Context) -> Part:
    """Return the chart that MRG-1 names: the one that is no longer used."""
    keys = _keys(mrg, 1, context)
    identifiers = [datatypes.patient_identifier(value, context) for value in mrg.values(1)]
    return _person(
        keys, {"resourceType": "Patient", "identifier": [one for one in identifiers if one]}, Way.KEEP, frozenset()
    )


def _person(keys: tuple[PatientKey, ...], resource: Json, way: Way, removed: frozenset[str]) -> Part:
    return Part(
        type="Patient",
        id="",
        resource=resource,
        way=way,
        identifiers=tuple((uri(key.system), key.value) for key in keys),
        removed=removed,
        patient=keys,
    )


def identified(part: Part, context: Context) -> Part:
    """Return a patient's part with the id that it gets when it is not here yet: that of its first identifier."""
    return replace(part, id=context.site.patient_id(part.patient[0]))


def _keys(segment: Segment, field: int, context: Context) -> tuple[PatientKey, ...]:
    found = (datatypes.patient_key(value, context) for value in segment.values(field))
    keys = tuple(dict.fromkeys(key for key in found if key is not None))
    if not keys:
        raise MessageError(REQUIRED_FIELD, "expected the patient's identifier", segment.place(field, 1))
    return keys


def _demographics(pid: Segment, context: Context) -> Json:
    zone = context.sender.zone
    made: Json = {}
    if names := [name for value in pid.values(5) if (name := datatypes.human_name(value))]:
        made["name"] = names
    points = [datatypes.telecom(value, "home") for value in pid.values(13)]
    points += [datatypes.telecom(value, "work") for value in pid.values(14)]
    if telecom := [point for point in points if point is not None]:
        made["telecom"] = telecom
    if sex := pid.text(8):
        made["gender"] = _code(tables.SEX, sex, pid, 8)
    if born := pid.text(7):
        made["birthDate"] = _date(born, pid, 7)
    if addresses := [one for value in pid.values(11) if (one := datatypes.address(value))]:
        made["address"] = addresses
    status = tables.MARITAL_STATUS.get(pid.text(16))
    if status:
        made["maritalStatus"] = {"coding": [{"system": tables.MARITAL, "code": status}]}
    if died := pid.text(29):
        made["deceasedDateTime"] = times.date_time(died, zone) or _date(died, pid, 29)
    elif pid.text(30) in ("Y", "N"):
        made["deceasedBoolean"] = pid.text(30) == "Y"
    if language := datatypes.concept(pid.value(15), context):
        made["communication"] = [{"language": language}]
    return made


def _removed(pid: Segment) -> frozenset[str]:
    gone = {name for field, names in _DELETED_BY.items() if pid.null(field) for name in names}
    if pid.null(13) and (pid.null(14) or not pid.raw(14)):
        gone.add("telecom")
    if pid.text(29):  # one of a choice
        gone.add("deceasedBoolean")
    elif pid.text(30) in ("Y", "N"):
        gone.add("deceasedDateTime")
    return frozenset(gone)


def _date(text: str, segment: Segment, field: int) -> str:
    found = times.date(text)
    if found is None:
        raise MessageError(DATA_TYPE, "expected a date", segment.place(field))
    return found


def _code(table: Any, text: str, segment: Segment, field: int) -> str:  # noqa: ANN401 - a mapping of tables
    found = table.get(text.upper())
    if found is None:
        raise MessageError(TABLE_VALUE, "expected a code of the field's table", segment.place(field))
    return str(found)


def practitioner(value: Value, context: Context, parts: Parts) -> Json | None:
    """Return a Reference to the person that an XCN names, who is made when not known here; None for nobody.

    The Reference names the identifier too, for servers that keep no Practitioners.
    """
    name = datatypes.human_name(value, 2)
    number = value.text(1)
    display = " ".join([*(name or {}).get("given", ()), (name or {}).get("family", "")]).strip() or number
    if not number:
        return {"display": display} if display else None
    authority = value.part(9)
    system = uri(context.system(authority.text(1), authority.text(2), authority.text(3)))
    resource: Json = {"resourceType": "Practitioner", "identifier": [{"system": system, "value": number}]}
    part = Part(
        type="Practitioner",
        id=context.site.derive("Practitioner", system, number),
        resource=resource | ({"name": [name]} if name else {}),
        way=Way.KEEP,
        identifiers=((system, number),),
    )
    said = parts.add(part) | {"type": "Practitioner", "identifier": {"system": system, "value": number}}
    return said | {"display": display}


def organization(text: str) -> Json | None:
    """Return a Reference that only says a name."""
    return {"display": text} if text else None
