"""The fitted blends as the gate takes them: graphs, rows to compare, and the arrays that explain them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_export.onnx.gate import TREES, Candidate, GraphCandidate, tabular_rows
from model_export.recipes.diabetes_blend import Blend
from model_export.recipes.diabetes_card import card
from model_export.recipes.diabetes_features import DESIGNS, FEATURES, Design
from model_export.recipes.diabetes_fit import People, Trainer
from model_export.recipes.diabetes_graph import explanation_arrays, graph_of
from model_export.recipes.diabetes_measure import Rule

Array = NDArray[np.float64]
GATE_ROWS = 500  # real rows beside the edges and the random ones
RANDOM_GATE_ROWS, QUICK_GATE_ROWS = 2048, 256


def candidate_of(
    document: Mapping[str, Any],
    blends: Mapping[str, Blend],
    people: People,
    rules: Mapping[str, Rule],
    plots: Mapping[str, bytes],
    seed: int,
    *,
    quick: bool,
) -> Candidate:
    """Return what the gate is to let through. plots: path in the folder -> bytes."""
    arrays = {
        f"{graph}_explanation": explanation_arrays(blends[graph], design, _background(design, people))
        for graph, design in DESIGNS.items()
    }
    graphs = {
        graph: _graph(blends[graph], design, people, rules[graph], seed, quick=quick)
        for graph, design in DESIGNS.items()
    }
    return Candidate(document=document, graphs=graphs, card=card, arrays=arrays, extra=plots)


def _background(design: Design, people: People) -> Array:
    rows = people.rows[people.learn]
    return design.table(rows[design.applies(rows)])


def _graph(blend: Blend, design: Design, people: People, rule: Rule, seed: int, *, quick: bool) -> GraphCandidate:
    def reference(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        columns = Trainer(blend, design).columns(inputs["features"])
        return {"probability": blend.probability(columns)[:, None], "log_odds": blend.score(columns)[:, None]}

    features = [FEATURES[n] for n in design.picked]
    known = people.rows[design.applies(people.rows)][:, design.picked]
    chosen = np.random.default_rng(seed).permutation(len(known))[:GATE_ROWS]
    tensors: dict[str, dict[str, Any]] = {
        "features": {"axes": ["person", "feature"], "unit": "", "range": [None, None]},
        "probability": {"axes": ["person", "class"], "unit": "1", "range": [0.0, 1.0]},
        "log_odds": {"axes": ["person", "class"], "unit": "", "range": [None, None]},
    }
    return GraphCandidate(
        model=graph_of(blend, design),
        reference=reference,
        rows={
            "features": tabular_rows(
                np.array([feature.minimum for feature in features], np.float64),
                np.array([feature.maximum for feature in features], np.float64),
                np.array([feature.name not in design.requires for feature in features]),
                known[chosen],
                seed=seed,
                count=QUICK_GATE_ROWS if quick else RANDOM_GATE_ROWS,
            )
        },
        limits=TREES,
        output="probability",
        thresholds=(rule.policy.report_from, rule.policy.warn_from),
        tensors=tensors,
        precision="float64",
    )
