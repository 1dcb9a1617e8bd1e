"""A JSON document or NDJSON file, cut into its resources without being read whole.

A Bundle is read member by member; of `entry` one item at a time is held. A line of NDJSON is one resource
(http://ndjson.org, FHIR Bulk Data 2.0 "ndjson").
"""

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from clinical.errors import IncorrectInput
from fhir_adapters.strict_json import MAX_BYTES

BLOCK = 1 << 20
MAX_ITEM = 32 << 20  # characters; nothing that a server takes is larger
_BLANKS = " \t\n\r\ufeff"
_NEAR_END = 64  # an error so near to the end of what was read may only say that more is to come
_DECODE = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Piece:
    """One resource, or entry of a Bundle. number: its line from 1, or its entry from 0. text: as it stands.

    value: what the text says, by a lenient decoder: good for finding one's way, not for what is stored.
    """

    number: int
    text: str = field(repr=False)
    value: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that is no resource. number: its line. reason: without what stands there."""

    number: int
    reason: str


def lines(file: BinaryIO) -> Iterator[Piece | Unreadable]:
    """Yield the resources of NDJSON; a line that cannot be read is told and the next one goes on."""
    number, skipping = 0, False
    while line := file.readline(MAX_BYTES + 2):
        ended = line.endswith(b"\n")
        if skipping:
            skipping = not ended
            continue
        number += 1
        if len(line.rstrip(b"\r\n")) > MAX_BYTES:
            skipping = not ended
            yield Unreadable(number, f"the line is longer than {MAX_BYTES} bytes")
            continue
        read = _line(number, line)
        if read is not None:
            yield read


def _line(number: int, line: bytes) -> Piece | Unreadable | None:
    try:
        text = line.decode("utf-8-sig").strip(_BLANKS)
        return Piece(number, text, json.loads(text)) if text else None
    except UnicodeDecodeError:
        return Unreadable(number, "the line is not UTF-8")
    except json.JSONDecodeError as problem:
        return Unreadable(number, f"the line is not JSON: {problem.msg} at column {problem.colno}")
    except RecursionError:
        return Unreadable(number, "the line is nested too deeply")


class Document:
    """One JSON object, read from the front. members: those seen so far but for `entry`.

    Iterating yields the items of `entry`; without any the whole is in `members` afterwards. Raises IncorrectInput,
    with the item at which reading ended.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.members: dict[str, Any] = {}
        self.read = 0
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._at = 0
        self._ended = False

    def __iter__(self) -> Iterator[Piece]:
        self._expect("{")
        while self._peek() != "}":
            name, _ = self._value()
            self._expect(":")
            if name == "entry" and self._peek() == "[":
                yield from self._items()
            else:
                self.members[str(name)], _ = self._value()
            if self._peek() == ",":
                self._at += 1
            elif self._peek() != "}":
                raise self._wrong("the file is not one JSON object")
        self._at += 1
        if self._peek():
            raise self._wrong("something follows the JSON object; one resource a line is named .ndjson")

    def _items(self) -> Iterator[Piece]:
        self._at += 1
        while self._peek() != "]":
            value, text = self._value()
            yield Piece(self.read, text, value)
            self.read += 1
            if self._peek() == ",":
                self._at += 1
            elif self._peek() != "]":
                raise self._wrong("an entry is not followed by another")
        self._at += 1

    def _value(self) -> tuple[Any, str]:
        """Return the next value and its text, reading on until it is there whole."""
        self._peek()
        while True:
            try:
                value, end = _DECODE.raw_decode(self._text, self._at)
            except json.JSONDecodeError as problem:
                cut_off = problem.pos > len(self._text) - _NEAR_END or problem.msg.startswith("Unterminated")
                if self._ended or not cut_off:
                    raise self._wrong(f"the file is not JSON: {problem.msg}") from None
            except RecursionError:
                raise self._wrong("the file is nested too deeply") from None
            else:
                # A number at the end of what was read may go on.
                if end < len(self._text) or self._ended or isinstance(value, dict | list | str):
                    text = self._text[self._at : end]
                    self._at = end
                    return value, text
            if len(self._text) - self._at > MAX_ITEM:
                raise self._wrong(f"a resource is larger than {MAX_ITEM} characters")
            self._fill(max(BLOCK, len(self._text) - self._at))

    def _peek(self) -> str:
        """Return the next character that is no blank, "" at the end."""
        while True:
            text, at = self._text, self._at
            while at < len(text) and text[at] in _BLANKS:
                at += 1
            self._at = at
            if at < len(text):
                return text[at]
            if self._ended:
                return ""
            self._fill(BLOCK)

    def _expect(self, mark: str) -> None:
        if self._peek() != mark:
            raise self._wrong("the file is not one JSON object")
        self._at += 1

    def _fill(self, size: int) -> None:
        block = self._file.read(size)
        try:
            more = self._decode.decode(block, final=not block)
        except UnicodeDecodeError:
            raise self._wrong("the file is not UTF-8") from None
        self._text, self._at = self._text[self._at :] + more, 0
        self._ended = not block

    def _wrong(self, reason: str) -> IncorrectInput:
        return IncorrectInput(reason, expression=[f"Bundle.entry[{self.read}]"])
