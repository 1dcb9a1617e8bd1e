"""From a probability map to numbered findings: regions, outlines, axes.

Arrays and spacings in, values out; nothing here knows DICOM, FHIR or files. A pixel is a square that reaches
half a pixel to each side of its centre, so one lone pixel has an outline and a length.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clinical.codes import LONG_AXIS, SHORT_AXIS
from clinical.errors import Fault, IncorrectInput
from clinical.finding import (
    LENGTH_DECIMALS,
    MILLIMETRE,
    PIXEL,
    PROBABILITY_DECIMALS,
    Finding,
    Measurement,
    ReadingMask,
)
from clinical.image import PixelSpacing

Ints = NDArray[np.int64]
Points = NDArray[np.float64]
CENTROID_DECIMALS = 2
# Far more than any reader would look at. Beyond it the model does not fit the picture, and a cut list
# would pass for a complete one.
MAX_FINDINGS = 200
# Interpolation of values in 0..1 may leave that range by rounding, not by more.
ROUNDING = 1e-3
STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))  # east, south, west, north; clockwise, rows grow downwards


@dataclass(frozen=True, slots=True)
class Regions:
    """Connected regions of a mask, as runs of pixels within rows, in reading order.

    row, start, stop: of each run, stop exclusive. label: 0..count-1 of each run.
    """

    row: Ints
    start: Ints
    stop: Ints
    label: Ints
    count: int


def findings_from_probability(
    probability: NDArray[np.float32],
    *,
    mask_threshold: float,
    report_threshold: float,
    min_area_px: int,
    spacing: PixelSpacing | None,
) -> tuple[tuple[Finding, ...], ReadingMask]:
    """Return the findings, most probable first, and which pixel belongs to which.

    probability: shape (rows, columns), 0..1, in the pixels of the source image.
    mask_threshold: a pixel belongs to a region from this value on; regions touching at a corner are one.
    report_threshold: a region is a finding when its largest value reaches this; that value is the
        finding's probability. min_area_px: smaller regions are no findings.
    spacing: None when the image states none; lengths are then counted in pixels and say so.

    Raises IncorrectInput for an array that is no map, Fault for values that no model may give (NaN,
    outside 0..1) and when more than MAX_FINDINGS regions would be reported.
    """
    _check(probability)
    mask = probability >= mask_threshold
    regions = connected_regions(mask)
    labels = np.zeros(probability.shape, np.int16)
    if regions.count == 0:
        return (), ReadingMask(labels)
    length = regions.stop - regions.start
    area = np.bincount(regions.label, weights=length, minlength=regions.count).astype(np.int64)
    peak = _peaks(probability[mask], length, regions)
    kept = np.flatnonzero((peak >= report_threshold) & (area >= min_area_px))
    if len(kept) > MAX_FINDINGS:
        raise Fault("the model marked more regions than any image can hold: it does not fit this image")
    # Ties by size, then by place, so that the numbers never depend on how regions were found.
    order = kept[np.lexsort((kept, -area[kept], -peak[kept]))]
    findings = []
    for number, region in enumerate(order, start=1):
        own = np.flatnonzero(regions.label == region)
        finding = _finding(number, float(peak[region]), regions, own, spacing)
        for run in own:
            labels[regions.row[run], regions.start[run] : regions.stop[run]] = number
        findings.append(finding)
    return tuple(findings), ReadingMask(labels)


def connected_regions(mask: NDArray[np.bool_]) -> Regions:
    """Find regions of True pixels that touch at an edge or a corner (8-connectivity).

    mask: shape (rows, columns). Regions are numbered in reading order of their first pixel. Works on runs
    with array operations only, so the time does not depend on how many pixels are True.
    """
    row, start, stop = _runs(mask)
    # Runs touch when start <= other.stop and other.start <= stop, both stops exclusive. Keys that grow with
    # row and column turn "the touching runs of the next row" into one range of indices.
    stride = mask.shape[1] + 2
    first = np.searchsorted(row * stride + stop, (row + 1) * stride + start, side="left")
    last = np.searchsorted(row * stride + start, (row + 1) * stride + stop, side="right")
    touching = np.maximum(last - first, 0)
    above = np.repeat(np.arange(len(row)), touching)
    offset = np.arange(touching.sum()) - np.repeat(np.cumsum(touching) - touching, touching)
    roots = _unite(len(row), above, np.repeat(first, touching) + offset)
    names, label = np.unique(roots, return_inverse=True)
    return Regions(row, start, stop, label.astype(np.int64), len(names))


def outline(region: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Walk once around a region, clockwise, along the edges of its pixels.

    region: shape (rows, columns), one 8-connected region. Returns the corners of the walk, one step apart;
    corner (r, c) is the upper left corner of pixel (r, c). Holes are not walked around.

    Raises IncorrectInput for an empty region.
    """
    if not region.any():
        raise IncorrectInput("an empty region has no outline")
    inside = np.pad(region, 1).tolist()
    row = int(np.argmax(region.any(axis=1)))
    column = int(np.argmax(region[row]))
    start, heading = (row, column), 0
    corners = [start]
    while True:
        row, column = row + STEPS[heading][0], column + STEPS[heading][1]
        if (row, column) == start:
            return corners
        corners.append((row, column))
        # Left is asked first: pixels that touch at a corner are one region, and the walk stays with them.
        if _ahead(inside, row, column, heading, left=True):
            heading = (heading + 3) % 4
        elif not _ahead(inside, row, column, heading, left=False):
            heading = (heading + 1) % 4


