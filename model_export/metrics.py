"""How good a probability of a yes-or-no outcome is: discrimination, calibration, decisions, with intervals.

Arrays in, JSON-able dicts out. `truth` is bool (n,), `probability` float (n,). A figure that is not defined
(nobody, only one class) is NaN, and null in the dicts: a held-out part may lack a class or a subgroup.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_export.resampling import NO_INTERVAL, RESAMPLES, Groups, draws, percentiles

Truth = NDArray[np.bool_]
Probability = NDArray[np.float64]
Metric = Callable[[Truth, Probability], float]
ECE_BINS = 10
DECIMALS = 4
NAN = float("nan")


def auroc(truth: Truth, probability: Probability) -> float:
    """Area under the ROC curve, a tie counting half; NaN when there is only one class."""
    found, seen = steps(truth, probability)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return NAN
    return float(np.trapezoid(found, seen - found)) / (positives * negatives)


def auprc(truth: Truth, probability: Probability) -> float:
    """Average precision (no interpolation); NaN when there is no positive."""
    found, seen = steps(truth, probability)
    if not truth.any():
        return NAN
    return float(np.sum(np.diff(found) * found[1:] / seen[1:])) / int(truth.sum())


def steps(truth: Truth, probability: Probability) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return positives found and persons seen from the highest probability down, one step a distinct value."""
    order = np.argsort(-probability, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(probability[order]) != 0, True)[: len(order)])
    found = np.cumsum(truth[order])[ends]
    return np.append(0, found), np.append(0, ends + 1)


def brier(truth: Truth, probability: Probability) -> float:
    """Mean squared error of the probability."""
    return _mean((probability - truth) ** 2)


def expected_calibration_error(truth: Truth, probability: Probability) -> float:
    """Mean over ten bins of equal count of |observed rate - mean probability|.

    Equal count and not equal width: most persons have low risks, and ten equal widths would look at a few.
    """
    bins = equal_count_bins(probability)
    gaps = [len(rows) * abs(float(truth[rows].mean() - probability[rows].mean())) for rows in bins]
    return sum(gaps) / len(truth) if len(truth) else NAN


def equal_count_bins(probability: Probability, count: int = ECE_BINS) -> list[NDArray[np.intp]]:
    """Return the rows of each bin, lowest probabilities first; fewer bins than asked for when rows are few."""
    order = np.argsort(probability, kind="stable")
    return [rows for rows in np.array_split(order, count) if len(rows)]


def accuracy(truth: Truth, probability: Probability, threshold: float = 0.5) -> float:
    """Share of right answers when `probability >= threshold` decides."""
    return _mean((probability >= threshold) == truth)


def balanced_accuracy(truth: Truth, probability: Probability, threshold: float = 0.5) -> float:
    """Mean of sensitivity and specificity: 0.5 for whoever always gives the same answer."""
    said = probability >= threshold
    return (_mean(said[truth]) + _mean(~said[~truth])) / 2


def selective_accuracy(
    truth: Truth, probability: Probability, coverage: float = 0.8, threshold: float = 0.5
) -> float:
    """Accuracy on the share `coverage` of rows that are furthest from the threshold; the others are referred.

    Distance is measured in parts of the way to 0 or to 1, so that both answers can be certain.
    """
    distance = np.where(
        probability >= threshold,
        (probability - threshold) / max(1 - threshold, 1e-12),
        (threshold - probability) / max(threshold, 1e-12),
    )
    kept = np.argsort(-distance, kind="stable")[: round(coverage * len(truth))]
    return accuracy(truth[kept], probability[kept], threshold)


def net_benefit(truth: Truth, probability: Probability, threshold: float) -> float:
    """True positives a person minus false positives weighed by the odds of the threshold (Vickers 2006)."""
    said = probability >= threshold
    return _mean(said & truth) - _mean(said & ~truth) * threshold / (1 - threshold)


def majority(truth: Truth) -> float:
    """Accuracy of whoever always names the commoner class: stands beside every accuracy."""
    return max(_mean(truth), _mean(~truth)) if len(truth) else NAN


def confusion_counts(truth: NDArray[np.intp], said: NDArray[np.intp], classes: int) -> NDArray[np.int64]:
    """Return counts (classes, classes) of class numbers: rows are the truth, columns what was said."""
    return np.bincount(truth * classes + said, minlength=classes**2).reshape(classes, classes).astype(np.int64)


METRICS: Mapping[str, Metric] = {
    "auroc": auroc,
    "auprc": auprc,
    "brier": brier,
    "ece": expected_calibration_error,
    "accuracy": accuracy,
}
GROWING_WITH_NOISE = (expected_calibration_error,)


def summary(
    truth: Truth,
    probability: Probability,
    *,
    threshold: float,
    seed: int,
    groups: Groups | None = None,
    accuracy_threshold: float = 0.5,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Return every metric with its 95 % interval, the majority class and the decisions at a threshold.

    groups: the patient of each row, where a patient has several. accuracy_threshold: what `accuracy` decides by;
    `threshold` is that of the card.
    """
    metrics: dict[str, Metric] = {**METRICS, "accuracy": partial(accuracy, threshold=accuracy_threshold)}
    result: dict[str, Any] = {"rows": len(truth), "positives": int(truth.sum())}
    if groups is not None:
        result["patients"] = len(np.unique(groups))
    for name, metric in metrics.items():
        result[name] = rounded(metric(truth, probability))
    ends = intervals(metrics, truth, probability, seed=seed, groups=groups, resamples=resamples)
    result.update({f"{name}_ci95": both for name, both in ends.items()})
    result["majority"] = rounded(majority(truth))
    result["at_threshold"] = decisions(truth, probability, threshold)
    return result


def intervals(
    metrics: Mapping[str, Metric],
    truth: Truth,
    probability: Probability,
    *,
    seed: int,
    groups: Groups | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, list[float | None]]:
    """Return the 95 % bootstrap interval of each metric; all metrics see the same draws.

    groups: whole patients are drawn where they have several rows (see `resampling.draws`). [null, null] where
        fewer than two rows or patients exist. The interval of the calibration error is centred on its figure.
    """
    independent = len(truth) if groups is None else len(np.unique(groups))
    if independent < 2:
        return {name: _pair(NO_INTERVAL) for name in metrics}
    values = np.array(
        [
            [metric(truth[rows], probability[rows]) for metric in metrics.values()]
            for rows in draws(len(truth), seed=seed, groups=groups, resamples=resamples)
        ]
    )
    around = {name: metric(truth, probability) for name, metric in metrics.items() if metric in GROWING_WITH_NOISE}
    return {name: _pair(percentiles(values[:, n], around.get(name))) for n, name in enumerate(metrics)}


def _pair(ends: tuple[float, float]) -> list[float | None]:
    return [rounded(ends[0]), rounded(ends[1])]


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
        "observed": rounded(_mean(truth)),
        "predicted": rounded(_mean(probability)),
        "sensitivity": at["sensitivity"],
        "specificity": at["specificity"],
    }


def _mean(values: Truth | Probability) -> float:
    return float(values.mean()) if len(values) else NAN


def _share(part: int, whole: int) -> float | None:
    return rounded(part / whole) if whole else None


def rounded(value: float) -> float | None:
    """Return the figure as the card shows it; None for NaN, which JSON does not have."""
    return None if np.isnan(value) else round(value, DECIMALS)
