"""Data sets that are broken by PS3.5, or are not what their command says: a failure status and nothing stored.

The association lives on: the same one verifies afterwards, and stores a good object at the end.
"""

import random
import struct
import zlib

import numpy as np
import pytest
from pydicom.uid import ComputedRadiographyImageStorage
from pynetdicom.dsutils import encode

from benchmarks.raw_peer import EXPLICIT, IMPLICIT, VERIFICATION, RawPeer, message, store_command
from dicom_node.testing import cr_dataset

pytestmark = pytest.mark.slow  # they share a server
CR = str(ComputedRadiographyImageStorage)
BIG_ENDIAN, DEFLATED, RLE = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
EXPLICITLY, IMPLICITLY, BIG, DEFLATE, COMPRESSED = 1, 5, 7, 9, 11
CONTEXTS = {
    EXPLICITLY: (CR, (EXPLICIT,)),
    3: (VERIFICATION, (IMPLICIT,)),
    IMPLICITLY: (CR, (IMPLICIT,)),
    BIG: (CR, (BIG_ENDIAN,)),
    DEFLATE: (CR, (DEFLATED,)),
    COMPRESSED: (CR, (RLE,)),
}
REFUSED = {0xA900, 0xC000, 0x0117, 0x0110}
PIXELS = np.arange(256, dtype=np.uint16).reshape(16, 16)
DS = cr_dataset(PIXELS)
UID = str(DS.SOPInstanceUID)
GOOD = encode(DS, is_implicit_vr=False, is_little_endian=True)
GOOD_IMPLICIT = encode(DS, is_implicit_vr=True, is_little_endian=True)
PIXELS_AT = GOOD.rindex(struct.pack("<HH", 0x7FE0, 0x0010))
HEAD, TAIL = GOOD[:PIXELS_AT], GOOD[PIXELS_AT:]


def explicit(tag: int, vr: bytes, data: bytes, length: int | None = None) -> bytes:
    count = len(data) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    is_long = vr in {b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR", b"OF", b"OD", b"OL", b"OV"}
    return head + (struct.pack("<HL", 0, count) if is_long else struct.pack("<H", count)) + data


def item(data: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(data) if length is None else length) + data


ITEM_END, SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0), struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
UNDEFINED = 0xFFFFFFFF
NAME = explicit(0x00081032, b"LO", b"AB")


def before_pixels(*elements: bytes) -> bytes:
    """Return the good data set with more elements before its pixels (groups 0x0040 and up stay in order)."""
    return HEAD + b"".join(elements) + TAIL


def sequence(data: bytes, length: int | None = None) -> bytes:
    return explicit(0x00400555, b"SQ", data, length)


def with_uid(keyword: str, uid: str | bytes | None, vr: str = "UI") -> bytes:
    """Return the good data set with one UID replaced byte for byte."""
    ds = cr_dataset(PIXELS)
    tag = {"SOPClassUID": 0x00080016, "SOPInstanceUID": 0x00080018, "StudyInstanceUID": 0x0020000D}.get(
        keyword, 0x0020000E
    )
    old = explicit(tag, b"UI", _even(str(ds[keyword].value).encode()))
    assert old in GOOD
    raw = None if uid is None else _even(uid if isinstance(uid, bytes) else uid.encode())
    return GOOD.replace(old, b"" if raw is None else explicit(tag, vr.encode(), raw), 1)


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


def nested(depth: int, *, closed: bool) -> bytes:
    opened = (explicit(0x00400555, b"SQ", b"", UNDEFINED) + item(b"", UNDEFINED)) * depth
    return opened + (ITEM_END + SEQUENCE_END) * depth * closed


