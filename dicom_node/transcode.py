"""An object or its frames in another transfer syntax, without loss. Runs in the decoder's child process.

From whatever is decoded here to Explicit VR Little Endian, and to RLE, JPEG 2000 and JPEG-LS where that gives the
same values back: each frame that is encoded is decoded again and compared before it leaves.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from clinical.errors import IncorrectInput, Unsupported
from dicom_node.attributes import integer
from dicom_node.codecs import unpacked
from dicom_node.frames import stored_frame
from dicom_node.syntaxes import NATIVE

_Frame = NDArray[np.generic]
MOST_BYTES = 1 << 30  # of the pixels, decoded
_CHUNK = 1 << 20
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_LOSSY = frozenset(
    (
        uid.JPEGBaseline8Bit,
        uid.JPEGExtended12Bit,
        uid.JPEGLSNearLossless,
        uid.JPEG2000,
        uid.HTJ2K,
        "1.2.840.10008.1.2.4.112",
    )
)


def _rle(frame: _Frame) -> bytes:
    """Return an RLE frame (PS3.5 annex G): a segment for each byte of each sample, the highest first."""
    planes = frame[None] if frame.ndim == 2 else np.moveaxis(frame, 2, 0)
    segments = []
    for plane in planes:
        by_byte = np.ascontiguousarray(plane).view(np.uint8).reshape(*plane.shape, plane.dtype.itemsize)
        for byte in reversed(range(plane.dtype.itemsize)):
            packed = imagecodecs.packbits_encode(np.ascontiguousarray(by_byte[:, :, byte]), axis=-1)
            segments.append(packed + b"\0" * (len(packed) % 2))
    starts = 64 + np.cumsum([0, *map(len, segments[:-1])])
    head = np.zeros(16, "<u4")
    head[: len(segments) + 1] = [len(segments), *starts]
    return head.tobytes() + b"".join(segments)


def _not_rle(data: bytes, like: _Frame) -> _Frame:
    samples = 1 if like.ndim == 2 else like.shape[2]
    planes = unpacked(data, like.shape[0] * like.shape[1], samples, like.dtype.itemsize)
    found = np.frombuffer(planes, like.dtype).reshape(samples, *like.shape[:2])
    return found[0] if like.ndim == 2 else np.moveaxis(found, 0, 2)


def _j2k(frame: _Frame) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(frame, level=0, codecformat="j2k", reversible=True, mct=False))


def _jls(frame: _Frame) -> bytes:
    if frame.dtype.kind == "i":
        raise Unsupported("signed values are not encoded as JPEG-LS")
    return bytes(imagecodecs.jpegls_encode(frame, level=0))


_Codec = tuple[Callable[[_Frame], bytes], Callable[[bytes, _Frame], _Frame]]
ENCODERS: Mapping[str, _Codec] = {
    uid.RLELossless: (_rle, _not_rle),
    uid.JPEG2000Lossless: (_j2k, lambda data, _like: imagecodecs.jpeg2k_decode(data)),
    uid.JPEGLSLossless: (_jls, lambda data, _like: imagecodecs.jpegls_decode(data)),
}


def object_in(ds: Dataset, target: str) -> Iterator[bytes]:
    """Yield the Part 10 file of an object in a transfer syntax, piece by piece.

    Raises Unsupported for a syntax or an object that this cannot be done for, IncorrectInput or whatever a codec
    raises for pixels that cannot be decoded.
    """
    stored, native = ds.file_meta.TransferSyntaxUID, target == uid.ExplicitVRLittleEndian
    if stored in NATIVE and (native or not any(name in ds for name in _PIXELS)):
        yield from _rewritten(ds, target)
        return
    count = max(integer(ds, "NumberOfFrames", 1), 1)
    frames = frames_in(ds, range(count), target)
    first = next(frames)  # before anything is written
    yield _written(ds, target, _described(ds))
    if not native:
        pixels = encapsulate([first, *frames])
        # Undefined length, ended by a Sequence Delimitation Item (PS3.5 A.4).
        yield _PIXEL_DATA + b"OB\0\0\xff\xff\xff\xff" + pixels + b"\xfe\xff\xdd\xe0\0\0\0\0"
        return
    size = count * _frame_bytes(ds)
    vr = b"OB" if ds.BitsAllocated <= 8 else b"OW"
    yield _PIXEL_DATA + vr + b"\0\0" + (size + size % 2).to_bytes(4, "little")
    yield first
    yield from frames
    yield b"\0" * (size % 2)


def _described(ds: Dataset) -> dict[str, object]:
    """Return the attributes that decoding changes."""
    changed: dict[str, object] = {}
    if integer(ds, "SamplesPerPixel", 1) == 3:
        changed |= {"PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    if ds.file_meta.TransferSyntaxUID in _LOSSY:
        changed["LossyImageCompression"] = "01"  # once lossy, always lossy (PS3.3 C.7.6.1.1.5)
    return changed


def frames_in(ds: Dataset, indices: Sequence[int], target: str) -> Iterator[bytes]:
    """Return frames, counted from 0, in a transfer syntax: native ones little endian and colour by pixel.

    Raises Unsupported at once for what cannot be; errors of a frame come with that frame.
    """
    if target != uid.ExplicitVRLittleEndian and target not in ENCODERS:
        raise Unsupported("nothing is encoded in this transfer syntax here")
    if ds.BitsAllocated not in {8, 16, 32} or "PixelData" not in ds:
        raise Unsupported("only pixels of 8, 16 or 32 bits are written in another transfer syntax")
    if len(indices) * _frame_bytes(ds) > MOST_BYTES:
        raise Unsupported("the pixels are more than is decoded at once; retrieve them as they are stored")
    return (_frame_in(ds, index, target) for index in indices)


def _frame_in(ds: Dataset, index: int, target: str) -> bytes:
    frame = _values(ds, index)
    if target == uid.ExplicitVRLittleEndian:
        return frame.tobytes()
    encode, decode = ENCODERS[target]
    data = encode(frame)
    if not np.array_equal(decode(data, frame), frame):
        raise Unsupported("these values cannot be encoded without loss")
    return data + b"\0" * (len(data) % 2)


def _values(ds: Dataset, index: int) -> _Frame:
    """Return a frame in the type that Bits Allocated says, little endian."""
    if ds.file_meta.TransferSyntaxUID in NATIVE:
        if str(ds.get("PhotometricInterpretation", "")).startswith("YBR"):
            raise Unsupported("native YBR is not encoded here")  # its conversion to RGB would be a loss
        raw = get_decoder(ds.file_meta.TransferSyntaxUID).as_array(ds, index=index, correct_unused_bits=False)  # type: ignore[arg-type]
        frame: _Frame = raw[0]
    else:
        frame = stored_frame(ds, index)
    samples = integer(ds, "SamplesPerPixel", 1)
    if frame.shape != ((ds.Rows, ds.Columns) if samples == 1 else (ds.Rows, ds.Columns, samples)):
        raise IncorrectInput("the decoded image has another size than it declares")
    sign = "i" if integer(ds, "PixelRepresentation", 0) == 1 else "u"
    return np.ascontiguousarray(frame, np.dtype(f"<{sign}{ds.BitsAllocated // 8}"))


def _frame_bytes(ds: Dataset) -> int:
    return int(ds.Rows * ds.Columns * integer(ds, "SamplesPerPixel", 1) * ds.BitsAllocated // 8)


def _rewritten(ds: Dataset, target: str) -> Iterator[bytes]:
    """Yield a native object in Explicit VR Little Endian: another encoding of the elements, the same values."""
    if target != uid.ExplicitVRLittleEndian:
        raise Unsupported("an object without pixels is Explicit VR Little Endian")
    if ds.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian:
        _turn_words(ds)
    written = memoryview(_written(ds, target, None))
    for start in range(0, len(written), _CHUNK):
        yield bytes(written[start : start + _CHUNK])


def _turn_words(ds: Dataset) -> None:
    """Turn the values that pydicom keeps as bytes, and would write as big endian as it found them (PS3.5 7.3)."""
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                _turn_words(item)
        elif element.VR in {"OW", "OF", "OL", "OD"} and isinstance(element.value, bytes):
            width = {"OW": 2, "OF": 4, "OL": 4, "OD": 8}[element.VR]
            if element.tag == 0x7FE00010:
                width = max(ds.BitsAllocated // 8, 1)
            if width > 1:
                element.value = np.frombuffer(element.value, f">u{width}").byteswap().tobytes()


def _written(ds: Dataset, target: str, changed: Mapping[str, object] | None) -> bytes:
    """Return a Part 10 file: whole when nothing changed, else up to the pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.file_meta.MediaStorageSOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID
    meta.TransferSyntaxUID = uid.UID(target)
    made = Dataset()
    # What is little endian and explicit already goes over as bytes: no text is decoded and encoded anew.
    same = ds.file_meta.TransferSyntaxUID not in {uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian}
    read = ds.get_item if same else ds.__getitem__
    for tag in ds.keys():  # noqa: SIM118 - a Dataset iterates over elements
        # Neither signatures over other bytes nor padding; the pixels of another syntax follow by themselves.
        left_out = tag.group in {2, 0xFFFA, 0xFFFC} or (changed is not None and (tag.group >= 0x7FE0))
        if not left_out:
            made[tag] = read(tag)
    for name, value in (changed or {}).items():
        setattr(made, name, value)
    made.file_meta = meta
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()
