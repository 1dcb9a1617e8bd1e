"""Objects made to hurt a decoder: bombs, contradictions, cut and mangled files. Each is (name, bytes)."""

import io
import random
import struct
import zlib

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames

from dicom_node.testing import cr_dataset, write_dicom

PIXELS = (np.arange(64 * 64, dtype=np.uint16) % 4096).reshape(64, 64)
HUGE = 65535


def _bytes(ds):
    buffer = io.BytesIO()
    write_dicom(ds, buffer)
    return buffer.getvalue()


def _compressed(syntax, change=bytes, **attributes):
    ds = cr_dataset(PIXELS, **attributes)
    ds.compress(syntax, generate_instance_uid=False)
    frame = bytearray(next(generate_frames(ds.PixelData, number_of_frames=1)))
    return _framed(ds, change(frame))


def _framed(ds, *frames, syntax=None):
    ds.PixelData = encapsulate([bytes(one) + b"\0" * (len(one) % 2) for one in frames])
    ds["PixelData"].is_undefined_length = True
    if syntax:
        ds.file_meta.TransferSyntaxUID = syntax
    return _bytes(ds)


def deflate_bomb(megabytes):
    """A data set of some kilobytes that inflates to so many megabytes of private data before its pixels."""
    head = cr_dataset(PIXELS)
    head.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    whole = _bytes(head)
    length = struct.unpack_from("<L", whole, 140)[0]
    meta, body = whole[: 144 + length], zlib.decompress(whole[144 + length :], -zlib.MAX_WBITS)
    stream = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    chunk = bytes(1 << 20)
    packed = stream.compress(body + struct.pack("<HH2sHL", 0x7FE1, 0x1010, b"OB", 0, megabytes << 20))
    packed += b"".join(stream.compress(chunk) for _ in range(megabytes)) + stream.flush()
    return meta + packed


