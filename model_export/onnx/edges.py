"""Are the rows that are compared with the trainer the ones where exporters go wrong?

Forests exported by others differed where a value was missing, boosted trees where a category was new: rows from
the middle of the data show neither. So the rows of a table must hold both ends of every feature, a value beyond
its range, and a missing one where the model reads it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_runtime.manifest import Manifest
from model_runtime.tasks.risk import Feature, Risk, Variant
from model_runtime.tasks.segmentation import Segmentation

Array = NDArray[Any]


def edge_faults(manifest: Manifest, graph: str, rows: Mapping[str, Array]) -> list[str]:
    """Return what the rows of a graph lack, one reason a feature; only tables of features (risk) are looked at."""
    risk = manifest.get(Risk)
    if risk is None:
        return []
    tensor = rows.get(manifest.graph(graph).inputs[0].name)
    variants = [variant for variant in risk.variants if variant.graph == graph]
    if tensor is None or any(tensor.shape[1:] != (len(variant.features),) for variant in variants):
        return []  # the session says so in better words
    return [fault for variant in variants for fault in _variant_faults(risk, variant, tensor)]


def threshold_faults(manifest: Manifest, graph: str, thresholds: Sequence[float]) -> list[str]:
    """Return the thresholds of the card at which no decision is compared."""
    wanted: list[float] = []
    risk, segmentation = manifest.get(Risk), manifest.get(Segmentation)
    if risk is not None:
        policies = [variant.policy for variant in risk.variants if variant.graph == graph]
        wanted = [limit for policy in policies for limit in (policy.report_from, policy.warn_from)]
    elif segmentation is not None:
        wanted = [segmentation.thresholds.report]
    return [f"{graph}: no decision is compared at {limit:g}" for limit in wanted if limit not in thresholds]


def _variant_faults(risk: Risk, variant: Variant, rows: Array) -> list[str]:
    reasons = []
    for column, feature in enumerate(risk.features_of(variant)):
        lacking = _lacking(feature, rows[:, column], may_be_missing=feature.name not in variant.requires)
        if lacking:
            reasons.append(f"{variant.graph}: no row to compare has {feature.name} {', '.join(lacking)}")
    return reasons


def _lacking(feature: Feature, values: Array, *, may_be_missing: bool) -> list[str]:
    seen = {
        "at its minimum": bool(np.any(values == feature.minimum)),
        "at its maximum": bool(np.any(values == feature.maximum)),
        "beyond its range": bool(np.any((values < feature.minimum) | (values > feature.maximum))),
        "missing": not may_be_missing or bool(np.any(np.isnan(values))),
    }
    return [what for what, there in seen.items() if not there]
