"""What every part of a card is checked with: what would be illegal on the wire is our Fault, and never leaves."""

import re
from collections.abc import Mapping
from math import isfinite

from clinical.codes import Coding
from clinical.errors import Fault

JsonObject = dict[str, object]
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # half of a character: cannot be written in UTF-8
_MOST_EXACT = 2**53  # RFC 8259, 6: beyond it a reader may see another number


def must(condition: bool, problem: str) -> None:
    """Raise Fault unless the condition holds. problem: in our words, without patient data."""
    if not condition:
        raise Fault(f"the card is not legal: {problem}")


def is_uuid(text: str) -> bool:
    """True for a UUID in lower case."""
    return bool(_UUID.fullmatch(text))


def is_text(text: str) -> bool:
    """True for a text that is not blank and can be written in UTF-8."""
    return bool(text.strip()) and not _SURROGATE.search(text)


def is_whole_json(value: object) -> bool:
    """True for what JSON can say and CDS Hooks allows: no null, nothing empty, no NaN, at any depth (T2)."""
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, bool):
        return True
    if isinstance(value, int):
        return abs(value) < _MOST_EXACT
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, dict):
        return bool(value) and all(isinstance(key, str) and is_whole_json(item) for key, item in value.items())
    return isinstance(value, list) and bool(value) and all(is_whole_json(item) for item in value)


def compact(value: Mapping[str, object]) -> JsonObject:
    """Return the members that say something: an optional one without value is left out (T2)."""
    return {key: item for key, item in value.items() if item is not None and item not in ("", [], {})}


def coding_json(coding: Coding) -> JsonObject:
    """Return a Coding as CDS Hooks writes it; override reasons need all three parts."""
    return {"system": coding.system, "code": coding.code, "display": coding.display}


def must_be_coding(coding: Coding, what: str) -> None:
    """Raise Fault unless system, code and display say something."""
    must(all(map(is_text, (coding.system, coding.code, coding.display))), f"{what} needs system, code and display")
