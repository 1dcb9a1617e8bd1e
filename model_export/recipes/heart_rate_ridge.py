"""Ridge regression beside the network: what straight lines make of the same history."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from clinical.trend import Array, Windows
from model_export.recipes.heart_rate_windows import Examples

PENALTY = 100.0  # of coefficients on changes in tens of beats; between 10 and 1000 it hardly matters
TEN = 10.0
Coefficients = Mapping[str, NDArray[np.float64]]


def columns(windows: Windows) -> Array:
    """Return the history as differences from the newest mean, 0 where unknown, the clock, the mean, and 1."""
    newest = windows.last.astype(np.float64)[:, None]
    differences = [
        (part - newest) / TEN
        for part in (
            windows.recent[:, :-1, 0],
            windows.minutes,
            windows.hours,
            windows.person[:, :5],
            windows.person[:, 6:10],
        )
    ]
    steps = windows.recent[:, -3:, 2] / TEN
    found = np.concatenate([*differences, steps, windows.person[:, 10:]], axis=1)
    return np.column_stack([np.nan_to_num(found), (newest - 75) / TEN, np.ones(len(windows))])


def fit(examples: Examples) -> Coefficients:
    """Return the coefficients of each horizon from the windows whose outcome was measured."""
    everything = columns(examples.windows)
    change = examples.truth - examples.windows.last[:, None]
    lines = []
    for number in range(change.shape[1]):
        known = ~np.isnan(change[:, number])
        x, y = everything[known], change[known, number]
        penalty = PENALTY * np.eye(x.shape[1])
        penalty[-1, -1] = 0.0  # the constant is free
        lines.append(np.linalg.solve(x.T @ x + penalty, x.T @ y))
    return {"coefficients": np.stack(lines, axis=1)}


def changes(windows: Windows, line: Coefficients) -> Array:
    """Return the forecast changes, (rows, horizons), per minute."""
    return np.asarray(columns(windows) @ line["coefficients"])
