"""Free-response ROC: how many nodules are found at how many false marks per image, with its uncertainty.

A mark is (row, column, score). Marks on regions that are neither nodule nor background (too few readers,
or smaller than the size asked about) count for nothing: neither found nor false.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
# The best score on each wanted box (-1 when missed), and the scores of the false marks.
Judged = tuple[NDArray[np.float64], NDArray[np.float64]]
FALSE_MARKS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class Marked:
    """One image: the model's marks (n, 3) as row, column, score; boxes to find; boxes to pass over."""

    marks: NDArray[np.float64]
    wanted: tuple[Box, ...]
    ignored: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval from resampling images."""

    value: float
    low: float
    high: float


def peaks(
    probability: NDArray[np.float32], *, radius: int = 6, floor: float = 0.02, limit: int = 30
) -> NDArray[np.float64]:
    """Return local maxima (n, 3) as row, column, value: none has a larger value within `radius` pixels.

    Most probable first, at most `limit`, none below `floor`.
    """
    best = probability
    for axis in (0, 1):
        padded = np.pad(best, [(radius, radius) if a == axis else (0, 0) for a in (0, 1)], constant_values=-1)
        best = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1, axis=axis).max(axis=-1)
    rows, columns = np.nonzero((probability >= best) & (probability >= floor))
    values = probability[rows, columns].astype(np.float64)
    order = np.argsort(-values, kind="stable")
    kept: list[int] = []
    for index in order:  # a plateau has several maxima: keep one of each
        near = [k for k in kept if max(abs(rows[k] - rows[index]), abs(columns[k] - columns[index])) <= radius]
        if not near:
            kept.append(int(index))
        if len(kept) == limit:
            break
    return np.stack([rows[kept], columns[kept], values[kept]], axis=1).astype(np.float64).reshape(-1, 3)


def sensitivity(images: Sequence[Marked], false_marks: float, margin_px: float = 3.0) -> float:
    """Return the share of wanted boxes found where no more than `false_marks` false marks an image arise.

    NaN when there is nothing to find.
    """
    return _sensitivity([_judge(image, margin_px) for image in images], false_marks)


def curve(
    images: Sequence[Marked],
    points: Sequence[float] = FALSE_MARKS,
    margin_px: float = 3.0,
    *,
    patients: Sequence[str] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> dict[float, Estimate]:
    """Return the sensitivity at each number of false marks, with a bootstrap interval.

    patients: of each image; whole patients are drawn. None: every image is a patient of its own.
    """
    judged = [_judge(image, margin_px) for image in images]
    whole = np.ones((1, len(judged)))
    value = _weighted(judged, whole, points)[0]
    drawn = _weighted(judged, _weights(len(judged), patients, draws, seed), points)
    return {point: _estimate(float(value[n]), drawn[:, n]) for n, point in enumerate(points)}


def _weights(count: int, patients: Sequence[str] | None, draws: int, seed: int) -> NDArray[np.float64]:
    """Return how often each image is drawn, (draws, images)."""
    names, number = np.unique(np.arange(count) if patients is None else np.array(patients), return_inverse=True)
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, max(len(names), 1), (draws, len(names)))
    times = np.stack([np.bincount(row, minlength=len(names)) for row in rows]) if len(names) else rows
    return np.asarray(times[:, number], np.float64)


def _weighted(
    judged: Sequence[Judged], weights: NDArray[np.float64], points: Sequence[float]
) -> NDArray[np.float64]:
    """Return the sensitivity (draws, points) when image i counts weights[draw, i] times."""
    found = np.concatenate([hit for hit, _ in judged]) if judged else np.zeros(0)
    of_found = np.repeat(np.arange(len(judged)), [len(hit) for hit, _ in judged])
    false = np.concatenate([miss for _, miss in judged]) if judged else np.zeros(0)
    of_false = np.repeat(np.arange(len(judged)), [len(miss) for _, miss in judged])
    order = np.argsort(-false, kind="stable")
    false, of_false = false[order], of_false[order]
    answer = np.full((len(weights), len(points)), np.nan)
    for draw, weight in enumerate(weights):
        total = weight[of_found].sum()
        if total == 0:
            continue
        passed = np.cumsum(weight[of_false])
        for n, point in enumerate(points):
            first = int(np.searchsorted(passed, np.floor(point * weight.sum()), side="right"))
            limit = false[first] if first < len(false) else -0.5  # a missed nodule has -1
            answer[draw, n] = weight[of_found][found > limit].sum() / total
    return answer


def operating_point(images: Sequence[Marked], threshold: float, margin_px: float = 3.0) -> tuple[float, float]:
    """Return (sensitivity, false marks per image) when marks from this score on are shown."""
    judged = [_judge(image, margin_px) for image in images]
    found = np.concatenate([hit for hit, _ in judged])
    false = sum(int((miss >= threshold).sum()) for _, miss in judged)
    return (float((found >= threshold).mean()) if found.size else float("nan")), false / len(judged)


def hits(images: Sequence[Marked], threshold: float, margin_px: float = 3.0) -> list[bool]:
    """Return for every wanted box, in order, whether a mark from this score on lies on it."""
    return [bool(score >= threshold) for image in images for score in _judge(image, margin_px)[0]]


def threshold_for(images: Sequence[Marked], false_marks: float, margin_px: float = 3.0) -> float:
    """Return the lowest score that keeps false marks at or below `false_marks` per image."""
    return _threshold([_judge(image, margin_px) for image in images], false_marks)


def auroc(score: Sequence[float], positive: Sequence[bool], *, draws: int = 1000, seed: int = 0) -> Estimate:
    """Return the area under the ROC curve (ties count half) with a bootstrap interval over cases."""
    values, truth = np.asarray(score, np.float64), np.asarray(positive, np.bool_)
    rng = np.random.default_rng(seed)
    samples = rng.integers(0, len(values), (draws, len(values)))
    return _estimate(_auroc(values, truth), np.array([_auroc(values[row], truth[row]) for row in samples]))


def _judge(image: Marked, margin: float) -> Judged:
    """Return the best score on each wanted box (-1 when missed) and the scores of the false marks."""
    found = np.full(len(image.wanted), -1.0)
    false = []
    for row, column, score in image.marks:
        hit = [n for n, box in enumerate(image.wanted) if _inside(row, column, box, margin)]
        for number in hit:
            found[number] = max(found[number], score)
        if not hit and not any(_inside(row, column, box, margin) for box in image.ignored):
            false.append(score)
    return found, np.asarray(false, np.float64)


def _inside(row: float, column: float, box: Box, margin: float) -> bool:
    return bool(
        box[0] - margin <= row + 0.5 <= box[2] + margin and box[1] - margin <= column + 0.5 <= box[3] + margin
    )


def _threshold(judged: Sequence[Judged], false_marks: float) -> float:
    false = np.sort(np.concatenate([miss for _, miss in judged]))[::-1]
    allowed = int(np.floor(false_marks * len(judged)))
    if len(false) <= allowed:
        return 0.0
    return float(np.nextafter(false[allowed], 2.0))


def _sensitivity(judged: Sequence[Judged], false_marks: float) -> float:
    found = np.concatenate([hit for hit, _ in judged])
    return float((found >= _threshold(judged, false_marks)).mean()) if found.size else float("nan")


def _auroc(values: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    positive, negative = np.sort(values[truth]), values[~truth]
    if not positive.size or not negative.size:
        return float("nan")
    below = np.searchsorted(positive, negative, side="left")
    equal = np.searchsorted(positive, negative, side="right") - below
    return float(1 - (below + 0.5 * equal).sum() / (positive.size * negative.size))


def _estimate(value: float, draws: NDArray[np.float64]) -> Estimate:
    usable = draws[np.isfinite(draws)]
    if not usable.size:
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.percentile(usable, (2.5, 97.5))
    return Estimate(value, float(low), float(high))
