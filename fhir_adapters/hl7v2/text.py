"""Characters of a message: MSH-18 character sets and escape sequences (HL7 v2.9 2.14.9.18, 2.7)."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from fhir_adapters.hl7v2.errors import DATA_TYPE, TABLE_VALUE, MessageError, Place

if TYPE_CHECKING:
    from fhir_adapters.hl7v2.message import Delimiters

# Table 0211 -> Python's codec. No 16-bit and 32-bit sets: a frame's own bytes could stand in their text.
CHARACTER_SETS: Mapping[str, str] = MappingProxyType(
    {
        "ASCII": "ascii",
        "UNICODE UTF-8": "utf-8",
        "UNICODE": "utf-8",
        "UTF-8": "utf-8",
        **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    }
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_HEX = re.compile(r"[0-9A-Fa-f]{2,512}")
_LINE = re.compile(r"\.(?:br|sp\d{0,2}|ce)")


def decoded(data: bytes, otherwise: str | None = None) -> str:
    """Return the text of a message in the set that it declares.

    otherwise: table 0211 name of what is meant by senders that declare none and are neither ASCII nor UTF-8.
    Raises MessageError for a set that is not known here, and bytes that it does not have.
    """
    declared = declared_in(data)
    name = declared or "UNICODE UTF-8"
    codec = CHARACTER_SETS.get(name.upper())
    if codec is None:
        raise MessageError(TABLE_VALUE, "expected a character set of table 0211", Place("MSH", field=18))
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        if not declared and otherwise is not None:
            return data.decode(CHARACTER_SETS[otherwise.upper()], errors="replace")
        raise MessageError(DATA_TYPE, "expected characters of the declared set", Place("MSH", field=18)) from None


def declared_in(data: bytes) -> str:
    """Return the set that a message's header names (MSH-18), "" for none. Raises nothing."""
    header = re.split(rb"[\r\n]", data[:65536], maxsplit=1)[0]
    fields = header.split(header[3:4]) if len(header) > 3 else []
    # The header's own delimiters are ASCII, whatever the set: the first repetition is the message's.
    first = re.split(rb"[^A-Za-z0-9/ .\-]", fields[17])[0] if len(fields) > 17 else b""
    return first.decode("ascii").strip()


def plain(raw: str, seps: "Delimiters") -> str:
    """Return a value without its escape sequences and control characters.

    Highlighting and local escapes leave nothing behind; an escape character that begins no sequence stands for
    itself, as many senders mean it.
    """
    if seps.escape and seps.escape in raw:
        raw = _unescaped(raw, seps)
    return _CONTROL.sub("", raw) if not raw.isprintable() else raw


def _unescaped(raw: str, seps: "Delimiters") -> str:
    named = {"F": seps.field, "S": seps.component, "T": seps.sub, "R": seps.repetition, "E": seps.escape}
    out: list[str] = []
    at = 0
    while (start := raw.find(seps.escape, at)) >= 0:
        end = raw.find(seps.escape, start + 1)
        inside = raw[start + 1 : end]
        out.append(raw[at:start])
        meant = None if end < 0 or len(inside) > 600 else _meant(inside, named)
        out.append(seps.escape if meant is None else meant)
        at = start + 1 if meant is None else end + 1
    return "".join((*out, raw[at:]))


def _meant(inside: str, named: Mapping[str, str]) -> str | None:
    """Return what stands between two escape characters, None when that is no escape sequence."""
    if inside in named:
        return named[inside]
    if inside in ("H", "N"):
        return ""
    if inside[:1] == "X" and _HEX.fullmatch(inside, 1) and len(inside) % 2:
        return bytes.fromhex(inside[1:]).decode("utf-8", errors="ignore")
    if inside.startswith("."):
        return "\n" if _LINE.match(inside) else ""
    # Local sequences and changes of the character set: what they do is between others.
    return "" if inside[:1] in ("Z", "C", "M") and inside[1:].isalnum() else None


def coded(text: str) -> str:
    """Return a text as FHIR code: no blanks at its ends or twice within (R4 2.24.0.1)."""
    return " ".join(text.split())


def escaped(text: str, seps: "Delimiters") -> str:
    """Return a text that may stand in a field."""
    marks = {seps.escape: "E", seps.field: "F", seps.component: "S", seps.repetition: "R", seps.sub: "T"}
    marks.pop("", None)
    if not seps.escape:
        return "".join(one for one in text if one not in marks and one.isprintable())
    mark = seps.escape
    return "".join(f"{mark}{marks[one]}{mark}" if one in marks else one for one in text if one.isprintable())
