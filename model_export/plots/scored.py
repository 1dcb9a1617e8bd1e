"""Series of truth and probability: how they are counted and estimated in the key of a plot."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from model_export import metrics
from model_export.metrics import Metric, Probability, Truth
from model_export.plots import style
from model_export.plots.style import Entry
from model_export.resampling import NO_INTERVAL, Groups

# (truth, probability), and a third array where patients have several rows: the patient of each row.
Scored = tuple[Truth, Probability] | tuple[Truth, Probability, Groups]


def groups_of(scored: Scored) -> Groups | None:
    """Return the patient of each row; None where every row is a patient of its own."""
    return scored[2] if len(scored) == 3 else None


def estimate(metric: Metric, scored: Scored, seed: int, resamples: int) -> str:
    """Return a figure with its bootstrap interval, as text; the same that `metrics.summary` gives."""
    truth, probability = scored[0], scored[1]
    how: dict[str, Any] = {"seed": seed, "groups": groups_of(scored), "resamples": resamples}
    low, high = metrics.intervals({"figure": metric}, truth, probability, **how)["figure"]
    ends = NO_INTERVAL if low is None or high is None else (low, high)
    return style.with_interval(metric(truth, probability), ends)


def count_of(scored: Scored) -> str:
    """Return how many rows, patients and positives stand behind a series."""
    groups = groups_of(scored)
    patients = "" if groups is None else f" of {style.counted(len(np.unique(groups)))} pat."
    return f"n = {style.counted(len(scored[0]))}{patients}, {style.counted(int(scored[0].sum()))} pos."


def alt_of(what: str, entries: Sequence[Entry]) -> str:
    """Return the key as sentences, for those who do not see the plot."""
    return f"{what}. " + " ".join(f"{entry.label}: {'; '.join(entry.lines).rstrip('.')}." for entry in entries)
