"""What moved one patient's score: exact Shapley values of a sum of trees and broken lines, in log-odds.

Trees: the path-dependent game of Lundberg et al., "From local explanations to global understanding with
explainable AI for trees" (2020), in which an input that is not known follows both branches in the proportions of
training. For one leaf with the inputs F on its path the Shapley value of j is value * (o_j - z_j) times the
integral over t in 0..1 of the product over the other k of ((1 - t) z_k + t o_k), Owen's multilinear extension: a
polynomial, so Gauss-Legendre quadrature gives it exactly. o: does this patient pass; z: the share of training
that did.

Lines: the height at the patient's value less the mean height in training.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clinical.errors import Fault

Array = NDArray[np.float64]
Arrays = Mapping[str, NDArray[np.generic]]
# How a column is made from the features a and b of the row: what the graph does, in the same arithmetic.
ITSELF, OVER_ROOT, PRODUCT, RATIO = range(4)
NO_COLUMN = -1  # fills up paths that ask about fewer columns than the longest


@dataclass(frozen=True, slots=True)
class Attribution:
    """base: the score when nothing is known of the patient; parts (features,): what each feature adds to it."""

    base: float
    parts: Array

    @property
    def score(self) -> float:
        """The patient's log-odds: base and parts sum to what the model says."""
        return float(self.base + self.parts.sum())


@dataclass(frozen=True, slots=True)
class Paths:
    """All leaves of all trees. Shapes (leaves, longest path), columns on it filled up with NO_COLUMN.

    column: asked on the way. low, high: passes when low < x <= high. unknown: passes when x is NaN.
    share: of training rows that passed, of those that came here. value (leaves,): added to the score.
    """

    column: NDArray[np.int16]
    low: Array
    high: Array
    unknown: NDArray[np.bool_]
    share: Array
    value: Array


@dataclass(frozen=True, slots=True)
class Lines:
    """One broken line a column. corner, height (columns, most corners): filled up by repeating the last one.

    missing (columns,): height of NaN. mean (columns,): mean height in training.
    """

    corner: Array
    height: Array
    missing: Array
    mean: Array


@dataclass(frozen=True, slots=True)
class Explainer:
    """A model as a sum of paths, lines and an intercept over columns.

    kind, first, second (columns,): how each column is made of features. owner (columns,): whose part it is.
    """

    kind: NDArray[np.int16]
    first: NDArray[np.int16]
    second: NDArray[np.int16]
    owner: NDArray[np.int16]
    features: int
    paths: Paths
    lines: Lines
    intercept: float

    def explain(self, row: Array) -> Attribution:
        """Return what each feature of a row (features,), NaN for missing, adds to the log-odds."""
        columns = self._columns(row)
        base, parts = _explain_paths(self.paths, columns)
        parts += _line_heights(self.lines, columns) - self.lines.mean
        return Attribution(
            base=float(base + self.lines.mean.sum() + self.intercept),
            parts=np.bincount(self.owner, parts, minlength=self.features).astype(np.float64),
        )

    def _columns(self, row: Array) -> Array:
        made = zip(self.kind, row[self.first], row[self.second], strict=True)
        return np.array([column_of(int(kind), a, b) for kind, a, b in made])


def column_of(kind: int, a: Array, b: Array) -> Array:
    """Return a column made of the features a and b, of equal shapes; NaN where one that it needs is missing."""
    if kind == ITSELF:
        return a
    if kind == PRODUCT:
        return a * b
    return a / (np.sqrt(b) if kind == OVER_ROOT else b)


def explainer_of(arrays: Arrays) -> Explainer:
    """Return the explainer that a model folder's arrays describe. Raises Fault when one is absent or misshapen."""
    try:
        paths = Paths(**{name: arrays[f"path_{name}"] for name in Paths.__slots__})  # type: ignore[arg-type]
        lines = Lines(**{name: arrays[f"line_{name}"] for name in Lines.__slots__})  # type: ignore[arg-type]
        made = {name: arrays[name] for name in ("kind", "first", "second", "owner")}
        found = Explainer(
            **made,  # type: ignore[arg-type]
            features=int(arrays["features"]),
            paths=paths,
            lines=lines,
            intercept=float(arrays["intercept"]),
        )
    except (KeyError, TypeError, ValueError):
        raise Fault("the arrays that explain the model lack what an explanation needs") from None
    same = {paths.column.shape, paths.low.shape, paths.high.shape, paths.unknown.shape, paths.share.shape}
    if len(same) != 1 or len(paths.value) != len(paths.column) or len(lines.mean) != len(found.owner):
        raise Fault("the arrays that explain the model do not fit each other")
    return found


def _explain_paths(paths: Paths, columns: Array) -> tuple[float, Array]:
    """Return the mean of the trees over training and what each column adds."""
    asked = paths.column != NO_COLUMN
    x = columns[paths.column]
    known = (paths.low < x) & (x <= paths.high)
    passes = np.where(np.isnan(x), paths.unknown, known) | ~asked
    places, weights = np.polynomial.legendre.leggauss(paths.column.shape[1] // 2 + 1)
    others = np.zeros(paths.share.shape)
    for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
        factor = (1 - place) * paths.share + place * passes  # never 0: place < 1 and every share is above 0
        others += weight * factor.prod(axis=1, keepdims=True) / factor
    parts = paths.value[:, None] * (passes - paths.share) * others
    summed = np.bincount(paths.column[asked], parts[asked], minlength=len(columns))
    return float(paths.value @ paths.share.prod(axis=1)), summed.astype(np.float64)


def _line_heights(lines: Lines, columns: Array) -> Array:
    return np.array(
        [
            lacking if np.isnan(x) else np.interp(x, corner, height)
            for x, corner, height, lacking in zip(columns, lines.corner, lines.height, lines.missing, strict=True)
        ]
    )
