"""MLLP: a block is 0x0B, a message, 0x1C, 0x0D (HL7 Transport Specification: MLLP, Release 1). Pure.

Bytes between blocks are nothing (section 2.3): blanks and line ends are passed over. A peer that sends anything
else there does not speak MLLP, and is told so.
"""

from collections.abc import Iterator
from enum import StrEnum

START, END, AFTER = 0x0B, 0x1C, 0x0D
_BETWEEN = b"\r\n \t\x00"
_TAIL = bytes((END, AFTER))


class Trouble(StrEnum):
    """Why a peer is answered with AR and its connection closed: one of a few phrases (a metric's label)."""

    NOT_YET = "nothing yet"  # never told
    NOT_MLLP = "not MLLP"
    TOO_LARGE = "message too large"
    TOO_SLOW = "message too slow"
    NO_ROOM = "too much at once"


def framed(message: bytes) -> bytes:
    """Return a message as a block."""
    return bytes((START,)) + message + _TAIL


class Frames:
    """Cuts what arrives into messages. most: bytes of one message."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = bytearray()
        self._inside = False

    @property
    def inside(self) -> bool:
        """True while a message has begun and not ended."""
        return self._inside

    @property
    def held(self) -> int:
        """How many bytes wait for the end of their message."""
        return len(self._held)

    def feed(self, data: bytes) -> Iterator[bytes | Trouble]:
        """Yield the messages that are whole now; after a Trouble nothing more is read."""
        searched = max(0, len(self._held) - 1)
        self._held += data
        while True:
            if not self._inside:
                begun = self._begin()
                if begun is not None:
                    if begun is not Trouble.NOT_YET:
                        yield begun
                    return
                searched = 0
            end = self._held.find(_TAIL, searched)
            if end > self._most or (end < 0 and len(self._held) > self._most + 1):
                yield Trouble.TOO_LARGE
                return
            if end < 0:
                return
            message = bytes(self._held[:end])
            del self._held[: end + 2]
            self._inside = False
            yield message

    def _begin(self) -> Trouble | None:
        """Return None when a message has begun."""
        rest = self._held.lstrip(_BETWEEN)
        self._held = rest[1:]
        if not rest:
            return Trouble.NOT_YET
        self._inside = rest[0] == START
        return None if self._inside else Trouble.NOT_MLLP
