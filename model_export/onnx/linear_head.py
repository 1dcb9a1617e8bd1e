"""Additive models as ONNX: a sum of one broken line a column, with a height for "missing", in float64.

A line with corners is a constant plus hinges max(x - corner, 0), so all columns together are one gather, one
comparison and one matrix product, however many corners there are. Imputing and scaling are already in the heights.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float64]
Part = tuple[list[Any], list[Any]]  # nodes and initializers


def broken_lines(
    knots: Sequence[Array], values: Sequence[Array], missing: Array, *, source: str, result: str
) -> Part:
    """Return nodes and initializers: `source` float64 [batch, columns] -> `result` float64 [batch, 1].

    knots, values: for each column the corners (rising) and the heights there; constant outside. missing: for each
    column the height of NaN. Names inside begin with `result`, so that a graph can hold several.
    """
    column = np.repeat(np.arange(len(knots)), [len(k) for k in knots])
    slopes = np.concatenate([_slope_changes(k, v) for k, v in zip(knots, values, strict=True)])
    first = np.array([v[0] for v in values])
    constants = {
        "low": np.array([k[0] for k in knots])[None],
        "high": np.array([k[-1] for k in knots])[None],
        "column": column.astype(np.int64),
        "corner": np.concatenate(knots)[None],
        "zero": np.zeros(1),
        "slope": slopes[:, None],
        "lacking": (missing - first)[:, None],
        "start": first.sum().reshape(1),
    }
    at = {name: f"{result}.{name}" for name in (*constants, "isnan", "known", "capped", "spread", "past", "hinge")}
    nodes = [
        helper.make_node("IsNaN", [source], [at["isnan"]]),
        helper.make_node("Where", [at["isnan"], at["low"], source], [at["known"]]),
        helper.make_node("Min", [at["known"], at["high"]], [at["capped"]]),
        helper.make_node("Gather", [at["capped"], at["column"]], [at["spread"]], axis=1),
        helper.make_node("Sub", [at["spread"], at["corner"]], [at["past"]]),
        helper.make_node("Max", [at["past"], at["zero"]], [at["hinge"]]),
        helper.make_node("MatMul", [at["hinge"], at["slope"]], [f"{result}.lines"]),
        helper.make_node("Cast", [at["isnan"]], [f"{result}.unknown"], to=TensorProto.DOUBLE),
        helper.make_node("MatMul", [f"{result}.unknown", at["lacking"]], [f"{result}.gaps"]),
        helper.make_node("Sum", [f"{result}.lines", f"{result}.gaps", at["start"]], [result]),
    ]
    return nodes, [numpy_helper.from_array(value, at[name]) for name, value in constants.items()]


def calibrated(log_odds: Sequence[str], intercept: float, *, score: str, probability: str) -> Part:
    """Return nodes that add parts and an intercept to `score`, and its `probability` by the logistic function."""
    nodes = [
        helper.make_node("Sum", [*log_odds, f"{score}.intercept"], [score]),
        helper.make_node("Sigmoid", [score], [probability]),
    ]
    return nodes, [numpy_helper.from_array(np.array([intercept]), f"{score}.intercept")]


def _slope_changes(knots: Array, values: Array) -> Array:
    """Return by how much the slope changes at each corner; after the last the capped value no longer moves."""
    slopes = np.diff(values) / np.diff(knots)
    return np.append(np.diff(slopes, prepend=0.0), 0.0)
