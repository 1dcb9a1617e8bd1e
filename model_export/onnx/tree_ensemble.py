"""Forests and boosted trees as one float64 `TreeEnsemble` operator (ai.onnx.ml 5).

Written here and not by skl2onnx, whose released converter drops the way that missing values take (286 of 2000
decisions flipped for a forest) and gets native categories wrong (1153 of 2000). In float64 the file agrees
with scikit-learn to 1e-15, so the gate can ask for 1e-12.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier

OPSET = 18
ML_OPSET = 5
IR_VERSION = 9
# Node modes, aggregation and post-transform of the operator's specification.
LESS_OR_EQUAL = 0
MEMBER = 6
SUM = 1
NO_TRANSFORM = 0
NEVER_A_CATEGORY = -1e300  # a membership set may not be empty


@dataclass(frozen=True, slots=True)
class Leaf:
    """What the tree adds to the sum. cover: how many rows of training ended here."""

    value: float
    cover: float = 0.0


@dataclass(frozen=True, slots=True)
class Split:
    """One question. `yes` and `no` are positions in the tree's list of nodes.

    threshold: yes when the feature is <= it; members: instead, yes when the feature is one of them.
    missing_yes: where NaN goes. cover: how many rows of training were asked.
    """

    feature: int
    yes: int
    no: int
    missing_yes: bool
    threshold: float = 0.0
    members: tuple[float, ...] | None = None
    cover: float = 0.0


Tree = Sequence[Split | Leaf]  # the root first


def forest_model(forest: RandomForestClassifier | ExtraTreesClassifier) -> Any:  # noqa: ANN401 - onnx is untyped
    """Return a binary forest as ONNX: `features` float64 [batch, n] -> `probability` float64 [batch, 1].

    The probability is that of the second class. Raises ValueError for other numbers of classes or outputs.
    """
    if forest.n_outputs_ != 1 or len(forest.classes_) != 2:
        raise ValueError("only a forest with two classes and one output can be written")
    share = 1.0 / len(forest.estimators_)
    trees = [_forest_tree(estimator.tree_, share) for estimator in forest.estimators_]
    # scikit-learn compares float32 features with float64 thresholds; the two casts make every input agree.
    to_float32 = helper.make_node("Cast", ["features"], ["rounded"], to=TensorProto.FLOAT)
    to_float64 = helper.make_node("Cast", ["rounded"], ["table"], to=TensorProto.DOUBLE)
    ensemble = ensemble_node(trees, "table", "probability")
    return _model([to_float32, to_float64, ensemble], [], forest.n_features_in_)


def boosted_model(boosted: HistGradientBoostingClassifier) -> Any:  # noqa: ANN401 - onnx is untyped
    """Return a binary HistGradientBoostingClassifier as ONNX, with inputs and outputs as `forest_model`.

    Missing values and native categories (unseen ones too) go the way they go in scikit-learn.
    """
    trees = boosted_trees(boosted)
    baseline = np.float64(boosted_baseline(boosted))
    nodes = [
        ensemble_node(trees, "features", "raw"),
        helper.make_node("Add", ["raw", "baseline"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["probability"]),
    ]
    return _model(nodes, [numpy_helper.from_array(baseline, "baseline")], boosted.n_features_in_)


def boosted_trees(boosted: HistGradientBoostingClassifier) -> list[list[Split | Leaf]]:
    """Return the trees, whose leaves add up to log-odds on top of `boosted_baseline`.

    Raises ValueError for other than two classes.
    """
    if len(boosted.classes_) != 2:
        raise ValueError("only a classifier with two classes can be written")
    columns, categories = _categories(boosted)
    return [_boosted_tree(predictor, columns, categories) for (predictor,) in boosted._predictors]  # noqa: SLF001


def boosted_baseline(boosted: HistGradientBoostingClassifier) -> float:
    """Return the log-odds before the first tree."""
    return float(boosted._baseline_prediction.item())  # noqa: SLF001 - no public name for it


def scaled(trees: Sequence[Tree], factor: float) -> list[list[Split | Leaf]]:
    """Return trees whose leaves are multiplied by a factor."""
    return [
        [replace(node, value=node.value * factor) if isinstance(node, Leaf) else node for node in tree]
        for tree in trees
    ]


def _forest_tree(tree: Any, share: float) -> list[Split | Leaf]:  # noqa: ANN401 - sklearn is untyped
    values = tree.value[:, 0, :]
    positive = values[:, 1] / values.sum(axis=1) * share
    return [
        Leaf(float(positive[n]))
        if tree.children_left[n] < 0
        else Split(
            feature=int(tree.feature[n]),
            yes=int(tree.children_left[n]),
            no=int(tree.children_right[n]),
            missing_yes=bool(tree.missing_go_to_left[n]),
            threshold=float(tree.threshold[n]),
        )
        for n in range(tree.node_count)
    ]


def _categories(boosted: HistGradientBoostingClassifier) -> tuple[list[int], dict[int, NDArray[np.float64]]]:
    """Return the outside column of each inside one, and the categories of each inside categorical column.

    Inside, scikit-learn puts the categorical columns first and numbers their categories.
    """
    is_category = boosted.is_categorical_
    if is_category is None:
        return list(range(boosted.n_features_in_)), {}
    columns = [*np.flatnonzero(is_category), *np.flatnonzero(~is_category)]
    encoder = boosted._preprocessor.named_transformers_["encoder"]  # noqa: SLF001 - no public name for it
    return [int(column) for column in columns], dict(enumerate(encoder.categories_))


def _boosted_tree(
    predictor: Any,  # noqa: ANN401 - sklearn is untyped
    columns: list[int],
    categories: dict[int, NDArray[np.float64]],
) -> list[Split | Leaf]:
    nodes: list[Split | Leaf] = []
    for node in predictor.nodes:
        if node["is_leaf"]:
            nodes.append(Leaf(float(node["value"]), cover=float(node["count"])))
        elif node["is_categorical"]:
            known = categories[int(node["feature_idx"])]
            nodes.append(_category_split(node, predictor.raw_left_cat_bitsets, columns, known))
        else:
            nodes.append(
                Split(
                    feature=columns[node["feature_idx"]],
                    yes=int(node["left"]),
                    no=int(node["right"]),
                    missing_yes=bool(node["missing_go_to_left"]),
                    threshold=float(node["num_threshold"]),
                    cover=float(node["count"]),
                )
            )
    return nodes


def _category_split(
    node: Any,  # noqa: ANN401 - sklearn is untyped
    bitsets: NDArray[np.uint32],
    columns: list[int],
    known: NDArray[np.float64],
) -> Split:
    """Unseen categories go the way of missing ones, and a membership node sends both to `no`.

    So when missing goes left, ask for the categories that go right instead and swap the sides.
    """
    bits = bitsets[node["bitset_idx"]]
    left = {32 * word + bit for word in range(len(bits)) for bit in range(32) if (int(bits[word]) >> bit) & 1}
    swap = bool(node["missing_go_to_left"])
    members = tuple(float(v) for k, v in enumerate(known) if not np.isnan(v) and (k in left) != swap)
    sides = (int(node["right"]), int(node["left"])) if swap else (int(node["left"]), int(node["right"]))
    return Split(
        columns[node["feature_idx"]],
        *sides,
        missing_yes=False,
        members=members or (NEVER_A_CATEGORY,),
        cover=float(node["count"]),
    )


@dataclass(slots=True)
class _Columns:
    """The operator's attributes, one list per attribute as its specification asks."""

    features: list[int] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    modes: list[int] = field(default_factory=list)
    missing_yes: list[int] = field(default_factory=list)
    yes: list[int] = field(default_factory=list)
    no: list[int] = field(default_factory=list)
    yes_is_leaf: list[int] = field(default_factory=list)
    no_is_leaf: list[int] = field(default_factory=list)
    leaves: list[float] = field(default_factory=list)
    members: list[float] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)

    def add_tree(self, tree: Tree) -> None:
        """Append one tree: splits and leaves are numbered apart, over all trees."""
        if isinstance(tree[0], Leaf):
            # The operator has no tree without a question: ask one whose answers are the same.
            tree = [Split(0, 1, 1, missing_yes=True), tree[0]]
        splits = _numbered(tree, Split, len(self.features))
        leaves = _numbered(tree, Leaf, len(self.leaves))
        self.roots.append(splits[0])
        for node in tree:
            if isinstance(node, Leaf):
                self.leaves.append(node.value)
            else:
                self._add_split(node, lambda n: (splits.get(n, leaves.get(n, 0)), int(n in leaves)))

    def _add_split(self, node: Split, place: Callable[[int], tuple[int, int]]) -> None:
        self.features.append(node.feature)
        self.thresholds.append(node.threshold)
        self.modes.append(LESS_OR_EQUAL if node.members is None else MEMBER)
        self.missing_yes.append(int(node.missing_yes))
        for side, is_leaf, child in (
            (self.yes, self.yes_is_leaf, node.yes),
            (self.no, self.no_is_leaf, node.no),
        ):
            number, leaf = place(child)
            side.append(number)
            is_leaf.append(leaf)
        if node.members is not None:
            self.members += [*node.members, float("nan")]  # NaN ends a set


