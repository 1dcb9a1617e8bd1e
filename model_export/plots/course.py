"""Plots of how values run and spread: learning curves, forecasts, histograms."""
# ruff: noqa: ANN401 - matplotlib is untyped

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_export.plots import style
from model_export.plots.scored import alt_of
from model_export.plots.style import COLOURS, DOTTED, FAINT, FINE, INK, QUIET, Plot, house_style

Course = tuple[NDArray[np.float64], NDArray[np.float64]]
Epochs = Sequence[float] | NDArray[np.float64]


@house_style()
def learning(
    panels: Mapping[str, Mapping[str, Epochs]],
    *,
    chosen: float | None = None,
    name: str = "learning",
    title: str = "Learning curves",
    note: str = "",
    step: str = "epoch",
) -> Plot:
    """Plot series over epochs, one panel a quantity: {"loss": {"training": ..., "validation": ...}, ...}.

    A series is (epochs,), or (folds, epochs): then thin lines are folds (NaN after their end), the thick one
    their mean. chosen: the epoch whose weights were taken.
    """
    figure = style.sheet(4.15)
    share = (style.WIDTH_IN - 0.1) / max(len(panels), 1)
    said = []
    for place, (quantity, series) in enumerate(panels.items()):
        axes = style.panel(figure, place * share + 0.66, 0.55, share - 1.66, 2.7)
        axes.set_title(quantity, loc="left", size=9.5, color=INK)
        axes.set_xlabel(step)
        means = {label: _folds(axes, number, values) for number, (label, values) in enumerate(series.items())}
        last = max((len(mean) for mean in means.values()), default=1)
        axes.set_xlim(0.5 if last < 20 else 0, max(last, 1.5))
        axes.xaxis.get_major_locator().set_params(integer=True)
        if chosen is not None:
            axes.axvline(chosen, **FINE)
            _remark(axes, "chosen", (chosen, 1.0), ("data", "axes fraction"), ha="right", xytext=(-3, -2))
        ends = [(label, _last(mean), style.colour_of(n)) for n, (label, mean) in enumerate(means.items())]
        style.end_labels(axes, ends, max(last, 1.5))
        said += [f"{quantity} {label} from {mean[0]:.3g} to {_last(mean):.3g}" for label, mean in means.items()]
    alt = f"Learning curves over {step}s: {'; '.join(said)}."
    return style.finish(figure, name=name, title=title, note=note, alt=alt)


def _folds(axes: Any, number: int, values: Epochs) -> NDArray[np.float64]:
    """Draw a series and its folds; return the mean of those that still ran at each epoch."""
    folds = np.atleast_2d(np.asarray(values, np.float64))
    ran = np.isfinite(folds)
    nothing = np.full(folds.shape[1], np.nan)
    mean = np.divide(np.where(ran, folds, 0).sum(0), ran.sum(0), out=nothing, where=ran.any(0))
    x = np.arange(1.0, folds.shape[1] + 1)
    for fold in folds if len(folds) > 1 else ():
        style.curve(axes, number, x, fold, linestyle="-", linewidth=0.7, alpha=0.4)
    style.curve(axes, number, x, mean, marker="o" if len(x) == 1 else "")
    return np.asarray(mean)


def _last(mean: NDArray[np.float64]) -> float:
    known = mean[np.isfinite(mean)]
    return float(known[-1]) if known.size else float("nan")


