"""What each kind of search makes of each type of element (R4 3.1.1.4.4 to 3.1.1.4.14): index rows.

An element of another shape than its type's makes none.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from fhir_adapters.search import numbers
from fhir_adapters.search.dates import END_OF_TIME, START_OF_TIME, period_of, range_of
from fhir_adapters.search.parameters import Kind, Place
from record_store.index_rows import DateRow, IndexRows, QuantityRow, ReferenceRow, StringRow, TokenRow, UriRow

_LOCAL = re.compile(
    r"(?P<type>[A-Z][A-Za-z]{1,63})/(?P<id>[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)
_NAME_PARTS = ("family", "given", "prefix", "suffix", "text")
_ADDRESS_PARTS = ("text", "line", "city", "district", "state", "postalCode", "country")
# Of these modifiers there are rows of their own, where an element has what they ask for.
OF_TYPE, BY_IDENTIFIER = ":of-type", ":identifier"


class Rows:
    """The rows of one resource while it is walked. base: ours, with the slash at its end."""

    __slots__ = ("base", "dates", "quantities", "references", "strings", "tokens", "uris")

    def __init__(self, base: str) -> None:
        self.base = base
        self.tokens: list[TokenRow] = []
        self.strings: list[StringRow] = []
        self.dates: list[DateRow] = []
        self.references: list[ReferenceRow] = []
        self.quantities: list[QuantityRow] = []
        self.uris: list[UriRow] = []

    def absent(self, name: str) -> None:
        """Say that what `exists() and != false` asks for is not so, unless it was found."""
        if not any(row.param == name for row in self.tokens):
            self.tokens.append(TokenRow(name, "", "false"))

    def frozen(self) -> IndexRows:
        """Return the rows as the store takes them."""
        return IndexRows(
            tuple(self.tokens),
            tuple(self.strings),
            tuple(self.dates),
            tuple(self.references),
            tuple(self.quantities),
            tuple(self.uris),
        )


Emit = Callable[[str, Any, int, Rows], None]  # (parameter, element, part, the rows to add to)


def emit_of(kind: Kind, place: Place) -> Emit | None:
    """Return what a kind of search makes of what stands at a place."""
    match kind:
        case Kind.TOKEN:
            return _TOKENS.get(place.type) or partial(_word, place.system, place.systems)
        case Kind.STRING:
            return _STRINGS.get(place.type, _text)
        case Kind.DATE:
            return _DATES.get(place.type, _date)
        case Kind.REFERENCE:
            return partial(_reference, place.target) if place.type == "Reference" else _link
        case Kind.QUANTITY | Kind.NUMBER:
            return _QUANTITIES.get(place.type, _quantity)
        case Kind.URI:
            return _uri
        case Kind.COMPOSITE:
            return None


def normal_text(text: str) -> str:
    """Return text as string searches compare it: no case, no accents (R4 3.1.1.4.8), single blanks."""
    if not text.isascii():
        text = "".join(mark for mark in unicodedata.normalize("NFKD", text) if not unicodedata.combining(mark))
        return " ".join(text.casefold().split())
    return " ".join(text.lower().split())


def target_of(reference: str, base_url: str) -> tuple[str, str]:
    """Return (type, id) of a reference to this server, ("", the whole text) of any other."""
    own = reference.removeprefix(base_url.rstrip("/") + "/")
    found = _LOCAL.fullmatch(own)
    return (found["type"], found["id"]) if found else ("", reference)


# ---------------------------------------------------------------- token


def _word(system: str, systems: Mapping[str, str], name: str, value: Any, part: int, made: Rows) -> None:
    if isinstance(value, str):
        made.tokens.append(TokenRow(name, systems.get(value, "") if systems else system, value, "", part))
    elif isinstance(value, bool):
        made.tokens.append(TokenRow(name, system, "true" if value else "false", "", part))
    elif isinstance(value, int):
        made.tokens.append(TokenRow(name, system, str(value), "", part))


def _coding(name: str, value: Any, part: int, made: Rows) -> None:
    if isinstance(value, dict):
        row = _coded(name, value, part)
        if row is not None:
            made.tokens.append(row)


def _coded(name: str, coding: Mapping[str, Any], part: int) -> TokenRow | None:
    system, code, display = coding.get("system", ""), coding.get("code"), coding.get("display")
    text = normal_text(display) if isinstance(display, str) else ""
    if not isinstance(code, str):
        return TokenRow(name, "", "", text, part) if text else None
    return TokenRow(name, system if isinstance(system, str) else "", code, text, part)


def _concept(name: str, value: Any, part: int, made: Rows) -> None:
    if not isinstance(value, dict):
        return
    said = set()
    for coding in _items(value.get("coding")):
        row = _coded(name, coding, part)
        if row is not None:
            made.tokens.append(row)
            said.add(row.text)
    whole = value.get("text")
    # A row without a code: nothing but :text finds it.
    if isinstance(whole, str) and (text := normal_text(whole)) not in said and text:
        made.tokens.append(TokenRow(name, "", "", text, part))


def _identifier(name: str, value: Any, part: int, made: Rows) -> None:
    if not isinstance(value, dict):
        return
    kind = value.get("type")
    kind = kind if isinstance(kind, dict) else {}
    text = kind.get("text")
    row = _identified(name, value, part, normal_text(text) if isinstance(text, str) else "")
    if row is None:
        return
    made.tokens.append(row)
    for coding in _items(kind.get("coding")):
        system, code = coding.get("system", ""), coding.get("code")
        if isinstance(system, str) and isinstance(code, str):
            made.tokens.append(TokenRow(name + OF_TYPE, system, f"{code}|{row.code}", "", part))


def _identified(name: str, identifier: Any, part: int, text: str = "") -> TokenRow | None:
    system, code = identifier.get("system", ""), identifier.get("value")
    if not isinstance(code, str):
        return None
    return TokenRow(name, system if isinstance(system, str) else "", code, text, part)


def _contact_point(name: str, value: Any, part: int, made: Rows) -> None:
    """The system of a ContactPoint (phone, email) is its namespace, so `telecom=email|a@b.example` finds it."""
    if isinstance(value, dict) and (row := _identified(name, value, part)) is not None:
        made.tokens.append(row)


def _presence(name: str, value: Any, part: int, made: Rows) -> None:
    made.tokens.append(TokenRow(name, "", "false" if value is False else "true", "", part))


# ---------------------------------------------------------------- string, uri, reference


def _text(name: str, value: Any, part: int, made: Rows) -> None:
    if isinstance(value, str) and (text := normal_text(value)):
        made.strings.append(StringRow(name, text, value, part))


def _words(members: tuple[str, ...], name: str, value: Any, part: int, made: Rows) -> None:
    if isinstance(value, dict):
        for member in members:
            held = value.get(member)
            for one in held if isinstance(held, list) else (held,):
                _text(name, one, part, made)


def _concept_text(name: str, value: Any, part: int, made: Rows) -> None:
    if isinstance(value, dict):
        _text(name, value.get("text"), part, made)
        for coding in _items(value.get("coding")):
            _text(name, coding.get("display"), part, made)


def _uri(name: str, value: Any, part: int, made: Rows) -> None:
    if isinstance(value, str):
        made.uris.extend(UriRow(name, url, part) for url in _with_and_without_version(value))


def _reference(target: str, name: str, value: Any, part: int, made: Rows) -> None:
    if not isinstance(value, dict):
        return
    text = value.get("reference")
    if isinstance(text, str) and not text.startswith("#"):  # contained: nothing of its own to be found
        target_type, target_id = _target(text, made)
        if not target or target_type in (target, ""):
            made.references.append(ReferenceRow(name, target_type, target_id, part))
    identifier = value.get("identifier")
    if isinstance(identifier, dict) and value.get("type", target) in (target or value.get("type"), None, ""):
        row = _identified(name + BY_IDENTIFIER, identifier, part)
        if row is not None:
            made.tokens.append(row)


def _target(reference: str, made: Rows) -> tuple[str, str]:
    found = _LOCAL.fullmatch(reference.removeprefix(made.base) if made.base else reference)
    return (found["type"], found["id"]) if found else ("", reference)


def _link(name: str, value: Any, part: int, made: Rows) -> None:
    """A canonical or a uri where references are asked for."""
    if isinstance(value, str) and not value.startswith("#"):
        for url in _with_and_without_version(value):
            made.references.append(ReferenceRow(name, *_target(url, made), part))


def _with_and_without_version(url: str) -> tuple[str, ...]:
    """Return a URL, and where it is a canonical with a version, what it is of without (R4 2.24.0.13)."""
    bare, bar, _ = url.partition("|")
    return (url, bare) if bar and bare else (url,)


# ---------------------------------------------------------------- date


def _date(name: str, value: Any, part: int, made: Rows) -> None:
    if isinstance(value, str) and (bounds := range_of(value)) is not None:
        made.dates.append(DateRow(name, *bounds, part))


def _period(name: str, value: Any, part: int, made: Rows) -> None:
    if isinstance(value, dict) and (bounds := _ends(value)) is not None:
        made.dates.append(DateRow(name, *bounds, part))


def _timing(name: str, value: Any, part: int, made: Rows) -> None:
    """Of a Timing only the outer limits count (R4 3.1.1.4.7)."""
    if not isinstance(value, dict):
        return
    events = value.get("event")
    found = [range_of(one) for one in (events if isinstance(events, list) else ()) if isinstance(one, str)]
    repeat = value.get("repeat")
    period = repeat.get("boundsPeriod") if isinstance(repeat, dict) else None
    found.append(_ends(period) if isinstance(period, dict) else None)
    known = [bounds for bounds in found if bounds is not None]
    if known:
        made.dates.append(DateRow(name, min(lo for lo, _ in known), max(hi for _, hi in known), part))


def _ends(period: Mapping[str, Any]) -> tuple[str, str] | None:
    start, end = period.get("start"), period.get("end")
    if isinstance(start, str | None) and isinstance(end, str | None):
        return period_of(start, end)
    return None


# ---------------------------------------------------------------- quantity, number


def _bounded(read: Callable[[Mapping[str, Any]], numbers.Bounds | None]) -> Emit:
    def emit(name: str, value: Any, part: int, made: Rows) -> None:
        if isinstance(value, dict) and (bounds := read(value)) is not None:
            made.quantities.append(QuantityRow(name, *bounds, part))

    return emit


def _number(name: str, value: Any, part: int, made: Rows) -> None:
    known = numbers.exact(value)
    if known is not None:
        made.quantities.append(QuantityRow(name, *numbers.bounds(known, known), part))


def _percent(name: str, value: Any, part: int, made: Rows) -> None:
    """A Quantity without dimension ("87 %") where a number is asked for: 0.87."""
    bounds = numbers.of_quantity(value) if isinstance(value, dict) else None
    if bounds is not None and bounds.canon_unit in ("", "1"):
        made.quantities.append(
            QuantityRow(name, bounds.canon_lo, bounds.canon_hi, "", "", "", bounds.canon_lo, bounds.canon_hi, "", part)
        )


def _items(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, dict))


_quantity = _bounded(numbers.of_quantity)
_TOKENS: dict[str, Emit] = {
    "Coding": _coding,
    "CodeableConcept": _concept,
    "Identifier": _identifier,
    "ContactPoint": _contact_point,
    "PresenceOfTrue": _presence,
}
_STRINGS: dict[str, Emit] = {
    "HumanName": partial(_words, _NAME_PARTS),
    "Address": partial(_words, _ADDRESS_PARTS),
    "CodeableConcept": _concept_text,
}
_DATES: dict[str, Emit] = {"Period": _period, "Timing": _timing}
_QUANTITIES: dict[str, Emit] = {
    "decimal": _number,
    "integer": _number,
    "positiveInt": _number,
    "unsignedInt": _number,
    "Money": _bounded(numbers.of_money),
    "Range": _bounded(numbers.of_range),
    "Percent": _percent,
}
