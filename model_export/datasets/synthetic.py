"""Added nodules and made-up chests: what the trainer mixes with real pictures.

The thickness of a real nodule (`nodule_shapes`, readers' outlines) is added to a real lung, which gives a
nodule whose place is known exactly (the idea of the NODE21 generation track). The chests here only teach the
network that a bright round spot in a dark field counts whatever drew the field; nobody should mistake them
for anatomy.
"""

import numpy as np
from numpy.typing import NDArray

from model_export.datasets import nodule_shapes
from model_runtime.transforms import resize

Float = NDArray[np.float32]
PIXEL_MM = 0.75  # of a radiograph of 35 to 43 cm on 512 pixels
NODULE_MM = (7.0, 36.0)
MASS_MM = (36.0, 70.0)
MASSES = 0.12  # share of added shadows that are as large as a mass
CONTRAST = (0.6, 3.0)  # of an added nodule, as `radiograph.contrast` measures it: faint to obvious
PHANTOM_SEED = 20261126
PHANTOM_MM = (15.0, 30.0)
PHANTOM_CONTRAST = (3.0, 5.0)  # far above what is called obvious (1.5)
BODY_ABOVE = 0.12  # how much brighter than a lung its wall and its middle are at least
STRENGTH = (0.03, 0.45)  # in parts of the grey range


def nodule_profile(diameter_mm: float, rng: np.random.Generator) -> Float:
    """Return the projected thickness of a real nodule brought to this diameter, 0..1, on PIXEL_MM.

    Turned, mirrored and a little blurred; four empty pixels around it.
    """
    shapes = nodule_shapes.load()
    near = np.abs(np.log(shapes.diameter_mm / min(diameter_mm, 30.0)))
    one = int(rng.choice(np.argsort(near)[:80]))
    scale = diameter_mm / float(shapes.diameter_mm[one]) / PIXEL_MM
    size = [max(3, round(scale * float(side[one]))) for side in (shapes.height_mm, shapes.width_mm)]
    profile = resize(shapes.thickness[one].astype(np.float32) / 255, *size)
    profile = np.rot90(profile, int(rng.integers(4)))
    if rng.random() < 0.5:
        profile = profile[::-1]
    profile = np.pad(profile, 4)
    for _ in range(int(rng.integers(1, 4))):
        profile = _blur(profile)
    return np.asarray(profile / max(float(profile.max()), 1e-6), np.float32)


def insert_nodule(
    grey: Float,
    target: NDArray[np.uint8],
    tissue: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    diameter_mm: tuple[float, float] | None = None,
    contrast: tuple[float, float] = CONTRAST,
) -> bool:
    """Add one nodule or mass to a dark place of the picture; False when there is no such place.

    grey: 0..1, changed in place; target: set to 1 under the nodule. The contrast to the place's own
    surroundings is drawn between faint and obvious, so that the shadow is as hard to see as a real one.
    diameter_mm: None for the trainer's mixture of nodules and masses.
    """
    limits = diameter_mm or (MASS_MM if rng.random() < MASSES else NODULE_MM)
    profile = nodule_profile(float(np.exp(rng.uniform(*np.log(limits)))), rng)
    spot = _dark_spot(grey, tissue, profile.shape, rng)
    if spot is None:
        return False
    window = np.s_[spot[0] : spot[0] + profile.shape[0], spot[1] : spot[1] + profile.shape[1]]
    wanted = rng.uniform(*contrast) * _roughness(grey[window]) / float(profile[profile > 0.3].mean())
    grey[window] = np.minimum(1, grey[window] + np.float32(np.clip(wanted, *STRENGTH)) * profile)
    target[window][profile > 0.25] = 1
    return True


def _roughness(part: Float) -> float:
    """Return the standard deviation about a plane: what the nodule must stand out of."""
    step = max(1, min(part.shape) // 24)
    coarse = part[::step, ::step].astype(np.float64)
    rows, columns = np.indices(coarse.shape)
    plane = np.stack([np.ones(coarse.size), rows.ravel(), columns.ravel()], axis=1)
    slope, *_ = np.linalg.lstsq(plane, coarse.ravel(), rcond=None)
    return float((coarse.ravel() - plane @ slope).std()) + 1 / 255


def _blur(values: Float) -> Float:
    """Average each pixel with its neighbours (1, 2, 1) along both axes."""
    for axis in (0, 1):
        blurred = (np.roll(values, 1, axis) + 2 * values + np.roll(values, -1, axis)) / 4
        values = np.asarray(blurred, np.float32)
    return values


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


def phantom(seed: int, size: int = 512) -> tuple[Float, NDArray[np.uint8]]:
    """Return a made-up chest with one obvious nodule of 15 to 30 mm, and where it is (1 in the nodule)."""
    rng = np.random.default_rng((PHANTOM_SEED, seed))
    while True:  # a chest whose lungs have no room is drawn again
        grey = chest(size, rng)
        target = np.zeros(grey.shape, np.uint8)
        everywhere = np.ones(grey.shape, np.bool_)
        if insert_nodule(grey, target, everywhere, rng, diameter_mm=PHANTOM_MM, contrast=PHANTOM_CONTRAST):
            return grey, target


def _soft(level: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(level / width * 4, -30, 30))))


def _dark_spot(
    grey: Float, tissue: NDArray[np.bool_], size: tuple[int, ...], rng: np.random.Generator
) -> tuple[int, int] | None:
    """Find a corner of a rectangle that is darker than most of the picture, with brighter body on both sides.

    That is what a lung is and the air beside the body is not.
    """
    if not tissue.any() or min(grey.shape[0] - size[0], grey.shape[1] - size[1]) <= 0:
        return None
    limit = min(0.62, float(np.percentile(grey[::4, ::4][tissue[::4, ::4]], 60)))
    for _ in range(12):
        row = int(rng.integers(0, grey.shape[0] - size[0]))
        column = int(rng.integers(0, grey.shape[1] - size[1]))
        window = np.s_[row : row + size[0], column : column + size[1]]
        mean = float(grey[window].mean())
        if not (tissue[window].all() and 0.05 < mean < limit and grey[window].min() > 0.02):
            continue
        across = grey[row + size[0] // 2]
        if min(across[: column + 1].max(), across[column + size[1] - 1 :].max()) > mean + BODY_ABOVE:
            return row, column
    return None
