"""OBX-5 into Observation.value[x] by the type in OBX-2 (HL7 v2-to-FHIR, segment OBX; table 0125)."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

from fhir_adapters.hl7v2 import datatypes, times
from fhir_adapters.hl7v2.datatypes import number
from fhir_adapters.hl7v2.errors import DATA_TYPE, TABLE_VALUE, TOO_LONG, MessageError
from fhir_adapters.hl7v2.message import Segment, Value
from fhir_adapters.hl7v2.site import Context
from fhir_adapters.hl7v2.units import quantity, unit_of
from fhir_adapters.verbatim import Verbatim

Json = dict[str, Any]

_COMPARED = re.compile(r"(?P<comparator><=|>=|<|>)\s*(?P<number>[+-]?[\d.]+)")
_RANGE = re.compile(r"(?P<low>[+-]?\d[\d.]*)\s*(?:-|\.\.|to)\s*(?P<high>[+-]?\d[\d.]*)")
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
# ED.2 and ED.3 (tables 0191, 0291) -> what a browser will not run
_CONTENT = {
    "PDF": "application/pdf", "JPEG": "image/jpeg", "JPG": "image/jpeg", "PNG": "image/png", "TIFF": "image/tiff",
    "GIF": "image/gif", "PLAIN": "text/plain", "TEXT": "text/plain", "TXT": "text/plain", "RTF": "application/rtf",
}  # fmt: skip


def value_of(obx: Segment, context: Context) -> Json:
    """Return the members of Observation that hold OBX-5: a value[x], components, dataAbsentReason, or nothing.

    A number that is none (NM "NEG", "<5") keeps its meaning: with a comparator where it has one, else as text.
    Raises MessageError for a type that is not known here.
    """
    kind = obx.text(2).upper()
    values = obx.values(5)
    if obx.null(5):
        return {"dataAbsentReason": _absent("unknown")}
    if not values:
        return {}
    if kind in ("ST", "TX", "FT", "VR", ""):
        return _texts(values)
    reader = _READERS.get(kind)
    if reader is None:
        raise MessageError(TABLE_VALUE, "expected a value type that is supported", obx.place(2))
    read = [reader(value, obx, context) for value in values]
    if len(read) == 1:
        return read[0]
    code = datatypes.concept(obx.value(3), context)
    return {"component": [{"code": code} | one for one in read]}


def _texts(values: list[Value]) -> Json:
    text = "\n".join(value.whole().strip("\r\n") for value in values).strip()
    return {"valueString": text} if text else {}


def _text(value: Value, _obx: Segment, _context: Context) -> Json:
    text = value.whole().strip()
    return {"valueString": text} if text else {}


def _number(value: Value, obx: Segment, context: Context) -> Json:
    text = value.whole().strip()
    digits = number(text)
    if digits is not None:
        return {"valueQuantity": quantity(digits, unit_of(obx.value(6)))}
    compared = _COMPARED.fullmatch(text)
    inner = number(compared["number"]) if compared else None
    if compared and inner is not None:
        return {"valueQuantity": quantity(inner, unit_of(obx.value(6)), compared["comparator"])}
    return _text(value, obx, context)


def _structured(value: Value, obx: Segment, context: Context) -> Json:
    """SN: comparator, number, separator, number (v2.9 2A.2.71)."""
    unit = unit_of(obx.value(6))
    comparator, first = value.text(1), number(value.text(2)) if value.text(2) else None
    separator, second = value.text(3), number(value.text(4)) if value.text(4) else None
    exact = comparator in ("", "=")  # ">1:128" is no ratio of 1 to 128: FHIR has no place for it but words
    if exact and first is not None and second is not None and separator == "-":
        if Verbatim(first) <= Verbatim(second):
            return {"valueRange": {"low": quantity(first, unit), "high": quantity(second, unit)}}
    elif exact and first is not None and second is not None and separator in (":", "/"):
        return {"valueRatio": {"numerator": quantity(first, unit), "denominator": {"value": Verbatim(second)}}}
    elif first is not None and not separator and comparator in ("", "=", "<", "<=", ">", ">="):
        return {"valueQuantity": quantity(first, unit, comparator.strip("=" if comparator == "=" else ""))}
    words = " ".join(text for text in (comparator, value.text(2), separator, value.text(4)) if text)
    return {"valueString": words} if words else _text(value, obx, context)


def _coded(value: Value, _obx: Segment, context: Context) -> Json:
    made = datatypes.concept(value, context)
    return {"valueCodeableConcept": made} if made else {}


def _moment(value: Value, obx: Segment, context: Context) -> Json:
    found = times.date_time(value.text(1), context.sender.zone)
    if found is None:
        raise MessageError(DATA_TYPE, "expected a date or time", obx.place(5))
    return {"valueDateTime": found}


def _time(value: Value, obx: Segment, _context: Context) -> Json:
    found = times.time(value.text(1))
    if found is None:
        raise MessageError(DATA_TYPE, "expected a time", obx.place(5))
    return {"valueTime": found}


def _period(value: Value, obx: Segment, context: Context) -> Json:
    zone = context.sender.zone
    ends = {
        name: found
        for name, part in (("start", value.text(1)), ("end", value.text(2)))
        if (found := times.date_time(part, zone))
    }
    if not ends:
        raise MessageError(DATA_TYPE, "expected a range of times", obx.place(5))
    return {"valuePeriod": ends}


def _numeric_range(value: Value, obx: Segment, context: Context) -> Json:
    unit = unit_of(obx.value(6))
    ends = {
        name: quantity(digits, unit)
        for name, part in (("low", value.text(1)), ("high", value.text(2)))
        if part and (digits := number(part)) is not None
    }
    if not ends or (len(ends) == 2 and ends["low"]["value"] > ends["high"]["value"]):
        return _text(value, obx, context)
    return {"valueRange": ends}


def _pointer(_value: Value, _obx: Segment, _context: Context) -> Json:
    # A pointer to a file of theirs (RP), which nobody here could follow: said, rather than left out.
    return {"dataAbsentReason": _absent("unsupported")}


_READERS: Mapping[str, Callable[[Value, Segment, Context], Json]] = {
    "NM": _number,
    "SN": _structured,
    "CE": _coded,
    "CWE": _coded,
    "CNE": _coded,
    "CF": _coded,
    "IS": _coded,
    "ID": _text,
    "DT": _moment,
    "DTM": _moment,
    "TS": _moment,
    "TM": _time,
    "DR": _period,
    "NR": _numeric_range,
    "RP": _pointer,
    "SI": _number,
    "EI": _text,
    "XCN": _text,
    "XPN": _text,
    "XON": _text,
    "XTN": _text,
    "XAD": _text,
    "CX": _text,
    "MO": _text,
}


def _absent(code: str) -> Json:
    return {"coding": [{"system": _ABSENT, "code": code}]}


def reference_range(obx: Segment) -> Json | None:
    """Return OBX-7: its words, and its bounds where they are numbers."""
    text = obx.value(7).whole().strip()
    if not text:
        return None
    unit = unit_of(obx.value(6))
    made: Json = {}
    if between := _RANGE.fullmatch(text):
        low, high = number(between["low"]), number(between["high"])
        if low is not None and high is not None and Verbatim(low) <= Verbatim(high):
            made = {"low": quantity(low, unit), "high": quantity(high, unit)}
    elif compared := _COMPARED.fullmatch(text):
        bound = number(compared["number"])
        if bound is not None:
            made = {"high" if compared["comparator"][0] == "<" else "low": quantity(bound, unit)}
    return made | {"text": text}


def attachment(value: Value, obx: Segment, context: Context) -> Json:
    """Return an ED as Attachment (v2.9 2A.2.23). Raises MessageError when it is too large or of another kind."""
    subtype = value.text(3).upper().rsplit("/", 1)[-1] or value.text(2).upper()
    content = _CONTENT.get(subtype)
    if content is None:
        raise MessageError(TABLE_VALUE, "expected a PDF, a picture or plain text", obx.place(5, 3))
    data = value.text(5)
    if len(data) > context.site.attachment_bytes * 4 // 3 + 4:
        most = context.site.attachment_bytes
        raise MessageError(TOO_LONG, f"expected an attachment of at most {most} bytes", obx.place(5, 5))
    return {"contentType": content, "data": _base64(data, value.text(4).upper(), obx)}


def _base64(data: str, encoding: str, obx: Segment) -> str:
    try:
        if encoding == "BASE64":
            found = base64.b64decode("".join(data.split()), validate=True)
        elif encoding == "HEX":
            found = bytes.fromhex(data)
        else:
            found = data.encode()
    except (ValueError, binascii.Error):
        raise MessageError(DATA_TYPE, "expected data in the encoding that ED.4 says", obx.place(5, 5)) from None
    if not found:
        raise MessageError(DATA_TYPE, "expected data", obx.place(5, 5))
    return base64.b64encode(found).decode()
