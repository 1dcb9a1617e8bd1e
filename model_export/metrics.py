"""How good a probability of a yes-or-no outcome is: discrimination, calibration, decisions, with intervals.

Arrays in, JSON-able dicts out. `truth` is bool (n,), `probability` float (n,).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

Truth = NDArray[np.bool_]
Probability = NDArray[np.float64]
Metric = Callable[[Truth, Probability], float]
ECE_BINS = 10
DECIMALS = 4
RESAMPLES = 1000


def auroc(truth: Truth, probability: Probability) -> float:
    """Area under the ROC curve; NaN when there is only one class."""
    return float(roc_auc_score(truth, probability)) if 0 < truth.sum() < len(truth) else float("nan")


def auprc(truth: Truth, probability: Probability) -> float:
    """Average precision; NaN when there is no positive."""
    return float(average_precision_score(truth, probability)) if truth.any() else float("nan")


def brier(truth: Truth, probability: Probability) -> float:
    """Mean squared error of the probability."""
    return float(brier_score_loss(truth, probability))


def expected_calibration_error(truth: Truth, probability: Probability) -> float:
    """Mean over ten bins of equal count of |observed rate - mean probability|.

    Equal count and not equal width: most persons have low risks, and ten equal widths would look at a few.
    """
    bins = np.array_split(np.argsort(probability, kind="stable"), ECE_BINS)
    gaps = [len(rows) * abs(float(truth[rows].mean() - probability[rows].mean())) for rows in bins if len(rows)]
    return sum(gaps) / len(truth)


def accuracy(truth: Truth, probability: Probability) -> float:
    """Share of right answers when 0.5 decides."""
    return float(((probability >= 0.5) == truth).mean())


METRICS: Mapping[str, Metric] = {
    "auroc": auroc,
    "auprc": auprc,
    "brier": brier,
    "ece": expected_calibration_error,
    "accuracy": accuracy,
}


def summary(truth: Truth, probability: Probability, *, threshold: float, seed: int) -> dict[str, Any]:
    """Return every metric with its 95 % interval, the majority class and the decisions at a threshold."""
    result: dict[str, Any] = {"rows": len(truth), "positives": int(truth.sum())}
    for name, metric in METRICS.items():
        result[name] = rounded(metric(truth, probability))
        result[f"{name}_ci95"] = interval(metric, truth, probability, seed=seed)
    result["majority"] = rounded(max(float(truth.mean()), 1 - float(truth.mean())))
    result["at_threshold"] = decisions(truth, probability, threshold)
    return result


def interval(
    metric: Metric, truth: Truth, probability: Probability, *, seed: int, resamples: int = RESAMPLES
) -> list[float | None]:
    """Return the 95 % bootstrap interval (percentiles; rows drawn with replacement)."""
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, len(truth), len(truth)) for _ in range(resamples))
    values = [metric(truth[rows], probability[rows]) for rows in draws]
    return [rounded(float(np.nanpercentile(values, level))) for level in (2.5, 97.5)]


def decisions(truth: Truth, probability: Probability, threshold: float) -> dict[str, Any]:
    """Return the confusion matrix of `probability >= threshold`, and its rates (null where undefined)."""
    said = probability >= threshold
    counts = {
        "true_positive": int((said & truth).sum()),
        "false_positive": int((said & ~truth).sum()),
        "false_negative": int((~said & truth).sum()),
        "true_negative": int((~said & ~truth).sum()),
    }
    tp, fp, fn, tn = counts.values()
    return {
        "threshold": threshold,
        **counts,
        "sensitivity": _share(tp, tp + fn),
        "specificity": _share(tn, tn + fp),
        "ppv": _share(tp, tp + fp),
        "npv": _share(tn, tn + fn),
    }


def subgroup(truth: Truth, probability: Probability, *, threshold: float) -> dict[str, Any]:
    """Return the few figures that a small group can carry."""
    at = decisions(truth, probability, threshold)
    return {
        "rows": len(truth),
        "positives": int(truth.sum()),
        "auroc": rounded(auroc(truth, probability)),
        "observed": rounded(float(truth.mean())),
        "predicted": rounded(float(probability.mean())),
        "sensitivity": at["sensitivity"],
        "specificity": at["specificity"],
    }


def _share(part: int, whole: int) -> float | None:
    return rounded(part / whole) if whole else None


def rounded(value: float) -> float | None:
    """Return the figure as the card shows it; None for NaN, which JSON does not have."""
    return None if np.isnan(value) else round(value, DECIMALS)
