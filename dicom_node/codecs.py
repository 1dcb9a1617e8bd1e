"""Our own decoding plugin for pydicom, on imagecodecs: what pydicom's own decoders refuse, and a second opinion.

Runs in the decoder's child process. pydicom refuses 12-bit JPEG Extended to every decoder that it knows, and knows
one decoder for HTJ2K; JPEG XL, deflated frames and encapsulated native frames it does not know at all.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

from clinical.errors import IncorrectInput
from dicom_node.syntaxes import JPEG_XL, PLUGIN

_Frame = NDArray[Any]
_FALSE_SIZE = "a compressed frame holds more or less than it declares"

_JPEG_LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000)
_HTJ2K = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
_DECODE: Mapping[str, Callable[[bytes], _Frame]] = {
    uid.JPEGExtended12Bit: imagecodecs.jpeg8_decode,
    **dict.fromkeys(_JPEG_LOSSLESS, imagecodecs.jpegsof3_decode),
    **dict.fromkeys(_JPEG_LS, imagecodecs.jpegls_decode),
    **dict.fromkeys(_JPEG_2000, imagecodecs.jpeg2k_decode),
    **dict.fromkeys(_HTJ2K, imagecodecs.htj2k_decode),
    **dict.fromkeys(JPEG_XL, imagecodecs.jpegxl_decode),
}
# For pydicom's plugin protocol.
DECODER_DEPENDENCIES = dict.fromkeys((*_DECODE, uid.RLELossless), ("numpy", "imagecodecs>=2026.3.6"))


def is_available(syntax: str) -> bool:
    """Tell pydicom whether this plugin decodes a transfer syntax."""
    return syntax in DECODER_DEPENDENCIES


def use_imagecodecs() -> None:
    """Add our plugin to pydicom's decoders; they try it after their own. Adding it twice changes nothing."""
    for syntax in (*_JPEG_2000, *_HTJ2K, *_JPEG_LS, *_JPEG_LOSSLESS, uid.JPEGExtended12Bit, uid.RLELossless):
        decoder = get_decoder(syntax)
        if PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(PLUGIN, (__name__, "decode_frame"))


def decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame for pydicom (its plugin protocol): little endian, colour by pixel."""
    if runner.transfer_syntax == uid.RLELossless:
        runner.set_option("planar_configuration", 1)
        return unpacked(src, runner.rows * runner.columns, runner.samples_per_pixel, runner.bits_allocated // 8)
    if runner.transfer_syntax == uid.JPEGExtended12Bit and runner.samples_per_pixel > 1:
        raise NotImplementedError("JPEG Extended in colour")  # 8-bit colour has pydicom's own decoders
    frame = _DECODE[runner.transfer_syntax](src)
    if runner.transfer_syntax == uid.JPEGExtended12Bit:
        # A lossy codec overshoots; pydicom would drop the bits above Bits Stored and turn white into black.
        frame = np.minimum(frame, (1 << runner.bits_stored) - 1)
    runner.set_option("bits_allocated", frame.dtype.itemsize * 8)
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 0)
    if runner.photometric_interpretation in {PhotometricInterpretation.YBR_ICT, PhotometricInterpretation.YBR_RCT}:
        runner.set_option("photometric_interpretation", PhotometricInterpretation.RGB)
    return np.ascontiguousarray(frame).tobytes()


def jpeg_xl(src: bytes) -> _Frame:
    """Return a JPEG XL frame, (rows, columns) or (rows, columns, 3); any exception of the codec."""
    frame: _Frame = _DECODE[JPEG_XL[0]](src)
    return frame


def inflated(src: bytes, size: int) -> bytes:
    """Return a deflated frame (PS3.5 A.4.13) of `size` bytes; IncorrectInput when it is not of this size."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = stream.decompress(src, size)
        more = stream.decompress(stream.unconsumed_tail, 2)
    except zlib.error:
        raise IncorrectInput("a deflated frame is malformed") from None
    if len(data) != size or len(more) > 1:  # one byte may pad it
        raise IncorrectInput(_FALSE_SIZE)
    return data


def unpacked(src: bytes, pixels: int, samples: int, bytes_a_sample: int) -> bytes:
    """Return an RLE frame (PS3.5 annex G), colour by plane, little endian; never more than it declares.

    Raises IncorrectInput when a segment holds more or less than one byte of each pixel.
    """
    heads = np.frombuffer(src[:64], "<u4")
    count = samples * bytes_a_sample
    if len(heads) < 16 or heads[0] != count:
        raise IncorrectInput("an RLE frame has another number of segments than it declares")
    edges = [*(int(one) for one in heads[1 : count + 1]), len(src)]
    planes = np.empty((samples, pixels, bytes_a_sample), np.uint8)
    for segment in range(count):
        sample, byte = divmod(segment, bytes_a_sample)
        planes[sample, :, bytes_a_sample - 1 - byte] = _segment(src[edges[segment] : edges[segment + 1]], pixels)
    return planes.tobytes()


def _segment(packed: bytes, pixels: int) -> NDArray[np.uint8]:
    try:
        data = imagecodecs.packbits_decode(packed, out=pixels + 1)
    except imagecodecs.PackbitsError:
        raise IncorrectInput(_FALSE_SIZE) from None
    if not pixels <= len(data) <= pixels + 1:
        raise IncorrectInput(_FALSE_SIZE)
    return np.frombuffer(data, np.uint8, pixels)
