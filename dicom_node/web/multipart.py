"""Multipart messages taken apart by the book (RFC 2046 5.1.1, RFC 2387); of a malformed one nothing is believed.

Nothing is guessed, unfolded or mended, so that no two readers of one message can see two different messages. Caps
hold before anything is kept: parts, bytes of a part's head, fields in it, the boundary's length.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from clinical.errors import IncorrectInput

MAX_PARTS = 1000
MAX_HEAD_BYTES = 8192
MAX_FIELDS = 16
MAX_PREAMBLE_BYTES = 8192
# RFC 2046: bcharsnospace and space, at most 70 and none at the end.
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
AFTER = re.compile(rb"[ \t]{0,64}\r\n|--")
_CONTENT_ENCODINGS = {"", "7bit", "8bit", "binary"}


@dataclass(frozen=True, slots=True)
class ReceivedPart:
    """One part. headers: by lower-case name. body: a view of the message."""

    headers: Mapping[str, str]
    body: memoryview

    @property
    def content_type(self) -> str:
        """The Content-Type, "" when the part has none."""
        return self.headers.get("content-type", "")


def read_parts(message: bytes, boundary: str) -> Iterator[ReceivedPart]:
    """Yield the parts of a message. Raises IncorrectInput where it is malformed, cut, or over a cap."""
    mark, view = mark_of(boundary), memoryview(message)
    count, (start, last) = 0, _first(message, mark)
    while not last:
        count += 1
        if count > MAX_PARTS:
            raise IncorrectInput(f"the request has more than {MAX_PARTS} parts")
        headers, body = read_head(message, start)
        end, start, last = _delimiter(message, b"\r\n" + mark, body)
        yield ReceivedPart(headers, view[body:end])
    if count == 0:
        raise IncorrectInput("the request has no parts")


def mark_of(boundary: str) -> bytes:
    """Return what a delimiter's line begins with. Raises IncorrectInput for what is no boundary."""
    mark = boundary.encode("latin-1", "replace")
    if not _BOUNDARY.fullmatch(mark):
        raise IncorrectInput("the request names no boundary, or one that is none")
    return b"--" + mark


def _first(message: bytes, mark: bytes) -> tuple[int, bool]:
    """Return where the first part begins, after a preamble that nobody reads, and whether there is none."""
    if message.startswith(mark):
        after = AFTER.match(message, len(mark))
        if after is not None:
            return after.end(), after[0] == b"--"
    _, start, last = _delimiter(message[:MAX_PREAMBLE_BYTES], b"\r\n" + mark, 0)
    return start, last


def _delimiter(message: bytes, mark: bytes, position: int) -> tuple[int, int, bool]:
    """Return (where the delimiter begins, where what follows begins, whether it is the last).

    The mark with anything else behind it is part of the data.
    """
    while (found := message.find(mark, position)) >= 0:
        after = AFTER.match(message, found + len(mark))
        if after is not None:
            return found, after.end(), after[0] == b"--"
        position = found + 1
    raise IncorrectInput("the request's parts are malformed or not ended")


def read_head(message: bytes, start: int) -> tuple[dict[str, str], int]:
    """Return the fields of a part's head, and where its body begins. Raises IncorrectInput."""
    if message.startswith(b"\r\n", start):
        return {}, start + 2
    end = message.find(b"\r\n\r\n", start, start + MAX_HEAD_BYTES)
    if end < 0:
        raise IncorrectInput("the head of a part is not ended or too long")
    lines = message[start:end].split(b"\r\n")
    if len(lines) > MAX_FIELDS:
        raise IncorrectInput("the head of a part has too many fields")
    fields: dict[str, str] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise IncorrectInput("the head of a part is malformed")
        name = field[1].decode().lower()
        if name in fields:
            raise IncorrectInput("the head of a part says something twice")
        fields[name] = field[2].decode("latin-1")
    if fields.get("content-transfer-encoding", "").lower() not in _CONTENT_ENCODINGS:
        raise IncorrectInput("a part is encoded as mail is; HTTP carries bytes")
    if fields.get("content-encoding", "identity").lower() != "identity":
        raise IncorrectInput("a part is compressed; send it as it is")
    return fields, end + 4
