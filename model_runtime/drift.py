"""Do the inputs still look like those of training? Rows are counted into the bins of the manifest's reference.

The counts are kept by whoever builds a `Drift` (consilium/metrics.py: over all processes); what they say is worked
out from their sums when somebody asks. Memory is bounded by the bins of the manifests.

PSI, the population stability index, is the symmetric divergence of two histograms: sum of (a - e) * ln(a / e) over
the bins, "missing" among them. By convention up to 0.1 is no change, from 0.25 a large one (Siddiqi, Credit Risk
Scorecards, 2006, chapter 9).
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

from model_runtime.histogram import Histogram
from model_runtime.image_statistics import NAMES as IMAGE_STATISTICS
from model_runtime.manifest import Manifest

SCORE = ""  # the score's name where features have theirs; no feature may be called so
MISSING = "missing"
# Without any drift PSI is about (bins - 1) / rows: with fewer rows ten bins would look changed by chance.
MIN_ROWS = 200
OF_AN_IMAGE = frozenset(IMAGE_STATISTICS)
SMALLEST_SHARE = 1e-4  # an empty bin would make the logarithm infinite


class DriftObserver(Protocol):
    """Who is told what a model was asked and what it said."""

    def observe(
        self, manifest: Manifest, values: Mapping[str, float], score: float | None, answer: str | None = None
    ) -> None:
        """Count one case.

        values: feature -> value as the model got it; what is absent or NaN was missing. score: what it said, None
        where there is no one number. answer: what was made of it, one of a few words ("unsure" among them).
        A case is an image (image_statistics) or a record, as they are seen in different processes: what is
        absent of the other is not missing. Names that the manifest's reference does not hold are not counted.
        Never raises.
        """
        ...


class NoDrift:
    """Counts nothing."""

    def observe(
        self, manifest: Manifest, values: Mapping[str, float], score: float | None, answer: str | None = None
    ) -> None:
        """See DriftObserver."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Places rows in bins. Both collaborators are called from many threads at once.

    count: told (manifest, feature or SCORE, bin). answered: told (manifest, answer).
    """

    count: Callable[[Manifest, str, str], None]
    answered: Callable[[Manifest, str], None]

    def observe(
        self, manifest: Manifest, values: Mapping[str, float], score: float | None, answer: str | None = None
    ) -> None:
        """See DriftObserver."""
        is_image = not OF_AN_IMAGE.isdisjoint(values)
        for name, histogram in manifest.reference.features.items():
            if (name in OF_AN_IMAGE) == is_image:
                self.count(manifest, name, bin_of(histogram, values.get(name, math.nan)))
        if manifest.reference.score is not None and score is not None:
            self.count(manifest, SCORE, bin_of(manifest.reference.score, score))
        if answer is not None:
            self.answered(manifest, answer)


@lru_cache(maxsize=1024)
def bin_names(histogram: Histogram) -> tuple[str, ...]:
    """Return a name for each bin, in order, and for missing ones last: "<40", "40..60", ">=60", "missing"."""
    edges = [str(edge).removesuffix(".0") for edge in histogram.edges]
    inner = [f"{low}..{high}" for low, high in pairwise(edges)]
    return (f"<{edges[0]}", *inner, f">={edges[-1]}", MISSING)


def bin_of(histogram: Histogram, value: float) -> str:
    """Return the name of a value's bin."""
    names = bin_names(histogram)
    return MISSING if math.isnan(value) else names[bisect_right(histogram.edges, value)]


def expected_shares(histogram: Histogram) -> tuple[float, ...]:
    """Return the share of each bin among all rows of training, in the order of bin_names; they sum to 1."""
    known = 1 - histogram.missing
    return (*(share * known for share in histogram.shares), histogram.missing)


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one feature. rows: seen. missing: share of them without a value; psi: None below MIN_ROWS."""

    rows: int
    missing: float
    psi: float | None


def change_of(histogram: Histogram, counts: Mapping[str, float]) -> Change | None:
    """Return how counts by bin name differ from the reference; None when nothing was counted."""
    found = [counts.get(name, 0.0) for name in bin_names(histogram)]
    rows = sum(found)
    if not rows:
        return None
    actual = [count / rows for count in found]
    return Change(int(rows), actual[-1], psi(expected_shares(histogram), actual) if rows >= MIN_ROWS else None)


def psi(expected: Sequence[float], actual: Sequence[float]) -> float:
    """Return the population stability index of two lists of shares, 0 when they are the same."""
    pairs = [(max(e, SMALLEST_SHARE), max(a, SMALLEST_SHARE)) for e, a in zip(expected, actual, strict=True)]
    return math.fsum((a - e) * math.log(a / e) for e, a in pairs)
