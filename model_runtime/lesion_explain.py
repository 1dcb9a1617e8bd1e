"""Where in its picture a lesion looks malignant: the image network is asked again with one part covered at a time.

The network's own answers, through the engine and nothing else; no gradient is needed.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from clinical.errors import Fault
from model_runtime.engine import Array
from model_runtime.lesion_tensors import Tensors

# Runs graph `image`: its inputs -> its outputs by name.
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]
GRID = 8
REACH = 1.0  # of a cover beyond its cell on each side, in cells: a smaller one changes next to nothing
BATCH = 16


def occlusion_map(run: Run, tensors: Tensors, grid: int = GRID) -> NDArray[np.float32]:
    """Return how far the image's probability falls when a part of the square is covered, float32 (grid, grid).

    tensors: of one lesion (lesion_tensors.crop_tensors). Above 0: this part speaks for malignancy. A covered pixel
    takes the square's mean grey value; outline and shape numbers stay what they are. Raises Fault when the network
    answers with something that is no probability.
    """
    square, shape = tensors["crop"], tensors["shape"]
    size = square.shape[1]
    covered = np.repeat(square, grid * grid, axis=0)
    grey = float(square[0, :, :, 0].mean())
    for number in range(grid * grid):
        rows, columns = (_span(place, size, grid) for place in divmod(number, grid))
        covered[number, rows, columns, 0] = grey
    whole = _probability(run, square, shape)[0]
    parts = [_probability(run, covered[start : start + BATCH], shape) for start in range(0, grid * grid, BATCH)]
    return np.asarray((whole - np.concatenate(parts)).reshape(grid, grid), np.float32)


def _span(place: int, size: int, grid: int) -> slice:
    low, high = (place - REACH) * size / grid, (place + 1 + REACH) * size / grid
    return slice(max(0, round(low)), min(size, round(high)))


def _probability(run: Run, squares: NDArray[np.float32], shape: NDArray[np.float32]) -> NDArray[np.float64]:
    shapes = np.repeat(shape, len(squares), axis=0)
    found = np.asarray(run({"crop": squares, "shape": shapes})["probability"], np.float64)
    if found.shape != (len(squares), 1) or not np.all((found >= 0) & (found <= 1)):
        raise Fault("the lesion model did not answer with one probability an image")
    return found[:, 0]
