"""How far a figure could be chance: 95 % bootstrap intervals over rows, or over patients who have several rows."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
Groups = NDArray[np.str_] | NDArray[np.int64]
RESAMPLES = 1000
NO_INTERVAL = (float("nan"), float("nan"))


def draws(count: int, *, seed: int, groups: Groups | None = None, resamples: int = RESAMPLES) -> Iterator[Rows]:
    """Yield row numbers drawn with replacement, `resamples` times.

    groups: one entry a row. Whole groups are drawn: two images of a patient are not two independent answers,
        and an interval over rows would be too narrow.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        for _ in range(resamples):
            yield rng.integers(0, count, count)
        return
    members = _members(groups)
    for _ in range(resamples):
        yield np.concatenate([members[n] for n in rng.integers(0, len(members), len(members))])


def _members(groups: Groups) -> list[Rows]:
    _, number = np.unique(groups, return_inverse=True)
    order = np.argsort(number, kind="stable")
    return np.split(order, np.cumsum(np.bincount(number))[:-1])


def interval(
    statistic: Callable[[Rows], float],
    count: int,
    *,
    seed: int,
    groups: Groups | None = None,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Return the 2.5 and 97.5 percentiles of `statistic(rows)`; NaN where fewer than two rows or groups exist.

    Draws in which the figure is not defined (NaN: only one class was drawn) are left out.
    """
    independent = count if groups is None else len(np.unique(groups))
    if independent < 2:
        return NO_INTERVAL
    values = np.array([statistic(rows) for rows in draws(count, seed=seed, groups=groups, resamples=resamples)])
    return percentiles(values)


def percentiles(values: NDArray[np.float64], around: float | None = None) -> tuple[float, float]:
    """Return the 2.5 and 97.5 percentiles of the draws that are defined; NaN when none is.

    around: move the draws until their median is here, and not below 0. For figures that noise makes larger, such
        as a calibration error: a draw repeats rows, has more noise than the data, and all draws may lie above it.
    """
    defined = values[np.isfinite(values)]
    if not defined.size:
        return NO_INTERVAL
    low, middle, high = np.percentile(defined, (2.5, 50, 97.5))
    if around is not None:
        low, high = max(0.0, low - middle + around), high - middle + around
    return float(low), float(high)


def wilson(part: int, whole: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share; NaN of nobody.

    For one bin or cell of a plot, where shares near 0 and 1 must not leave 0..1.
    """
    if not whole:
        return NO_INTERVAL
    z2 = 1.959964**2
    share = part / whole
    centre = (share + z2 / (2 * whole)) / (1 + z2 / whole)
    half = float(np.sqrt(z2 * (share * (1 - share) / whole + z2 / (4 * whole**2)))) / (1 + z2 / whole)
    return max(0.0, centre - half), min(1.0, centre + half)
