"""How every plot of a card looks, and how it becomes bytes: one style, a key beside the data, PNG and SVG.

The bytes depend on the numbers only (no dates, no random ids, the font that matplotlib ships), so that a card made
twice is the same card. Colours are those of Okabe and Ito (2008), which readers with any colour vision tell apart;
line styles differ as well, for print.
"""
# ruff: noqa: ANN401 - matplotlib is untyped

import html
import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#E69F00", "#56B4E9", "#444444")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1.2)),
    (0, (6, 1.5, 1.5, 1.5)),
    (0, (3, 1)),
    (0, (8, 2)),
    "-",
)
INK, QUIET, FAINT = "#222222", "#666666", "#D9D9D9"
FINE: dict[str, Any] = {"color": QUIET, "linewidth": 1, "linestyle": (0, (2, 2)), "zorder": 1}
DOTTED: dict[str, Any] = {"linewidth": 1, "linestyle": (0, (1, 2))}
KEY_LEFT, KEY_TOP = 4.12, 0.75  # inches from the upper left corner: right of a square panel
WIDTH_IN, DPI = 6.4, 110  # 704 pixels: the width of a card on a page
PNG_COLOURS, PICTURE_COLOURS = 48, 192  # of lines and text; of a radiograph with a line in it
LINE_IN = 0.175  # of the key
LABEL_CHARACTERS, LINE_CHARACTERS = 23, 33  # of the key, bold and plain: what fits beside the panel
MOST_POINTS = 300  # of one curve: more are not seen at this width, and the SVG stays small
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "consilium",
    "path.simplify_threshold": 0.2,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """One finished plot. name: file name without ending; alt: what it shows, in words and figures."""

    name: str
    title: str
    alt: str
    png: bytes
    svg: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the key: the mark in the colour of its curve, its name, and figures below it."""

    label: str
    lines: tuple[str, ...] = ()
    colour: str = INK
    dash: Any = "-"
    marker: str = ""


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the style of the cards; also a decorator."""
    with mpl.rc_context(STYLE):
        yield


def sheet(height_in: float) -> Figure:
    """Return an empty figure of the width of a card. Not through pyplot, which keeps figures in a global list."""
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def panel(figure: Any, left: float, bottom: float, width: float, height: float, **kind: Any) -> Any:
    """Add axes at a place in inches from the lower left corner."""
    wide, high = figure.get_size_inches()
    return figure.add_axes((left / wide, bottom / high, width / wide, height / high), **kind)


def finish(figure: Any, *, name: str, title: str, note: str, alt: str, colours: int = PNG_COLOURS) -> Plot:
    """Write title and note above the panels and encode."""
    wide, high = figure.get_size_inches()
    figure.text(0.12 / wide, 1 - 0.12 / high, title, ha="left", va="top", size=11.5, weight="bold")
    figure.text(0.12 / wide, 1 - 0.40 / high, note, ha="left", va="top", size=8.5, color=QUIET)
    svg = io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return Plot(name, title, alt, _png(figure, colours), _described(svg.getvalue().decode(), alt))


def _png(figure: Any, colours: int) -> bytes:
    """Encode with a palette: a third of the size, and the few colours of a plot lose nothing that is seen."""
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    picture = Image.fromarray(np.ascontiguousarray(pixels)).quantize(colours, dither=Image.Dither.NONE)
    png = io.BytesIO()
    picture.save(png, "PNG", optimize=True, dpi=(DPI, DPI))
    return png.getvalue()


