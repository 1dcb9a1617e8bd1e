"""One lesion on an ultrasound picture: where it lies, how it is cut out, and its outline.

Trainer and server share this. A picture is read twice by the outline network: whole, to find the lesion, and
again close up, because a small lesion is a handful of pixels in the whole picture. Each reading is the mean of
the tensor and its mirror image, and where both readings see the picture their mean counts. numpy only; the
network comes as a function.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clinical.errors import IncorrectInput
from clinical.image import GreyImage
from clinical.measure import Regions, connected_regions
from model_runtime.transforms import Float, ImageSpec, prepare, resize, restore

Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]  # row0, column0, row1, column1; the last two exclusive
# The network's function: tensors (n, rows, columns, 1) -> probabilities of the same shape.
Run = Callable[[Float], Float]


@dataclass(frozen=True, slots=True)
class OutlineRules:
    """How an outline is made of probabilities.

    mask: probability from which a pixel belongs to the lesion. report: peak that a lesion must reach.
    min_area_px: smallest lesion in pixels of the source. zoom: side of the second reading's square, in
    longer sides of the first reading's box. min_side_px: shortest such square.
    """

    mask: float
    report: float
    min_area_px: int
    zoom: float
    min_side_px: int


@dataclass(frozen=True, slots=True)
class CropRules:
    """The square that the image network looks at.

    size: side of the tensor in pixels. zoom: side of the square in longer sides of the outline's box.
    min_side_px: shortest square in pixels of the source. low_percentile, high_percentile: grey values of the
    square that become 0 and 1.
    """

    size: int
    zoom: float
    min_side_px: int
    low_percentile: float
    high_percentile: float


@dataclass(frozen=True, slots=True)
class Window:
    """A square of the source picture, in its pixels; it may reach beyond the picture."""

    row: int
    column: int
    side: int


@dataclass(frozen=True, slots=True)
class Outline:
    """A lesion as one reading gave it.

    probability: float32 (rows, columns) of the source, the mask where a person drew it. mask: the lesion.
    box: of the mask. peak: largest probability in the mask. by_reader: True when a person drew the mask.
    """

    probability: Float
    mask: Mask
    box: Box
    peak: float
    by_reader: bool


def find_outline(run: Run, image: GreyImage, spec: ImageSpec, rules: OutlineRules) -> Outline | None:
    """Return the most conspicuous lesion of a picture, None when nothing reaches the rules.

    run: the outline network. Raises IncorrectInput when no pixel is tissue.
    """
    whole = _read(run, image, spec)
    # A faint lesion may reach the mask's threshold only when it is seen close up.
    first = _main_region(whole, min(rules.mask, float(whole.max()) / 2), None)
    if first is None:
        return None
    window = window_around(box_of(first), rules.zoom, rules.min_side_px)
    close = paste(_read(run, cut(image, window), spec), window, whole)
    probability = np.asarray((whole + close) / 2, np.float32)
    mask = _main_region(probability, rules.mask, first)
    if mask is None:
        return None
    peak = float(probability[mask].max())
    if peak < rules.report or int(mask.sum()) < rules.min_area_px:
        return None
    return Outline(probability, mask, box_of(mask), peak, by_reader=False)


def reader_outline(mask: Mask) -> Outline:
    """Return the outline that a person drew. Raises IncorrectInput when it is empty."""
    if not mask.any():
        raise IncorrectInput("the outline is empty")
    return Outline(mask.astype(np.float32), mask, box_of(mask), 1.0, by_reader=True)


def crop(image: GreyImage, outline: Outline, rules: CropRules) -> Float:
    """Return what the image network reads, float32 (1, size, size, 2).

    Channel 0: grey values of the square around the outline's box, between two percentiles cut to 0..1.
    Channel 1: the mask, resized to 0..1. Outside the picture both are 0.
    """
    window = window_around(outline.box, rules.zoom, rules.min_side_px)
    spec = ImageSpec((), rules.size, rules.size, rules.low_percentile, rules.high_percentile, None)
    grey, _ = prepare(cut(image, window), spec)
    mask = cut(GreyImage(outline.mask.astype(np.float32)), window).pixels
    return np.concatenate([grey, resize(mask, rules.size, rules.size)[None, :, :, None]], axis=3)


def window_around(box: Box, zoom: float, min_side_px: int) -> Window:
    """Return the square with the box in its middle."""
    row0, column0, row1, column1 = box
    side = max(min_side_px, round(zoom * max(row1 - row0, column1 - column0)))
    return Window((row0 + row1 - side) // 2, (column0 + column1 - side) // 2, side)


def cut(image: GreyImage, window: Window) -> GreyImage:
    """Return a square of a picture; what lies outside the picture is padding, with grey value 0."""
    rows, columns = image.pixels.shape
    inner, outer = _overlap(window, rows, columns)
    pixels = np.zeros((window.side, window.side), np.float32)
    padding = np.ones((window.side, window.side), np.bool_)
    pixels[inner] = image.pixels[outer]
    padding[inner] = False if image.padding is None else image.padding[outer]
    return GreyImage(pixels, padding=padding if padding.any() else None)


def paste(square: Float, window: Window, whole: Float) -> Float:
    """Return a copy of `whole` in which the window's pixels are those of the square."""
    inner, outer = _overlap(window, *whole.shape)
    answer = whole.copy()
    answer[outer] = square[inner]
    return answer


def box_of(mask: Mask) -> Box:
    """Return the box of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _read(run: Run, image: GreyImage, spec: ImageSpec) -> Float:
    """Return the network's map in source pixels: the mean over the tensor and its mirror image."""
    tensor, place = prepare(image, spec)
    both = run(np.concatenate([tensor, tensor[:, :, ::-1]]))
    mean = np.asarray((both[0, :, :, 0] + both[1, :, ::-1, 0]) / 2, np.float32)
    return restore(mean, place)


def _main_region(probability: Float, threshold: float, near: Mask | None) -> Mask | None:
    """Return the region with the largest sum of probabilities; `near`: of those that overlap it, if any do."""
    mask = probability >= threshold
    regions = connected_regions(mask)
    if regions.count == 0:
        return None
    weight = _sums(np.asarray(probability, np.float64), regions)
    if near is not None:
        shared = _sums(near.astype(np.float64), regions)
        weight = np.where(shared > 0, weight, 0) if shared.any() else weight
    chosen = np.zeros_like(mask)
    for run in np.flatnonzero(regions.label == int(np.argmax(weight))):
        chosen[regions.row[run], regions.start[run] : regions.stop[run]] = True
    return chosen


def _sums(values: NDArray[np.float64], regions: Regions) -> NDArray[np.float64]:
    """Return the sum of values over each region."""
    total = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    runs = total[regions.row, regions.stop] - total[regions.row, regions.start]
    return np.asarray(np.bincount(regions.label, weights=runs, minlength=regions.count), np.float64)


def _overlap(window: Window, rows: int, columns: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the common part of window and picture, in the window's pixels and in the picture's."""
    top, left = max(window.row, 0), max(window.column, 0)
    bottom = max(top, min(window.row + window.side, rows))
    right = max(left, min(window.column + window.side, columns))
    inner = (slice(top - window.row, bottom - window.row), slice(left - window.column, right - window.column))
    return inner, (slice(top, bottom), slice(left, right))
