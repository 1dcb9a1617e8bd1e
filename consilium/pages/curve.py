"""The what-if plot of one model as coordinates for an SVG: acceptance and number of cards by threshold."""

from collections.abc import Sequence
from dataclasses import dataclass

from cds.feedback.figures import Step

WIDTH, HEIGHT = 460.0, 200.0
LEFT, TOP = 40.0, 12.0
_BAR = 0.7  # of the room that a step has


@dataclass(frozen=True, slots=True)
class Mark:
    """One step: a bar for the cards, a point and interval for the acceptance; None without an answered card."""

    threshold: float
    cards: int
    x: float
    bar_x: float
    bar_y: float
    bar_width: float
    bar_height: float
    y: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """marks, from the lowest threshold on; line: points of a polyline; most: cards of the highest bar."""

    marks: tuple[Mark, ...]
    line: str
    most: int
    every: int  # which thresholds are written below, so that they do not touch


def curve_of(steps: Sequence[Step]) -> Curve | None:
    """Return the plot, or None when no card had a score."""
    if not steps:
        return None
    most = max(step.answered.sent for step in steps)
    room = WIDTH / len(steps)
    marks = tuple(_mark(step, LEFT + room * (n + 0.5), room * _BAR, most) for n, step in enumerate(steps))
    line = " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in marks if mark.y is not None)
    return Curve(marks, line, most, 1 + len(steps) // 9)


def _mark(step: Step, x: float, width: float, most: int) -> Mark:
    found = step.answered.acceptance
    low, high = found.interval or (None, None)
    height = HEIGHT * step.answered.sent / most if most else 0.0
    return Mark(
        threshold=step.threshold,
        cards=step.answered.sent,
        x=round(x, 1),
        bar_x=round(x - width / 2, 1),
        bar_y=round(TOP + HEIGHT - height, 1),
        bar_width=round(width, 1),
        bar_height=round(height, 1),
        y=_y(found.share),
        low=_y(low),
        high=_y(high),
    )


def _y(share: float | None) -> float | None:
    return None if share is None else round(TOP + HEIGHT * (1 - share), 1)