def _described(svg: str, alt: str) -> bytes:
    """Name the picture for screen readers, and fonts of like width for machines without DejaVu Sans."""
    svg = svg.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    svg = re.sub(r"<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', svg, count=1)
    return re.sub(r"[ \t]+\n", "\n", svg).encode()


def key(figure: Any, entries: Sequence[Entry]) -> None:
    """Write the key beside the data, from KEY_LEFT and KEY_TOP on; long texts are broken into lines."""
    wide, high = figure.get_size_inches()
    x, down = KEY_LEFT / wide, KEY_TOP
    for entry in entries:
        y = 1 - (down + 0.07) / high
        xs = [x, x + 0.12 / wide, x + 0.24 / wide]
        mark: dict[str, Any] = {"marker": entry.marker, "ms": 5, "markevery": [1], "mec": "white"}
        figure.add_artist(Line2D(xs, [y] * 3, color=entry.colour, linestyle=entry.dash, **mark))
        bold: dict[str, Any] = {"weight": "bold", "color": entry.colour}
        texts = [(text, bold) for text in textwrap.wrap(entry.label, LABEL_CHARACTERS)]
        plain: dict[str, Any] = {"size": 8.5, "color": INK}
        texts += [(text, plain) for line in entry.lines for text in textwrap.wrap(line, LINE_CHARACTERS)]
        for text, how in texts:
            figure.text(x + 0.32 / wide, 1 - (down + 0.07) / high, text, va="center", ha="left", **how)
            down += LINE_IN
        down += 0.13


def height_for(series: int, lines: int, least: float) -> float:
    """Return the height in inches of a figure with this many series in its key, each with this many lines."""
    return max(least, KEY_TOP + series * ((lines + 2) * LINE_IN + 0.13))


def end_labels(axes: Any, labels: Sequence[tuple[str, float, str]], x: float, *, gap: float = 0.052) -> None:
    """Write (label, y, colour) at the right end of curves, moved apart where they would touch.

    gap: smallest distance as a share of the axis.
    """
    low, high = axes.get_ylim()
    shares = [(y - low) / (high - low) for _, y, _ in labels]
    for place, share in zip(spread(shares, gap), range(len(labels)), strict=True):
        label, _, colour = labels[share]
        axes.annotate(
            label,
            (x, low + place * (high - low)),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            weight="bold",
            annotation_clip=False,
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return places at least `gap` apart, in the same order, moved as little as a simple sweep can."""
    order = sorted(range(len(places)), key=lambda n: places[n])
    moved = [places[n] for n in order]
    for n in range(1, len(moved)):
        moved[n] = max(moved[n], moved[n - 1] + gap)
    surplus = max(0.0, moved[-1] - 1.0) if moved else 0.0
    for n in range(len(moved) - 1, -1, -1):
        ceiling = moved[n + 1] - gap if n + 1 < len(moved) else moved[n] - surplus
        moved[n] = min(moved[n], ceiling)
    return [moved[order.index(n)] for n in range(len(places))]


def thin(x: NDArray[np.float64], y: NDArray[np.float64], limit: int = MOST_POINTS) -> NDArray[np.float64]:
    """Return at most `limit` points (2, n) of a curve, evenly along its length; its ends are kept."""
    if len(x) <= limit:
        return np.stack([x, y]).astype(np.float64)
    steps = np.hypot(np.diff(x) / max(float(np.ptp(x)), 1e-12), np.diff(y) / max(float(np.ptp(y)), 1e-12))
    along = np.append(0.0, np.cumsum(steps))
    rows = np.unique(np.searchsorted(along, np.linspace(0, along[-1], limit)).clip(0, len(x) - 1))
    return np.stack([x[rows], y[rows]]).astype(np.float64)


def colour_of(number: int) -> str:
    """Return the colour of a series by its place."""
    return COLOURS[number % len(COLOURS)]


def dash_of(number: int) -> Any:
    """Return the line style of a series by its place."""
    return DASHES[number % len(DASHES)]


def entry(label: str, lines: Sequence[str], number: int, marker: str = "") -> Entry:
    """Return the key of the series with this place."""
    return Entry(label, tuple(lines), colour_of(number), dash_of(number), marker)


def curve(axes: Any, number: int, x: NDArray[np.float64], y: NDArray[np.float64], **more: Any) -> None:
    """Draw the series with this place, thinned; `more` goes to matplotlib."""
    axes.plot(*thin(x, y), **{"color": colour_of(number), "linestyle": dash_of(number), **more})


def dots(axes: Any, number: int, x: NDArray[np.float64], y: NDArray[np.float64], width: float = 2.0) -> None:
    """Draw the few points of a series, joined."""
    curve(axes, number, x, y, linewidth=width, marker="o", markersize=4.5, markeredgecolor="white", clip_on=False)


def band(axes: Any, number: int, x: NDArray[np.float64], low: Any, high: Any, alpha: float = 0.14) -> None:
    """Fill between two curves in the colour of the series."""
    axes.fill_between(x, low, high, color=colour_of(number), alpha=alpha, linewidth=0)


def percent(share: float, decimals: int = 0) -> str:
    """Return a share as `95.5 %`."""
    return f"{100 * share:.{decimals}f} %"


def counted(number: int) -> str:
    """Return a count with thousands apart."""
    return f"{number:,}"


def with_interval(value: float, ends: tuple[float, float], decimals: int = 3) -> str:
    """Return `0.934 (0.921–0.946)`; `not defined` for NaN."""
    if np.isnan(value):
        return "not defined"
    if np.isnan(ends[0]):
        return f"{value:.{decimals}f}"
    return f"{value:.{decimals}f} ({ends[0]:.{decimals}f}–{ends[1]:.{decimals}f})"