@house_style()
def forecast_fan(
    past: Course,
    horizons: NDArray[np.float64],
    quantiles: NDArray[np.float64],
    *,
    observed: Course | None = None,
    usual: tuple[float, float] | None = None,
    name: str = "forecast",
    title: str = "Forecast",
    note: str = "band: P10 to P90",
    axis: str = "heart rate (beats/min)",
) -> Plot:
    """Plot (minutes <= 0, values) of the past and the forecast: quantiles (horizons, 3) as P10, P50, P90.

    observed: what came, as (minutes, values). usual: the personal range. The dotted line is persistence.
    """
    figure = style.sheet(3.8)
    axes = style.panel(figure, 0.62, 0.55, 4.45, 2.6)
    now, last = float(past[1][-1]), float(horizons[-1])
    if usual is not None:
        axes.axhspan(*usual, color=FAINT, alpha=0.45, linewidth=0, zorder=0)
        _remark(axes, "personal range", (0, usual[1]), ("axes fraction", "data"), xytext=(4, -3))
    axes.plot(*style.thin(*past), color=INK, linewidth=1.6)
    x = np.append(0.0, horizons)
    p10, p50, p90 = (np.append(now, quantiles[:, part]) for part in range(3))
    style.band(axes, 0, x, p10, p90, 0.2)
    style.dots(axes, 0, x, p50)
    axes.plot([0, last], [now, now], color=QUIET, **DOTTED)
    ends = [("forecast (P50)", float(p50[-1]), COLOURS[0]), ("persistence", now, QUIET)]
    if observed is not None:
        axes.plot(*style.thin(*observed), color=COLOURS[1], linewidth=1.6)
        ends.append(("observed", float(observed[1][-1]), COLOURS[1]))
    axes.axvline(0, color=QUIET, linewidth=0.8)
    axes.set(xlabel="minutes from now", ylabel=axis, xlim=(float(past[0][0]), last))
    style.end_labels(axes, ends, last, gap=0.07)
    said = [
        f"in {h:g} minutes {q[1]:.0f} ({q[0]:.0f} to {q[2]:.0f})" for h, q in zip(horizons, quantiles, strict=True)
    ]
    alt = f"Forecast of {axis}, now {now:.0f}: {'; '.join(said)}."
    return style.finish(figure, name=name, title=title, note=note, alt=alt)


def _remark(axes: Any, text: str, where: tuple[float, float], coords: tuple[str, str], **how: Any) -> None:
    """Write a small quiet text below a point."""
    axes.annotate(text, where, xycoords=coords, textcoords="offset points", va="top", size=8, color=QUIET, **how)


@house_style()
def histogram(
    series: Mapping[str, NDArray[np.float64]],
    *,
    axis: str,
    edges: NDArray[np.float64] | None = None,
    name: str = "histogram",
    title: str = "Distribution",
    note: str = "share of rows in each bin; quartiles in brackets",
) -> Plot:
    """Plot how values spread, as the share of each series' rows in each bin; NaN is counted in the key."""
    height = style.height_for(len(series), 3, 3.8)
    figure = style.sheet(height)
    axes = style.panel(figure, 0.72, height - 3.25, 3.2, 2.6)
    known = {label: values[np.isfinite(values)] for label, values in series.items()}
    if edges is None:
        edges = np.histogram_bin_edges(np.concatenate([np.zeros(0), *known.values()]), 30)
    entries = []
    for number, (label, values) in enumerate(known.items()):
        lines = [f"n = {style.counted(len(series[label]))}"]
        if len(values):
            _outline(axes, number, np.histogram(values, edges)[0] / len(values), edges)
            low, middle, high = np.percentile(values, (25, 50, 75))
            lines.insert(0, f"median {middle:.3g} ({low:.3g}–{high:.3g})")
        if len(values) < len(series[label]):
            lines.append(f"missing {style.percent(1 - len(values) / len(series[label]), 1)}")
        entries.append(style.entry(label, lines, number))
    axes.set(xlabel=axis, ylabel="share")
    axes.set_ylim(bottom=0)
    style.key(figure, entries)
    alt = alt_of(f"Histogram of {axis}", entries)
    return style.finish(figure, name=name, title=title, note=note, alt=alt)


def _outline(axes: Any, number: int, shares: NDArray[np.float64], edges: NDArray[np.float64]) -> None:
    colour = style.colour_of(number)
    axes.stairs(shares, edges, color=colour, fill=True, alpha=0.2)
    axes.stairs(shares, edges, color=colour, linewidth=1.4, linestyle=style.dash_of(number))
