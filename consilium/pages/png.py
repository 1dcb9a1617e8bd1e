"""A grey image as PNG (ISO/IEC 15948), 8 bit, by zlib alone: the page needs nothing more."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from clinical.image import GreyImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def for_display(image: GreyImage, longest_px: int = 1024) -> NDArray[np.uint8]:
    """Return 8-bit pixels as a reader would window them, at most `longest_px` on the longer side.

    The image's own window is used when it has one, else the 0.5th to 99.5th percentile of the tissue.
    Reduction is by taking every n-th pixel: this is a picture to find one's way, not to measure in.
    """
    step = -(-max(image.pixels.shape) // longest_px)
    pixels = image.pixels[::step, ::step]
    tissue = pixels if image.padding is None else pixels[~image.padding[::step, ::step]]
    low, high = _window(image, tissue if tissue.size else pixels)
    scaled = np.clip((pixels - low) / max(high - low, 1e-6), 0.0, 1.0)
    return np.asarray(np.rint(scaled * 255), dtype=np.uint8)


def _window(image: GreyImage, tissue: NDArray[np.float32]) -> tuple[float, float]:
    if image.window is not None:
        centre, width = image.window
        return centre - width / 2, centre + width / 2
    low, high = np.percentile(tissue, (0.5, 99.5))
    return float(low), float(high)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an 8-bit grey PNG of pixels, shape (rows, columns)."""
    rows, columns = pixels.shape
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    lines = np.zeros((rows, columns + 1), dtype=np.uint8)  # each line begins with filter type 0
    lines[:, 1:] = pixels
    return SIGNATURE + b"".join(
        _chunk(kind, data)
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
