"""Data types of HL7 v2 into those of FHIR (HL7 v2.9 chapter 2A, HL7 v2-to-FHIR "Data Types").

A value that holds nothing gives None or an empty list, never an empty element.
"""

import re
from collections.abc import Iterable
from typing import Any

from clinical import icd_10_cm
from clinical.codes import ICD_10_CM, Coding
from clinical.identity import PatientKey
from fhir_adapters.hl7v2 import tables
from fhir_adapters.hl7v2.message import Segment, Value
from fhir_adapters.hl7v2.site import Context
from fhir_adapters.hl7v2.text import coded
from fhir_adapters.resources.labels import uri
from fhir_adapters.standardise import STANDARD

Json = dict[str, Any]

_NUMBER = re.compile(r"\+?(?P<sign>-?)0*(?P<whole>\d{1,18})?(?:\.(?P<fraction>\d{0,18}))?")


def number(text: str) -> str | None:
    """Return NM as a FHIR decimal with every digit that was sent, None when it is no number (v2.9 2A.2.49)."""
    found = _NUMBER.fullmatch(text.strip())
    if found is None or (not found["whole"] and not found["fraction"]):
        return None if found is None or not re.search(r"\d", text) else "0"
    whole = found["whole"] or "0"
    return f"{found['sign']}{whole}" + (f".{found['fraction']}" if found["fraction"] else "")


def codings(value: Value, context: Context) -> list[Json]:
    """Return the codings of a CE or CWE: its own, its alternates, and those that the site's table adds."""
    found: list[Json] = []
    if not value.raw:  # most fields
        return found
    for first in (1, 4, 10):
        code = coded(value.text(first))
        if code:
            system = context.coding_system(value.text(first + 2))
            if system == ICD_10_CM:  # many send it without its point
                code = icd_10_cm.normal(code) or code
            _add(found, system, code, value.text(first + 1))
    for one in list(found):
        for standard in context.site.codes(one["system"], one["code"]):
            _add(found, standard.system, standard.code, standard.display)
    return found


def _add(found: list[Json], system: str, code: str, display: str) -> None:
    if all((one["system"], one["code"]) != (system, code) for one in found):
        found.append({"system": system, "code": code} | ({"display": display} if display else {}))


def concept(value: Value, context: Context) -> Json | None:
    """Return a CE or CWE as CodeableConcept."""
    if not value.raw:
        return None
    listed = codings(value, context)
    text = value.text(9) or value.text(2) or value.text(5) or ("" if listed else value.whole().strip())
    made: Json = {"coding": listed} if listed else {}
    return (made | ({"text": text} if text else {})) or None


def what(value: Value, context: Context) -> Json | None:
    """Return what was ordered or observed; it is counted when no standard code says it."""
    made = concept(value, context)
    listed = (made or {}).get("coding", [])
    if listed and not any(one["system"] in STANDARD for one in listed):
        context.site.unmapped(listed[0]["system"])
    return made


def concepts(values: Iterable[Value], context: Context) -> list[Json]:
    """Return those that say something."""
    return [made for value in values if (made := concept(value, context)) is not None]


def of(*what: Coding) -> Json:
    """Return codes of ours as CodeableConcept."""
    listed = [
        {"system": one.system, "code": one.code} | ({"display": one.display} if one.display else {})
        for one in what
    ]
    return {"coding": listed}


def patient_key(value: Value, context: Context) -> PatientKey | None:
    """Return a CX of PID-3 or MRG-1 as a patient's key, None when it holds no number."""
    number_ = value.text(1)
    authority = value.part(4)
    if not number_:
        return None
    return PatientKey(context.patient_system(authority.text(1), authority.text(2), authority.text(3)), number_)


def patient_identifier(value: Value, context: Context) -> Json | None:
    """Return a CX of PID-3 as Identifier, with its type (CX.5) where it says one."""
    key = patient_key(value, context)
    if key is None:
        return None
    return _identifier(key.system, key.value, coded(value.text(5)))


def identifier_cx(value: Value, context: Context, kind: str = "") -> Json | None:
    """Return a CX of anything but a patient (a visit, an account) as Identifier."""
    authority = value.part(4)
    if not value.text(1):
        return None
    system = context.system(authority.text(1), authority.text(2), authority.text(3))
    return _identifier(system, value.text(1), coded(value.text(5)) or kind)


def identifier_ei(value: Value, context: Context, kind: str) -> Json | None:
    """Return an EI (an order's number) as Identifier."""
    if not value.text(1):
        return None
    return _identifier(context.system(value.text(2), value.text(3), value.text(4)), value.text(1), kind)


def _identifier(system: str, value: str, kind: str) -> Json:
    made: Json = {"type": {"coding": [{"system": tables.IDENTIFIER_TYPE, "code": kind}]}} if kind else {}
    return made | {"system": uri(system), "value": value}


def human_name(value: Value, first: int = 1) -> Json | None:
    """Return an XPN, or the name within an XCN (first: 2), as HumanName."""
    given = [text for text in (value.text(first + 1), value.text(first + 2)) if text]
    made: Json = {}
    use = tables.NAME_USE.get(value.text(7 if first == 1 else 10))
    if use:
        made["use"] = use
    if family := value.text(first):
        made["family"] = family
    if given:
        made["given"] = given
    if prefix := value.text(first + 4):
        made["prefix"] = [prefix]
    if suffix := [text for text in (value.text(first + 3), value.text(first + 5)) if text and first == 1]:
        made["suffix"] = suffix
    return made if "family" in made or given else None


def address(value: Value) -> Json | None:
    """Return an XAD as Address."""
    line = [text for text in (value.text(1), value.text(2)) if text]
    parts = {
        "line": line,
        "city": value.text(3),
        "district": value.text(9),
        "state": value.text(4),
        "postalCode": value.text(5),
        "country": value.text(6),
    }
    made: Json = {name: text for name, text in parts.items() if text}
    use = tables.ADDRESS_USE.get(value.text(7))
    return ({"use": use} if use else {}) | made if made else None


def telecom(value: Value, use: str) -> Json | None:
    """Return an XTN as ContactPoint. use: of the field it stands in, where it says none."""
    kind = value.text(3).upper()
    email = value.text(4)
    pieces = [text for text in (value.text(5), value.text(6), value.text(7)) if text]
    said = email or value.text(12) or value.text(1) or " ".join(pieces)
    if not said:
        return None
    if extension := value.text(8) if not email and not value.text(1) else "":
        said += f" ext. {extension}"
    system = "email" if email or value.text(2) == "NET" else tables.TELECOM_SYSTEM.get(kind, "phone")
    own = "mobile" if kind == "CP" else tables.TELECOM_USE.get(value.text(2), use)
    return {"system": system, "value": said, "use": own}


def place_text(value: Value) -> str:
    """Return a PL (point of care, room, bed, facility) as words."""
    return " ".join(text for text in (value.text(4), value.text(1), value.text(2), value.text(3)) if text)


def annotations(notes: Iterable[Segment]) -> list[Json]:
    """Return NTE-3 of each comment as Annotation, repetitions as lines."""
    texts = ("\n".join(value.whole() for value in note.values(3)).strip() for note in notes)
    return [{"text": text} for text in texts if text]
