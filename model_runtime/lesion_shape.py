"""Numbers that describe a lesion's outline and echo, from the square that the image network reads.

They put into numbers what a BI-RADS lexicon asks for: shape, orientation, margin, echo pattern, posterior
features. Computed on the resized square, so they do not depend on the picture's resolution. numpy only.
"""

import numpy as np
from numpy.typing import NDArray

from clinical.measure import outline as walk
from model_runtime.lesion_view import Outline
from model_runtime.transforms import Float

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
NAMES = (
    "size",  # square root of the area, in longest sides of the picture
    "height_to_width",  # log; above 0: taller than wide
    "axis_ratio",  # log of short to long axis of the ellipse with the same moments
    "tilt",  # |sine| of the long axis against the skin, weighted by how long it is
    "solidity",  # area / area of the convex hull
    "convexity",  # length of the hull / length of the outline
    "circularity",  # 4 pi area / length of the outline squared
    "extent",  # area / area of the box
    "radial_spread",  # standard deviation of the distance from the centre / its mean
    "radial_roughness",  # mean step between neighbouring directions / mean distance
    "lobes_low",  # energy of the distance's waves 3..5
    "lobes_high",  # energy of its waves 6..16
    "contrast",  # (ring - inside) / spread of the ring
    "inside_mean",
    "inside_spread",
    "inside_dark",  # 10th percentile inside
    "inside_texture",  # mean step between neighbouring pixels inside
    "edge_sharpness",  # brightness just outside minus just inside, in spreads of the ring
    "edge_unevenness",  # how much that differs along the outline
    "halo",  # near ring minus far ring
    "posterior",  # behind the lesion minus beside it, in spreads of the square
    "posterior_contrast",  # behind the lesion minus inside it
    "softness",  # area between probabilities 0.2 and 0.8 / length of the outline
)
DIRECTIONS = 64
MIN_PIXELS = 12


def shape_numbers(square: Float, outline: Outline) -> NDArray[np.float32]:
    """Return the numbers in the order of NAMES, float32 (len(NAMES),), each finite and about within -3..3.

    square: the crop, (1, size, size, 2) (lesion_view.crop). A lesion of a few pixels gives zeros.
    """
    grey, mask = np.asarray(square[0, :, :, 0], np.float64), square[0, :, :, 1] >= 0.5
    if int(mask.sum()) < MIN_PIXELS:
        return np.zeros(len(NAMES), np.float32)
    corners = _smooth(np.array(walk(mask), np.float64))
    numbers = [
        np.sqrt(outline.mask.sum()) / max(outline.mask.shape),
        *_form(mask, corners),
        *_radii(mask, corners),
        *_echo(grey, mask),
        *_edge(grey, mask, corners),
        *_behind(grey, mask),
        _softness(outline),
    ]
    return np.asarray(np.clip(np.nan_to_num(np.array(numbers)), -8, 8), np.float32)


def _form(mask: Mask, corners: Floats) -> list[float]:
    rows, columns = np.nonzero(mask)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    area, length = len(rows), _length(corners)
    values, vectors = np.linalg.eigh(np.cov(np.stack([rows, columns])) + np.eye(2) / 12)
    elongation = 1 - np.sqrt(values[0] / values[1])
    hull = _hull(np.stack([np.append(rows, rows), np.append(columns, columns)], axis=1))
    return [
        float(np.log(height / width)),
        float(np.log(values[0] / values[1]) / 2),
        float(abs(vectors[0, 1]) * elongation),
        area / (_area(hull) + length / 2),
        _length(hull) / length,
        float(4 * np.pi * area / length**2),
        float(area / (height * width)),
    ]


def _radii(mask: Mask, corners: Floats) -> list[float]:
    """Describe the distance from the centre as a function of direction."""
    step = corners - np.argwhere(mask).mean(axis=0) - 0.5
    distance, angle = np.hypot(*step.T), np.arctan2(step[:, 0], step[:, 1])
    slot = ((angle + np.pi) / (2 * np.pi) * DIRECTIONS).astype(int) % DIRECTIONS
    count = np.bincount(slot, minlength=DIRECTIONS)
    known = count > 0
    mean = np.bincount(slot, weights=distance, minlength=DIRECTIONS)[known] / count[known]
    radius = np.interp(np.arange(DIRECTIONS), np.flatnonzero(known), mean, period=DIRECTIONS)
    radius /= radius.mean()
    waves = np.abs(np.fft.rfft(radius)) / DIRECTIONS
    return [
        float(radius.std()),
        float(np.abs(np.diff(radius, append=radius[:1])).mean() * 10),
        float(np.sqrt((waves[3:6] ** 2).sum()) * 10),
        float(np.sqrt((waves[6:17] ** 2).sum()) * 10),
    ]


