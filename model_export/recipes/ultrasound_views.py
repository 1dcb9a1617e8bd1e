"""Squares cut out of ultrasound pictures at any place, size and tilt, with the changes that training adds.

What comes out resembles what the server cuts out (lesion_view): turned, stretched, mirrored, in another tone.
numpy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_runtime.lesion_view import Box
from model_runtime.transforms import Float, resize

Bytes = NDArray[np.uint8]
# A square of many source pixels is read from a picture that was averaged down before: no aliasing.
PITCHES = (1.0, 1.5, 2.0, 2.6)
PITCH_SLACK = 1.15
LOW_PERCENTILE, HIGH_PERCENTILE = 1.0, 99.5


@dataclass(frozen=True, slots=True)
class Layers:
    """A picture and its outline at several resolutions, uint8 (0..255), finest first."""

    grey: tuple[Bytes, ...]
    mask: tuple[Bytes, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the source."""
        return self.grey[0].shape[0], self.grey[0].shape[1]


@dataclass(frozen=True, slots=True)
class View:
    """A square of the source. centre: (row, column). side: in source pixels. tilt: in radians.

    stretch: of rows against columns.
    """

    centre: tuple[float, float]
    side: float
    tilt: float = 0.0
    stretch: float = 1.0
    mirrored: bool = False


