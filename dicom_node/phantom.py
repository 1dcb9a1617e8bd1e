"""A synthetic chest radiograph: anatomy-like background, nodules of known place and size.

Made from a thickness model (mm of water) and Beer-Lambert's law with scatter and noise, so that grey
values behave as in a radiograph: ribs cross nodules, the heart hides them, edges are soft. It is a test
object, not a patient; the same seed gives the same pixels on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Plane = NDArray[np.floating[Any]]

MAXIMUM = 4095  # 12 bits, as most detectors deliver
_BODY_DEPTH_MM = 190.0
_LUNG_DEPTH_MM = 150.0
_MU_PER_MM = 0.015  # effective, after beam hardening and the presentation curve
_SCATTER = 0.12


@dataclass(frozen=True, slots=True)
class Nodule:
    """A nodule to draw. row, column: centre as fractions of the image (0..1).

    density: how much denser than soft tissue it looks (calcified > 1); 1.5 is plain to see.
    """

    row: float
    column: float
    diameter_mm: float
    density: float = 2.0


@dataclass(frozen=True, slots=True)
class TrueNodule:
    """Where a nodule was drawn: centre in pixels from the centre of the first pixel."""

    row_px: float
    column_px: float
    diameter_mm: float
    diameter_px: float


@dataclass(frozen=True, slots=True)
class PhantomTruth:
    """What is known about a phantom. masks: one bool array (rows, columns) for each nodule."""

    nodules: tuple[TrueNodule, ...]
    masks: tuple[NDArray[np.bool_], ...]
    lungs: NDArray[np.bool_]
    spacing_mm: float


def radiograph_phantom(
    seed: int,
    nodules: int | Sequence[Nodule] = 1,
    *,
    rows: int = 1024,
    columns: int = 1024,
    width_mm: float = 400.0,
) -> tuple[NDArray[np.uint16], PhantomTruth]:
    """Return (pixels, truth): uint16 of shape (rows, columns), 0..4095, bright where dense (MONOCHROME2).

    nodules: the nodules themselves, or how many to place at random in the free lung fields.
    width_mm: what the columns span; pixels are square.
    """
    rng = np.random.default_rng(seed)
    spacing = width_mm / columns
    v, u = np.meshgrid(_axis(rows), _axis(columns) * (columns / rows), indexing="ij")
    body, lung, bone = _anatomy(u, v, rng)
    free = lung > 0.6 * _LUNG_DEPTH_MM
    wanted = _placed(nodules, free, spacing, rng) if isinstance(nodules, int) else tuple(nodules)
    water = body - 0.78 * lung + 1.3 * bone
    drawn = [_nodule(one, rows, columns, spacing) for one in wanted]
    for extra, _, _ in drawn:
        water = water + extra
    pixels = _exposure(water, rng)
    truth = PhantomTruth(
        tuple(true for _, true, _ in drawn),
        tuple(mask for *_, mask in drawn),
        lung > 0.15 * _LUNG_DEPTH_MM,
        spacing,
    )
    return pixels, truth


def blurred(plane: _Plane, sigma_px: float) -> _Plane:
    """Return the plane convolved with a Gaussian (periodic at the borders)."""
    rows, columns = plane.shape
    fy = np.fft.fftfreq(rows)[:, None]
    fx = np.fft.rfftfreq(columns)[None, :]
    kernel = np.exp(-2 * (np.pi * sigma_px) ** 2 * (fy**2 + fx**2))
    return np.asarray(np.fft.irfft2(np.fft.rfft2(plane) * kernel, s=plane.shape), dtype=np.float32)


def _axis(count: int) -> _Plane:
    return np.asarray((np.arange(count) + 0.5) / count * 2 - 1, dtype=np.float32)


def _dome(distance: _Plane) -> _Plane:
    """Return the half thickness of a ball at this distance (1 = its border)."""
    return np.asarray(np.sqrt(np.clip(1 - distance, 0, None)), dtype=np.float32)


def _step(plane: _Plane) -> _Plane:
    return np.asarray(1 / (1 + np.exp(-np.clip(plane, -40, 40))), dtype=np.float32)


def _ridge(distance: _Plane) -> _Plane:
    """Return a flat-topped band: 1 in the middle, 0 beyond a distance of about 1.3."""
    square = distance * distance
    return np.asarray(np.exp(-square * square), dtype=np.float32)


def _anatomy(u: _Plane, v: _Plane, rng: np.random.Generator) -> tuple[_Plane, _Plane, _Plane]:
    """Return (soft tissue, lung, bone) thickness in mm; u to the patient's left, v to the feet, both -1..1."""
    size = 1 + 0.05 * rng.standard_normal(4, dtype=np.float32).clip(-2, 2)
    side = np.abs(u)
    half_width = 0.24 + 0.68 * _step((v + 0.83) * 18) - 0.10 * _step((v + 0.3) * 8) + 0.05 * _step((v - 0.5) * 6)
    body = _BODY_DEPTH_MM * size[0] * _dome((side / half_width) ** 2) * (0.85 + 0.35 * _step((v - 0.45) * 9))
    lung = _lungs(u, v, size)
    heart = _dome(((u - 0.15) / (0.30 * size[2])) ** 2 + ((v - 0.22 - 0.35 * (u - 0.13)) / (0.25 * size[3])) ** 2)
    mediastinum = _ridge(u / 0.125) * _step((v + 0.9) * 10)
    lung = lung * (1 - 0.72 * heart) * (1 - 0.85 * mediastinum)
    airway = 22 * np.exp(-(((u + 0.012) / 0.03) ** 2)) * _step((-0.28 - v) * 25) * _step((v + 0.9) * 30)
    vessels = _vessels(u, v, rng) * (lung > 0)
    return body + 18 * mediastinum + vessels, lung + airway, _bones(u, v, body, rng)


