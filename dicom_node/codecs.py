"""Our own decoding plugins for pydicom, on the codecs of imagecodecs.

Runs in the decoder's child process. pydicom refuses 12-bit JPEG Extended to every decoder that it knows, and its
decoders of JPEG Lossless and HTJ2K are packages that a server is not given (docs/decisions/034); JPEG XL, deflated
frames and encapsulated native frames it does not know at all.
"""

import contextlib
import zlib
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

from clinical.errors import IncorrectInput
from dicom_node.syntaxes import JPEG_XL, OPENJPEG, PLUGIN, TURBO

_Frame = NDArray[Any]
# (encoded, samples a pixel) -> (rows, columns) or (rows, columns, samples)
_Codec = Callable[[bytes, int], _Frame]
_FALSE_SIZE = "a compressed frame holds more or less than it declares"

_JPEG_LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
_JPEG_LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000)
_HTJ2K = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)


def _jpeg(src: bytes, samples: int) -> _Frame:
    # One name for both sides: a colour is handed on as it was stored, and pydicom transforms it by the data set.
    space = "YCBCR" if samples > 1 else None
    frame: _Frame = imagecodecs.jpeg8_decode(src, colorspace=space, outcolorspace=space)
    return frame


def _by(decode: Callable[[bytes], _Frame]) -> _Codec:
    return lambda src, _samples: decode(src)


_DECODE: Mapping[str, _Codec] = {
    **dict.fromkeys(_JPEG_LOSSY, _jpeg),
    **dict.fromkeys(_JPEG_LOSSLESS, _by(imagecodecs.jpegsof3_decode)),
    **dict.fromkeys(_JPEG_LS, _by(imagecodecs.jpegls_decode)),
    **dict.fromkeys(_JPEG_2000, _by(imagecodecs.jpeg2k_decode)),
    **dict.fromkeys(_HTJ2K, _by(imagecodecs.htj2k_decode)),
    **dict.fromkeys(JPEG_XL, _by(imagecodecs.jpegxl_decode)),
}
# Another codec in the same package, of other authors: libjpeg-turbo 3 reads lossless JPEG, OpenJPEG 2.5 HTJ2K.
_SECOND: Mapping[str, tuple[str, _Codec]] = {
    **dict.fromkeys(_JPEG_LOSSLESS, (TURBO, _jpeg)),
    **dict.fromkeys(_HTJ2K, (OPENJPEG, _by(imagecodecs.jpeg2k_decode))),
}
# For pydicom's plugin protocol.
DECODER_DEPENDENCIES = dict.fromkeys((*_DECODE, uid.RLELossless), ("numpy", "imagecodecs>=2026.3.6"))


def is_available(syntax: str) -> bool:
    """Tell pydicom whether this module decodes a transfer syntax."""
    return syntax in DECODER_DEPENDENCIES


def use_imagecodecs() -> None:
    """Add our plugins to pydicom's decoders. Adding them twice changes nothing."""
    for syntax in (*_JPEG_LOSSY, *_JPEG_LOSSLESS, *_JPEG_LS, *_JPEG_2000, *_HTJ2K, uid.RLELossless):
        decoder = get_decoder(syntax)
        if PLUGIN in decoder.available_plugins:
            continue
        decoder.add_plugin(PLUGIN, (__name__, "decode_frame"))
        if syntax in _SECOND:
            decoder.add_plugin(_SECOND[syntax][0], (__name__, "decode_frame_again"))


def decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame for pydicom (its plugin protocol): little endian, colour by pixel."""
    if runner.transfer_syntax == uid.RLELossless:
        runner.set_option("planar_configuration", 1)
        return unpacked(src, runner.rows * runner.columns, runner.samples_per_pixel, runner.bits_allocated // 8)
    frame = _DECODE[runner.transfer_syntax](src, runner.samples_per_pixel)
    if runner.transfer_syntax == uid.JPEGExtended12Bit:
        # A lossy codec overshoots; pydicom would drop the bits above Bits Stored and turn white into black.
        frame = np.minimum(frame, (1 << runner.bits_stored) - 1)
    return _handed_over(frame, runner)


def decode_frame_again(src: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame with the second codec of its transfer syntax; otherwise as `decode_frame`."""
    return _handed_over(_SECOND[runner.transfer_syntax][1](src, runner.samples_per_pixel), runner)


def _handed_over(frame: _Frame, runner: DecodeRunner) -> bytes:
    runner.set_option("bits_allocated", frame.dtype.itemsize * 8)
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 0)
    if runner.photometric_interpretation in {PhotometricInterpretation.YBR_ICT, PhotometricInterpretation.YBR_RCT}:
        runner.set_option("photometric_interpretation", PhotometricInterpretation.RGB)
    return np.ascontiguousarray(frame).tobytes()


def jpeg_xl(src: bytes) -> _Frame:
    """Return a JPEG XL frame, (rows, columns) or (rows, columns, 3); any exception of the codec."""
    frame: _Frame = imagecodecs.jpegxl_decode(src)
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
    edges = _segment_edges(src, samples * bytes_a_sample)
    planes = np.empty((samples, pixels, bytes_a_sample), np.uint8)
    for segment, (start, end) in enumerate(pairwise(edges)):
        sample, byte = divmod(segment, bytes_a_sample)
        planes[sample, :, bytes_a_sample - 1 - byte] = _segment(src[start:end], pixels)
    return planes.tobytes()


def unpacked_bits(src: bytes, pixels: int) -> NDArray[np.uint8]:
    """Return an RLE frame of one bit a pixel as 0 and 1; IncorrectInput when it is shorter or longer.

    PS3.5 G.2 runs over a byte for each pixel; some writers run over the eight pixels that a native byte holds. The
    length tells which.
    """
    start, end = _segment_edges(src, 1)
    with contextlib.suppress(IncorrectInput):
        return np.minimum(_segment(src[start:end], pixels), np.uint8(1))
    return np.unpackbits(_segment(src[start:end], -(-pixels // 8)), count=pixels, bitorder="little")


def _segment_edges(src: bytes, count: int) -> list[int]:
    heads = np.frombuffer(src[:64], "<u4")
    if len(heads) < 16 or heads[0] != count:
        raise IncorrectInput("an RLE frame has another number of segments than it declares")
    return [*(int(one) for one in heads[1 : count + 1]), len(src)]


def _segment(packed: bytes, pixels: int) -> NDArray[np.uint8]:
    try:
        data = imagecodecs.packbits_decode(packed, out=pixels + 1)
    except imagecodecs.PackbitsError:
        raise IncorrectInput(_FALSE_SIZE) from None
    if not pixels <= len(data) <= pixels + 1:
        raise IncorrectInput(_FALSE_SIZE)
    return np.frombuffer(data, np.uint8, pixels)
