"""A message as text: segments, fields, repetitions, components (HL7 v2.9 2.5, 2.6). Nothing here knows FHIR.

Split where it is asked for and not before: most fields are never read. Our own, because `hl7` 0.4.5 raises
IndexError for a cut header, takes delimiters that are equal, and logs the field whose escape is wrong, text too.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fhir_adapters.hl7v2.errors import DATA_TYPE, REQUIRED_FIELD, SEGMENT_SEQUENCE, MessageError, Place
from fhir_adapters.hl7v2.text import plain

NULL = '""'  # v2.9 2.5.3: the value is to be deleted
MAX_SEGMENTS = 5_000  # as many as a transaction has entries

_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_SEPARABLE = re.compile(r"[!-/:-@\[-`{-~]")  # printable ASCII that is no letter, digit or blank


@dataclass(frozen=True, slots=True)
class Delimiters:
    """MSH-1 and MSH-2. escape and sub: "" in messages that declare none (v2.9 2.14.9.2)."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    sub: str = "&"

    @property
    def encoding_characters(self) -> str:
        """MSH-2 as we write it."""
        return self.component + self.repetition + self.escape + self.sub


class Value:
    """One repetition of a field, as it stands in the message."""

    __slots__ = ("_parts", "delimiters", "raw")

    def __init__(self, raw: str, delimiters: Delimiters) -> None:
        self.raw, self.delimiters = raw, delimiters
        self._parts: list[str] | None = None

    def __repr__(self) -> str:
        # A repr lands in logs and tracebacks; the value must not.
        return "Value(<hidden>)"

    @property
    def null(self) -> bool:
        """True when it says that what was there is to be deleted."""
        return self.raw == NULL

    @property
    def empty(self) -> bool:
        """True when it says nothing: absent, or only delimiters and blanks."""
        seps = self.delimiters
        return not self.raw.strip(f" {seps.component}{seps.sub}")

    def text(self, component: int = 1, sub: int = 1) -> str:
        """Return a component (from 1) as text without escapes; "" where it is absent or null."""
        raw, seps = self._component(component), self.delimiters
        if raw and seps.sub and (sub > 1 or seps.sub in raw):
            subs = raw.split(seps.sub)
            raw = subs[sub - 1] if sub <= len(subs) else ""
        elif sub > 1:
            return ""
        return "" if not raw or raw == NULL else plain(raw, seps).strip()

    def whole(self) -> str:
        """Return all of it as text: for values that have no components, where a stray delimiter is text."""
        return "" if self.null else plain(self.raw, self.delimiters)

    def part(self, component: int) -> "Value":
        """Return a component as a value of its own: its sub-components become components (a CX in another)."""
        raw, seps = self._component(component), self.delimiters
        return Value(raw.replace(seps.sub, seps.component) if seps.sub else raw, seps)

    def _component(self, component: int) -> str:
        if self._parts is None:
            self._parts = self.raw.split(self.delimiters.component)
        return self._parts[component - 1] if component <= len(self._parts) else ""


class Segment:
    """One segment. occurrence: which of its name in the message, from 1."""

    __slots__ = ("_delimiters", "_fields", "name", "occurrence")

    def __init__(self, name: str, fields: Sequence[str], occurrence: int, delimiters: Delimiters) -> None:
        self.name, self.occurrence = name, occurrence
        self._fields, self._delimiters = fields, delimiters

    def __repr__(self) -> str:
        # A repr lands in logs and tracebacks; the fields must not.
        return f"Segment({self.name!r}, {self.occurrence})"

    def raw(self, field: int) -> str:
        """Return a field (from 1) as it stands; "" when it is absent."""
        return self._fields[field] if field < len(self._fields) else ""

    def null(self, field: int) -> bool:
        """True when the field says that what was there is to be deleted."""
        return self.raw(field) == NULL

    def value(self, field: int) -> Value:
        """Return the first repetition."""
        raw, repetition = self.raw(field), self._delimiters.repetition
        return Value(raw.split(repetition, 1)[0] if repetition in raw else raw, self._delimiters)

    def values(self, field: int) -> list[Value]:
        """Return the repetitions that say something."""
        raw = self.raw(field)
        if not raw or raw == NULL:
            return []
        every = (Value(one, self._delimiters) for one in raw.split(self._delimiters.repetition))
        return [one for one in every if not one.empty and not one.null]

    def text(self, field: int, component: int = 1, sub: int = 1) -> str:
        """Return a component of the first repetition as text."""
        raw = self._fields[field] if field < len(self._fields) else ""
        return self.value(field).text(component, sub) if raw else ""

    def place(self, field: int = 0, component: int = 0) -> Place:
        """Return where this is."""
        return Place(self.name, self.occurrence, field, component)

    def required(self, field: int, component: int = 0) -> str:
        """Return a component that has to be there. Raises MessageError 101."""
        found = self.text(field, component or 1)
        if not found:
            raise MessageError(REQUIRED_FIELD, "expected a value", self.place(field, component))
        return found


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its segments in order, the header first."""

    segments: tuple[Segment, ...]
    delimiters: Delimiters

    def __repr__(self) -> str:
        return f"Message({len(self.segments)} segments)"

    @property
    def header(self) -> Segment:
        """MSH."""
        return self.segments[0]

    def first(self, name: str) -> Segment | None:
        """Return the first segment of that name."""
        return next((one for one in self.segments if one.name == name), None)

    def need(self, name: str) -> Segment:
        """Return the first segment of that name. Raises MessageError 100 when there is none."""
        found = self.first(name)
        if found is None:
            raise MessageError(SEGMENT_SEQUENCE, "expected this segment", Place(name))
        return found


def parse(text: str) -> Message:
    """Return the message that a text is.

    Segments end with a carriage return; line feeds are taken too, which many senders write. Raises MessageError
    when there is no header, its delimiters cannot be told apart, or a segment has no name.
    """
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip(" \x00")]
    if not lines or not lines[0].startswith("MSH"):
        raise MessageError(SEGMENT_SEQUENCE, "expected the header at the start", Place("MSH"), rejected=True)
    if len(lines) > MAX_SEGMENTS:
        raise MessageError(SEGMENT_SEQUENCE, f"expected at most {MAX_SEGMENTS} segments", rejected=True)
    seps = delimiters_of(lines[0])
    return Message(tuple(_segments(lines, seps)), seps)


def delimiters_of(header: str) -> Delimiters:
    """Return what a header declares. Raises MessageError when it does not, or declares one twice."""
    field = header[3:4]
    declared = header[4:].split(field, 1)[0] if field else ""
    wrong = MessageError(DATA_TYPE, "expected delimiters that differ", Place("MSH", field=2), rejected=True)
    if not 2 <= len(declared) <= 5:
        raise wrong
    every = field + declared
    if len(set(every)) != len(every) or not all(map(_SEPARABLE.fullmatch, every)):
        raise wrong
    # The fifth, the truncation character of v2.7, marks values that were cut; it separates nothing.
    return Delimiters(field, declared[0], declared[1], declared[2:3], declared[3:4])


def _segments(lines: Sequence[str], seps: Delimiters) -> Iterator[Segment]:
    counts: dict[str, int] = {}
    for line in lines:
        fields = line.split(seps.field)
        name = fields[0].strip()
        if not _NAME.fullmatch(name):
            raise MessageError(SEGMENT_SEQUENCE, "expected segments that begin with a name of three characters")
        counts[name] = counts.get(name, 0) + 1
        if name in ("MSH", "BHS", "FHS"):
            fields.insert(1, seps.field)  # MSH-1 is the separator itself
        yield Segment(name, fields, counts[name], seps)