def nested_defined(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = sequence(item(inner))
    return inner


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(data) + packer.flush()


def deflated_bomb(megabytes: int, before: bytes = b"") -> bytes:
    """Deflate so many megabytes of zeros, all by the same bytes: each stands for itself after a full flush."""
    packer = zlib.compressobj(9, wbits=-15)
    start = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    one = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + one * megabytes + packer.flush()


def encapsulated(*fragments: bytes, end: bytes = SEQUENCE_END) -> bytes:
    return HEAD + explicit(0x7FE00010, b"OB", b"", UNDEFINED) + b"".join(fragments) + end


NOTHING = {
    "empty": b"",
    **{f"{count} bytes": GOOD[:count] for count in range(1, 8)},
    "zeros": bytes(5000),
    "ones": b"\xff" * 5000,
    "noise": random.Random(1).randbytes(5000),
    "text": b"<html><body>Not an image</body></html>" * 20,
    "a Part 10 file": bytes(128) + b"DICM" + GOOD,
    "only pixels": TAIL,
    "no pixels and no UIDs": NAME * 3,
}
CUT = {f"cut at {at}": GOOD[:at] for at in (9, 30, 100, 333, 500, PIXELS_AT - 1, PIXELS_AT + 3, PIXELS_AT + 7)} | {
    "cut within the pixels": GOOD[: PIXELS_AT + 100],
    "cut one byte before the end": GOOD[:-1],
    "pixels of 4 GiB": HEAD + explicit(0x7FE00010, b"OW", b"\0" * 512, 0xFFFFFFFE),
    "a byte behind the pixels": GOOD + b"\0",
    "noise behind the pixels": GOOD + random.Random(2).randbytes(501),
}
ELEMENTS = {
    "an element beyond the end": HEAD + explicit(0x00400254, b"LO", b"AB", 60000),
    "an element of 4 GiB": before_pixels(explicit(0x00420011, b"OB", b"AB", 0xFFFFFFFE)),
    "an element of undefined length that is no sequence": before_pixels(
        explicit(0x00420011, b"UT", b"AB", UNDEFINED)
    ),
    "a VR of lower case": before_pixels(explicit(0x00400254, b"lo", b"AB")),
    "a VR of NULs": before_pixels(explicit(0x00400254, b"\0\0", b"AB")),
    "a VR of digits": before_pixels(explicit(0x00400254, b"12", b"AB")),
    "a VR that there is not": before_pixels(explicit(0x00400254, b"ZZ", b"AB")),
    "a command element within": struct.pack("<HH2sHH", 0, 0x100, b"US", 2, 1) + GOOD,
    "a file meta element within": explicit(0x00020010, b"UI", b"1.2.840.10008.1.2\0") + GOOD,
    "the instance UID twice": GOOD.replace(
        explicit(0x00080018, b"UI", _even(UID.encode())),
        explicit(0x00080018, b"UI", _even(UID.encode())) + explicit(0x00080018, b"UI", b"1.2.3.4\0"),
        1,
    ),
    "the study UID again behind the pixels": GOOD + explicit(0x0020000D, b"UI", b"1.2.3.4\0"),
    "the patient again behind the pixels": GOOD + explicit(0x00100020, b"LO", b"OTHER\0"),
    "elements in falling order": TAIL + HEAD,
}
SEQUENCES = {
    "a sequence beyond the end": before_pixels(sequence(item(NAME), 100_000)),
    "an item beyond its sequence": before_pixels(sequence(item(NAME, 500), len(item(NAME)))),
    "an item beyond the end": before_pixels(sequence(item(NAME, 0x7FFFFFFE), UNDEFINED), SEQUENCE_END),
    "an element beyond its item": before_pixels(
        sequence(item(explicit(0x00081032, b"LO", b"AB", 500)), UNDEFINED), SEQUENCE_END
    ),
    "no item in a sequence of some bytes": before_pixels(sequence(b"\0" * 40)),
    "an element where an item is due": before_pixels(sequence(NAME, UNDEFINED), SEQUENCE_END),
    "no end of the sequence": before_pixels(sequence(item(NAME), UNDEFINED)),
    "no end of the item": before_pixels(sequence(item(NAME, UNDEFINED), UNDEFINED), SEQUENCE_END),
    "no end of anything": HEAD + nested(50, closed=False),
    "an end of an item alone": before_pixels(ITEM_END),
    "an end of a sequence alone": before_pixels(SEQUENCE_END),
    "an item alone": before_pixels(item(NAME)),
    "an end of a sequence with a length": before_pixels(
        sequence(item(NAME), UNDEFINED), SEQUENCE_END[:4] + b"\4\0\0\0AAAA"
    ),
    "10,000 sequences deep": before_pixels(nested(10_000, closed=True)),
    "10,000 sequences deep without an end": HEAD + nested(10_000, closed=False),
    "10,000 sequences deep with lengths": before_pixels(nested_defined(10_000)),
    "200 sequences deep": before_pixels(nested(200, closed=True)),
    "UN of undefined length without an end": before_pixels(explicit(0x00400555, b"UN", item(b""), UNDEFINED)),
}
UIDS = {
    f"{keyword}: {name}": with_uid(keyword, uid)
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    for name, uid in {
        "missing": None,
        "empty": b"",
        "65 characters": b"1." * 32 + b"1",
        "8 kB": b"1." * 4000,
        "a path": b"../../evil",
        "a NUL within": b"1.2\0.3",
        "not ASCII": b"1.2.\xff\xfe",
        "two values": b"1.2.3\\4.5.6",
        "letters": b"1.2.abc",
    }.items()
} | {
    "another class than the command's": with_uid("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"),
    "another instance than the command's": with_uid("SOPInstanceUID", "1.2.3.4.5"),
    "a study UID of VR LO with a path": with_uid("StudyInstanceUID", "../../evil", "LO"),
    "a study UID that is a number": with_uid("StudyInstanceUID", b"\1\2", "US"),
    "a study UID that is a sequence": with_uid("StudyInstanceUID", item(b""), "SQ"),
}
ENCAPSULATED = {
    "no item": encapsulated(),
    "no end": encapsulated(item(b""), item(b"\0" * 100), end=b""),
    "a fragment beyond the end": encapsulated(item(b""), item(b"\0" * 100, 100_000)),
    "a fragment of 4 GiB": encapsulated(item(b""), item(b"\0" * 100, 0xFFFFFFFE)),
    "a fragment of undefined length": encapsulated(item(b""), item(b"\0" * 100, UNDEFINED)),
    "no item tag": encapsulated(b"\0" * 80),
    "cut in a fragment's header": encapsulated(item(b""), item(b"")[:5], end=b""),
}
CASES = {
    **{f"nothing: {name}": (EXPLICITLY, data) for name, data in NOTHING.items()},
    **{f"cut: {name}": (EXPLICITLY, data) for name, data in CUT.items()},
    **{f"element: {name}": (EXPLICITLY, data) for name, data in ELEMENTS.items()},
    **{f"sequence: {name}": (EXPLICITLY, data) for name, data in SEQUENCES.items()},
    **{f"UID: {name}": (EXPLICITLY, data) for name, data in UIDS.items()},
    **{f"encapsulated: {name}": (COMPRESSED, data) for name, data in ENCAPSULATED.items()},
    "syntax: implicit where explicit was agreed": (EXPLICITLY, GOOD_IMPLICIT),
    "syntax: explicit where implicit was agreed": (IMPLICITLY, GOOD),
    "syntax: little endian where big was agreed": (BIG, GOOD),
    "syntax: big endian where little was agreed": (EXPLICITLY, encode(DS, False, False)),
    "syntax: not deflated where deflated was agreed": (DEFLATE, GOOD),
    "syntax: deflated where it was not agreed": (EXPLICITLY, deflated(GOOD)),
    "implicit: zeros": (IMPLICITLY, bytes(5000)),
    "implicit: an element beyond the end": (
        IMPLICITLY,
        GOOD_IMPLICIT[:200] + struct.pack("<HHL", 0x40, 0x254, 90_000),
    ),
    "implicit: cut": (IMPLICITLY, GOOD_IMPLICIT[:400]),
    "implicit: 10,000 sequences deep": (
        IMPLICITLY,
        GOOD_IMPLICIT[:8] + (struct.pack("<HHL", 0x40, 0x555, UNDEFINED) + item(b"", UNDEFINED)) * 10_000,
    ),
    "deflated: cut": (DEFLATE, deflated(GOOD)[:-20]),
    "deflated: noise": (DEFLATE, random.Random(3).randbytes(3000)),
    "deflated: a bomb of 256 MB of zeros": (DEFLATE, deflated_bomb(256)),
    "deflated: a bomb of 256 MB behind a good header": (
        DEFLATE,
        deflated_bomb(200, HEAD + explicit(0x00420011, b"OB", b"", 256 << 20)),
    ),
    "deflated: nothing": (DEFLATE, deflated(b"")),
    "deflated: bytes behind its end": (DEFLATE, deflated(GOOD) + random.Random(4).randbytes(500)),
}


def status_of(peer: RawPeer, context: int, data: bytes, uid: str = UID) -> int:
    peer.send(message(context, store_command(CR, uid), data, 0))
    return peer.read_status()


@pytest.fixture(scope="module")
def peer(shared_node):
    with RawPeer(shared_node.port, answer_within_s=30) as one:
        one.associate(CONTEXTS)
        yield one


@pytest.mark.parametrize(("context", "data"), CASES.values(), ids=CASES)
def test_a_broken_data_set_is_refused_on_an_association_that_lives_on(shared_node, peer, context, data):
    before = len(shared_node.stored())
    assert status_of(peer, context, data) in REFUSED
    peer.echo(3)
    assert len(shared_node.stored()) == before
    assert shared_node.parts() == []


def test_the_same_association_then_stores_a_good_object(shared_node, peer):
    assert status_of(peer, EXPLICITLY, GOOD) == 0x0000
    assert (
        status_of(peer, EXPLICITLY, before_pixels(nested(60, closed=True))) == 0x0111
    )  # other bytes, same instance
