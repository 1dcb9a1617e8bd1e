"""What a received data set says about itself, read without trusting a byte of it.

A walk over element headers up to the pixel data: no recursion, no value read but the few that are wanted, no
allocation from a declared length. So 50,000 nested sequences, a 4 GiB length or a deflate bomb end in
IncorrectInput, and a whole header is known to hang together before a C-STORE is answered with Success.
"""

import mmap
import struct
import warnings
import zlib
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from clinical.errors import IncorrectInput

_WANTED = {
    0x00080005: "character_set",
    0x00080008: "image_type",
    0x00080016: "sop_class_uid",
    0x00080018: "sop_instance_uid",
    0x00080060: "modality",
    0x00081030: "study_description",
    0x00180015: "body_part",
    0x00185101: "view_position",
    0x00100010: "patient_name",
    0x00100020: "patient_id",
    0x00100021: "issuer_of_patient_id",
    0x00100030: "birth_date",
    0x00100040: "sex",
    0x0020000D: "study_uid",
    0x0020000E: "series_uid",
    0x00200060: "laterality",
    0x00200062: "image_laterality",
    0x00280300: "quality_control",
}
_PIXELS = {0x7FE00001, 0x7FE00002, 0x7FE00008, 0x7FE00009, 0x7FE00010}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL",
     b"SS", b"ST", b"TM", b"UI", b"UL", b"US")
)  # fmt: skip
_UNDEFINED = 0xFFFFFFFF
MAXIMUM_DEPTH = 2 * 64  # a sequence and its item are a level each
_MAXIMUM_VALUE = 4096
_INFLATED = 4 * 1024 * 1024
_PREAMBLE = 128 + 4
_SYNTAX = 0x00020010
_MALFORMED = "the data set is malformed"


@dataclass(frozen=True, slots=True)
class Header:
    """The attributes that storing and choosing need; "" where the data set has none. UIDs are not yet checked.

    anatomic_regions: "scheme code" of each region that is named, joined by a
        backslash; it lies in a sequence, so only dicom_node.anatomy fills it.
    """

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""
    modality: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    body_part: str = ""
    view_position: str = ""
    image_type: str = ""
    study_description: str = ""
    anatomic_regions: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    laterality: str = ""
    image_laterality: str = ""
    quality_control: str = ""

    def __repr__(self) -> str:
        # A repr lands in logs and tracebacks; the patient must not.
        return f"Header(sop_class_uid={self.sop_class_uid!r}, modality={self.modality!r}, ...)"


def read_header(path: Path, offset: int, transfer_syntax: str) -> Header:
    """Read the header of the data set that begins at `offset` of a file in a transfer syntax.

    Raises IncorrectInput when the data set does not hang together, or nests deeper than 64 sequences.
    """
    with _bytes_of(path, offset, transfer_syntax == DeflatedExplicitVRLittleEndian) as (data, start, cut):
        found: dict[str, bytes] = {}
        walk = _Walk(
            data, start, transfer_syntax == ImplicitVRLittleEndian, transfer_syntax == ExplicitVRBigEndian
        )
        for tag, position, length in walk.top_level(cut=cut):
            name = _WANTED.get(tag)
            if name and length <= _MAXIMUM_VALUE:
                found.setdefault(name, bytes(data[position : position + length]))
    texts = _texts(found)
    return Header(**texts)


def read_stored_header(path: Path) -> Header:
    """Read the header of a Part 10 file, such as the blobs that the SCP has stored; errors as read_header."""
    try:
        meta = read_file_meta_info(path)
        syntax, length = meta.TransferSyntaxUID, int(meta.FileMetaInformationGroupLength)
    except (AttributeError, InvalidDicomError, EOFError, ValueError):
        raise IncorrectInput("it is not a DICOM file") from None
    # Preamble, prefix, and the group length element itself (PS3.10 7.1).
    return read_header(path, 128 + 4 + 12 + length, syntax)


@dataclass(frozen=True, slots=True)
class Elements:
    """Raw values by tag. end: the walk went to the pixel data, past `last` or to the end of the data set."""

    values: Mapping[int, bytes]
    big_endian: bool
    end: bool


def read_elements(data: bytes, wanted: Container[int], last: int, *, whole: bool) -> Elements:
    """Read values of up to 4 KiB of the top level from the beginning of a Part 10 file, up to the tag `last`.

    whole: the file is no longer than `data`. Raises IncorrectInput when it does not hang together.
    """
    meta_end = _PREAMBLE + 12
    if len(data) < meta_end or data[128:132] != b"DICM" or data[132:136] != b"\x02\x00\x00\x00":
        raise IncorrectInput("it is not a DICOM file")
    meta_end += int.from_bytes(data[140:144], "little")
    meta: dict[int, bytes] = {}
    _run_through(data, _PREAMBLE, (_SYNTAX,), _SYNTAX, meta)
    syntax = meta.get(_SYNTAX, b"").decode("ascii", "replace").rstrip("\0 ")
    start, big = meta_end, syntax == ExplicitVRBigEndian
    if syntax == DeflatedExplicitVRLittleEndian:
        start = 0
        try:
            inflating = zlib.decompressobj(-zlib.MAX_WBITS)
            data = inflating.decompress(data[meta_end:], _INFLATED)
        except zlib.error:
            raise IncorrectInput("the deflated data set is damaged") from None
        whole = whole and inflating.eof
    found: dict[int, bytes] = {}
    if not big and syntax != ImplicitVRLittleEndian:
        start, end = _run_through(data, start, wanted, last, found)
        if end:
            return Elements(found, big_endian=False, end=True)
    walk = _Walk(data, start, syntax == ImplicitVRLittleEndian, big)
    for tag, at, length in walk.top_level(cut=not whole):
        if tag > last:
            return Elements(found, big, end=True)
        if tag in wanted and length <= _MAXIMUM_VALUE:
            found.setdefault(tag, bytes(data[at : at + length]))
    return Elements(found, big, end=whole or walk.at_pixels)


