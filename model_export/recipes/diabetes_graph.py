"""A fitted blend as one ONNX graph, and as the arrays from which the server explains it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from clinical.explanation import ITSELF, NO_COLUMN, OVER_ROOT, PRODUCT
from model_export.onnx.linear_head import broken_lines, calibrated
from model_export.onnx.tree_ensemble import (
    IR_VERSION,
    ML_OPSET,
    OPSET,
    Leaf,
    Split,
    Tree,
    boosted_baseline,
    boosted_trees,
    ensemble_node,
    scaled,
)
from model_export.recipes.diabetes_blend import Blend
from model_export.recipes.diabetes_features import Column, Design

Array = NDArray[np.float64]
Part = tuple[list[Any], list[Any]]


def graph_of(blend: Blend, design: Design) -> Any:  # noqa: ANN401 - onnx is untyped
    """Return `features` float64 [batch, n] -> `probability` and `log_odds`, both float64 [batch, 1]."""
    lines = blend.additive
    weight = blend.slope * (1 - blend.share)
    parts = [
        _columns(design),
        ([ensemble_node(_trees(blend), "columns", "trees")], []),
        broken_lines(
            lines.knots,
            [weight * v for v in lines.values],
            weight * lines.missing,
            source="columns",
            result="lines",
        ),
        calibrated(["trees", "lines"], intercept_of(blend), score="log_odds", probability="probability"),
    ]
    outputs = [
        helper.make_tensor_value_info(n, TensorProto.DOUBLE, ["batch", 1]) for n in ("probability", "log_odds")
    ]
    rows = helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["batch", len(design.features)])
    nodes, constants = ([item for part in parts for item in part[side]] for side in (0, 1))
    graph = helper.make_graph(nodes, "blend", [rows], outputs, constants)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def intercept_of(blend: Blend) -> float:
    """Return the calibrated log-odds before any tree or line."""
    start = float(np.mean([boosted_baseline(booster) for booster in blend.boosters]))
    mixed = blend.share * start + (1 - blend.share) * blend.additive.intercept
    return blend.slope * mixed + blend.offset


def explanation_arrays(blend: Blend, design: Design, background: Array) -> dict[str, NDArray[Any]]:
    """Return the arrays that clinical.explanation.explainer_of reads.

    background: columns (n, columns) of the persons against whom a line's height is explained.
    """
    weight = blend.slope * (1 - blend.share)
    names, lines = list(design.features), blend.additive
    made = design.columns
    most = max(len(knots) for knots in lines.knots)
    return {
        "kind": np.array([column.kind for column in made], np.int16),
        "first": np.array([names.index(column.first) for column in made], np.int16),
        "second": np.array([names.index(column.second) for column in made], np.int16),
        "owner": np.array([names.index(column.owner) for column in made], np.int16),
        "features": np.array(len(names), np.int64),
        "intercept": np.array(intercept_of(blend)),
        "line_corner": np.stack([_padded(knots, most) for knots in lines.knots]),
        "line_height": weight * np.stack([_padded(values, most) for values in lines.values]),
        "line_missing": weight * lines.missing,
        "line_mean": weight * lines.parts(background).mean(axis=0),
        **_paths(_trees(blend)),
    }


def _trees(blend: Blend) -> list[list[Split | Leaf]]:
    share = blend.slope * blend.share / len(blend.boosters)
    return [tree for booster in blend.boosters for tree in scaled(boosted_trees(booster), share)]


def _columns(design: Design) -> Part:
    """Return nodes that make `columns` [batch, columns]: plain ones in one gather, the others each its own."""
    plain = [column for column in design.columns if column.kind == ITSELF]
    made = [column for column in design.columns if column.kind != ITSELF]
    if tuple(plain + made) != design.columns:
        raise ValueError("columns that are features themselves come first")
    picked = np.array([design.features.index(column.first) for column in plain], np.int64)
    nodes = [helper.make_node("Gather", ["features", "picked"], ["plain"], axis=1)]
    constants = [numpy_helper.from_array(picked, "picked")]
    for number, column in enumerate(made):
        found = _made(column, f"made{number}", design.features)
        nodes += found[0]
        constants += found[1]
    pieces = ["plain", *(f"made{number}" for number in range(len(made)))]
    return [*nodes, helper.make_node("Concat", pieces, ["columns"], axis=1)], constants


def _made(column: Column, name: str, features: Sequence[str]) -> Part:
    nodes, constants = [], []
    for side, feature in (("a", column.first), ("b", column.second)):
        constants.append(
            numpy_helper.from_array(np.array([features.index(feature)], np.int64), f"{name}.at_{side}")
        )
        nodes.append(helper.make_node("Gather", ["features", f"{name}.at_{side}"], [f"{name}.{side}"], axis=1))
    below = f"{name}.b"
    if column.kind == OVER_ROOT:
        below = f"{name}.root"
        nodes.append(helper.make_node("Sqrt", [f"{name}.b"], [below]))
    operator = "Mul" if column.kind == PRODUCT else "Div"
    return [*nodes, helper.make_node(operator, [f"{name}.a", below], [name])], constants


def _padded(values: Array, length: int) -> Array:
    return np.concatenate([values, np.full(length - len(values), values[-1])])


def _paths(trees: Sequence[Tree]) -> dict[str, NDArray[Any]]:
    """Return one row a leaf: the columns asked on its path, what passes, and the share of training that did."""
    leaves = [leaf for tree in trees for leaf in _leaves(tree)]
    shape = (len(leaves), max([1, *(len(asked) for asked, _ in leaves)]))
    column = np.full(shape, NO_COLUMN, np.int16)
    low, high = np.full(shape, -np.inf), np.full(shape, np.inf)
    unknown, share = np.ones(shape, np.bool_), np.ones(shape)
    for row, (asked, _) in enumerate(leaves):
        for place, (number, condition) in enumerate(sorted(asked.items())):
            column[row, place] = number
            low[row, place], high[row, place], unknown[row, place], share[row, place] = condition
    value = np.array([value for _, value in leaves])
    named = {"column": column, "low": low, "high": high, "unknown": unknown, "share": share, "value": value}
    return {f"path_{name}": array for name, array in named.items()}


Condition = tuple[float, float, bool, float]  # passes when low < x <= high; when missing; share that passed


def _leaves(tree: Tree) -> list[tuple[dict[int, Condition], float]]:
    """Return for each leaf the conditions on its path, one a column, and its value."""
    found: list[tuple[dict[int, Condition], float]] = []
    waiting: list[tuple[int, dict[int, Condition]]] = [(0, {})]
    while waiting:
        place, asked = waiting.pop()
        node = tree[place]
        if isinstance(node, Leaf):
            found.append((asked, node.value))
            continue
        if node.members is not None:
            raise ValueError("category splits cannot be explained by intervals")
        low, high, unknown, share = asked.get(node.feature, (-np.inf, np.inf, True, 1.0))
        for child, inside in (
            (node.yes, (low, min(high, node.threshold), unknown and node.missing_yes)),
            (node.no, (max(low, node.threshold), high, unknown and not node.missing_yes)),
        ):
            part = tree[child].cover / node.cover
            waiting.append((child, {**asked, node.feature: (*inside, share * part)}))
    return found
