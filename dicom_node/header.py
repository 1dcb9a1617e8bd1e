"""What a received data set says about itself, read without trusting a byte of it.

A walk over all elements (element_walk.py) that reads no value but the few that are wanted. So a deflate bomb ends
in IncorrectInput, and a data set is known to hang together to its end before a C-STORE is answered with Success.
"""

import mmap
import struct
import zlib
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from clinical.days import as_written_today
from clinical.errors import IncorrectInput
from dicom_node.character_sets import decoded, encodings_of, is_plain
from dicom_node.element_walk import LONG, MALFORMED, SHORT, UNDEFINED, Walk
from dicom_node.syntaxes import DEFLATED, EXPLICIT, EXPLICIT_BIG_ENDIAN, IMPLICIT, is_private

_WANTED = {
    0x00080005: "character_set",
    0x00080008: "image_type",
    0x00080016: "sop_class_uid",
    0x00080018: "sop_instance_uid",
    0x00080050: "accession_number",
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
# Of explicit VR little endian (PS3.5 7.1.2, 7.5). An item's tag as one number: FFFE,E000.
_SHORT_HEAD, _LENGTH = struct.Struct("<HH2sH").unpack_from, struct.Struct("<L").unpack_from
_ITEM_HEAD, _ITEM = struct.Struct("<LL"), 0xE000FFFE
_PIXELS = frozenset((0x7FE00001, 0x7FE00002, 0x7FE00008, 0x7FE00009, 0x7FE00010))
_MAXIMUM_VALUE = 4096
_INFLATED = 4 * 1024 * 1024  # of a deflated data set are walked over; the rest is counted
_INFLATED_IN_ALL = 1024 * 1024 * 1024
_CHUNK = 256 * 1024
_TRAILER = 8  # a NUL for an even length (PS3.5 A.5), or the checksum and size that some writers leave there
_UNKNOWN = 1 << 62  # an end that is not here
_PREAMBLE = 128 + 4
_META = _PREAMBLE + 12  # to the end of the group length
_LONGEST_META = 1024 * 1024
_SYNTAX = 0x00020010
_VR_END = 6  # of an element in explicit VR


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
    accession_number: str = ""

    def __repr__(self) -> str:
        # A repr lands in logs and tracebacks; the patient must not.
        return f"Header(sop_class_uid={self.sop_class_uid!r}, modality={self.modality!r}, ...)"


def read_header(path: Path, offset: int, transfer_syntax: str) -> Header:
    """Read the header of the data set that begins at `offset` of a file in a transfer syntax.

    Raises IncorrectInput when the data set does not hang together to its last byte, nests deeper than 64
    sequences, or says twice what identifies it.
    """
    return _read(path, offset, transfer_syntax, whole=True)


def header_of_beginning(data: memoryview, size: int, transfer_syntax: str) -> Header | None:
    """Return the header of a data set of `size` bytes that begins so, or None when only all of it can tell.

    It can when only the value of its last element, or pixel data that is followed by nothing, is missing.
    Raises IncorrectInput as `read_header`.
    """
    if transfer_syntax == DEFLATED:
        return None
    found: dict[str, bytes] = {}
    start, highest = 0, -1
    if transfer_syntax not in (IMPLICIT, EXPLICIT_BIG_ENDIAN):
        start, highest = _run_ahead(data, size, found, transfer_syntax)
    if start == size:
        return Header(**_texts(found))
    walk = Walk(data, start, size, transfer_syntax)
    header = _header(data, walk, whole=True, found=found, highest=highest)
    return header if walk.is_whole else None


def _run_ahead(data: memoryview, size: int, found: dict[str, bytes], syntax: str) -> tuple[int, int]:
    """Take wanted values of explicit VR little endian; return where the walk has to go on, and the last tag.

    The walk's usual steps without its questions: it is asked at whatever is not the next plain element.
    """
    position, highest, here = 0, 0x0007FFFF, len(data)  # what is below group 8 is unusual
    while position + 12 <= here:
        group, element, vr, length = _SHORT_HEAD(data, position)
        tag, start = group << 16 | element, position + 8
        if vr in LONG:
            length, start = _LENGTH(data, start)[0], position + 12
        elif vr not in SHORT:
            break
        name = _WANTED.get(tag)
        if tag <= highest or length == UNDEFINED or start + length > (here if name or vr == b"SQ" else size):
            break
        if vr == b"SQ":
            if not _holds_plain_items(data, start, start + length):
                for _ in Walk(data[: start + length], position, start + length, syntax).top_level():
                    pass  # it looks into the items
        elif name and length <= _MAXIMUM_VALUE:
            found[name] = bytes(data[start : start + length])
        position, highest = start + length, tag
    return position, highest


def _holds_plain_items(data: memoryview, position: int, end: int) -> bool:
    """Tell whether these are items of defined length with elements of defined length, and no sequence in them."""
    while position < end:
        if end - position < _ITEM_HEAD.size:
            return False
        tag, length = _ITEM_HEAD.unpack_from(data, position)
        position += _ITEM_HEAD.size
        stop = position + length
        if tag != _ITEM or stop > end:
            return False
        while position < stop:
            if stop - position < 8:
                return False
            group, _, vr, length = _SHORT_HEAD(data, position)
            position += 8
            if vr in LONG and stop - position >= 4:
                length = _LENGTH(data, position)[0]
                position += 4
            elif vr not in SHORT:
                return False
            position += length
            if group == 0xFFFE or vr == b"SQ" or position > stop:
                return False
    return True


def read_stored_header(path: Path) -> Header:
    """Read the header of a Part 10 file, such as the blobs that the SCP has stored.

    Raises IncorrectInput when it is none up to its pixels; what follows was looked at when it came.
    """
    with path.open("rb") as file:
        beginning = file.read(_META)
        beginning += file.read(min(_meta_end(beginning), _LONGEST_META) - len(beginning))
        first = file.read(_VR_END)
    syntax, start = _meta(beginning)
    if not syntax:
        raise IncorrectInput("the file names no transfer syntax")
    return _read(path, start, _encoding(syntax, first), whole=False)


def _encoding(syntax: str, first: bytes) -> str:
    """Return the standard's syntax that is encoded as a data set is. first: its first bytes.

    What a vendor's own syntax means was said by a setting when the object came and was walked; the setting may be
    another one since, so a stored object is asked itself: an implicit length is no VR below 16 kB (PS3.5 7.1.3).
    """
    if not is_private(syntax):
        return syntax
    vr = first[_VR_END - 2 :]
    return EXPLICIT if vr in SHORT or vr in LONG else IMPLICIT


def _meta_end(beginning: bytes) -> int:
    """Return where the data set of a Part 10 file begins, as its group length says (PS3.10 7.1)."""
    if len(beginning) < _META or beginning[128:132] != b"DICM" or beginning[132:136] != b"\x02\x00\x00\x00":
        raise IncorrectInput("it is not a DICOM file")
    return _META + int.from_bytes(beginning[140:144], "little")


def _meta(data: bytes) -> tuple[str, int]:
    """Return the transfer syntax and where the data set begins."""
    end = _meta_end(data)
    found: dict[int, bytes] = {}
    _run_through(data[:end], _PREAMBLE, (_SYNTAX,), _SYNTAX, found)
    return found.get(_SYNTAX, b"").decode("ascii", "replace").rstrip("\0 "), end


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
    syntax, meta_end = _meta(data)
    syntax = _encoding(syntax, data[meta_end : meta_end + _VR_END])
    start, big = meta_end, syntax == EXPLICIT_BIG_ENDIAN
    if syntax == DEFLATED:
        start = 0
        try:
            inflating = zlib.decompressobj(-zlib.MAX_WBITS)
            data = inflating.decompress(data[meta_end:], _INFLATED)
        except zlib.error:
            raise IncorrectInput("the deflated data set is damaged") from None
        whole = whole and inflating.eof
    found: dict[int, bytes] = {}
    if not big and syntax != IMPLICIT:
        start, end = _run_through(data, start, wanted, last, found)
        if end:
            return Elements(found, big_endian=False, end=True)
    walk = Walk(data, start, len(data) if whole else _UNKNOWN, syntax)
    for tag, at, length in walk.top_level(before=_PIXELS):
        if tag > last:
            return Elements(found, big, end=True)
        if tag in wanted and length <= _MAXIMUM_VALUE:
            found.setdefault(tag, bytes(data[at : at + length]))
    return Elements(found, big, end=whole or walk.is_before)


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
        if vr in LONG:
            length, start = long(data, start)[0], position + 12
        elif vr not in SHORT:
            break
        if tag > last:
            return position, True
        if tag in _PIXELS or length == UNDEFINED or start + length > size:
            break
        if tag in wanted and length <= _MAXIMUM_VALUE:
            found.setdefault(tag, data[start : start + length])
        position = start + length
    return position, False


def _read(path: Path, offset: int, transfer_syntax: str, *, whole: bool) -> Header:
    with path.open("rb") as file:
        if path.stat().st_size <= offset:
            raise IncorrectInput("the data set is empty")
        if transfer_syntax == DEFLATED:
            return _read_deflated(file, offset, whole=whole)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return _header(mapped, Walk(mapped, offset, len(mapped), transfer_syntax), whole=whole)


def _read_deflated(file: BinaryIO, offset: int, *, whole: bool) -> Header:
    """Walk over what the first megabytes give, then inflate the rest into nothing: its end must be there."""
    file.seek(offset)
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        head = stream.decompress(file.read(_INFLATED), _INFLATED)
        walk = Walk(head, 0, len(head) if stream.eof else _UNKNOWN, DEFLATED)
        header = _header(head, walk, whole=whole)
        if whole and walk.reaches > len(head) + _inflate_rest(stream, file):
            raise IncorrectInput(MALFORMED)
    except zlib.error:
        raise IncorrectInput("the deflated data set is damaged") from None
    return header


def _inflate_rest(stream: Any, file: BinaryIO) -> int:  # noqa: ANN401 - zlib does not name its type
    """Return how many bytes the rest of a deflated stream gives, in bounded memory."""
    count = 0
    while not stream.eof:
        packed = stream.unconsumed_tail or file.read(_CHUNK)
        if not packed:
            raise IncorrectInput("the deflated data set is cut")
        count += len(stream.decompress(packed, _CHUNK))
        if count > _INFLATED_IN_ALL:
            raise IncorrectInput("the deflated data set inflates to too much")
    if len(stream.unused_data + file.read(_TRAILER)) > _TRAILER:
        raise IncorrectInput(MALFORMED)
    return count


def _header(
    data: bytes | mmap.mmap | memoryview,
    walk: Walk,
    *,
    whole: bool,
    found: dict[str, bytes] | None = None,
    highest: int = -1,
) -> Header:
    """Walk, and take the values. found, highest: what was run through before, and its last tag."""
    found = {} if found is None else found
    for tag, position, length in walk.top_level(before=frozenset() if whole else _PIXELS):
        name = _WANTED.get(tag)
        if name and length <= _MAXIMUM_VALUE:
            value = bytes(data[position : position + length])
            # A second reader of the object may find another one (PS3.5 7.1: once, and in order).
            if tag < highest or found.setdefault(name, value) != value:
                raise IncorrectInput(MALFORMED)
        highest = max(highest, tag)
    return Header(**_texts(found))


def _texts(found: dict[str, bytes]) -> dict[str, str]:
    character_set = found.pop("character_set", b"")
    if all(map(is_plain, found.values())):
        texts = {name: value.decode("ascii").strip("\0 ") for name, value in found.items()}
    else:
        encodings = encodings_of(character_set)
        texts = {name: decoded(value, encodings, frozenset()) for name, value in found.items()}
    if "birth_date" in texts:
        texts["birth_date"] = as_written_today(texts["birth_date"])
    return texts
