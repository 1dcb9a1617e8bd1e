"""Stored objects read for DICOMweb: transfer syntax, data set without its pixels, one frame as stored."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filebase import DicomBytesIO

from clinical.errors import IncorrectInput, NotFound, Unsupported
from dicom_node.decoder_errors import DECODER_ERRORS
from dicom_node.web.json_model import PIXELS
from record_store.blobs import Blobs

MAX_DATA_SET = 256 * 1024 * 1024  # bytes of a data set without its pixels, or inflated
MAX_FRAME = 512 * 1024 * 1024
_META = 4096
_DEFER = 4096  # longer values stay on disk until they are asked for
_PREAMBLE = 132
_UNDEFINED = 0xFFFFFFFF
_UNREADABLE = "the object cannot be read"


def stored_syntax(blobs: Blobs, sha256: str) -> str:
    """Return the transfer syntax that an object is stored in, by its file meta group."""
    try:
        beginning = DicomBytesIO(blobs.beginning(sha256, _META))
        ds = pydicom.filereader.read_partial(beginning, lambda *_: True)  # type: ignore[arg-type]  # it reads
        return str(ds.file_meta.TransferSyntaxUID)
    except DECODER_ERRORS:
        raise IncorrectInput(_UNREADABLE) from None


@contextmanager
def opened(blobs: Blobs, sha256: str) -> Iterator[tuple[Dataset, BinaryIO]]:
    """Yield a data set whose long values are still on disk, and the file in which they stand.

    Raises IncorrectInput for what cannot be read and Unsupported for what inflates to more than MAX_DATA_SET.
    """
    with blobs.local_path(sha256) as path, path.open("rb") as file:
        try:
            source = _inflated(path) if _is_deflated(path, file.read(_META)) else file
            file.seek(0)
            ds = pydicom.dcmread(source, defer_size=_DEFER)
        except DECODER_ERRORS:
            raise IncorrectInput(_UNREADABLE) from None
        yield ds, source


def syntax_of(ds: Dataset, file: BinaryIO) -> str:
    """Return the transfer syntax that an object is stored in, of what `opened` has yielded."""
    if isinstance(file, BufferedReader):
        return str(ds.file_meta.TransferSyntaxUID)
    # What was deflated has been inflated into memory, and reads as if it had never been.
    return str(uid.DeflatedExplicitVRLittleEndian)


@dataclass(frozen=True, slots=True)
class StoredFrames:
    """How the frames of an object are stored.

    syntax: what a single frame is in: Explicit VR Little Endian for every native one (PS3.18 8.7.3.5.2).
    """

    syntax: str
    count: int


def frames_of(ds: Dataset) -> StoredFrames:
    """Return it. Raises NotFound when the object has no pixels."""
    _pixels(ds)
    stored = ds.file_meta.TransferSyntaxUID
    return StoredFrames(
        str(stored if stored.is_encapsulated else uid.ExplicitVRLittleEndian), int(ds.get("NumberOfFrames") or 1)
    )


def frame_bytes(ds: Dataset, file: BinaryIO, index: int) -> bytes:
    """Return a frame, counted from 0, as it is stored: compressed, or native and little endian.

    Frames of 1 bit follow each other without a gap (PS3.5 8.1.1), so each is moved to begin with a byte.
    Raises NotFound for a frame that is not there, IncorrectInput when the pixels are shorter than is declared.
    """
    element = _pixels(ds)
    about = frames_of(ds)
    if not 0 <= index < about.count:
        raise NotFound("the object has no such frame")
    if ds.file_meta.TransferSyntaxUID.is_encapsulated:
        return _encapsulated(ds, element, file, index, about.count)
    size = _frame_bits(ds)
    first = size * index
    start, end = first // 8, -(-(first + size) // 8)
    if end - start > MAX_FRAME or end > element.length:
        raise IncorrectInput("the pixels are not what the object declares")
    data = _slice(element, file, start, end)
    if size % 8 or first % 8:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        return np.packbits(bits[first % 8 : first % 8 + size], bitorder="little").tobytes()
    if ds.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian and ds.BitsAllocated > 8:
        return np.frombuffer(data, f">u{ds.BitsAllocated // 8}").byteswap().tobytes()
    return data


def value_bytes(ds: Dataset, file: BinaryIO, tag: int) -> bytes:
    """Return the bytes of a top-level value as stored. Raises NotFound when there is none."""
    element = raw_element(ds, tag)
    if element is None:
        raise NotFound("the object has no such value")
    if element.length == _UNDEFINED or element.length > MAX_FRAME:
        raise Unsupported("the value is too long, or compressed: ask for its frames")
    return _slice(element, file, 0, element.length)


def _pixels(ds: Dataset) -> RawDataElement:
    for tag in PIXELS:
        element = raw_element(ds, tag)
        if element is not None:
            return element
    raise NotFound("the object has no pixels")


def raw_element(ds: Dataset, tag: int) -> RawDataElement | None:
    """Return an element as it was found, its long value still on disk; None when there is none."""
    element: Any = ds.get_item(tag, keep_deferred=True)
    return element if isinstance(element, RawDataElement) else None


def _slice(element: RawDataElement, file: BinaryIO, start: int, end: int) -> bytes:
    if element.value is not None:
        return bytes(element.value[start:end])
    file.seek(element.value_tell + start)
    return file.read(end - start)


def _frame_bits(ds: Dataset) -> int:
    try:
        samples, bits = int(ds.get("SamplesPerPixel") or 1), int(ds.BitsAllocated)
        size = int(ds.Rows) * int(ds.Columns) * samples * bits
    except DECODER_ERRORS:
        raise IncorrectInput(_UNREADABLE) from None
    return size * 2 // 3 if ds.get("PhotometricInterpretation") == "YBR_FULL_422" else size


def _encapsulated(ds: Dataset, element: RawDataElement, file: BinaryIO, index: int, count: int) -> bytes:
    offsets = None
    if "ExtendedOffsetTable" in ds and "ExtendedOffsetTableLengths" in ds:
        offsets = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths)
    try:
        if element.value is not None:
            return get_frame(element.value, index, number_of_frames=count, extended_offsets=offsets)
        file.seek(element.value_tell)
        return get_frame(file, index, number_of_frames=count, extended_offsets=offsets)
    except DECODER_ERRORS:
        raise IncorrectInput("the compressed frames are malformed") from None


def _is_deflated(path: Path, beginning: bytes) -> bool:
    if uid.DeflatedExplicitVRLittleEndian.encode() not in beginning:
        return False  # as nearly always, and without a third reading of the file meta group
    syntax = pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID
    return bool(syntax == uid.DeflatedExplicitVRLittleEndian)


def _inflated(path: Path) -> BinaryIO:
    """Return a deflated object (PS3.5 A.5) as the Explicit VR Little Endian object that it says it is."""
    with path.open("rb") as file:
        meta = pydicom.filereader.read_file_meta_info(path)
        file.seek(_PREAMBLE + 12 + int(meta.FileMetaInformationGroupLength))
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = stream.decompress(file.read(MAX_DATA_SET), MAX_DATA_SET)
        except zlib.error:
            raise IncorrectInput(_UNREADABLE) from None
    if not stream.eof:
        raise Unsupported("the object inflates to more than is allowed")
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made = DicomBytesIO()
    made.write(b"\0" * 128 + b"DICM")
    pydicom.filewriter.write_file_meta_info(made, meta)
    made.write(data)
    made.seek(0)
    return made  # type: ignore[return-value]  # it reads, seeks and tells
