"""Made-up nodules and made-up chests: what the trainer mixes with real projections.

A sphere's projection is its thickness, sqrt(1 - r^2); added to a real lung it gives a nodule whose place
is known exactly (the idea of the NODE21 generation track). The chests here only teach the network that a
bright round spot in a dark field counts whatever drew the field; nobody should mistake them for anatomy.
"""

import numpy as np
from numpy.typing import NDArray

from model_runtime.transforms import resize

Float = NDArray[np.float32]


def nodule_profile(size: int, rng: np.random.Generator) -> Float:
    """Return the projected thickness of a slightly irregular ellipsoid, 0..1, shape (size, size)."""
    grid = (np.arange(size) + 0.5) / size * 2.6 - 1.3
    y, x = np.meshgrid(grid, grid, indexing="ij")
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(0.75, 1.0)
    u = x * np.cos(turn) + y * np.sin(turn)
    v = (y * np.cos(turn) - x * np.sin(turn)) / stretch
    angle = np.arctan2(v, u)
    edge = 1 + sum(
        rng.uniform(0, 0.3 / lobe) * np.cos(lobe * angle + rng.uniform(0, 2 * np.pi)) for lobe in (2, 3, 5)
    )
    radius = np.hypot(u, v) / edge
    # Power 0.5 is a sphere; larger powers fade towards the rim as ground glass and blur do.
    return np.asarray(np.maximum(0.0, 1 - radius**2) ** rng.uniform(0.4, 1.5), np.float32)


def insert_nodule(
    grey: Float, target: NDArray[np.uint8], tissue: NDArray[np.bool_], rng: np.random.Generator
) -> bool:
    """Add one nodule of about 8 to 32 mm to a dark place of the picture; False when there is no such place.

    grey: 0..1, changed in place; target: set to 1 under the nodule; 1 pixel is about 0.75 mm.
    """
    size = int(rng.uniform(14, 56))
    spot = _dark_spot(grey, tissue, size, rng)
    if spot is None:
        return False
    window = np.s_[spot[0] : spot[0] + size, spot[1] : spot[1] + size]
    profile = nodule_profile(size, rng)
    # A small nodule is thin, hence faint: contrast grows with the thickness that the beam crosses.
    strength = rng.uniform(0.06, 0.35) * (0.6 + 0.4 * size / 56)
    grey[window] = np.minimum(1, grey[window] + strength * profile)
    target[window][profile > 0.3] = 1
    return True


def insert_strand(grey: Float, tissue: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Add a long thin shadow (vessel, scar, lead) that is NOT a nodule, so that not all that is added counts."""
    rows, columns = grey.shape
    points = int(rng.integers(30, 120))
    turn = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.06, points))
    path_r = rng.uniform(0.2, 0.8) * rows + np.cumsum(np.sin(turn))
    path_c = rng.uniform(0.2, 0.8) * columns + np.cumsum(np.cos(turn))
    inside = (path_r > 3) & (path_r < rows - 4) & (path_c > 3) & (path_c < columns - 4)
    drawn = np.zeros_like(grey)
    width = int(rng.integers(1, 4))
    for row, column in zip(path_r[inside].astype(int), path_c[inside].astype(int), strict=True):
        drawn[row : row + width, column : column + width] = 1
    grey += np.where(tissue, rng.uniform(0.05, 0.3) * drawn, 0).astype(np.float32)


def chest(size: int, rng: np.random.Generator) -> Float:
    """Return a crude frontal chest, 0..1, shape (size, size): body, two lungs, spine, heart, ribs, vessels."""
    y, x = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size), indexing="ij")
    body = _soft(1 - (np.abs(x) / rng.uniform(0.8, 1.0)) ** 4 - np.abs(y / 1.4) ** 6, 0.1)
    grey = body * rng.uniform(0.55, 0.85)
    for side in (-1, 1):
        centre, wide, tall = side * rng.uniform(0.34, 0.48), rng.uniform(0.24, 0.36), rng.uniform(0.5, 0.75)
        shape = 1 - ((x - centre) / wide) ** 2 - ((y - rng.uniform(-0.15, 0.1)) / tall) ** 2
        grey -= _soft(shape, rng.uniform(0.05, 0.3)) * rng.uniform(0.25, 0.5)
    grey += _soft(1 - (x / rng.uniform(0.08, 0.18)) ** 2, 0.3) * rng.uniform(0.1, 0.35)
    heart = 1 - ((x - rng.uniform(0, 0.2)) / 0.35) ** 2 - ((y - 0.3) / 0.35) ** 2
    grey += _soft(heart, 0.3) * rng.uniform(0.05, 0.3)
    period, bend = rng.uniform(0.1, 0.2), rng.uniform(0.2, 0.7)
    ribs = np.sin(2 * np.pi * (y + bend * x**2 + 0.2 * np.abs(x)) / period)
    grey += _soft(ribs - rng.uniform(0, 0.6), 0.4) * body * rng.uniform(0.0, 0.12)
    texture = sum(
        resize(rng.normal(0, 1, (n, n)).astype(np.float32), size, size) * rng.uniform(0, 0.03)
        for n in (size // 24, size // 8, size // 3)
    )
    return np.asarray(np.clip(grey + texture, 0, 1), np.float32)


def _soft(level: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(level / width * 4, -30, 30))))


def _dark_spot(
    grey: Float, tissue: NDArray[np.bool_], size: int, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Find a corner of a square whose middle is darker than most of the picture, yet no outside air."""
    limit = min(0.6, float(np.percentile(grey[tissue], 60))) if tissue.any() else 0.0
    for _ in range(12):
        row = int(rng.integers(0, grey.shape[0] - size))
        column = int(rng.integers(0, grey.shape[1] - size))
        window = np.s_[row : row + size, column : column + size]
        if tissue[window].all() and 0.05 < grey[window].mean() < limit and grey[window].min() > 0.02:
            return row, column
    return None