def _numbered(tree: Tree, kind: type[Split] | type[Leaf], first: int) -> dict[int, int]:
    """Return position in the tree -> number among nodes of this kind."""
    positions: Iterator[int] = (n for n, node in enumerate(tree) if isinstance(node, kind))
    return {position: first + number for number, position in enumerate(positions)}


def ensemble_node(trees: Sequence[Tree], source: str, result: str) -> Any:  # noqa: ANN401 - onnx is untyped
    """Return one operator: `source` float64 [batch, n] -> `result` float64 [batch, 1], the sum over the trees."""
    columns = _Columns()
    for tree in trees:
        columns.add_tree(tree)
    attributes = {
        "n_targets": 1,
        "aggregate_function": SUM,
        "post_transform": NO_TRANSFORM,
        "tree_roots": columns.roots,
        "nodes_featureids": columns.features,
        "nodes_splits": numpy_helper.from_array(np.array(columns.thresholds)),
        "nodes_modes": numpy_helper.from_array(np.array(columns.modes, np.uint8)),
        "nodes_missing_value_tracks_true": columns.missing_yes,
        "nodes_truenodeids": columns.yes,
        "nodes_falsenodeids": columns.no,
        "nodes_trueleafs": columns.yes_is_leaf,
        "nodes_falseleafs": columns.no_is_leaf,
        "leaf_targetids": [0] * len(columns.leaves),
        "leaf_weights": numpy_helper.from_array(np.array(columns.leaves)),
    }
    if columns.members:
        attributes["membership_values"] = numpy_helper.from_array(np.array(columns.members))
    return helper.make_node("TreeEnsemble", [source], [result], domain="ai.onnx.ml", **attributes)


def _model(nodes: list[Any], initializers: list[Any], features: int) -> Any:  # noqa: ANN401 - onnx is untyped
    inputs = [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["batch", features])]
    outputs = [helper.make_tensor_value_info("probability", TensorProto.DOUBLE, ["batch", 1])]
    graph = helper.make_graph(nodes, "tree_ensemble", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
