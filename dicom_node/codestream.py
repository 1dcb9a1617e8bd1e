"""What a compressed frame declares of itself, read from its first bytes, before any decoder sees it.

A data set may say 512 x 512 and its codestream 65535 x 65535: the decoder would allocate what the codestream says.
"""

import struct
from dataclasses import dataclass

from clinical.errors import IncorrectInput

_START, _END = b"\xff\xd8", b"\xff\xd9"
_J2K_START = b"\xff\x4f\xff\x51"
_JP2_BOX, _JP2_HEAD = b"jP  ", 4096
_JPEG_XL_START, _JPEG_XL_BOX = b"\xff\x0a", b"\x00\x00\x00\x0cJXL "
# ITU-T T.81 B.1.1.3, T.87 C.1.1: start of frame, but not the tables that share its range.
_FRAMES = (frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {0xF7}
_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))
_MOST_TILES = 65535  # ITU-T T.800 A.4.2: a tile's index has 16 bits
_CUT = "the compressed image is cut or malformed"


@dataclass(frozen=True, slots=True)
class Declared:
    """samples, bits: 0 where they are not read."""

    rows: int
    columns: int
    samples: int = 0
    bits: int = 0


def declared_by(src: bytes) -> Declared | None:
    """Return what a JPEG, JPEG-LS, JPEG 2000 or JPEG XL frame declares; None when it is none of these.

    Raises IncorrectInput when the frame is cut: a decoder would fill the rest with grey, and nobody could see it.
    """
    if src[4:8] == _JP2_BOX:  # the file format around the codestream, which DICOM does not allow and some write
        src = src[src.find(_J2K_START, 0, _JP2_HEAD) :]
    head = src[:4]
    try:
        if head[:2] == _START:
            _refuse_cut(src)
            return _jpeg(src)
        if head == _J2K_START:
            _refuse_cut(src)
            return _jpeg_2000(src)
        if head[:2] == _JPEG_XL_START:
            return _jpeg_xl(src[2:])
        if src[:8] == _JPEG_XL_BOX:
            return _jpeg_xl(_first_codestream(src))
    except (struct.error, IndexError):
        raise IncorrectInput(_CUT) from None
    return None


def _refuse_cut(src: bytes) -> None:
    # A fragment has an even length; some writers pad with 0xFF, or with more than the one byte that may be needed.
    if not src[-64:].rstrip(b"\0\xff").endswith(_END):
        raise IncorrectInput(_CUT)


def _jpeg(src: bytes) -> Declared:
    at = 2
    while True:
        if src[at] != 0xFF:
            raise IncorrectInput(_CUT)
        while src[at] == 0xFF:
            at += 1
        marker = src[at]
        at += 1
        if marker in _FRAMES:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", src, at + 2)
            return Declared(rows, columns, samples, bits)
        if marker not in _ALONE:
            at += struct.unpack_from(">H", src, at)[0]


def _jpeg_2000(src: bytes) -> Declared:
    """Return SIZ (ITU-T T.800 A.5.1); bits of the first component."""
    x1, y1, x0, y0, tile_x, tile_y = struct.unpack_from(">6L", src, 8)
    samples, depth = struct.unpack_from(">HB", src, 40)
    columns, rows = x1 - x0, y1 - y0
    if tile_x < 1 or tile_y < 1 or -(-columns // tile_x) * -(-rows // tile_y) > _MOST_TILES:
        raise IncorrectInput("the compressed image declares an impossible number of tiles")
    return Declared(rows, columns, samples, (depth & 0x7F) + 1)


def _first_codestream(src: bytes) -> bytes:
    """Return the codestream, or its first part, of a JPEG XL container (ISO/IEC 18181-2)."""
    at = 0
    while True:
        length, kind = struct.unpack_from(">L4s", src, at)
        if kind in {b"jxlc", b"jxlp"}:
            return src[at + (8 if kind == b"jxlc" else 12) + 2 : at + 64]
        if length < 8:
            raise IncorrectInput(_CUT)
        at += length


def _jpeg_xl(src: bytes) -> Declared:
    """Return SizeHeader (ISO/IEC 18181-1 D.2), read from the lowest bit on."""
    if len(src) < 9:
        raise IncorrectInput(_CUT)
    bits, at = int.from_bytes(src[:12], "little"), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return bits >> (at - count) & ((1 << count) - 1)

    small = take(1)

    def size() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    rows = size()
    ratio = take(3)
    up, down = ((0, 0), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    return Declared(rows, rows * up // down if ratio else size())
