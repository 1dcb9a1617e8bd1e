import numpy as np
import pytest

from model_export import forecast_metrics as metrics

TRUTH = np.array([60.0, 80.0, 100.0, 70.0])
FORECAST = np.array([62.0, 70.0, 99.0, 70.0])
ORIGIN = np.array([60.0, 75.0, 75.0, 90.0])


def test_errors_of_four_minutes_are_those_worked_out_by_hand():
    assert metrics.mae(TRUTH, FORECAST) == (2 + 10 + 1 + 0) / 4
    assert metrics.skill(TRUTH, FORECAST, ORIGIN) == pytest.approx(1 - (13 / 4) / (50 / 4))
    assert metrics.within(TRUTH, FORECAST) == 0.75  # 10 of 80 is more than a tenth
    assert metrics.hundred_minus_mape(TRUTH, FORECAST) == pytest.approx(100 - 25 * (2 / 60 + 10 / 80 + 1 / 100))
    assert metrics.pinball(TRUTH, FORECAST, 0.5) == metrics.mae(TRUTH, FORECAST) / 2
    # Too high by 2 costs .1 a unit at P90 (under-shooting costs .9).
    assert metrics.pinball(TRUTH, FORECAST, 0.9) == pytest.approx((2 * 0.1 + 10 * 0.9 + 1 * 0.9) / 4)
    assert metrics.coverage(TRUTH, FORECAST - 5, FORECAST + 5) == 0.75


def test_direction_is_judged_only_where_the_heart_rate_moved_and_the_forecast_commits():
    # Moves of 0, +5, +25, -20; only the last two exceed 5. Forecast moves +2, -5, +24, -20.
    assert metrics.direction(TRUTH, FORECAST, ORIGIN, move=5) == 1.0
    assert metrics.direction(TRUTH, FORECAST, ORIGIN, move=4) == pytest.approx(2 / 3)
    assert metrics.direction_coverage(TRUTH, FORECAST, ORIGIN, move=5, least=22) == 0.5
    assert metrics.direction(TRUTH, FORECAST, ORIGIN, move=5, least=22) == 1.0


def test_figures_of_nothing_are_not_a_number_and_raise_no_warning():
    nothing = np.array([])
    assert np.isnan(metrics.mae(nothing, nothing))
    assert np.isnan(metrics.skill(TRUTH, FORECAST, TRUTH))
    assert np.isnan(metrics.hundred_minus_mape(np.zeros(2), np.ones(2)))
    assert np.isnan(metrics.direction(TRUTH, FORECAST, TRUTH, move=5))
