"""Four numbers that tell pictures of another kind: what drift is measured by where the input is an image.

Trainer and server compute them from the same thing, the tensor that the network gets.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = ("mean", "deviation", "dark", "bright")
DARK, BRIGHT = 10, 90  # percentiles


def image_statistics(tensor: NDArray[Any]) -> dict[str, float]:
    """Return mean, standard deviation and the 10th and 90th percentile of the first channel.

    tensor: one prepared image (rows, columns, channels), or a batch of one (1, rows, columns, channels).
    """
    pixels = np.asarray(tensor, np.float64).reshape(-1, tensor.shape[-1])[:, 0]
    dark, bright = np.percentile(pixels, (DARK, BRIGHT))
    return dict(zip(NAMES, (float(pixels.mean()), float(pixels.std()), float(dark), float(bright)), strict=True))