def _echo(grey: Floats, mask: Mask) -> list[float]:
    inside, ring = grey[mask], grey[_grown(mask, 8) & ~_grown(mask, 2)]
    ring = ring if ring.size else inside
    across = np.abs(np.diff(grey, axis=1))[mask[:, 1:] & mask[:, :-1]]
    return [
        float((ring.mean() - inside.mean()) / (ring.std() + 0.05)),
        float(inside.mean()),
        float(inside.std()),
        float(np.percentile(inside, 10)),
        float(across.mean() * 10) if across.size else 0.0,
    ]


def _edge(grey: Floats, mask: Mask, corners: Floats) -> list[float]:
    """Compare grey values on both sides of the outline, and the near ring with the far one."""
    centre = np.argwhere(mask).mean(axis=0) + 0.5
    direction = corners - centre
    direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-9
    step = _at(grey, corners + 3 * direction) - _at(grey, corners - 3 * direction)
    near, far = _grown(mask, 4) & ~mask, _grown(mask, 10) & ~_grown(mask, 5)
    ring = grey[_grown(mask, 8) & ~mask]
    spread = (ring.std() if ring.size else 0.0) + 0.05
    halo = grey[near].mean() - grey[far].mean() if near.any() and far.any() else 0.0
    return [float(step.mean() / spread), float(step.std() / spread), float(halo / spread)]


def _behind(grey: Floats, mask: Mask) -> list[float]:
    """Compare what lies deeper than the lesion with what lies beside that: shadow below 0, enhancement above."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    bottom, depth = int(rows[-1]) + 3, max(8, len(rows) // 2)
    quarter = len(columns) // 4
    left, right = int(columns[0]), int(columns[-1]) + 1
    behind = grey[bottom : bottom + depth, left + quarter : right - quarter]
    beside = np.concatenate(
        [grey[bottom : bottom + depth, :left].ravel(), grey[bottom : bottom + depth, right:].ravel()]
    )
    if not behind.size or not beside.size:
        return [0.0, 0.0]
    spread = grey.std() + 0.05
    return [float((behind.mean() - beside.mean()) / spread), float((behind.mean() - grey[mask].mean()) / spread)]


def _softness(outline: Outline) -> float:
    """Return how wide the network's doubt about the rim is, in thousandths of the lesion's diameter."""
    if outline.by_reader:
        return 0.0
    row0, column0, row1, column1 = outline.box
    margin = max(row1 - row0, column1 - column0) // 4
    part = outline.probability[max(0, row0 - margin) : row1 + margin, max(0, column0 - margin) : column1 + margin]
    doubtful = np.count_nonzero((part > 0.2) & (part < 0.8))
    return float(np.log(1 + doubtful / np.sqrt(outline.mask.sum()) / 4))


def _smooth(corners: Floats, reach: int = 2) -> Floats:
    """Average along the closed outline: pixel edges are no roughness."""
    reach = min(reach, len(corners) // 8)
    return np.asarray(sum(np.roll(corners, n, axis=0) for n in range(-reach, reach + 1)) / (2 * reach + 1))


def _length(points: Floats) -> float:
    return float(np.hypot(*(points - np.roll(points, 1, axis=0)).T).sum())


def _area(points: Floats) -> float:
    rows, columns = points.T
    return float(abs(np.dot(rows, np.roll(columns, 1)) - np.dot(columns, np.roll(rows, 1))) / 2)


def _hull(points: NDArray[np.integer]) -> Floats:
    """Return the convex hull (monotone chain) of pixel centres."""
    ordered = sorted({(int(row), int(column)) for row, column in points})
    if len(ordered) < 3:
        return np.array(ordered, np.float64)
    halves = []
    for sequence in (ordered, ordered[::-1]):
        chain: list[tuple[int, int]] = []
        for point in sequence:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        halves += chain[:-1]
    return np.array(halves, np.float64)


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _grown(mask: Mask, reach: int) -> Mask:
    """Return the mask grown by a square of this reach."""
    for axis in (0, 1):
        padded = np.pad(mask, [(reach, reach) if n == axis else (0, 0) for n in (0, 1)])
        total = np.cumsum(np.pad(padded.astype(np.int64), [(1, 0) if n == axis else (0, 0) for n in (0, 1)]), axis)
        size = mask.shape[axis]
        high = np.take(total, np.arange(size) + 2 * reach + 1, axis=axis)
        mask = (high - np.take(total, np.arange(size), axis=axis)) > 0
    return mask


def _at(grey: Floats, points: Floats) -> Floats:
    """Return grey values at corners, the nearest pixel, cut at the rim of the square."""
    index = np.clip((points - 0.5).round().astype(int), 0, np.array(grey.shape) - 1)
    return np.asarray(grey[index[:, 0], index[:, 1]])
