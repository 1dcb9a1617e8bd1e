"""How good a probability of a yes-or-no outcome is: discrimination, calibration, decisions, with intervals.

Arrays in, JSON-able dicts out. `truth` is bool (n,), `probability` float (n,).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Truth = NDArray[np.bool_]
Probability = NDArray[np.float64]
Metric = Callable[[Truth, Probability], float]
ECE_BINS = 10
DECIMALS = 4
RESAMPLES = 1000


def auroc(truth: Truth, probability: Probability) -> float:
    """Area under the ROC curve, a tie counting half; NaN when there is only one class."""
    found, seen = _steps(truth, probability)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return float("nan")
    return float(np.trapezoid(found, seen - found)) / (positives * negatives)


def auprc(truth: Truth, probability: Probability) -> float:
    """Average precision (no interpolation); NaN when there is no positive."""
    found, seen = _steps(truth, probability)
    if not truth.any():
        return float("nan")
    return float(np.sum(np.diff(found) * found[1:] / seen[1:])) / int(truth.sum())


def _steps(truth: Truth, probability: Probability) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return positives found and persons seen, from the highest probability down, one step a distinct value."""
    order = np.argsort(-probability, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(probability[order]) != 0, True))
    found = np.cumsum(truth[order])[ends]
    return np.append(0, found), np.append(0, ends + 1)


def brier(truth: Truth, probability: Probability) -> float:
    """Mean squared error of the probability."""
    return float(np.mean((probability - truth) ** 2))


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
    for name, ends in intervals(METRICS, truth, probability, seed=seed).items():
        result[f"{name}_ci95"] = ends
    result["majority"] = rounded(max(float(truth.mean()), 1 - float(truth.mean())))
    result["at_threshold"] = decisions(truth, probability, threshold)
    return result


def intervals(
    metrics: Mapping[str, Metric],
    truth: Truth,
    probability: Probability,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, list[float | None]]:
    """Return the 95 % bootstrap interval of each metric (percentiles; rows drawn with replacement)."""
    rng = np.random.default_rng(seed)
    values = np.empty((resamples, len(metrics)))
    for draw in range(resamples):
        rows = rng.integers(0, len(truth), len(truth))
        values[draw] = [metric(truth[rows], probability[rows]) for metric in metrics.values()]
    low, high = np.nanpercentile(values, (2.5, 97.5), axis=0)
    return {name: [rounded(float(low[n])), rounded(float(high[n]))] for n, name in enumerate(metrics)}


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
