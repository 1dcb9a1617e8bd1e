"""Plots of how what the model says agrees with what was: calibration, confusion matrix."""

# ruff: noqa: ANN401 - matplotlib is untyped

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_export import metrics
from model_export.metrics import Probability, Truth
from model_export.plots import style
from model_export.plots.scored import Scored, alt_of, count_of, estimate
from model_export.plots.style import FINE, INK, QUIET, Plot, house_style
from model_export.resampling import RESAMPLES, wilson


@house_style()
def calibration(
    series: Mapping[str, Scored],
    *,
    name: str = "calibration",
    title: str = "Calibration",
    bins: int = metrics.ECE_BINS,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Plot:
    """Plot observed rates against mean probabilities in bins of equal count; below, where probabilities lie."""
    height = style.height_for(len(series), 3, 5.1)
    figure = style.sheet(height)
    axes = style.panel(figure, 0.62, height - 3.8, 3.3, 3.15)
    below = style.panel(figure, 0.62, height - 4.55, 3.3, 0.62)
    entries, top = [], 0.1
    for number, (label, scored) in enumerate(series.items()):
        top = max(top, _reliability(axes, number, scored, bins))
        lines = (
            f"ECE {estimate(metrics.expected_calibration_error, scored, seed, resamples)}",
            f"Brier {estimate(metrics.brier, scored, seed, resamples)}",
            count_of(scored),
        )
        entries.append(style.entry(label, lines, number, "o"))
    # Most risks are low: the axes end where the bins do, so that their distance from the ideal line is seen.
    limit = min(1.0, np.ceil(top * 10 + 0.2) / 10)
    axes.plot([0, limit], [0, limit], **FINE)
    axes.set(ylabel="observed rate", xlim=(0, limit), ylim=(0, limit))
    axes.tick_params(labelbottom=False)
    _strip(below, [(scored[1], style.colour_of(n)) for n, scored in enumerate(series.values())], limit)
    style.key(figure, entries)
    note = f"dotted: ideal; {bins} bins of equal count, lines: 95 % Wilson intervals; brackets: 95 % bootstrap"
    return style.finish(figure, name=name, title=title, note=note, alt=alt_of("Calibration curves", entries))


def _reliability(axes: Any, number: int, scored: Scored, bins: int) -> float:
    """Draw one series; return the largest rate that must be seen."""
    points = [_bin(scored[0][rows], scored[1][rows]) for rows in metrics.equal_count_bins(scored[1], bins)]
    if not points:
        return 0.0
    said, seen, low, high = np.array(points).T
    axes.vlines(said, low, high, color=style.colour_of(number), linewidth=1, alpha=0.75)
    style.dots(axes, number, said, seen, 1.4)
    return float(np.maximum(said, np.minimum(high, seen + 0.15)).max())


def _bin(truth: Truth, probability: Probability) -> tuple[float, float, float, float]:
    """Return mean probability, observed rate and its interval."""
    low, high = wilson(int(truth.sum()), len(truth))
    return float(probability.mean()), float(truth.mean()), low, high


def _strip(axes: Any, samples: Sequence[tuple[Probability, str]], limit: float) -> None:
    """Draw where the probabilities lie, as shares of all rows on a root scale (most risks are low)."""
    edges = np.linspace(0, limit, 41)
    for values, colour in samples:
        if len(values):
            heights = np.sqrt(np.histogram(values, edges)[0] / len(values))
            axes.stairs(heights, edges, color=colour, fill=True, alpha=0.2 / len(samples))
            axes.stairs(heights, edges, color=colour, linewidth=1.2)
    axes.set(xlabel="predicted probability", xlim=(0, limit), yticks=[])
    axes.set_ylabel("share\n(root)", size=8)
    axes.set_ylim(bottom=0)
    axes.grid(visible=False)


@house_style()
def confusion(
    counts: NDArray[np.int64],
    labels: Sequence[str],
    *,
    name: str = "confusion",
    title: str = "Confusion matrix",
    note: str = "rows: truth, columns: what the model says; shares are of the row",
) -> Plot:
    """Plot a matrix as of `metrics.confusion_counts`; accuracy and the majority class stand beside it."""
    figure = style.sheet(4.1)
    axes = style.panel(figure, 1.25, 0.35, 2.75, 2.75)
    of_row = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(of_row, cmap="Blues", vmin=0, vmax=1.35)
    for row, column in np.ndindex(*counts.shape):
        _cell(axes, row, column, int(counts[row, column]), float(of_row[row, column]), len(labels))
    sizes = [f"{label}\n(n = {style.counted(int(n))})" for label, n in zip(labels, counts.sum(1), strict=True)]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), sizes)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    said = _beside(figure, counts)
    cells = [f"{labels[r]} called {labels[c]}: {counts[r, c]}" for r, c in np.ndindex(*counts.shape)]
    return style.finish(figure, name=name, title=title, note=note, alt=f"{title}: {'; '.join(cells)}. {said}.")


def _cell(axes: Any, row: int, column: int, count: int, share: float, size: int) -> None:
    ink = "white" if share > 0.7 else INK
    where: dict[str, Any] = {"ha": "center", "color": ink}
    axes.text(column, row - 0.08, style.counted(count), size=17 - 2 * size, weight="bold", **where)
    axes.text(column, row + 0.2, style.percent(share, 1), size=9, **where)


def _beside(figure: Any, counts: NDArray[np.int64]) -> str:
    """Write accuracy and the majority class beside the matrix; return them in words."""
    right, whole = int(np.trace(counts)), int(counts.sum())
    accuracy = style.with_interval(right / whole if whole else metrics.NAN, wilson(right, whole))
    majority = f"{counts.sum(axis=1).max() / whole:.3f}" if whole else "not defined"
    lines = (
        (1.15, "accuracy", {"color": QUIET}),
        (1.39, accuracy, {"size": 12, "weight": "bold"}),
        (1.59, f"{style.counted(right)} of {style.counted(whole)} right", {"size": 8.5}),
        (1.95, "majority class", {"color": QUIET}),
        (2.19, majority, {"size": 12, "weight": "bold", "color": QUIET}),
    )
    wide, high = figure.get_size_inches()
    for down, text, how in lines:
        figure.text(4.35 / wide, 1 - down / high, text, **how)
    return f"Accuracy {accuracy}, majority class {majority}"
