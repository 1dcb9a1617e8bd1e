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
    """Where crops come from (shares; the rest is a projection at any place).

    nodule: around a nodule that is to be learnt; boxed: how many of those stem from real radiographs with
    expert boxes. real: a real radiograph without nodule label. chest: a made-up chest.
    inserted: chance that nodules are added to a crop that holds no real one. altered: chance that tone, sharpness
    and noise vary.
    """

    nodule: float = 0.4
    boxed: float = 0.12
    real: float = 0.3
    chest: float = 0.06
    inserted: float = 0.6
    altered: float = 1.0


@dataclass(frozen=True, slots=True)
class Crops:
    """A source of crops: `side` tensor pixels square, drawn with one random generator.

    projections, boxed: with nodules to learn. real: backgrounds without any.
    """

    spec: ImageSpec
    projections: Sequence[Canvas]
    real: Sequence[Canvas]
    mixture: Mixture
    boxed: Sequence[Canvas] = ()
    side: int = 256

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
            for _ in range(int(rng.integers(1, 4))):
                insert_nodule(grey, target, tissue, rng)
        if rng.random() < 0.25:
            insert_strand(grey, tissue, rng)
        if rng.random() < self.mixture.altered:
            grey = alter(grey, tissue, rng)
        planes = [grey] if not margin else [grey, local_contrast(grey, tissue, margin)]
        tensor = np.stack(planes, axis=-1)
        truth = np.stack([target == 1, (target != 2) & tissue], axis=-1).astype(np.float32)
        if rng.random() < 0.5:
            tensor, truth = tensor[:, ::-1], truth[:, ::-1]
        inner = np.s_[margin : margin + self.side, margin : margin + self.side]
        return np.ascontiguousarray(tensor[inner]), np.ascontiguousarray(truth[inner])

    def _patch(self, side: int, rng: np.random.Generator) -> tuple[Float, NDArray[np.bool_], NDArray[np.uint8]]:
        """Cut a rectangle of 0.75 to 1.35 times the side, a little wide or tall, and bring it to the side."""
        kind = rng.random()
        if kind < self.mixture.chest:
            whole = chest(int(side * 1.8), rng)
            top, left = (int(rng.integers(0, whole.shape[0] - side)) for _ in range(2))
            grey = whole[top : top + side, left : left + side]
            return grey.copy(), np.ones(grey.shape, np.bool_), np.zeros(grey.shape, np.uint8)
        source, centre = self._place(kind - self.mixture.chest, rng)
        zoom, wide = np.exp(rng.uniform(np.log(0.75), np.log(1.35))), np.exp(rng.normal(0, 0.06))
        rows, columns = int(side * zoom / wide), int(side * zoom * wide)
        top, left = (
            int(np.clip(middle, 0.35 * n, whole - 0.35 * n) - n / 2)
            for middle, n, whole in zip(centre, (rows, columns), source.grey.shape, strict=True)
        )
        cut = [_cut(plane, top, left, rows, columns) for plane in (source.grey, source.tissue, source.target)]
        pick = np.ix_(
            *(np.minimum((np.arange(side) + 0.5) * n / side, n - 1).astype(int) for n in (rows, columns))
        )
        return resize(cut[0].astype(np.float32), side, side), cut[1][pick].copy(), cut[2][pick].copy()

    def _place(self, kind: float, rng: np.random.Generator) -> tuple[Canvas, tuple[float, float]]:
        reach = self.side * 0.4
        boxed = rng.random() < self.mixture.boxed
        with_nodule = [item for item in (self.boxed if boxed else self.projections) if item.centres]
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


def _cut(values: NDArray[Any], top: int, left: int, rows: int, columns: int) -> NDArray[Any]:
    """Cut a rectangle that may reach beyond the picture; zeros there."""
    out = np.zeros((rows, columns), values.dtype)
    row0, column0 = max(top, 0), max(left, 0)
    part = values[row0 : max(top + rows, 0), column0 : max(left + columns, 0)]
    out[row0 - top : row0 - top + part.shape[0], column0 - left : column0 - left + part.shape[1]] = part
    return out


def alter(grey: Float, tissue: NDArray[np.bool_], rng: np.random.Generator) -> Float:
    """Vary tone, contrast, sharpness and noise as detectors and windows do, far beyond what one set shows."""
    value = np.clip(grey, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.3)))
    if rng.random() < 0.5:  # an S-shaped or inverse S-shaped curve, as film and display tables have
        value = value + np.float32(rng.uniform(-0.12, 0.12)) * np.sin(2 * np.pi * value, dtype=np.float32)
    value = (value - 0.5) * rng.uniform(0.7, 1.25) + 0.5 + rng.uniform(-0.12, 0.12)
    kind = rng.random()
    if kind < 0.25:
        value = resize(resize(value.astype(np.float32), *(n // 2 for n in value.shape)), *value.shape)
    elif kind < 0.45:  # edge enhancement, as most detectors apply
        smooth = resize(resize(value.astype(np.float32), *(n // 4 for n in value.shape)), *value.shape)
        value = value + rng.uniform(0.2, 0.8) * (value - smooth)
    value = value + rng.normal(0, rng.uniform(0, 0.03), value.shape)
    return np.where(tissue, np.clip(value, 0, 1), 0).astype(np.float32)
