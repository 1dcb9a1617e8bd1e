"""The plots of heart-rate-trend, for its card and for evaluations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.trend import HORIZONS_MIN
from model_export import plots
from model_export.metrics import confusion_counts
from model_export.plots import Plot, bar_of
from model_export.recipes.heart_rate_judging import ALPHA
from model_export.recipes.heart_rate_measure import FALLING, HIGH, LOW, MIDDLE, RISING, Judged
from model_export.recipes.heart_rate_settings import BAND

Figures = Mapping[str, Any]
TITLES = {"known": "known wearers, later time", "unseen": "unseen wearers"}
CLASSES = ("falling", "steady", "rising")


def plots_of(found: Figures, judged: Mapping[str, Judged], losses: Sequence[NDArray[np.float64]]) -> list[Plot]:
    """Return the plots of a card or an evaluation. losses: (epochs, 2) of each fold, none outside training."""
    made = [_skill(found), _coverage(found)]
    if losses:
        made.append(_learning(losses))
    for part, one in judged.items():
        suffix = "" if part == "known" else f"_{part}"
        made += [_confusion(one, suffix, TITLES[part]), _calibration(one, suffix, TITLES[part])]
    fan = _fan(judged)
    return made if fan is None else [*made, fan]


def _skill(found: Figures) -> Plot:
    rows = {
        f"{minutes} min, {part}": {
            "GRU": bar_of(found[part], f"skill_mae_{minutes}"),
            "ridge": bar_of(found[part], f"ridge_skill_mae_{minutes}"),
        }
        for part in TITLES
        if found[part]
        for minutes in HORIZONS_MIN
    }
    return plots.bars(
        rows,
        axis="share of persistence's mean absolute error saved",
        name="skill",
        title="Skill over persistence",
        note="lines: 95 % intervals, days of wearers drawn with replacement",
        baselines={"persistence": 0.0},
    )


def _coverage(found: Figures) -> Plot:
    rows = {
        f"{minutes} min, {part}": {"P10 to P90": bar_of(found[part], f"coverage_p10_p90_{minutes}")}
        for part in TITLES
        if found[part]
        for minutes in HORIZONS_MIN
    }
    return plots.bars(
        rows,
        axis="share of what came that lies between P10 and P90",
        name="coverage",
        title="Coverage of the intervals",
        note="lines: 95 % intervals, days of wearers drawn with replacement",
        baselines={"aim": 1 - ALPHA},
    )


def _learning(losses: Sequence[NDArray[np.float64]]) -> Plot:
    stacked = np.stack(losses)
    return plots.learning(
        {"loss (pinball + trend)": {"learning": stacked[:, :, 0], "judged": stacked[:, :, 1]}},
        name="learning",
        title="Learning curves",
        note="thin lines: folds in time; learning is on varied copies, with dropout, so it lies apart",
    )


def _confusion(judged: Judged, suffix: str, whose: str) -> Plot:
    move = judged.move()[:, -1]
    known = ~np.isnan(move)
    truth = np.where(move > BAND, 2, np.where(move < -BAND, 0, 1))[known]
    counts = confusion_counts(truth, judged.trend[known, -1].argmax(axis=1), len(CLASSES))
    return plots.confusion(
        counts,
        CLASSES,
        name=f"confusion{suffix}",
        title=f"Trend in an hour: {whose}",
        note="rows: what came (more than 5 a minute is a move), columns: the likeliest class",
    )


def _calibration(judged: Judged, suffix: str, whose: str) -> Plot:
    move = judged.move()[:, -1]
    known = ~np.isnan(move)
    who = judged.wearer[known]
    rising = move[known] > BAND, judged.trend[known, -1, RISING], who
    falling = move[known] < -BAND, judged.trend[known, -1, FALLING], who
    return plots.calibration(
        {"rising": rising, "falling": falling},
        name=f"calibration{suffix}",
        title=f"Chances of the trend in an hour: {whose}",
        resamples=200,
    )


def _fan(judged: Mapping[str, Judged]) -> Plot | None:
    """Plot one forecast: of the moves beyond 10 a minute the one whose error is the median, not the best."""
    if not judged:
        return None
    one = next(iter(judged.values()))
    move = one.move()
    whole = ~np.isnan(move).any(axis=1) & ~np.isnan(one.past).any(axis=1)
    rows = np.flatnonzero(whole & (np.abs(move[:, -1]) > 2 * BAND))
    if not len(rows):
        return None
    errors = np.abs(move[rows, -1] - one.change[rows, -1, MIDDLE])
    row = rows[np.argsort(errors)[len(rows) // 2]]
    newest, past = one.newest[row], one.past[row]
    minutes = np.arange(-5.0 * (len(past) - 1), 1.0, 5.0)
    quantiles = newest + one.change[row][:, [LOW, MIDDLE, HIGH]]
    came = np.append(0.0, HORIZONS_MIN), np.append(newest, one.truth[row])
    usual = None if np.isnan(one.usual[row]).any() else (float(one.usual[row, 0]), float(one.usual[row, 1]))
    return plots.forecast_fan(
        (minutes, past),
        np.array(HORIZONS_MIN, float),
        quantiles,
        observed=came,
        usual=usual,
        note="of all moves beyond 10 a minute, the forecast whose error is the median; band: P10 to P90",
    )
