"""From element to element of an encoded data set (PS3.5 chapter 7), without trusting a byte of it.

No recursion and no value read: every length is held against what encloses it, sequences of both kinds are entered,
fragments of encapsulated pixel data are counted off, and the end must be an end. What was walked hangs together;
50,000 nested sequences, a 4 GiB length or a cut end are IncorrectInput.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from clinical.errors import IncorrectInput
from dicom_node.syntaxes import EXPLICIT_BIG_ENDIAN, IMPLICIT

MAXIMUM_DEPTH = 2 * 64  # a sequence and its item are a level each
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
# Length fields of two bytes; every other VR, also one that PS3.5 may add one day, has four (PS3.5 7.1.2).
_TWO_BYTES = b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US"
SHORT = frozenset(_TWO_BYTES.split())
LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
UNDEFINED = 0xFFFFFFFF
MALFORMED = "the data set is malformed"


@dataclass(slots=True)
class _Level:
    """What is open. holds: "elements", "items" or "fragments". end: no byte of it lies at or beyond this.

    delimited: it ends with a delimiter and not at `end`. implicit: its elements have no VR.
    """

    holds: str
    end: int
    delimited: bool
    implicit: bool
    items: int = 0


class Walk:
    """One walk over `data` from `start`. size: the end of the data set, which may lie beyond the data given.

    After `top_level` has been exhausted: `is_whole` tells whether the end was seen, `is_before` whether it stopped
    before a tag, `reaches` how far the last element goes that was begun. While iterating: IncorrectInput when the
    data set does not hang together.
    """

    def __init__(self, data: bytes | mmap.mmap | memoryview, start: int, size: int, transfer_syntax: str) -> None:
        self._data, self._position = data, start
        order = ">" if transfer_syntax == EXPLICIT_BIG_ENDIAN else "<"
        self._tag, self._short = struct.Struct(f"{order}HH"), struct.Struct(f"{order}H")
        self._long = struct.Struct(f"{order}L")
        self._levels = [_Level("elements", size, False, transfer_syntax == IMPLICIT)]
        self.is_whole = self.is_before = False
        self.reaches = start

    def top_level(self, before: frozenset[int] = frozenset()) -> Iterator[tuple[int, int, int]]:
        """Yield (tag, position of the value, length) of each top-level element of defined length that is here.

        before: top-level tags at which the walk ends without looking at them.
        """
        levels, available = self._levels, len(self._data)
        while True:
            level = levels[-1]
            if self._position == level.end and not level.delimited:
                if len(levels) == 1:
                    self.is_whole = True
                    return
                levels.pop()
                continue
            if available < level.end and available - self._position < 12:
                return  # the rest is not here to be looked at
            if level.holds == "elements":
                at_top = len(levels) == 1
                if at_top and before and self._tag_here(level) in before:
                    self.is_before = True
                    return
                tag, length = self._element(level)
                if at_top and length != UNDEFINED and self._position + length <= available:
                    yield tag, self._position, length
                if length != UNDEFINED and levels[-1] is level:
                    self._position += length
                    self.reaches = max(self.reaches, self._position)
            else:
                self._item(level)

    def _element(self, level: _Level) -> tuple[int, int]:
        """Step over an element's head, or a delimiter; return its tag, and its length as it stands there."""
        tag = self._tag_here(level)
        position, end = self._position, level.end
        if tag >> 16 == 0xFFFE:
            return self._close(level, tag)
        if tag >> 16 in {0x0000, 0x0002} and len(self._levels) == 1:
            raise IncorrectInput(MALFORMED)  # command sets and file meta information are no data sets
        vr, length = b"", 0
        if level.implicit:
            length = self._long.unpack_from(self._data, position + 4)[0]
            self._position = position + 8
        else:
            vr, length = self._explicit(position, end)
        if length == UNDEFINED:
            self._open(level, vr)
        elif length > end - self._position:
            raise IncorrectInput(MALFORMED)
        elif vr == b"SQ" and length:
            self._push(_Level("items", self._position + length, False, level.implicit))
        return tag, length

    def _tag_here(self, level: _Level) -> int:
        if level.end - self._position < 8:
            raise IncorrectInput(MALFORMED)
        group, number = self._tag.unpack_from(self._data, self._position)
        return int(group << 16 | number)

    def _explicit(self, position: int, end: int) -> tuple[bytes, int]:
        vr = bytes(self._data[position + 4 : position + 6])
        if not vr.isalpha() or not vr.isupper():
            raise IncorrectInput(MALFORMED)
        if vr in SHORT:
            self._position = position + 8
            return vr, self._short.unpack_from(self._data, position + 6)[0]
        if end - position < 12:
            raise IncorrectInput(MALFORMED)
        self._position = position + 12
        return vr, self._long.unpack_from(self._data, position + 8)[0]

    def _open(self, level: _Level, vr: bytes) -> None:
        """Enter a value of undefined length: a sequence, or encapsulated pixel data (PS3.5 7.5, A.4)."""
        if vr in {b"OB", b"OW"}:
            self._push(_Level("fragments", level.end, True, level.implicit))
        elif vr in {b"", b"SQ", b"UN"}:
            # UN of undefined length holds implicit VR items whatever the transfer syntax (PS3.5 6.2.2).
            self._push(_Level("items", level.end, True, level.implicit or vr == b"UN"))
        else:
            raise IncorrectInput(MALFORMED)

    def _push(self, level: _Level) -> None:
        if len(self._levels) > MAXIMUM_DEPTH:
            raise IncorrectInput("the data set nests too deeply")
        self._levels.append(level)

    def _close(self, level: _Level, tag: int) -> tuple[int, int]:
        """Leave an item of undefined length at its delimiter."""
        length = self._long.unpack_from(self._data, self._position + 4)[0]
        if tag != _ITEM_END or length or not level.delimited:
            raise IncorrectInput(MALFORMED)
        self._levels.pop()
        self._position += 8
        return tag, UNDEFINED  # nothing to yield, nothing to step over

    def _item(self, level: _Level) -> None:
        """Enter an item of a sequence, step over a fragment, or leave at the sequence's delimiter."""
        tag = self._tag_here(level)
        length = self._long.unpack_from(self._data, self._position + 4)[0]
        self._position += 8
        if tag == _SEQUENCE_END and level.delimited and not length:
            if level.holds == "fragments" and not level.items:
                raise IncorrectInput(MALFORMED)  # the Basic Offset Table's item is always there (PS3.5 A.4)
            self._levels.pop()
            return
        level.items += 1
        if tag != _ITEM or (length != UNDEFINED and length > level.end - self._position):
            raise IncorrectInput(MALFORMED)
        if level.holds == "fragments":
            if length == UNDEFINED:
                raise IncorrectInput(MALFORMED)
            self._position += length
            self.reaches = max(self.reaches, self._position)
        elif length == UNDEFINED:
            self._push(_Level("elements", level.end, True, level.implicit))
        else:
            self._push(_Level("elements", self._position + length, False, level.implicit))
