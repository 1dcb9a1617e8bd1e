"""How far a model's probabilities can be believed, in words, from the figures of its manifest."""

from collections.abc import Mapping
from typing import Any

NOT_MEASURED = "not measured"
RANKS_ONLY = "not measured; the score ranks findings and is no probability"
_OUT_OF_FOLD = "cross_validation"


def of_probabilities(metrics: Mapping[str, Any], name: str) -> str:
    """Return Brier score and expected calibration error of one variant, out of fold. metrics: the manifest's."""
    figures = _child(_child(metrics, _OUT_OF_FOLD), name)
    brier, ece = figures.get("brier"), figures.get("ece")
    said = [f"Brier score {brier:.3f}"] if isinstance(brier, float) else []
    said += [f"expected error {ece * 100:.1f} percentage points"] if isinstance(ece, float) else []
    rows = figures.get("rows")
    people = f", {rows:,} cases" if isinstance(rows, int) else ""
    return f"{', '.join(said)} (cross-validation{people})" if said else NOT_MEASURED


def of_intervals(metrics: Mapping[str, Any], minutes: int) -> str:
    """Return how often a value lay between P10 and P90 at a horizon, for people whom the model did not know."""
    share = _child(_child(metrics, _OUT_OF_FOLD), "unseen").get(f"coverage_p10_p90_{minutes}")
    if not isinstance(share, float):
        return NOT_MEASURED
    return (
        f"at {minutes} minutes {share * 100:.0f} % of the values lay between P10 and P90 "
        "(80 % are meant; people the model did not know)"
    )


def _child(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}