def axes(points: Points) -> tuple[float, float]:
    """Return the largest distance of two points, and the extent across it.

    points: shape (n, 2), in the unit of the answer.
    """
    hull = _hull(points)
    step = hull[:, None, :] - hull[None, :, :]
    distance = np.hypot(step[..., 0], step[..., 1])
    one, other = np.unravel_index(int(np.argmax(distance)), distance.shape)
    long_axis = float(distance[one, other])
    if long_axis == 0:
        return 0.0, 0.0
    along = (hull[other] - hull[one]) / long_axis
    across = hull @ np.array([-along[1], along[0]])
    return long_axis, float(across.max() - across.min())


def _check(probability: NDArray[np.float32]) -> None:
    if probability.ndim != 2 or probability.size == 0:
        raise IncorrectInput("a probability map has rows and columns")
    low, high = float(probability.min()), float(probability.max())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # written so that NaN fails too
        raise Fault("the model gave values that are no probabilities")


def _runs(mask: NDArray[np.bool_]) -> tuple[Ints, Ints, Ints]:
    """Return row, start and stop of every run of True, in reading order. Only rows with any are looked at."""
    used = np.flatnonzero(mask.any(axis=1))
    padded = np.zeros((len(used), mask.shape[1] + 2), np.bool_)
    padded[:, 1:-1] = mask[used]
    edge = np.flatnonzero(padded[:, 1:] != padded[:, :-1])
    width = mask.shape[1] + 1
    return used[edge[::2] // width], edge[::2] % width, edge[1::2] % width


def _unite(count: int, one: Ints, other: Ints) -> Ints:
    """Return for each of `count` things the smallest thing that it is joined to, directly or not.

    one, other: pairs that are joined. Every round hooks larger roots to smaller ones and halves the paths.
    """
    parent = np.arange(count)
    while True:
        a, b = parent[one], parent[other]
        apart = a != b
        if not apart.any():
            return parent
        one, other, a, b = one[apart], other[apart], a[apart], b[apart]
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while True:
            shorter = parent[parent]
            if np.array_equal(shorter, parent):
                break
            parent = shorter


def _peaks(values: NDArray[np.float32], length: Ints, regions: Regions) -> NDArray[np.float64]:
    """Return the largest value of each region. values: of all True pixels, in reading order."""
    per_run = np.maximum.reduceat(values, np.cumsum(length) - length)
    peak = np.zeros(regions.count)
    np.maximum.at(peak, regions.label, per_run)
    return np.minimum(peak, 1.0)


def _finding(number: int, peak: float, regions: Regions, own: Ints, spacing: PixelSpacing | None) -> Finding:
    row, start, stop = regions.row[own], regions.start[own], regions.stop[own]
    box = (int(row.min()), int(start.min()), int(row.max()) + 1, int(stop.max()))
    region = np.zeros((box[2] - box[0], box[3] - box[1]), np.bool_)
    for line, first, last in zip(row - box[0], start - box[1], stop - box[1], strict=True):
        region[line, first:last] = True
    origin = np.array([box[0] - 0.5, box[1] - 0.5])
    corners = np.array(outline(region), np.float64) + origin
    # Lengths are taken between middles of pixel edges: between corners, a lone pixel would be 1.4 long.
    middles = (corners + np.roll(corners, -1, axis=0)) / 2
    scale, unit = ((1.0, 1.0), PIXEL) if spacing is None else ((spacing.row_mm, spacing.column_mm), MILLIMETRE)
    long_axis, short_axis = axes(middles * scale)
    pixels = (stop - start).sum()
    centroid = ((row * (stop - start)).sum() / pixels, ((start + stop - 1) * (stop - start)).sum() / 2 / pixels)
    return Finding(
        number=number,
        probability=round(peak, PROBABILITY_DECIMALS),
        centroid_px=(round(float(centroid[0]), CENTROID_DECIMALS), round(float(centroid[1]), CENTROID_DECIMALS)),
        box_px=box,
        outline_px=_turns(corners),
        long_axis=Measurement(LONG_AXIS, round(long_axis, LENGTH_DECIMALS), unit),
        short_axis=Measurement(SHORT_AXIS, round(short_axis, LENGTH_DECIMALS), unit),
    )


def _ahead(inside: list[list[bool]], row: int, column: int, heading: int, *, left: bool) -> bool:
    """Say whether the pixel ahead of a corner, to the left or right of the walk, is inside."""
    # Around corner (r, c) of the padded grid: pixels (r, c), (r, c+1), (r+1, c), (r+1, c+1).
    ahead = (((0, 1), (1, 1)), ((1, 1), (1, 0)), ((1, 0), (0, 0)), ((0, 0), (0, 1)))[heading]
    down, right = ahead[0 if left else 1]
    return inside[row + down][column + right]


def _turns(corners: Points) -> tuple[tuple[float, float], ...]:
    """Keep the corners where the walk turns."""
    before, after = corners - np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0) - corners
    turning = corners[(before != after).any(axis=1)]
    return tuple((float(row), float(column)) for row, column in turning)


def _hull(points: Points) -> Points:
    """Return the convex hull (monotone chain), after dropping all but the outermost points of each row."""
    order = points[np.lexsort((points[:, 1], points[:, 0]))]
    new_row = np.flatnonzero(np.diff(order[:, 0])) + 1
    ends = np.unique(np.concatenate([[0], new_row - 1, new_row, [len(order) - 1]]))
    sorted_points = [(float(r), float(c)) for r, c in order[ends]]
    return np.array(_half_hull(sorted_points) + _half_hull(sorted_points[::-1]))


def _half_hull(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    chain: list[tuple[float, float]] = []
    for point in points:
        while len(chain) > 1 and _cross(chain[-2], chain[-1], point) <= 0:
            chain.pop()
        chain.append(point)
    return chain


def _cross(origin: tuple[float, float], one: tuple[float, float], other: tuple[float, float]) -> float:
    return math.fsum(
        (
            (one[0] - origin[0]) * (other[1] - origin[1]),
            -(one[1] - origin[1]) * (other[0] - origin[0]),
        )
    )
