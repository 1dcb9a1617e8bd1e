"""One frame of an image, decoded no further than its declaration allows. Runs in the decoder's child process."""

import contextlib
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import convert_color_space

from clinical.errors import IncorrectInput, Unsupported
from dicom_node.codecs import inflated, jpeg_xl, unpacked, unpacked_bits, use_imagecodecs
from dicom_node.codestream import Declared, declared_by
from dicom_node.syntaxes import (
    DEFLATED_FRAME,
    ENCAPSULATED_NATIVE,
    IMAGE_SYNTAXES,
    JPEG_XL,
    NATIVE,
    why_not_decoded,
)

_CHUNK = 1 << 16
_PREAMBLE = 128 + 4
# The declared sizes of the codestream and of the data set are not the same.
_CONTRADICTS = "the compressed image declares another size than the data set"


def read_image(path: Path, max_bytes: int) -> FileDataset:
    """Return a Part 10 file, without decoding its pixels.

    Raises IncorrectInput when it is, or inflates to, more than max_bytes; Unsupported when nobody decodes it.
    """
    if path.stat().st_size > max_bytes:
        raise IncorrectInput("the file is larger than is allowed")
    syntax = read_file_meta_info(path).TransferSyntaxUID
    reason = why_not_decoded(syntax)
    if reason:
        raise Unsupported(reason)
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        with path.open("rb") as file:
            _refuse_deflated_bomb(file, max_bytes)
    return pydicom.dcmread(path)


def stored_frame(ds: Dataset, index: int) -> NDArray[np.generic]:
    """Return the stored values of a frame, counted from 0: (rows, columns), or RGB (rows, columns, 3).

    Native grey frames come with every bit as stored (overlays, unused bits); compressed ones as their codec gives
    them, with their sign. Raises IncorrectInput, or whatever a codec raises.
    """
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax in NATIVE:
        # pydicom would drop the bits above Bits Stored, although High Bit may say that the value is in them.
        return get_decoder(syntax).as_array(ds, index=index, correct_unused_bits=False)[0]  # type: ignore[arg-type]
    encoded = get_frame(
        ds.PixelData, index, number_of_frames=int(ds.get("NumberOfFrames") or 1), extended_offsets=_offsets(ds)
    )
    _refuse_contradiction(declared_by(encoded), ds)
    if syntax in JPEG_XL:
        return jpeg_xl(encoded)
    if syntax in {DEFLATED_FRAME, ENCAPSULATED_NATIVE}:
        return _native_frame(encoded, ds, deflated=syntax == DEFLATED_FRAME)
    if syntax == uid.RLELossless:
        if ds.BitsAllocated == 1:
            return unpacked_bits(encoded, ds.Rows * ds.Columns).reshape(ds.Rows, -1)
        # pydicom's own decoder expands a run before it counts; ours never writes more than the frame.
        return _planes(unpacked(encoded, ds.Rows * ds.Columns, ds.SamplesPerPixel, ds.BitsAllocated // 8), ds)
    return _by_plugins(ds, index)


def _by_plugins(ds: Dataset, index: int) -> NDArray[np.generic]:
    """Return a frame by the first of its decoders that can; raises what the last one raises."""
    use_imagecodecs()
    syntax = ds.file_meta.TransferSyntaxUID
    *others, last = IMAGE_SYNTAXES[syntax].decoders
    for name in others:
        with contextlib.suppress(RuntimeError):
            return get_decoder(syntax).as_array(ds, index=index, decoding_plugin=name)[0]
    return get_decoder(syntax).as_array(ds, index=index, decoding_plugin=last)[0]


def _refuse_deflated_bomb(file: BinaryIO, max_bytes: int) -> None:
    """Count what a deflated data set inflates to without keeping it (PS3.5 A.5)."""
    file.seek(_PREAMBLE)
    head = file.read(12)  # (0002,0000) UL 4: the length of the group that follows
    file.seek(_PREAMBLE + 12 + int.from_bytes(head[8:12], "little"))
    stream, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    try:
        while chunk := stream.unconsumed_tail or file.read(_CHUNK):
            total += len(stream.decompress(chunk, _CHUNK))
            if total > max_bytes:
                raise IncorrectInput("the data set inflates to more than is allowed")
            if stream.eof:
                return
    except zlib.error:
        raise IncorrectInput("the deflated data set is malformed") from None


def _refuse_contradiction(declared: Declared | None, ds: Dataset) -> None:
    if declared is None:
        return
    if (declared.rows, declared.columns) != (ds.Rows, ds.Columns):
        raise IncorrectInput(_CONTRADICTS)
    if declared.samples not in {0, int(ds.get("SamplesPerPixel") or 1)} or declared.bits > ds.BitsAllocated:
        raise IncorrectInput(_CONTRADICTS)


def _offsets(ds: Dataset) -> tuple[bytes, bytes] | None:
    if "ExtendedOffsetTable" not in ds or "ExtendedOffsetTableLengths" not in ds:
        return None
    return ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths


def _native_frame(encoded: bytes, ds: Dataset, *, deflated: bool) -> NDArray[np.generic]:
    """Return a frame that is stored as the native encoding would be."""
    pixels, samples, bits = ds.Rows * ds.Columns, int(ds.get("SamplesPerPixel") or 1), ds.BitsAllocated
    size = -(-pixels * samples * bits // 8)
    data = inflated(encoded, size) if deflated else encoded
    if not size <= len(data) <= size + 1:
        raise IncorrectInput("a frame is shorter or longer than it declares")
    if bits == 1:
        return np.unpackbits(np.frombuffer(data, np.uint8), count=pixels, bitorder="little").reshape(ds.Rows, -1)
    planar = samples > 1 and ds.get("PlanarConfiguration") == 1
    return _planes(data[:size], ds) if samples == 1 or planar else _by_pixel(data[:size], ds)


def _planes(data: bytes, ds: Dataset) -> NDArray[np.generic]:
    planes = np.frombuffer(data, _type_of(ds)).reshape(-1, ds.Rows, ds.Columns)
    return planes[0] if len(planes) == 1 else _rgb(np.moveaxis(planes, 0, 2), ds)


def _by_pixel(data: bytes, ds: Dataset) -> NDArray[np.generic]:
    return _rgb(np.frombuffer(data, _type_of(ds)).reshape(ds.Rows, ds.Columns, -1), ds)


def _rgb(colours: NDArray[np.generic], ds: Dataset) -> NDArray[np.generic]:
    if ds.PhotometricInterpretation != "YBR_FULL":
        return colours
    return convert_color_space(colours, "YBR_FULL", "RGB")


def _type_of(ds: Dataset) -> str:
    return f"<{'i' if ds.get('PixelRepresentation') == 1 else 'u'}{ds.BitsAllocated // 8}"