def _lungs(u: _Plane, v: _Plane, size: _Plane) -> _Plane:
    lung = np.zeros_like(u)
    for sign, dome_height in ((-1.0, 0.42), (1.0, 0.48)):
        across = (sign * u - 0.39 * size[1]) / (0.30 * size[1])
        across = across * (1 - 0.30 * np.clip(-v - 0.25, 0, 1) * np.sign(across))
        along = (v + 0.10) / (0.72 * size[0])
        one = _LUNG_DEPTH_MM * _dome(np.abs(across) ** 2.4 + np.abs(along) ** 2.4)
        diaphragm = dome_height + 1.1 * (sign * u - 0.36) ** 2
        lung = lung + one * _step((diaphragm - v) * 70)
    return lung


def _vessels(u: _Plane, v: _Plane, rng: np.random.Generator) -> _Plane:
    """Return hila and branching vessels as blurred ridges of noise, denser towards the middle."""
    rough = blurred(rng.standard_normal(u.shape, dtype=np.float32), u.shape[0] * 0.009)
    rough = rough / rough.std()
    hilum = np.exp(-(((np.abs(u) - 0.17) / 0.07) ** 2) - ((v + 0.02) / 0.13) ** 2)
    reach = np.exp(-(((np.abs(u) - 0.15) / 0.28) ** 2) - (v / 0.45) ** 2)
    ridge = np.exp(-((rough / 0.3) ** 2))
    return np.asarray(14 * hilum + 14 * reach * ridge)


def _bones(u: _Plane, v: _Plane, body: _Plane, rng: np.random.Generator) -> _Plane:
    side = np.abs(u)
    inside = np.clip(body / 60, 0, 1)
    spine = 11 * _ridge(u / 0.08) * (0.75 + 0.25 * np.cos(v * 36))
    bone = spine * _step((v + 0.97) * 20)
    for rib in range(10):
        top = -0.80 + 0.155 * rib + 0.01 * rng.standard_normal()
        reach = np.clip(side - 0.07, 0, None)
        back = top - 0.22 * np.sin(np.clip(reach / 0.72, 0, 1) * 2.6) + 0.34 * reach**1.5
        front = top + 0.30 - 0.55 * (side - 0.45) * 0.9
        cage = _step((0.70 - side) * 40)
        bone = bone + 11 * _shell((v - back) / 0.021) * cage * _step(reach * 60 - 1)
        bone = bone + 5 * _shell((v - front) / 0.026) * cage * _step((side - 0.30) * 25)
    clavicle = -0.70 - 0.16 * (side - 0.1)
    bone = bone + 9 * _shell((v - clavicle) / 0.024) * _step((side - 0.06) * 60) * _step((0.62 - side) * 40)
    return np.asarray(bone * inside, dtype=np.float32)


def _shell(distance: _Plane) -> _Plane:
    """Return a bone's cross-section: cortex denser than what it encloses."""
    return _ridge(distance) - np.float32(0.45) * _ridge(distance / 0.6)


def _placed(count: int, free: NDArray[np.bool_], spacing: float, rng: np.random.Generator) -> tuple[Nodule, ...]:
    rows, columns = free.shape
    candidates = np.argwhere(free)
    chosen: list[Nodule] = []
    while len(chosen) < count:
        row, column = (int(index) for index in candidates[rng.integers(len(candidates))])
        one = Nodule((row + 0.5) / rows, (column + 0.5) / columns, float(rng.uniform(12, 28)))
        apart = 35.0 / spacing
        if all(np.hypot((o.row - one.row) * rows, (o.column - one.column) * columns) > apart for o in chosen):
            chosen.append(one)
    return tuple(chosen)


def _nodule(
    nodule: Nodule, rows: int, columns: int, spacing: float
) -> tuple[_Plane, TrueNodule, NDArray[np.bool_]]:
    row, column = nodule.row * rows - 0.5, nodule.column * columns - 0.5
    y, x = np.ogrid[:rows, :columns]
    radius_px = nodule.diameter_mm / spacing / 2
    distance = ((y - row) ** 2 + (x - column) ** 2) / radius_px**2
    chord = nodule.diameter_mm * _dome(distance) * nodule.density
    true = TrueNodule(row, column, nodule.diameter_mm, 2 * radius_px)
    return chord, true, np.asarray(distance <= 1)


def _exposure(water_mm: _Plane, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return what the detector shows: attenuation, focal blur, scatter, quantum noise, logarithm."""
    rows = water_mm.shape[0]
    primary = blurred(np.exp(-_MU_PER_MM * np.clip(water_mm, 0, None)), rows * 0.0008)
    signal = np.clip(primary, 1e-4, None) * (1 - _SCATTER) + _SCATTER * blurred(primary, rows * 0.06)
    signal = signal * (1 + 0.012 * rng.standard_normal(signal.shape, dtype=np.float32) / np.sqrt(signal + 0.05))
    density = -np.log(np.clip(signal, 1e-3, None))
    # Presentation processing: what a vendor does so that lung and mediastinum are both readable.
    density = density - 0.45 * blurred(density, rows * 0.08)
    low, high = np.percentile(density, (0.5, 99.8))
    return np.asarray(np.clip((density - low) / (high - low), 0, 1) * MAXIMUM, dtype=np.uint16)
