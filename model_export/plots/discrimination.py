"""Plots of how well those with the condition are told from those without: ROC, precision, FROC, referral."""
# ruff: noqa: ANN401 - matplotlib is untyped

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_export import metrics
from model_export.froc import Estimate
from model_export.plots import style
from model_export.plots.scored import Scored, alt_of, count_of, estimate, groups_of
from model_export.plots.style import DOTTED, FINE, QUIET, Plot, house_style
from model_export.resampling import RESAMPLES, interval

INTERVALS = "95 % bootstrap intervals in brackets"
PRECISION_FROM = 10  # persons: among fewer, one more or less swings the precision from 0 to 1
REFERRAL_SHARES = np.linspace(0.2, 1.0, 17)


@house_style()
def roc(
    series: Mapping[str, Scored],
    *,
    name: str = "roc",
    title: str = "ROC curve",
    thresholds: Mapping[str, float] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Plot:
    """Plot sensitivity against 1 - specificity; a dot marks a threshold that is given for a series."""
    figure, axes = _square("1 − specificity", "sensitivity", len(series))
    axes.plot([0, 1], [0, 1], **FINE)
    axes.text(0.62, 0.585, "chance", color=QUIET, size=8, rotation=45, rotation_mode="anchor", va="top")
    entries = []
    for number, (label, scored) in enumerate(series.items()):
        lines = [f"AUROC {estimate(metrics.auroc, scored, seed, resamples)}", count_of(scored)]
        truth, probability = scored[0], scored[1]
        if truth.any() and not truth.all():
            found, seen = metrics.steps(truth, probability)
            style.curve(axes, number, (seen - found) / (~truth).sum(), found / truth.sum())
            if label in (thresholds or {}):
                lines += _operating_point(axes, number, scored, (thresholds or {})[label])
        entries.append(style.entry(label, lines, number))
    style.key(figure, entries)
    return style.finish(figure, name=name, title=title, note=INTERVALS, alt=alt_of("ROC curves", entries))


def _operating_point(axes: Any, number: int, scored: Scored, threshold: float) -> list[str]:
    at = metrics.decisions(scored[0], scored[1], threshold)
    colour = style.colour_of(number)
    axes.plot(1 - at["specificity"], at["sensitivity"], "o", color=colour, mec="white", ms=8, mew=1.2, zorder=5)
    return [
        f"dot: threshold {threshold:.3g}",
        f"sens. {at['sensitivity']:.2f}, spec. {at['specificity']:.2f}",
    ]


@house_style()
def precision_recall(
    series: Mapping[str, Scored],
    *,
    name: str = "precision_recall",
    title: str = "Precision and recall",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Plot:
    """Plot positive predictive value against sensitivity; the dotted line is the prevalence (chance)."""
    figure, axes = _square("recall (sensitivity)", "precision (PPV)", len(series))
    entries = []
    for number, (label, scored) in enumerate(series.items()):
        lines = [f"AUPRC {estimate(metrics.auprc, scored, seed, resamples)}", count_of(scored)]
        truth = scored[0]
        if truth.any():
            found, seen = metrics.steps(truth, scored[1])
            shown = seen >= min(PRECISION_FROM, len(truth))
            style.curve(axes, number, found[shown] / truth.sum(), found[shown] / seen[shown])
            axes.axhline(truth.mean(), color=style.colour_of(number), **DOTTED)
            lines.append(f"prevalence {truth.mean():.3f} (dotted)")
        entries.append(style.entry(label, lines, number))
    style.key(figure, entries)
    alt = alt_of("Precision-recall curves", entries)
    return style.finish(figure, name=name, title=title, note=INTERVALS, alt=alt)


@house_style()
def froc(
    curves: Mapping[str, Mapping[float, Estimate]],
    *,
    name: str = "froc",
    title: str = "Free-response ROC",
    note: str = "bands: 95 % intervals, images drawn with replacement",
) -> Plot:
    """Plot the share of lesions found against false marks an image, as of `froc.curve`."""
    figure, axes = _square("false marks per image", "sensitivity (lesions found)", len(curves))
    entries = []
    for number, (label, curve) in enumerate(curves.items()):
        x = np.array(sorted(curve))
        value, low, high = np.array([[curve[p].value, curve[p].low, curve[p].high] for p in x]).reshape(-1, 3).T
        style.band(axes, number, x, low, high)
        style.dots(axes, number, x, value)
        lines = [
            f"at {p:g}: {style.with_interval(curve[p].value, (curve[p].low, curve[p].high), 2)}"
            for p in (1.0, 4.0)
            if p in curve
        ]
        entries.append(style.entry(label, lines, number, "o"))
    points = sorted({point for curve in curves.values() for point in curve})
    axes.set_xscale("log", base=2)
    axes.set_xlim((points[0] / 1.12, points[-1] * 1.12) if points else (0.25, 8))
    axes.set_xticks(points, [f"{point:g}" for point in points])
    axes.minorticks_off()
    style.key(figure, entries)
    return style.finish(figure, name=name, title=title, note=note, alt=alt_of("FROC curves", entries))


@house_style()
def selective(
    series: Mapping[str, Scored],
    *,
    name: str = "selective",
    title: str = "Accuracy when the least certain are referred",
    threshold: float = 0.5,
    at: float = 0.8,
    seed: int = 0,
    resamples: int = 200,
) -> Plot:
    """Plot accuracy against the share of rows that are answered (`metrics.selective_accuracy`)."""
    figure, axes = _square("share of patients answered", "accuracy of the answers", len(series))
    entries = []
    for number, (label, scored) in enumerate(series.items()):
        whole = estimate(partial(metrics.accuracy, threshold=threshold), scored, seed, resamples)
        lines = [f"all: {whole}", count_of(scored)]
        if len(scored[0]):
            _referral_curve(axes, number, scored, threshold, seed, resamples)
            best = metrics.majority(scored[0])
            axes.axhline(best, color=style.colour_of(number), **DOTTED)
            answered = metrics.selective_accuracy(scored[0], scored[1], at, threshold)
            lines = [f"{style.percent(at)} answered: {answered:.3f}", *lines, f"majority {best:.3f} (dotted)"]
        entries.append(style.entry(label, lines, number))
    axes.axvline(at, **FINE)
    axes.set(xlim=(REFERRAL_SHARES[0], 1.0), ylim=(None, 1.005))
    ticks = (0.2, 0.4, 0.6, 0.8, 1.0)
    axes.set_xticks(ticks, [style.percent(share) for share in ticks])
    style.key(figure, entries)
    note = "bands: 95 % bootstrap intervals"
    return style.finish(figure, name=name, title=title, note=note, alt=alt_of(title, entries))


def _referral_curve(axes: Any, number: int, scored: Scored, threshold: float, seed: int, resamples: int) -> None:
    truth, probability = scored[0], scored[1]

    def accuracy_at(rows: NDArray[np.intp], share: float) -> float:
        return metrics.selective_accuracy(truth[rows], probability[rows], share, threshold)

    how: dict[str, Any] = {"seed": seed, "groups": groups_of(scored), "resamples": resamples}
    ends = [interval(partial(accuracy_at, share=share), len(truth), **how) for share in REFERRAL_SHARES]
    style.band(axes, number, REFERRAL_SHARES, *np.array(ends).T)
    everyone = np.arange(len(truth))
    style.curve(axes, number, REFERRAL_SHARES, np.array([accuracy_at(everyone, s) for s in REFERRAL_SHARES]))


def _square(across: str, up: str, series: int) -> tuple[Any, Any]:
    """Return a figure and its square panel, both axes 0..1, with room for the key on the right."""
    height = style.height_for(series, 3, 4.5)
    figure = style.sheet(height)
    axes = style.panel(figure, 0.62, height - 3.95, 3.3, 3.3)
    axes.set(xlabel=across, ylabel=up, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure, axes
