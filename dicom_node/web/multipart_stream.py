"""Multipart messages taken apart while they come: `multipart.read_parts` for those that fit in no memory.

The same book, the same caps and the same answers. At most a piece, a head and a delimiter are held at a time.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from clinical.errors import IncorrectInput
from dicom_node.web.multipart import AFTER, MAX_HEAD_BYTES, MAX_PARTS, MAX_PREAMBLE_BYTES, mark_of, read_head

_LONGEST_AFTER = 66  # of what AFTER matches
_NOT_ENDED = "the request's parts are malformed or not ended"


@dataclass(frozen=True, slots=True)
class StreamedPart:
    """One part. headers: by lower-case name. body: its pieces, to be read before the next part is asked for."""

    headers: Mapping[str, str]
    body: Iterator[bytes]


def stream_parts(pieces: Iterable[bytes], boundary: str) -> Iterator[StreamedPart]:
    """Yield the parts of a message. Raises IncorrectInput where it is malformed, cut, or over a cap."""
    reader = _Reader(pieces, b"\r\n" + mark_of(boundary))
    reader.pass_preamble()
    count = 0
    while not reader.was_last:
        count += 1
        if count > MAX_PARTS:
            raise IncorrectInput(f"the request has more than {MAX_PARTS} parts")
        headers = reader.head()
        body = reader.until_delimiter()
        yield StreamedPart(headers, body)
        for _ in body:  # what nobody wanted
            pass
    if count == 0:
        raise IncorrectInput("the request has no parts")


class _Reader:
    """was_last: whether the delimiter that was passed last ends the message."""

    def __init__(self, pieces: Iterable[bytes], delimiter: bytes) -> None:
        self._pieces, self._delimiter = iter(pieces), delimiter
        self._held = bytearray(b"\r\n")  # a message may begin with the delimiter, without a line before it
        self.was_last = False

    def pass_preamble(self) -> None:
        size = 0
        for piece in self.until_delimiter():
            size += len(piece)
            if size > MAX_PREAMBLE_BYTES:
                raise IncorrectInput(_NOT_ENDED)

    def head(self) -> dict[str, str]:
        while len(self._held) < MAX_HEAD_BYTES and b"\r\n\r\n" not in self._held and self._more():
            pass
        headers, end = read_head(bytes(self._held[: MAX_HEAD_BYTES + 4]), 0)
        del self._held[:end]
        return headers

    def until_delimiter(self) -> Iterator[bytes]:
        """Yield what comes before the next delimiter, and pass that."""
        at = 0  # before it there is none
        while True:
            found = self._held.find(self._delimiter, at)
            if found < 0:
                ready = len(self._held) - len(self._delimiter) + 1
                if ready > 0:
                    yield self._taken(ready)
                at = 0
                if not self._more():
                    raise IncorrectInput(_NOT_ENDED)
                continue
            behind = found + len(self._delimiter)
            while len(self._held) < behind + _LONGEST_AFTER and self._more():
                pass
            after = AFTER.match(self._held, behind)
            if after is None:  # the mark with anything else behind it is part of the data
                at = found + 1
                continue
            self.was_last = after[0] == b"--"
            end = after.end()
            del after  # it would keep the bytes from being taken away
            if found:
                yield self._taken(found)
            del self._held[: end - found]
            return

    def _taken(self, count: int) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def _more(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._held += piece
        return True
