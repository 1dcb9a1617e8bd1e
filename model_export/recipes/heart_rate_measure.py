"""The figures of heart-rate-trend: every one a ratio of sums, with a 95 % interval over days of a wearer.

Persistence (the newest five-minute mean stays) and ridge stand beside the model. Minutes of one day are not
independent, so the bootstrap draws whole days.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.forecast import Policy
from clinical.trend import HORIZONS_MIN, Array
from model_export.metrics import rounded
from model_export.recipes.heart_rate_settings import BAND
from model_export.resampling import draws, percentiles

PARTS = ("known", "unseen")
LOW, MIDDLE, HIGH = range(3)
FALLING, STEADY, RISING = range(3)
SEED = 20261122
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judged:
    """Forecasts with what came, one row a window.

    newest: (rows,) the newest mean. truth: (rows, 3) per minute, NaN where not measured. change, trend:
    (rows, 3, 3), the change per minute. ridge: (rows, 3) changes. usual: (rows, 2) the personal range, NaN where
    unknown. least: (rows,) the lead from which a direction is said; widest: (rows, 3), beyond it nothing is shown.
    past: (rows, 24) the five-minute means of two hours, oldest first.
    """

    newest: Array
    truth: Array
    change: Array
    trend: Array
    ridge: Array
    usual: Array
    wearer: NDArray[np.str_]
    day: NDArray[np.str_]
    least: Array
    widest: Array
    past: Array

    def __len__(self) -> int:
        return len(self.newest)

    def rows(self, chosen: NDArray[np.bool_]) -> "Judged":
        """Return some rows."""
        return Judged(*(getattr(self, name)[chosen] for name in self.__slots__))

    def move(self) -> Array:
        """Return the true changes (rows, 3)."""
        return self.truth - self.newest[:, None]

    def lead(self) -> Array:
        """Return P(rising) - P(falling), (rows, 3): its sign is the direction, its size the confidence."""
        return self.trend[:, :, RISING] - self.trend[:, :, FALLING]


def limited(judged: Judged, policy: Policy) -> Judged:
    """Return the forecasts with the limits of a policy."""
    parts = {name: getattr(judged, name) for name in Judged.__slots__}
    return Judged(
        **parts
        | {
            "least": np.full(len(judged), policy.direction_from),
            "widest": np.tile(policy.widest, (len(judged), 1)),
        }
    )


def joined(parts: list[Judged]) -> Judged:
    """Return the rows of several, one part after the other."""
    return Judged(*(np.concatenate([getattr(one, name) for one in parts]) for name in Judged.__slots__))


class _Ratios:
    """Collects ratios of sums over windows, by name, with intervals over days of a wearer."""

    def __init__(self, judged: Judged) -> None:
        blocks = np.char.add(np.char.add(judged.wearer, " "), judged.day)
        names, self._block = np.unique(blocks, return_inverse=True)
        self._count = len(names)
        # How often each day stands in each draw: all figures of all draws are then two products.
        self._drawn = np.array(
            [np.bincount(days, minlength=self._count) for days in draws(self._count, seed=SEED)]
            if self._count > 1
            else np.empty((0, self._count))
        )
        self.found: Figures = {}

    def add(self, name: str, top: Array, bottom: Array, *, less_than_one: bool = False) -> None:
        """Note sum(top) / sum(bottom), or 1 minus it; rows where either is NaN do not count."""
        known = ~np.isnan(top) & ~np.isnan(bottom)
        tops = np.bincount(self._block[known], top[known], minlength=self._count)
        bottoms = np.bincount(self._block[known], bottom[known], minlength=self._count)
        every = np.vstack([np.ones(self._count), self._drawn])
        above, below = every @ tops, every @ bottoms
        ratios = np.divide(above, below, out=np.full(len(every), np.nan), where=below > 0)
        values = 1 - ratios if less_than_one else ratios
        self.found[name] = rounded(float(values[0]))
        self.found[f"{name}_ci95"] = [rounded(end) for end in percentiles(values[1:])]

    def share(self, name: str, right: NDArray[np.bool_], of: NDArray[np.bool_]) -> None:
        """Note how many of the rows `of` are right."""
        self.add(name, (right & of).astype(float), of.astype(float))


def figures(judged: Judged) -> Figures:
    """Return every figure of one part ("known" or "unseen")."""
    ratios = _Ratios(judged)
    for number, minutes in enumerate(HORIZONS_MIN):
        _errors(ratios, judged, number, minutes)
        _directions(ratios, judged, number, minutes)
        _intervals(ratios, judged, number, minutes)
    _pooled(ratios, judged)
    counts = {
        "windows": len(judged),
        "wearers": len(np.unique(judged.wearer)),
        "wearer_days": len(np.unique(np.char.add(judged.wearer, judged.day))),
    }
    return counts | ratios.found | {"alert": alerts(judged), "by_wearer": by_wearer(judged)}


def _errors(ratios: _Ratios, judged: Judged, number: int, minutes: int) -> None:
    move = judged.move()[:, number]
    one = np.where(np.isnan(move), np.nan, 1.0)
    stays, model, line = (
        np.abs(move),
        np.abs(move - judged.change[:, number, MIDDLE]),
        np.abs(move - judged.ridge[:, number]),
    )
    for name, error in (("mae", model), ("persistence_mae", stays), ("ridge_mae", line)):
        ratios.add(f"{name}_{minutes}", error, one)
    ratios.add(f"skill_mae_{minutes}", model, stays, less_than_one=True)
    ratios.add(f"ridge_skill_mae_{minutes}", line, stays, less_than_one=True)
    truth = judged.truth[:, number]
    for name, error in (("", model), ("persistence_", stays), ("ridge_", line)):
        near = np.where(np.isnan(error), np.nan, error <= 0.1 * truth)
        ratios.add(f"{name}within_10pct_{minutes}", near, one)


def _directions(ratios: _Ratios, judged: Judged, number: int, minutes: int) -> None:
    """Direction of true moves beyond the band: of those with enough confidence, and of all."""
    move, lead = judged.move()[:, number], judged.lead()[:, number]
    moved = np.abs(move) > BAND
    said = np.abs(lead) >= judged.least
    right = np.sign(lead) == np.sign(move)
    ratios.share(f"direction_{minutes}", right, moved & said)
    ratios.share(f"direction_{minutes}_coverage", said, moved)
    ratios.share(f"direction_{minutes}_all", right, moved)
    forecast = np.sign(judged.change[:, number, MIDDLE]) == np.sign(move)
    ratios.share(f"direction_{minutes}_by_median", forecast, moved)
    ridge = np.sign(judged.ridge[:, number]) == np.sign(move)
    ratios.share(f"ridge_direction_{minutes}_all", ridge, moved)
    known = ~np.isnan(move)
    classes = np.where(move > BAND, RISING, np.where(move < -BAND, FALLING, STEADY))
    ratios.share(f"trend_accuracy_{minutes}", judged.trend[:, number].argmax(axis=1) == classes, known)
    largest = np.bincount(classes[known], minlength=3).argmax() if known.any() else STEADY
    ratios.share(f"trend_majority_{minutes}", classes == largest, known)


def _intervals(ratios: _Ratios, judged: Judged, number: int, minutes: int) -> None:
    move, low, high = judged.move()[:, number], judged.change[:, number, LOW], judged.change[:, number, HIGH]
    known = ~np.isnan(move)
    one = np.where(known, 1.0, np.nan)
    ratios.share(f"coverage_p10_p90_{minutes}", (low <= move) & (move <= high), known)
    ratios.share(f"below_p10_{minutes}", move < low, known)
    ratios.share(f"above_p90_{minutes}", move > high, known)
    ratios.add(f"width_{minutes}", high - low, one)
    sure = high - low <= judged.widest[:, number]
    ratios.share(f"sure_{minutes}", sure, known)
    error = np.where(sure, np.abs(move - judged.change[:, number, MIDDLE]), np.nan)
    ratios.add(f"mae_{minutes}_when_sure", error, np.where(sure, one, np.nan))


def _pooled(ratios: _Ratios, judged: Judged) -> None:
    """Figures over all horizons: coverage, nearness and percentage errors, persistence and ridge beside."""
    move, truth = judged.move(), judged.truth
    known = (~np.isnan(move)).sum(axis=1).astype(float)
    inside = (judged.change[:, :, LOW] <= move) & (move <= judged.change[:, :, HIGH])
    ratios.add("coverage_p10_p90", inside.sum(axis=1).astype(float), known)
    for name, said in (
        ("", judged.change[:, :, MIDDLE]),
        ("persistence_", np.zeros_like(move)),
        ("ridge_", judged.ridge),
    ):
        error = np.abs(move - said) / truth
        ratios.add(f"{name}within_10pct", (error <= 0.1).sum(axis=1).astype(float), known)
        # 100 - MAPE flatters: persistence alone reaches 90. In percent, as its name says.
        ratios.add(f"{name}mape_complement", 100 * np.nansum(1 - error, axis=1), known)


def alerts(judged: Judged) -> Figures:
    """Return how often the forecast leaves the personal range at an hour, and how often the heart rate then does.

    leaves: P10 or P90 lies beyond, which is what warns; outside: P50 does.
    """
    ratios, number = _Ratios(judged), len(HORIZONS_MIN) - 1
    low, high = judged.usual[:, 0], judged.usual[:, 1]
    now, truth = judged.newest, judged.truth[:, number]
    known = ~np.isnan(truth) & ~np.isnan(low)
    came = (truth < low) | (truth > high)
    said = [now + judged.change[:, number, part] for part in range(3)]
    leaves = (said[LOW] < low) | (said[HIGH] > high)
    outside = (said[MIDDLE] < low) | (said[MIDDLE] > high)
    stays = (now < low) | (now > high)
    ratios.share("event_rate_60", came, known)
    for name, told in (("leaves", leaves), ("outside", outside), ("persistence", stays)):
        ratios.share(f"{name}_rate_60", told, known)
        ratios.share(f"{name}_ppv_60", came, known & told)
        ratios.share(f"{name}_sensitivity_60", told, known & came)
    return ratios.found


def by_wearer(judged: Judged) -> Mapping[str, Figures]:
    """Return skill and coverage of each wearer, without intervals: nobody's age or sex is known."""
    table = {}
    for name in np.unique(judged.wearer):
        one = judged.rows(judged.wearer == name)
        move = one.move()
        error, stays = np.abs(move - one.change[:, :, MIDDLE]), np.abs(move)
        inside = (one.change[:, :, LOW] <= move) & (move <= one.change[:, :, HIGH])
        known = ~np.isnan(move)
        table[str(name)] = {
            "windows": len(one),
            "coverage_p10_p90": _share(inside[known].sum(), known.sum()),
            **{
                f"skill_mae_{minutes}": _share(np.nansum(stays[:, n] - error[:, n]), np.nansum(stays[:, n]))
                for n, minutes in enumerate(HORIZONS_MIN)
            },
        }
    return table