def _run_through(
    data: bytes, position: int, wanted: Container[int], last: int, found: dict[int, bytes]
) -> tuple[int, bool]:
    """Take values of explicit VR little endian; return where the walk has to go on, and whether that is the end.

    The walk's usual steps without its questions, in a third of its time: an index is made of 100,000 headers.
    """
    size, head, long = len(data), struct.Struct("<HH2sH").unpack_from, struct.Struct("<L").unpack_from
    while position + 12 <= size:
        group, element, vr, length = head(data, position)
        tag, start = group << 16 | element, position + 8
        if vr in _LONG:
            length, start = long(data, start)[0], position + 12
        elif vr not in _SHORT:
            break
        if tag > last:
            return position, True
        if tag in _PIXELS or length == _UNDEFINED or start + length > size:
            break
        if tag in wanted and length <= _MAXIMUM_VALUE:
            found.setdefault(tag, data[start : start + length])
        position = start + length
    return position, False


def decoded(value: bytes, encodings: list[str], delimiters: set[int]) -> str:
    """Return a text value, with replacements where it is not what its character set says."""
    text = value.decode("ascii") if value.isascii() and b"\x1b" not in value else None
    return (decode_bytes(value, encodings, delimiters) if text is None else text).strip("\0 ")


def encodings_of(character_set: bytes) -> list[str]:
    """Return Python's names for Specific Character Set (0008,0005); Latin-1 for one that nobody knows."""
    declared = [one.strip().decode("ascii", "replace") for one in character_set.split(b"\\")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote what they could not decode
        try:
            return convert_encodings(declared)
        except LookupError:
            return ["iso8859"]


@contextmanager
def _bytes_of(path: Path, offset: int, deflated: bool) -> Iterator[tuple[bytes | mmap.mmap, int, bool]]:
    """Yield (bytes, where the data set begins, whether the end may be missing)."""
    with path.open("rb") as file:
        if deflated:
            file.seek(offset)
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(_INFLATED), _INFLATED)
            except zlib.error:
                raise IncorrectInput("the deflated data set is damaged") from None
            yield data, 0, len(data) == _INFLATED or path.stat().st_size - offset > _INFLATED
            return
        if path.stat().st_size <= offset:
            raise IncorrectInput("the data set is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped, offset, False


class _Walk:
    """Goes from element to element; sequences of undefined length are entered, defined ones stepped over."""

    def __init__(self, data: bytes | mmap.mmap, start: int, implicit: bool, big: bool) -> None:
        self._data, self._position, self._size = data, start, len(data)
        self._tag = struct.Struct(">HH" if big else "<HH")
        self._short = struct.Struct(">H" if big else "<H")
        self._long = struct.Struct(">L" if big else "<L")
        self._implicit = [implicit]  # one entry for each open level
        self.at_pixels = False

    def top_level(self, *, cut: bool) -> Iterator[tuple[int, int, int]]:
        """Yield (tag, position of the value, length) of each top-level element before the pixel data."""
        while self._position < self._size:
            if cut and self._size - self._position < _MAXIMUM_VALUE:
                return
            tag, vr, length = self._element()
            if len(self._implicit) == 1:
                if tag in _PIXELS:
                    self.at_pixels = True
                    return
                if tag >> 16 == 0xFFFE:
                    raise IncorrectInput(_MALFORMED)
            if tag in {_ITEM_END, _SEQUENCE_END}:
                self._implicit.pop()
            elif length == _UNDEFINED:
                self._open(vr)
            elif self._position + length > self._size:
                if cut:
                    return
                raise IncorrectInput(_MALFORMED)
            else:
                if len(self._implicit) == 1:
                    yield tag, self._position, length
                self._position += length
        if len(self._implicit) > 1:
            raise IncorrectInput(_MALFORMED)

    def _element(self) -> tuple[int, bytes, int]:
        """Return tag, VR and length of the element here and step to its value."""
        data, position = self._data, self._position
        try:
            group, element = self._tag.unpack_from(data, position)
            tag = group << 16 | element
            if self._implicit[-1] or group == 0xFFFE:
                self._position = position + 8
                return tag, b"", self._long.unpack_from(data, position + 4)[0]
            vr = bytes(data[position + 4 : position + 6])
            if not vr.isalpha() or not vr.isupper():
                raise IncorrectInput(_MALFORMED)
            if vr in _LONG:
                self._position = position + 12
                return tag, vr, self._long.unpack_from(data, position + 8)[0]
            self._position = position + 8
            return tag, vr, self._short.unpack_from(data, position + 6)[0]
        except struct.error:
            raise IncorrectInput(_MALFORMED) from None

    def _open(self, vr: bytes) -> None:
        if len(self._implicit) > MAXIMUM_DEPTH:
            raise IncorrectInput("the data set nests too deeply")
        # UN of undefined length holds implicit VR items whatever the transfer syntax (PS3.5 6.2.2).
        self._implicit.append(self._implicit[-1] or vr == b"UN")


def _texts(found: dict[str, bytes]) -> dict[str, str]:
    encodings = encodings_of(found.pop("character_set", b""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: decoded(value, encodings, set()) for name, value in found.items()}
