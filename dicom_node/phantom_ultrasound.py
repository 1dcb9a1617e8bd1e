"""A synthetic breast ultrasound: layers of tissue in speckle, and lesions of known place and outline.

Echo amplitude is a random field filtered by the beam's point spread, then its envelope is compressed by the
logarithm, as a scanner does; what lies behind a lesion is brighter or darker. It is a test object, not a patient,
and no picture of one: the same seed gives the same pixels on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.phantom import blurred

_Plane = NDArray[np.floating[Any]]
_DYNAMIC_RANGE_DB = 55.0
_MARGIN_PX = 48  # around the picture on a screen: where text, scales and logos stand


@dataclass(frozen=True, slots=True)
class BreastLesion:
    """A lesion to draw. row, column: centre as fractions of the picture (0..1); sizes in mm.

    echo_db: how much darker (below 0) than the tissue around it. roughness: 0 smooth .. 1 with spikes.
    posterior_db: brightness behind it: enhancement above 0, shadow below.
    """

    row: float = 0.45
    column: float = 0.5
    width_mm: float = 14.0
    height_mm: float = 9.0
    echo_db: float = -22.0
    roughness: float = 0.0
    posterior_db: float = 6.0


@dataclass(frozen=True, slots=True)
class UltrasoundTruth:
    """What is known about a phantom. masks: one bool array (rows, columns) for each lesion."""

    masks: tuple[NDArray[np.bool_], ...]
    spacing_mm: float


def ultrasound_phantom(
    seed: int,
    lesions: Sequence[BreastLesion] = (BreastLesion(),),
    *,
    rows: int = 320,
    columns: int = 384,
    width_mm: float = 40.0,
) -> tuple[NDArray[np.uint8], UltrasoundTruth]:
    """Return (pixels, truth): uint8 of shape (rows, columns), the skin above. width_mm: what the columns span."""
    rng = np.random.default_rng(seed)
    spacing = width_mm / columns
    level = _tissue(rows, columns, rng)
    masks = []
    for lesion in lesions:
        mask = _inside(lesion, rows, columns, spacing, rng)
        level = level + _behind(mask) * lesion.posterior_db
        level = np.where(mask, level.mean() + lesion.echo_db, level)
        masks.append(mask)
    amplitude = 10 ** (blurred(np.asarray(level, np.float32), 1.0) / 20)
    pixels = _compressed(_speckle(rows, columns, rng) * amplitude)
    return pixels, UltrasoundTruth(tuple(masks), spacing)


def on_screen(
    pictures: Sequence[NDArray[np.uint8]],
) -> tuple[NDArray[np.uint8], tuple[tuple[int, int, int, int], ...]]:
    """Return a scanner's screen with pictures side by side, and the box of each, the last two exclusive.

    pictures: of one height. Around them are bright bars, as burned-in text, depth scale and grey wedge are.
    """
    rows = pictures[0].shape[0]
    width = sum(picture.shape[1] + _MARGIN_PX for picture in pictures) + _MARGIN_PX
    screen = np.zeros((rows + 2 * _MARGIN_PX, width), np.uint8)
    screen[8:20, 16 : width // 2 : 3] = 200
    screen[_MARGIN_PX : _MARGIN_PX + rows, 8:16] = np.linspace(255, 0, rows, dtype=np.uint8)[:, None]
    screen[_MARGIN_PX : _MARGIN_PX + rows : 32, -20:-10] = 230
    boxes, left = [], _MARGIN_PX
    for picture in pictures:
        box = (_MARGIN_PX, left, _MARGIN_PX + rows, left + picture.shape[1])
        screen[box[0] : box[2], box[1] : box[3]] = picture
        boxes.append(box)
        left = box[3] + _MARGIN_PX
    return screen, tuple(boxes)


def _tissue(rows: int, columns: int, rng: np.random.Generator) -> _Plane:
    """Return mean echo in dB: skin, fat with septa, gland, muscle below, darker with depth."""
    depth = np.linspace(0, 1, rows, dtype=np.float32)[:, None] * np.ones((1, columns), np.float32)
    wave = blurred(rng.standard_normal((rows, columns), dtype=np.float32), rows * 0.06)
    depth_here = depth + 0.05 * wave / wave.std()
    level = np.where(depth_here < 0.32, -14.0, -4.0)  # fat, gland
    level = np.where(depth_here > 0.82, -12.0, level)  # muscle
    septa = blurred(rng.standard_normal((rows, columns), dtype=np.float32), rows * 0.025)
    level = level + 7 * np.exp(-((septa / (0.25 * septa.std())) ** 2)) * (depth_here < 0.9)
    level = np.where(depth < 0.035, 4.0, level)
    return np.asarray(level - 8 * depth, np.float32)


def _inside(
    lesion: BreastLesion, rows: int, columns: int, spacing: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    y = (np.arange(rows)[:, None] - lesion.row * rows + 0.5) * spacing / (lesion.height_mm / 2)
    x = (np.arange(columns)[None, :] - lesion.column * columns + 0.5) * spacing / (lesion.width_mm / 2)
    angle, distance = np.arctan2(y, x), np.hypot(y, x)
    edge = np.ones_like(angle)
    for wave in range(3, 14):
        edge = edge + lesion.roughness * 0.12 / np.sqrt(wave) * rng.standard_normal() * np.cos(
            wave * angle + rng.uniform(0, 2 * np.pi)
        )
    return np.asarray(distance <= np.maximum(edge, 0.35))


def _behind(mask: NDArray[np.bool_]) -> _Plane:
    """Return 1 straight below the lesion, fading with depth, and 0 elsewhere."""
    seen = np.cumsum(mask, axis=0) > 0
    below = seen & ~mask
    fade = np.exp(np.cumsum(below, axis=0) / (-0.5 * mask.shape[0]))
    return blurred(np.asarray(below * fade, np.float32), 2.0)


def _speckle(rows: int, columns: int, rng: np.random.Generator) -> _Plane:
    """Return the envelope of random scatterers seen by a beam that is wider across than along."""
    real, imaginary = (
        _across(blurred(rng.standard_normal((rows, columns), dtype=np.float32), 0.7), 2.0) for _ in range(2)
    )
    envelope = np.hypot(real, imaginary)
    return np.asarray(envelope / envelope.mean(), np.float32)


def _across(plane: _Plane, sigma_px: float) -> _Plane:
    frequency = np.fft.rfftfreq(plane.shape[1])[None, :]
    kernel = np.exp(-2 * (np.pi * sigma_px * frequency) ** 2)
    return np.asarray(np.fft.irfft(np.fft.rfft(plane, axis=1) * kernel, n=plane.shape[1], axis=1), np.float32)


def _compressed(amplitude: _Plane) -> NDArray[np.uint8]:
    decibels = 20 * np.log10(np.maximum(amplitude, 1e-4))
    top = np.percentile(decibels, 99.5)
    return np.asarray(np.clip(255 * (1 + (decibels - top) / _DYNAMIC_RANGE_DB), 0, 255), np.uint8)
