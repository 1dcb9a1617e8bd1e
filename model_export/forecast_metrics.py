"""How good forecasts of a quantity are: error, skill over a baseline, quantiles. Arrays (n,) in, floats out.

Every figure of nothing is NaN, which `metrics.rounded` writes as null.
"""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
NAN = float("nan")


def mae(truth: Values, forecast: Values) -> float:
    """Mean absolute error, in the unit of the quantity."""
    return _mean(np.abs(truth - forecast))


def skill(truth: Values, forecast: Values, baseline: Values) -> float:
    """Share of the baseline's mean absolute error that the forecast saves; negative when it is worse."""
    error = mae(truth, baseline)
    return 1 - mae(truth, forecast) / error if error > 0 else NAN


def within(truth: Values, forecast: Values, share: float = 0.10) -> float:
    """Share of forecasts no further from the true value than this share of it."""
    return _mean(np.abs(forecast - truth) <= share * np.abs(truth))


def hundred_minus_mape(truth: Values, forecast: Values) -> float:
    """100 minus the mean absolute percentage error; values of 0 are left out.

    Flatters: persistence alone reaches 90 on heart rates. Never shown without its baseline.
    """
    known = truth != 0
    return 100 - 100 * _mean(np.abs((forecast[known] - truth[known]) / truth[known]))


def pinball(truth: Values, forecast: Values, quantile: float) -> float:
    """Mean pinball loss of a forecast quantile (0..1); half the absolute error at 0.5."""
    above = truth - forecast
    return _mean(np.maximum(quantile * above, (quantile - 1) * above))


def coverage(truth: Values, low: Values, high: Values) -> float:
    """Share of true values inside [low, high]."""
    return _mean((low <= truth) & (truth <= high))


def direction(truth: Values, forecast: Values, origin: Values, *, move: float, least: float = 0.0) -> float:
    """Share of true moves larger than `move` whose direction was said.

    least: only forecasts that leave the origin by more than this are judged; see `direction_coverage`.
    """
    judged = (np.abs(truth - origin) > move) & (np.abs(forecast - origin) > least)
    return _mean(np.sign(forecast - origin)[judged] == np.sign(truth - origin)[judged])


def direction_coverage(truth: Values, forecast: Values, origin: Values, *, move: float, least: float) -> float:
    """Share of true moves larger than `move` for which the forecast leaves the origin by more than `least`."""
    moved = np.abs(truth - origin) > move
    return _mean((np.abs(forecast - origin) > least)[moved])


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(values.mean()) if values.size else NAN
