"""How forecasts of heart-rate-trend are made and judged: by the server's feature code and runtime, out of fold.

Scales of the intervals and limits of the policy are chosen for each fold from the other folds, so that no figure
is read off what it was tuned on. Nothing here needs a training library.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clinical.forecast import Policy
from clinical.trend import HORIZONS_MIN, PERSON, SHARES, Windows
from model_export.datasets.heart_records import through_observations
from model_export.recipes import heart_rate_ridge as ridge
from model_export.recipes.heart_rate_measure import (
    Judged,
    confidence_for,
    joined,
    limited,
    scaled,
    widest_for,
    width_scales,
)
from model_export.recipes.heart_rate_windows import Examples, Fold, Series, to_judge
from model_runtime.session import Session
from model_runtime.tasks.forecast import CHANGE, TREND

Scales = NDArray[np.float64]

ALPHA = 0.2  # of what came may lie outside P10 to P90
ANSWERED = 0.75  # of true moves get a direction: the issue asks for 0.70, and time changes people
SHOWN = 0.90  # of intervals are narrow enough to be shown
USUAL_FROM_HOURS = 12.0
GUARD = (40.0, 130.0)  # NEWS2 (Royal College of Physicians, 2017) scores 3 at <= 40 and >= 131 a minute
ROWS_AT_ONCE = 2048
PLAIN = np.ones((len(HORIZONS_MIN), 2))
# What a fold's own file carries: its forecasts are judged with limits that come from the other folds.
UNCHOSEN = Policy(0.1, (1000.0,) * len(HORIZONS_MIN), (SHARES[0], SHARES[-1]), USUAL_FROM_HOURS, GUARD)


@dataclass(frozen=True, slots=True)
class FoldResult:
    """A fold with its forecasts before scaling, and the losses (epochs, 2) of its first member."""

    fold: Fold
    judged: Judged
    losses: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What cross-validation chose: the policy, the scales of the widths, and from how many windows."""

    policy: Policy
    scales: Scales
    rows: int


def judge_examples(series: Series) -> Examples | None:
    """Return the windows of recordings as the server would have read them."""
    read = {name: through_observations(one) for name, one in series.items()}
    return to_judge({name: one for name, one in read.items() if one is not None})


def forecasts(session: Session, line: ridge.Coefficients, examples: Examples) -> Judged:
    """Run a model on windows, in pieces, and put ridge and what came beside it."""
    starts = range(0, len(examples), ROWS_AT_ONCE)
    rows = [np.arange(start, min(len(examples), start + ROWS_AT_ONCE)) for start in starts]
    pieces = [session.run(examples.windows.rows(part).inputs()) for part in rows]
    newest = examples.windows.last.astype(np.float64)
    return Judged(
        newest=newest,
        truth=np.asarray(examples.truth, np.float64),
        change=np.concatenate([piece[CHANGE] for piece in pieces]) * newest[:, None, None],
        trend=np.concatenate([piece[TREND] for piece in pieces]).astype(np.float64),
        ridge=ridge.changes(examples.windows, line),
        usual=usual_of(examples.windows),
        wearer=examples.wearer,
        day=examples.day,
        least=np.zeros(len(examples)),
        widest=np.full((len(examples), len(HORIZONS_MIN)), np.inf),
        past=examples.windows.recent[:, :, 0].astype(np.float64),
    )


def usual_of(windows: Windows) -> NDArray[np.float64]:
    """Return the personal ranges (rows, 2) as clinical.forecast.usual_range has them, NaN where unknown."""
    person = windows.person.astype(np.float64)
    low, high = person[:, 0], person[:, len(SHARES) - 1]
    known = (person[:, PERSON.index("hours_known")] >= USUAL_FROM_HOURS) & (low < GUARD[1]) & (high > GUARD[0])
    ranges = np.column_stack([np.maximum(low, GUARD[0]), np.minimum(high, GUARD[1])])
    return np.where(known[:, None], ranges, np.nan)


def chosen_from(results: Sequence[Judged]) -> Chosen:
    """Return scales and policy from forecasts that training did not see."""
    whole = joined(list(results))
    scales = width_scales(whole, ALPHA)
    fitted = scaled(whole, scales)
    policy = Policy(
        direction_from=confidence_for(fitted, ANSWERED),
        widest=widest_for(fitted, SHOWN),
        usual_shares=(SHARES[0], SHARES[-1]),
        usual_from_hours=USUAL_FROM_HOURS,
        guard=GUARD,
    )
    return Chosen(policy, scales, len(whole))


def choose(results: Sequence[FoldResult]) -> Chosen:
    """Return what the shipped model gets: from the folds in time."""
    return chosen_from([one.judged for one in results if one.fold.known])


def out_of_fold(results: Sequence[FoldResult]) -> dict[str, Judged]:
    """Return the forecasts of "known" and "unseen" wearers over all folds, scaled and with limits.

    A fold in time takes scales and limits from the other folds in time; a fold of wearers takes them from the
    folds in time without these wearers.
    """
    rows: dict[str, list[Judged]] = {"known": [], "unseen": []}
    for result in results:
        chosen = chosen_from(_others(result, results))
        rows["known" if result.fold.known else "unseen"].append(
            limited(scaled(result.judged, chosen.scales), chosen.policy)
        )
    return {part: joined(found) for part, found in rows.items() if found}


def _others(result: FoldResult, results: Sequence[FoldResult]) -> list[Judged]:
    in_time = [other for other in results if other.fold.known and other is not result]
    if result.fold.known:
        return [other.judged for other in in_time] or [result.judged]
    left_out = list(result.fold.judge)
    strangers = [other.judged.rows(~np.isin(other.judged.wearer, left_out)) for other in in_time]
    return strangers if any(len(one) for one in strangers) else [other.judged for other in in_time]
