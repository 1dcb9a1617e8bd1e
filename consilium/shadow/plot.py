"""A comparison as a picture: Bland and Altman's plots of probability and long axis. Values in, SVG out.

The server has no plotting library (matplotlib belongs to the training stack), and these are points and lines.
"""

from collections.abc import Sequence
from html import escape

from clinical.agreement import differences
from consilium.shadow.comparison import Row

WIDTH, HEIGHT, LEFT, TOP, GAP = 420, 260, 60, 40, 70
_STYLE = "font: 12px sans-serif; fill: #222"
Pairs = Sequence[tuple[float, float]]


def plot_of(rows: Sequence[Row], live: str, shadow: str) -> str:
    """Return an SVG with two plots side by side. live, shadow: labels of the models."""
    plots = (
        ("highest probability where both found", [one.probability for one in rows if one.probability]),
        ("long axis in mm of the same finding", [pair for one in rows for pair in one.long_mm]),
    )
    room = LEFT + WIDTH + GAP
    drawn = "".join(_panel(room * number + LEFT, title, pairs) for number, (title, pairs) in enumerate(plots))
    said = f"{escape(shadow)} - {escape(live)} against their mean; lines: mean and 95 % limits of agreement"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * room}" height="{HEIGHT + 120}" style="{_STYLE}">'
        f'<rect width="100%" height="100%" fill="#fff"/><text x="{LEFT}" y="{HEIGHT + 105}">{said}</text>'
        f"{drawn}</svg>\n"
    )


def _panel(left: float, title: str, pairs: Pairs) -> str:
    found = differences(pairs)
    parts = [
        f'<text x="{left}" y="{TOP - 14}">{title} (n {found.n})</text>',
        f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#888"/>',
    ]
    if not pairs:
        return "".join(parts)
    means = [(a + b) / 2 for a, b in pairs]
    gaps = [b - a for a, b in pairs]
    lines = [one for one in (found.low, found.mean, found.high) if one is not None]
    x0, x1 = _range(means)
    y0, y1 = _range([*gaps, *lines, 0.0])

    def x(value: float) -> float:
        return left + WIDTH * (value - x0) / (x1 - x0)

    def y(value: float) -> float:
        return TOP + HEIGHT * (y1 - value) / (y1 - y0)

    parts += [
        f'<circle cx="{x(mean):.1f}" cy="{y(gap):.1f}" r="3" fill="#1f5fa8" fill-opacity="0.5"/>'
        for mean, gap in zip(means, gaps, strict=True)
    ]
    for value in lines:
        dash = "" if value == found.mean else ' stroke-dasharray="5 4"'
        parts.append(
            f'<path d="M{left} {y(value):.1f}h{WIDTH}" stroke="#b3261e"{dash}/>'
            f'<text x="{left + WIDTH + 4}" y="{y(value) + 4:.1f}">{value:.3g}</text>'
        )
    ends = ((x0, left), (x1, left + WIDTH - 30))
    parts += [f'<text x="{at:.0f}" y="{TOP + HEIGHT + 18}">{value:.3g}</text>' for value, at in ends]
    parts += [f'<text x="{left - 48}" y="{y(value) + 4:.1f}">{value:.3g}</text>' for value in (y0, y1)]
    return "".join(parts)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.5
    return low - room, high + room