def rle_bomb(megabytes):
    """One RLE segment that expands to so many megabytes, in an image of 64 x 64."""
    runs = bytes((0x81, 7)) * (megabytes * (1 << 20) // 128)
    header = struct.pack("<16L", 2, 64, 64 + len(runs), *[0] * 13)
    return _framed(cr_dataset(PIXELS), header + runs + b"\x81\7" * 32, syntax=uid.RLELossless)


def deflated_frame_bomb(megabytes):
    stream = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    packed = b"".join(stream.compress(bytes(1 << 20)) for _ in range(megabytes)) + stream.flush()
    return _framed(cr_dataset(PIXELS), packed, syntax=uid.UID("1.2.840.10008.1.2.8.1"))


def _j2k_size(frame):
    struct.pack_into(">2L", frame, 8, HUGE, HUGE)
    return frame


def _j2k_tiles(frame):
    struct.pack_into(">2L", frame, 24, 1, 1)
    return frame


def _jls_size(frame):
    at = frame.index(b"\xff\xf7")
    struct.pack_into(">2H", frame, at + 5, HUGE, HUGE)
    return frame


def _jpeg_size(frame):
    at = frame.index(b"\xff\xc1")
    struct.pack_into(">2H", frame, at + 5, HUGE, HUGE)
    return frame


def _jpeg(change=bytes, **attributes):
    frame = bytearray(imagecodecs.jpeg8_encode(PIXELS, level=90, bitspersample=12))
    return _framed(cr_dataset(PIXELS, **attributes), change(frame), syntax=uid.JPEGExtended12Bit)


def bombs():
    """What would take gigabytes, were its declaration or its stream believed."""
    yield "a deflated data set of 300 MB", deflate_bomb(300)
    yield "an RLE run of 200 MB", rle_bomb(200)
    yield "a deflated frame of 200 MB", deflated_frame_bomb(200)
    yield "a JPEG header of 65535 x 65535", _jpeg(_jpeg_size)
    yield "a JPEG 2000 header of 65535 x 65535", _compressed(uid.JPEG2000Lossless, _j2k_size)
    yield "a JPEG-LS header of 65535 x 65535", _compressed(uid.JPEGLSLossless, _jls_size)
    yield "JPEG 2000 tiles of one pixel", _tiles()
    yield "a data set of 65535 x 65535", _bytes(cr_dataset(PIXELS, Rows=HUGE, Columns=HUGE))
    yield "both of 65535 x 65535", _both()
    yield "a million frames", _bytes(cr_dataset(PIXELS, NumberOfFrames=1_000_000))
    yield "a million compressed frames", _many_frames()


def _tiles():
    pixels = np.zeros((300, 300), np.uint16)
    ds = cr_dataset(pixels)
    ds.compress(uid.JPEG2000Lossless, generate_instance_uid=False)
    return _framed(ds, _j2k_tiles(bytearray(next(generate_frames(ds.PixelData, number_of_frames=1)))))


def _both():
    ds = cr_dataset(PIXELS)
    ds.compress(uid.JPEG2000Lossless, generate_instance_uid=False)
    frame = _j2k_size(bytearray(next(generate_frames(ds.PixelData, number_of_frames=1))))
    ds.Rows = ds.Columns = HUGE
    return _framed(ds, frame)


def _many_frames():
    ds = cr_dataset(PIXELS)
    ds.compress(uid.RLELossless, generate_instance_uid=False)
    ds.NumberOfFrames = 1_000_000
    return _bytes(ds)


def malformed():
    """At least forty files that are broken in ways a sender, a disk or an attacker breaks them."""
    good = _bytes(cr_dataset(PIXELS))
    pixels_at = good.rindex(struct.pack("<HH", 0x7FE0, 0x0010))
    yield "empty", b""
    yield "one byte", b"D"
    yield "only a preamble", bytes(128)
    yield "only DICM", bytes(128) + b"DICM"
    for kept in (
        140,
        200,
        300,
        400,
        pixels_at - 3,
        pixels_at + 4,
        pixels_at + 12,
        len(good) - 5000,
        len(good) - 1,
    ):
        yield f"cut at {kept}", good[:kept]
    yield "a pixel length of 4 GB", good[: pixels_at + 8] + b"\xfe\xff\xff\xff" + good[pixels_at + 12 :]
    yield "no transfer syntax", good.replace(b"1.2.840.10008.1.2.1\0", b"\0" * 20, 1)
    yield "an unknown transfer syntax", good.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0", 1)
    for name, attributes in {
        "no rows": {"Rows": None},
        "no columns": {"Columns": 0},
        "no bits": {"BitsAllocated": None},
        "three bits allocated": {"BitsAllocated": 3},
        "more stored than allocated": {"BitsStored": 17},
        "a high bit below": {"HighBit": 2},
        "no interpretation": {"PhotometricInterpretation": None},
        "another interpretation": {"PhotometricInterpretation": "XYZ"},
        "three samples": {"SamplesPerPixel": 3},
        "no pixels": {"PixelData": None},
        "empty pixels": {"PixelData": b""},
        "more rows than pixels": {"Rows": 65},
        "negative frames": {"NumberOfFrames": -5},
        "no image UID": {"SOPInstanceUID": None},
        "no study UID": {"StudyInstanceUID": None},
        "no pixel representation": {"PixelRepresentation": None},
    }.items():
        yield name, _bytes(cr_dataset(PIXELS, **attributes))
    for syntax in (uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless):
        yield f"{syntax.name}: no frame", _framed(cr_dataset(PIXELS), syntax=syntax)
        yield f"{syntax.name}: an empty frame", _framed(cr_dataset(PIXELS), b"\0\0", syntax=syntax)
        yield f"{syntax.name}: half a frame", _compressed(syntax, lambda frame: frame[: len(frame) // 2])
        yield f"{syntax.name}: its head only", _compressed(syntax, lambda frame: frame[:20])
        yield f"{syntax.name}: zeros", _framed(cr_dataset(PIXELS), bytes(3000), syntax=syntax)
    yield "JPEG: half a frame", _jpeg(lambda frame: frame[: len(frame) // 2])
    yield "JPEG: an endless header", _jpeg(lambda frame: b"\xff\xd8" + b"\xff" * 5000 + b"\xff\xd9")
    yield "JPEG: markers without length", _jpeg(lambda frame: b"\xff\xd8" + b"\xff\xe0\0\0" * 50 + b"\xff\xd9")
    yield "RLE: segments out of the frame", _compressed(uid.RLELossless, _rle_offsets)
    yield "RLE: sixteen segments", _compressed(uid.RLELossless, lambda frame: b"\x10\0\0\0" + frame[4:])


def _rle_offsets(frame):
    struct.pack_into("<2L", frame, 4, 0xFFFFFF00, 0xFFFFFFF0)
    return frame


def mangled(count, seed=11):
    """Whole files of every codec with some bytes changed: most are refused, some decode to other values."""
    draw = random.Random(seed)
    codecs = [uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless]
    sources = [bytearray(_compressed(one)) for one in codecs] + [bytearray(_jpeg())]
    for number in range(count):
        data = bytearray(draw.choice(sources))
        for _ in range(draw.randint(1, 12)):
            data[draw.randrange(132, len(data))] = draw.randrange(256)
        yield f"mangled {number}", bytes(data)
