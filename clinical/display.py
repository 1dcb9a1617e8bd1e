"""A grey image as people are shown it: 8 bits, windowed."""

import numpy as np
from numpy.typing import NDArray

from clinical.image import GreyImage


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
