"""How far two readers agree about the same images. Agreement is not accuracy: both may be wrong together.

Counts, arrays and differences in, numbers out; None where a figure is not defined.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2_000
LIMITS_SD = 1.96  # Bland and Altman 1986: 95 % of the differences, when they are normal
DECIMALS = 4

Labels = NDArray[np.int16]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TwoByTwo:
    """How often each of two readers found something. first, second: only that one did."""

    both: int = 0
    first: int = 0
    second: int = 0
    neither: int = 0

    def __add__(self, other: "TwoByTwo") -> "TwoByTwo":
        mine, its = self.counts, other.counts
        return TwoByTwo(*(a + b for a, b in zip(mine, its, strict=True)))

    @staticmethod
    def of(*, first: bool, second: bool) -> "TwoByTwo":
        """Return the table of one image."""
        return TwoByTwo(first and second, first and not second, second and not first, not (first or second))

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """both, first, second, neither."""
        return self.both, self.first, self.second, self.neither

    @property
    def n(self) -> int:
        """How many were compared."""
        return sum(self.counts)

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa (1960); None when chance alone would agree always, as where nobody finds anything."""
        return _finite(float(_kappas(np.array([self.counts], np.float64))[0]))

    @property
    def positive_agreement(self) -> float | None:
        """2a / (2a + b + c) (Cicchetti and Feinstein 1990): of what either found, how much the other did."""
        found = 2 * self.both + self.first + self.second
        return 2 * self.both / found if found else None

    @property
    def negative_agreement(self) -> float | None:
        """2d / (2d + b + c): of what either left without a finding, how much the other did."""
        left = 2 * self.neither + self.first + self.second
        return 2 * self.neither / left if left else None


def kappa_interval(studies: Sequence[TwoByTwo], seed: int = 0) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of kappa by a bootstrap over studies, whose images are not independent.

    None when there are fewer than two studies, when kappa is not defined in one of twenty resamples, and when all
    resamples have the same, as where nobody ever differed: then they say nothing of what another study would show.
    """
    if len(studies) < 2:
        return None
    counts = np.array([one.counts for one in studies], np.float64)
    # A study's weight in a resample is how often it is drawn.
    draws = np.random.default_rng(seed).multinomial(len(studies), [1 / len(studies)] * len(studies), RESAMPLES)
    kappas = _kappas(draws @ counts)
    defined = kappas[np.isfinite(kappas)]
    if len(defined) < 0.95 * RESAMPLES:
        return None
    low, high = np.percentile(defined, (2.5, 97.5))
    return (float(low), float(high)) if low < high else None


def _kappas(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return kappa of each row (both, first, second, neither); NaN where it is not defined."""
    n = counts.sum(axis=1)
    both, first, second, neither = counts.T
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = (both + neither) / n
        chance = ((both + first) * (both + second) + (neither + first) * (neither + second)) / n**2
        return np.where(chance < 1, (observed - chance) / (1 - chance), np.nan)


@dataclass(frozen=True, slots=True)
class Differences:
    """second - first: mean, and the limits of agreement (mean +- 1.96 SD; Bland and Altman 1986).

    mean is None without pairs, low and high are with fewer than two.
    """

    n: int
    mean: float | None
    low: float | None
    high: float | None


def differences(pairs: Sequence[tuple[float, float]]) -> Differences:
    """Return how the second of each pair differs from the first."""
    if not pairs:
        return Differences(0, None, None, None)
    found = np.array([second - first for first, second in pairs])
    mean = float(found.mean())
    if len(found) < 2:
        return Differences(1, round(mean, DECIMALS), None, None)
    spread = LIMITS_SD * float(found.std(ddof=1))
    low, high = (round(one, DECIMALS) for one in (mean - spread, mean + spread))
    return Differences(len(found), round(mean, DECIMALS), low, high)


@dataclass(frozen=True, slots=True)
class Overlap:
    """Of two sets of pixels: Dice's coefficient (1945) and Jaccard's, intersection over union (1912)."""

    dice: float
    iou: float


def overlap(first: Mask, second: Mask) -> Overlap | None:
    """Return how far two masks of the same shape are the same; None when both are empty."""
    shared, together = np.count_nonzero(first & second), np.count_nonzero(first | second)
    if not together:
        return None
    sizes = np.count_nonzero(first) + np.count_nonzero(second)
    return Overlap(round(2 * shared / sizes, DECIMALS), round(shared / together, DECIMALS))


def same_findings(first: Labels, second: Labels) -> list[tuple[int, int]]:
    """Return which findings of two label images are the same: the pairs that overlap, the closest first.

    Both have one shape, 0 is no finding and n finding n. Each finding is in at most one pair.
    """
    there = (first > 0) & (second > 0)
    meeting = np.unique(np.stack([first[there], second[there]], axis=1), axis=0)
    close: list[tuple[float, int, int]] = []
    for one, other in meeting:
        shared = overlap(first == one, second == other)
        close.append((-(shared.iou if shared else 0.0), int(one), int(other)))
    pairs: list[tuple[int, int]] = []
    for _, one, other in sorted(close):
        if all(one != known and other != its for known, its in pairs):
            pairs.append((one, other))
    return pairs


def median(values: Sequence[float]) -> float | None:
    """Return the median, None of nothing."""
    return float(np.median(values)) if values else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
