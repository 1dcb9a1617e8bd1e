"""Does the forecast survive a laboratory, and do steps move it? Treadmill sessions that nothing was learnt from.

Sessions last about an hour, so they are judged from the first half hour on, at 15 minutes only; the server would
ask for an hour of readings. The authors smoothed the heart rates, which flatters persistence.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from clinical.trend import BIN_MIN, Windows, joined, targets, windows
from model_export.datasets.applewatch_fitbit_lab import Session as Treadmill
from model_export.metrics import rounded
from model_export.resampling import interval
from model_runtime.session import Session
from model_runtime.tasks.forecast import CHANGE

FROM_MIN = 30
WALKING = 110.0  # steps a minute
NEW_STEPS_BINS = 2  # the last ten minutes
SEED = 20261122


def activity_figures(model: Session, sessions: Sequence[Treadmill]) -> dict[str, Any] | None:
    """Return the figures, None when no session is long enough. Intervals are over persons."""
    found = [(one, ends) for one in sessions if len(ends := _ends(one))]
    if not found:
        return None
    shown = joined([windows(one.series, ends) for one, ends in found])
    truth = np.concatenate([targets(one.series, ends)[:, 0] for one, ends in found])
    person = np.concatenate([np.full(len(ends), one.person) for one, ends in found])
    move = truth - shown.last
    error = np.abs(move - _middle(model, shown))
    shift = _middle(model, _with_steps(shown, WALKING)) - _middle(model, _with_steps(shown, 0.0))

    def skill(rows: Any) -> float:  # noqa: ANN401
        return float(1 - error[rows].sum() / np.abs(move[rows]).sum())

    everything = np.arange(len(move))
    return {
        "sessions": len(found),
        "persons": len(np.unique(person)),
        "windows": len(move),
        "mae_15": rounded(float(error.mean())),
        "persistence_mae_15": rounded(float(np.abs(move).mean())),
        "skill_mae_15": rounded(skill(everything)),
        "skill_mae_15_ci95": [rounded(end) for end in interval(skill, len(move), seed=SEED, groups=person)],
        # How the forecast moves when the last ten minutes were walked and not sat through, at the same heart rate:
        # a rate that effort explains is expected to come down.
        "walking_shift_15": rounded(float(shift.mean())),
        "walking_lowers_share": rounded(float((shift < 0).mean())),
    }


def _ends(session: Treadmill) -> Any:  # noqa: ANN401
    """Return the minutes from which 15 minutes ahead were measured, every fifth one."""
    ends = np.arange(FROM_MIN, len(session.series) - 15, BIN_MIN)
    if not len(ends):
        return ends
    newest = windows(session.series, ends).last
    return ends[~np.isnan(newest) & ~np.isnan(targets(session.series, ends)[:, 0])]


def _middle(model: Session, shown: Windows) -> Any:  # noqa: ANN401
    """Return the forecast change at 15 minutes, per minute."""
    return model.run(shown.inputs())[CHANGE][:, 0, 1].astype(np.float64) * shown.last


def _with_steps(shown: Windows, steps: float) -> Windows:
    recent = shown.recent.copy()
    recent[:, :, 2] = 0.0
    recent[:, -NEW_STEPS_BINS:, 2] = steps
    return Windows(recent, shown.minutes, shown.hours, shown.person)
