"""Plots of figures side by side: models, subgroups, importances."""
# ruff: noqa: ANN401 - matplotlib is untyped

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_export import metrics
from model_export.plots import style
from model_export.plots.style import FINE, INK, QUIET, Plot, house_style

Bar = float | tuple[float, float, float] | None
HEAD_IN, FOOT_IN, VALUES_IN = 0.66, 0.5, 1.62  # above the panel, below it, and right of it for the figures
GAP_IN = 0.16  # between rows of several series


@dataclass(frozen=True, slots=True)
class _Look:
    """How the rows of one plot are drawn."""

    names: tuple[str, ...]
    from_zero: bool
    decimals: int

    @property
    def several(self) -> bool:
        return len(self.names) > 1

    @property
    def pitch_in(self) -> float:
        return 0.2 if self.several else 0.3

    @property
    def row_in(self) -> float:
        return max(len(self.names), 1) * self.pitch_in + (GAP_IN if self.several else 0.0)


def bar_of(figures: Mapping[str, Any], key: str) -> Bar:
    """Return a figure of `metrics.summary` with its interval as a bar."""
    value, ends = figures.get(key), figures.get(f"{key}_ci95") or [None, None]
    if value is None or None in ends:
        return value
    return float(value), float(ends[0]), float(ends[1])


@house_style()
def bars(
    values: Mapping[str, Mapping[str, Bar]],
    *,
    axis: str,
    name: str = "bars",
    title: str = "Comparison",
    note: str = "lines: 95 % intervals",
    baselines: Mapping[str, float] | None = None,
    from_zero: bool = False,
    decimals: int = 3,
) -> Plot:
    """Plot figures of {row: {series: value or (value, low, high)}} as points with intervals, one row a name.

    axis: what is measured, with unit. baselines: named vertical lines, such as the majority class. from_zero:
    bars that start at 0 instead of points, for importances. None is written as "no data", never as 0.
    """
    names = tuple(dict.fromkeys(series for row in values.values() for series in row))
    look = _Look(names, from_zero, decimals)
    rows_in = max(len(values), 1) * look.row_in
    head = HEAD_IN + (0.2 if look.several else 0.0) + (0.14 if baselines else 0.0)
    figure = style.sheet(head + rows_in + FOOT_IN + 0.1)
    label_in = min(2.3, 0.2 + 0.075 * max((len(part) for row in values for part in row.split("\n")), default=1))
    axes = style.panel(figure, label_in, FOOT_IN, style.WIDTH_IN - label_in - VALUES_IN, rows_in)
    said = []
    for place, (row, series) in enumerate(values.items()):
        texts = _row(axes, place * look.row_in, series, look)
        said += [f"{row}{f', {which}' if look.several else ''}: {text}" for which, text in texts.items()]
    _axis(axes, list(values), axis, look)
    for label, value in (baselines or {}).items():
        _baseline(axes, f"{label} {value:.{decimals}f}", value)
    if look.several:
        _names(figure, names)
    return style.finish(figure, name=name, title=title, note=note, alt=f"{title}, {axis}. {'; '.join(said)}.")


def _row(axes: Any, top: float, series: Mapping[str, Bar], look: _Look) -> dict[str, str]:
    """Draw one row; return the figures as text."""
    texts = {}
    for number, which in enumerate(look.names):
        y = top + number * look.pitch_in
        texts[which] = _bar(axes, series.get(which), y, style.colour_of(number), look)
        colour = style.colour_of(number) if look.several else INK
        where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        axes.annotate(
            texts[which],
            (1, y),
            xytext=(8, 0),
            va="center",
            size=8.5,
            color=colour,
            annotation_clip=False,
            **where,
        )
    return texts


def _bar(axes: Any, value: Bar, y: float, colour: str, look: _Look) -> str:
    """Draw one figure and return it as text."""
    if value is None or np.isnan(np.atleast_1d(value)[0]):
        return "no data"
    middle, low, high = value if isinstance(value, tuple) else (value, metrics.NAN, metrics.NAN)
    if look.from_zero:
        axes.barh(y, middle, height=0.15, color=colour, alpha=0.85)
    if not np.isnan(low):
        ink = INK if look.from_zero else colour
        axes.plot([low, high], [y, y], color=ink, linewidth=1.6, solid_capstyle="butt")
    if not look.from_zero:
        axes.plot(middle, y, "o", color=colour, ms=5.5, mec="white", mew=0.6)
    return style.with_interval(middle, (low, high), look.decimals)


def _axis(axes: Any, rows: Sequence[str], label: str, look: _Look) -> None:
    middle = (len(look.names) - 1) * look.pitch_in / 2
    axes.set_yticks([place * look.row_in + middle for place in range(len(rows))], rows)
    top = -look.pitch_in / 2 - (GAP_IN / 2 if look.several else 0.0)
    axes.set(xlabel=label, ylim=(top + max(len(rows), 1) * look.row_in, top))
    if look.from_zero:
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=6)


def _baseline(axes: Any, text: str, value: float) -> None:
    axes.axvline(value, **FINE)
    where: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    axes.annotate(text, (value, 1), xytext=(0, 3), size=8, ha="center", color=QUIET, **where)


def _names(figure: Any, names: Sequence[str]) -> None:
    """Write the names of the series in one line below the note."""
    wide, high = figure.get_size_inches()
    x, y = 0.14, 1 - 0.70 / high
    for number, label in enumerate(names):
        how: dict[str, Any] = {"color": style.colour_of(number), "weight": "bold", "va": "center"}
        figure.text(x / wide, y, f"● {label}", **how)
        x += 0.36 + 0.085 * len(label)