def _share(top: float, bottom: float) -> float | None:
    return rounded(float(top) / float(bottom)) if bottom > 0 else None


def width_scales(judged: Judged, alpha: float) -> NDArray[np.float64]:
    """Return by how much the widths must grow, (horizon, side), for alpha / 2 of what came beyond each side.

    Split conformal with a ratio as the score (how many widths away the truth lies), with the finite-sample rank;
    unlike an added margin it cannot make quantiles cross. judged: with the widths of an unscaled graph.
    """
    scales = np.ones((len(HORIZONS_MIN), 2))
    for number in range(len(HORIZONS_MIN)):
        low, middle, high = (judged.change[:, number, part] for part in range(3))
        move = judged.move()[:, number]
        known = ~np.isnan(move)
        for side, score in enumerate(((middle - move) / (middle - low), (move - middle) / (high - middle))):
            scales[number, side] = _rank(score[known], alpha / 2)
    return scales


def _rank(scores: Array, alpha: float) -> float:
    place = min(len(scores), int(np.ceil((len(scores) + 1) * (1 - alpha))))
    return float(np.maximum(np.sort(scores)[place - 1], 1e-3))


def scaled(judged: Judged, scales: NDArray[np.float64]) -> Judged:
    """Return the forecasts as a graph with these scales gives them."""
    middle = judged.change[:, :, MIDDLE]
    low = middle - (middle - judged.change[:, :, LOW]) * scales[:, 0]
    high = middle + (judged.change[:, :, HIGH] - middle) * scales[:, 1]
    parts = {name: getattr(judged, name) for name in Judged.__slots__}
    return Judged(**parts | {"change": np.stack([low, middle, high], axis=2)})


def confidence_for(judged: Judged, coverage: float) -> float:
    """Return the lead of one side from which `coverage` of the true moves at an hour get a direction."""
    move, lead = judged.move()[:, -1], np.abs(judged.lead()[:, -1])
    return float(np.quantile(lead[np.abs(move) > BAND], 1 - coverage))


def widest_for(judged: Judged, share: float) -> tuple[float, ...]:
    """Return, for each horizon, the width that this share of the intervals does not exceed."""
    width = judged.change[:, :, HIGH] - judged.change[:, :, LOW]
    return tuple(float(value) for value in np.quantile(width, share, axis=0))