def layers_of(grey: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Layers:
    """Return a picture and its outline ready for `look`."""
    return Layers(_reduced(grey), _reduced(mask.astype(np.uint8) * 255))


def look(layers: Layers, view: View, size: int) -> tuple[Float, Float, NDArray[np.bool_]]:
    """Return grey value 0..255, outline 0..1 and what lies inside the picture, each (size, size)."""
    matrix, offset = _affine(view, size)
    step = np.arange(size, dtype=np.float32)
    rows, columns = (
        (matrix[axis, 0] * step[:, None] + matrix[axis, 1] * step[None, :] + offset[axis]).astype(np.float32)
        for axis in (0, 1)
    )
    height, width = layers.shape
    inside = (rows > -0.5) & (rows < height - 0.5) & (columns > -0.5) & (columns < width - 0.5)
    pitch = view.side / size
    level = max([n for n, one in enumerate(PITCHES) if one <= pitch * PITCH_SLACK], default=0)
    taps = _taps(layers.grey[level].shape, layers.shape, rows, columns)
    grey = np.where(inside, _read(layers.grey[level], taps), 0)
    mask = np.where(inside, _read(layers.mask[level], taps) / 255, 0)
    return grey.astype(np.float32), mask.astype(np.float32), inside


def normalise(grey: Float, inside: NDArray[np.bool_]) -> Float:
    """Return grey values between two percentiles of the tissue cut to 0..1, as the server's transforms do."""
    tissue = grey[inside]
    if tissue.size < 16:
        return np.zeros_like(grey)
    low, high = np.percentile(tissue[::4], (LOW_PERCENTILE, HIGH_PERCENTILE))
    if high - low < 1e-3:
        return np.zeros_like(grey)
    return np.where(inside, np.clip((grey - low) / (high - low), 0, 1), 0).astype(np.float32)


def retone(grey: Float, inside: NDArray[np.bool_], rng: np.random.Generator, strength: float) -> Float:
    """Change gamma, gain, gain with depth, speckle and sharpness at random. grey: 0..1."""
    size = grey.shape[0]
    if rng.random() < 0.8:
        grey = np.power(grey, np.float32(np.exp(rng.normal(0, 0.3 * strength))))
    if rng.random() < 0.5:
        grey = grey * np.float32(np.exp(rng.normal(0, 0.2 * strength)))
    if rng.random() < 0.3:
        speckle = rng.normal(0, 1, (size // 2, size // 2)).repeat(2, 0).repeat(2, 1)
        grey = grey * (1 + 0.12 * strength * speckle).astype(np.float32)
    if rng.random() < 0.3:
        depth = np.linspace(-1, 1, size, dtype=np.float32)[:, None]
        grey = grey * np.exp(np.float32(rng.normal(0, 0.3 * strength)) * depth)
    if rng.random() < 0.2:
        below = np.roll(grey, 1, 0)
        grey = (grey + below + np.roll(grey, 1, 1) + np.roll(below, 1, 1)) / np.float32(4)
    return np.where(inside, np.clip(grey, 0, 1.2), 0).astype(np.float32)


def blot(grey: Float, rng: np.random.Generator) -> Float:
    """Write a grey rectangle somewhere: text and callipers are burned into real pictures, and say nothing."""
    answer = grey.copy()
    row, column = rng.integers(0, grey.shape[0], 2)
    height, width = rng.integers(3, 24, 2)
    answer[row : row + height, column : column + width] = rng.random()
    return answer


def whole_view(shape: tuple[int, int], rng: np.random.Generator) -> View:
    """Return about the whole picture."""
    longest = max(shape)
    centre = np.array(shape) / 2 - 0.5 + rng.normal(0, 0.06, 2) * longest
    return _varied(centre, longest * float(np.exp(rng.uniform(-0.3, 0.2))), rng)


def close_view(box: Box, shape: tuple[int, int], rng: np.random.Generator) -> View:
    """Return a square around a lesion, as the second reading of the outline network sees it."""
    longer = max(box[2] - box[0], box[3] - box[1])
    side = min(max(longer * rng.uniform(1.5, 3.2), 48), 1.2 * max(shape))
    return _varied(_middle(box) + rng.uniform(-0.15, 0.15, 2) * longer, side, rng)


def crop_view(box: Box, zoom: float, min_side_px: int, rng: np.random.Generator) -> View:
    """Return about the square that the image network sees."""
    side = max(min_side_px, zoom * max(box[2] - box[0], box[3] - box[1]))
    centre = _middle(box) + rng.normal(0, 0.03, 2) * side
    return _varied(centre, side * float(np.exp(rng.uniform(-0.18, 0.2))), rng)


def _varied(centre: NDArray[np.float64], side: float, rng: np.random.Generator) -> View:
    return View(
        (float(centre[0]), float(centre[1])),
        side,
        tilt=rng.normal(0, 0.13),
        stretch=float(np.exp(rng.normal(0, 0.07))),
        mirrored=bool(rng.random() < 0.5),
    )


def _middle(box: Box) -> NDArray[np.float64]:
    return np.array([box[0] + box[2], box[1] + box[3]]) / 2 - 0.5


def _affine(view: View, size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return matrix and offset from tensor (row, column) to source (row, column)."""
    pitch = view.side / size
    cosine, sine = np.cos(view.tilt), np.sin(view.tilt)
    scale = np.diag([pitch * view.stretch, pitch / view.stretch * (-1 if view.mirrored else 1)])
    matrix = np.array([[cosine, -sine], [sine, cosine]]) @ scale
    return matrix, np.array(view.centre) - matrix @ np.full(2, (size - 1) / 2)


def _reduced(plane: Bytes) -> tuple[Bytes, ...]:
    rows, columns = plane.shape
    exact = plane.astype(np.float32)
    return tuple(
        np.round(resize(exact, max(2, round(rows / pitch)), max(2, round(columns / pitch)))).astype(np.uint8)
        for pitch in PITCHES
    )


Taps = Sequence[tuple[NDArray[np.intp], Float]]


def _taps(shape: tuple[int, ...], source: tuple[int, int], rows: Float, columns: Float) -> Taps:
    """Return the four neighbours of each point in a reduced picture, flat, with their weights."""
    y = np.clip((rows + 0.5) * (shape[0] / source[0]) - 0.5, 0, shape[0] - 1.001)
    x = np.clip((columns + 0.5) * (shape[1] / source[1]) - 0.5, 0, shape[1] - 1.001)
    top, left = y.astype(np.intp), x.astype(np.intp)
    down, right = (y - top).astype(np.float32), (x - left).astype(np.float32)
    first = top * shape[1] + left
    return (
        (first, (1 - down) * (1 - right)),
        (first + 1, (1 - down) * right),
        (first + shape[1], down * (1 - right)),
        (first + shape[1] + 1, down * right),
    )


def _read(plane: Bytes, taps: Taps) -> Float:
    flat = plane.ravel()
    return np.asarray(sum(flat[index] * weight for index, weight in taps), np.float32)
