"""Crops for training: chosen, altered and normalised exactly as `model_runtime.transforms` would."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_export.datasets.radiograph import Canvas
from model_export.datasets.synthetic import chest, insert_nodule, insert_strand
from model_runtime.transforms import ImageSpec, local_contrast, resize

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Mixture:
    """Where crops come from (shares, the rest is `projections` without a learnt nodule).

    nodule: around a real nodule of a projection. real: a real radiograph without nodule label.
    chest: a made-up chest. inserted: chance that a nodule is added to a crop that holds no real one.
    """

    nodule: float = 0.4
    real: float = 0.25
    chest: float = 0.12
    inserted: float = 0.6


@dataclass(frozen=True, slots=True)
class Crops:
    """A source of crops: `side` tensor pixels square, drawn with one random generator."""

    spec: ImageSpec
    projections: Sequence[Canvas]
    real: Sequence[Canvas]
    mixture: Mixture
    side: int = 192

    def batch(self, size: int, rng: np.random.Generator) -> tuple[Float, Float]:
        """Return tensors (size, side, side, channels) and targets (size, side, side, 2).

        Target plane 0 is 1 in a nodule; plane 1 is the weight: 0 where nobody can say.
        """
        tensors, targets = zip(*(self.crop(rng) for _ in range(size)), strict=True)
        return np.stack(tensors), np.stack(targets)

    def crop(self, rng: np.random.Generator) -> tuple[Float, Float]:
        """Draw one crop and its target."""
        margin = self.spec.local_radius_px or 0
        grey, tissue, target = self._patch(self.side + 2 * margin, rng)
        if not (target == 1).any() and rng.random() < self.mixture.inserted:
            for _ in range(int(rng.integers(1, 3))):
                insert_nodule(grey, target, tissue, rng)
        if rng.random() < 0.25:
            insert_strand(grey, tissue, rng)
        grey = _alter(grey, tissue, rng)
        planes = [grey] if not margin else [grey, local_contrast(grey, tissue, margin)]
        tensor = np.stack(planes, axis=-1)
        truth = np.stack([target == 1, (target != 2) & tissue], axis=-1).astype(np.float32)
        if rng.random() < 0.5:
            tensor, truth = tensor[:, ::-1], truth[:, ::-1]
        inner = np.s_[margin : margin + self.side, margin : margin + self.side]
        return np.ascontiguousarray(tensor[inner]), np.ascontiguousarray(truth[inner])

    def _patch(self, side: int, rng: np.random.Generator) -> tuple[Float, NDArray[np.bool_], NDArray[np.uint8]]:
        """Cut a square of 0.75 to 1.35 times the side and bring it to the side."""
        kind = rng.random()
        cut = int(side * rng.uniform(0.75, 1.35))
        if kind < self.mixture.chest:
            whole = chest(int(side * 1.8), rng)
            top, left = (int(rng.integers(0, whole.shape[0] - side)) for _ in range(2))
            grey = whole[top : top + side, left : left + side]
            return grey.copy(), np.ones(grey.shape, np.bool_), np.zeros(grey.shape, np.uint8)
        source, centre = self._place(kind - self.mixture.chest, rng)
        top, left = int(centre[0] - cut / 2), int(centre[1] - cut / 2)
        grey = _cut(source.grey.astype(np.float32), top, left, cut)
        tissue = _cut(source.tissue, top, left, cut)
        target = _cut(source.target, top, left, cut)
        nearest = np.minimum((np.arange(side) + 0.5) * cut / side, cut - 1).astype(int)
        pick = np.ix_(nearest, nearest)
        return resize(grey, side, side), tissue[pick].copy(), target[pick].copy()

    def _place(self, kind: float, rng: np.random.Generator) -> tuple[Canvas, tuple[float, float]]:
        reach = self.side * 0.35
        with_nodule = [item for item in self.projections if item.centres]
        if kind < self.mixture.nodule and with_nodule:
            source = with_nodule[int(rng.integers(len(with_nodule)))]
            row, column = source.centres[int(rng.integers(len(source.centres)))]
            return source, (row + rng.uniform(-reach, reach), column + rng.uniform(-reach, reach))
        group = self.real if kind < self.mixture.nodule + self.mixture.real and self.real else self.projections
        source = group[int(rng.integers(len(group)))]
        rows, columns = np.nonzero(source.tissue[::16, ::16])
        at = int(rng.integers(len(rows)))
        middle = source.grey.shape[1] / 2
        # Drawn a little towards the middle, where the lungs are.
        return source, (float(rows[at] * 16), float(columns[at] * 16) * 0.75 + middle * 0.25)


def _cut(values: NDArray[Any], top: int, left: int, side: int) -> NDArray[Any]:
    """Cut a square that may reach beyond the picture; zeros there."""
    out = np.zeros((side, side), values.dtype)
    row0, column0 = max(top, 0), max(left, 0)
    part = values[row0 : max(top + side, 0), column0 : max(left + side, 0)]
    out[row0 - top : row0 - top + part.shape[0], column0 - left : column0 - left + part.shape[1]] = part
    return out


def _alter(grey: Float, tissue: NDArray[np.bool_], rng: np.random.Generator) -> Float:
    """Vary tone, contrast, sharpness and noise as detectors and windows do."""
    value = np.clip(grey, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.25)))
    value = (value - 0.5) * rng.uniform(0.75, 1.2) + 0.5 + rng.uniform(-0.1, 0.1)
    if rng.random() < 0.25:
        value = resize(resize(value.astype(np.float32), *(n // 2 for n in value.shape)), *value.shape)
    value = value + rng.normal(0, rng.uniform(0, 0.03), value.shape)
    return np.where(tissue, np.clip(value, 0, 1), 0).astype(np.float32)
