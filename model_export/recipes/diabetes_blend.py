"""What `diabetes-risk` is made of: boosted trees and an additive model, averaged in log-odds and calibrated.

Both parts are sums over trees or inputs, so the whole score can be explained exactly (clinical/explanation.py).
The additive part holds the smooth trends, the trees what depends on each other; together they are better than
either in cross-validation, and than a random forest or a plain logistic regression.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

Array = NDArray[np.float64]
Truth = NDArray[np.bool_]
KNOTS = 7
# Of every person a second copy is learnt from, with inputs struck out at random, because charts lack more than
# the survey does. It counts half, so that complete charts stay the main thing.
COPY_WEIGHT = 0.5
MOST_STRUCK_OUT = 0.8


@dataclass(frozen=True, slots=True)
class Additive:
    """A sum of one broken line a column, in log-odds.

    knots, values: for each column the corners of its line (rising) and their heights; constant outside.
    missing: for each column the height where it is not known. intercept: added to the sum.
    """

    knots: tuple[Array, ...]
    values: tuple[Array, ...]
    missing: Array
    intercept: float

    def parts(self, columns: Array) -> Array:
        """Return what each column adds: (rows, columns) -> (rows, columns)."""
        heights = [
            np.where(np.isnan(x), lacking, np.interp(x, knots, values))
            for x, knots, values, lacking in zip(columns.T, self.knots, self.values, self.missing, strict=True)
        ]
        return np.stack(heights, axis=1)

    def score(self, columns: Array) -> Array:
        """Return the log-odds (rows,)."""
        return np.asarray(self.parts(columns).sum(axis=1) + self.intercept)


@dataclass(frozen=True, slots=True)
class Blend:
    """The model of one graph: slope * (share * mean of the trees + (1 - share) * additive) + offset, in log-odds.

    slope, offset: Platt scaling, fitted on scores out of fold.
    """

    boosters: tuple[HistGradientBoostingClassifier, ...]
    additive: Additive
    share: float
    slope: float = 1.0
    offset: float = 0.0

    def score(self, columns: Array) -> Array:
        """Return calibrated log-odds (rows,)."""
        trees = np.mean([booster.decision_function(columns) for booster in self.boosters], axis=0)
        mixed = self.share * trees + (1 - self.share) * self.additive.score(columns)
        return np.asarray(self.slope * mixed + self.offset)

    def probability(self, columns: Array) -> Array:
        """Return the probability (rows,)."""
        return np.asarray(1 / (1 + np.exp(-self.score(columns))))

    def calibrated(self, scores: Array, truth: Truth) -> "Blend":
        """Return it with Platt scaling fitted on uncalibrated scores of persons that it was not fitted on."""
        platt = LogisticRegression(C=np.inf).fit(scores[:, None], truth)
        return replace(self, slope=float(platt.coef_[0, 0]), offset=float(platt.intercept_[0]))


def struck_out(features: Array, keep: Sequence[int], seed: int) -> Array:
    """Return a copy in which each row lost a random share (0 to MOST_STRUCK_OUT) of its inputs.

    keep: columns that always stay, as the server asks for them.
    """
    rng = np.random.default_rng(seed)
    share = rng.uniform(0, MOST_STRUCK_OUT, (len(features), 1))
    lost = rng.random(features.shape) < share
    lost[:, list(keep)] = False
    return np.where(lost, np.nan, features)


def fit_additive(
    columns: Array, truth: Truth, weight: Array, corners: Sequence[Sequence[float]], *, penalty: float
) -> Additive:
    """Fit the broken lines by logistic regression with an L2 penalty on their heights.

    corners: of each column, none for evenly spread quantiles. A missing value counts as the column's median, and
    whether it is missing has a height of its own: what imputing and scaling do stands in the graph as one number a
    column.
    """
    knots = tuple(
        np.array(given, np.float64) if len(given) else _knots(x[~np.isnan(x)])
        for x, given in zip(columns.T, corners, strict=True)
    )
    medians = np.nanmedian(columns, axis=0)
    blocks = [_hats(np.where(np.isnan(x), m, x), k) for x, m, k in zip(columns.T, medians, knots, strict=True)]
    lacking = np.isnan(columns).astype(np.float64)
    design = np.hstack([*blocks, lacking])
    centre, scale = design.mean(axis=0), design.std(axis=0)
    scale[scale == 0] = 1.0
    model = LogisticRegression(C=1 / penalty, max_iter=3000, tol=1e-6)
    model.fit((design - centre) / scale, truth, sample_weight=weight)
    height = model.coef_[0] / scale
    ends = np.cumsum([len(k) for k in knots])
    values = tuple(np.split(height[: ends[-1]], ends[:-1]))
    at_median = [np.interp(m, k, v) for m, k, v in zip(medians, knots, values, strict=True)]
    return Additive(
        knots=knots,
        values=values,
        missing=np.array(at_median) + height[ends[-1] :],
        intercept=float(model.intercept_[0] - centre @ height),
    )


def _knots(known: Array) -> Array:
    """Return the corners: quantiles, the outermost hundredths cut off so that no one person bends the line."""
    levels = np.concatenate([[0.01], np.linspace(0, 1, KNOTS)[1:-1], [0.99]])
    found = np.unique(np.quantile(known, levels))
    return found if len(found) > 1 else np.unique(known)


def _hats(x: Array, knots: Array) -> Array:
    return np.stack([np.interp(x, knots, unit) for unit in np.eye(len(knots))], axis=1)
