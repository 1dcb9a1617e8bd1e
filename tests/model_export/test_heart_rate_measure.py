"""The figures of a forecast, on cases worked out by hand."""

import numpy as np
import pytest

from clinical.forecast import Policy

pytestmark = pytest.mark.export
pytest.importorskip("sklearn", reason="needs the training stack")

from model_export.recipes.heart_rate_measure import (  # noqa: E402
    Judged,
    confidence_for,
    figures,
    joined,
    limited,
    scaled,
    widest_for,
    width_scales,
)

POLICY = Policy(0.2, (20.0, 20.0, 20.0), (0.02, 0.98), 12, (40, 130))


def judged(move, middle, *, half=10.0, lead=0.5, usual=(50.0, 90.0), day="2026-01-01", wearer="w"):
    """Forecasts of one horizon's moves, the same at all three; newest is 80."""
    move, middle = np.asarray(move, float), np.asarray(middle, float)
    rows = len(move)
    change = np.stack([middle - half, middle, middle + half], axis=1)
    lead = np.broadcast_to(lead, rows)
    trend = np.stack([(1 - lead) / 2, np.zeros(rows), (1 + lead) / 2], axis=1)
    return limited(
        Judged(
            newest=np.full(rows, 80.0),
            truth=np.repeat((80 + move)[:, None], 3, axis=1),
            change=np.repeat(change[:, None], 3, axis=1),
            trend=np.repeat(trend[:, None], 3, axis=1),
            ridge=np.zeros((rows, 3)),
            usual=np.tile(usual, (rows, 1)),
            wearer=np.full(rows, wearer),
            day=np.full(rows, day),
            least=np.zeros(rows),
            widest=np.zeros((rows, 3)),
            past=np.full((rows, 24), 80.0),
        ),
        POLICY,
    )


def test_skill_is_the_share_of_persistences_error_that_is_saved():
    found = figures(judged([10, -10, 0, np.nan], [5, -10, 2, 0]))
    assert found["persistence_mae_60"] == pytest.approx(20 / 3, abs=1e-4)
    assert found["mae_60"] == pytest.approx(7 / 3, abs=1e-4)
    assert found["skill_mae_60"] == pytest.approx(1 - 7 / 20)
    assert found["ridge_skill_mae_60"] == pytest.approx(0)
    assert found["windows"] == 4


def test_direction_is_of_moves_beyond_five_where_the_lead_is_large_enough():
    found = figures(judged([10, -10, 10, 4], [0] * 4, lead=[0.5, 0.5, 0.1, 0.5]))
    assert found["direction_60"] == pytest.approx(0.5)  # the first right, the second wrong
    assert found["direction_60_coverage"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["direction_60_all"] == pytest.approx(2 / 3, abs=1e-4)


def test_coverage_and_width_are_of_the_interval():
    found = figures(judged([10, -20, 5, 11], [0] * 4))
    assert found["coverage_p10_p90_30"] == found["coverage_p10_p90"] == pytest.approx(0.5)
    assert (found["below_p10_30"], found["above_p90_30"]) == (0.25, 0.25)
    assert found["width_30"] == 20
    assert found["sure_30"] == 1


def test_percentages_stand_beside_persistence():
    # truth 100: persistence 80 is 20 % off, the forecast 100 is right
    found = figures(judged([20], [20]))
    assert (found["mape_complement"], found["persistence_mape_complement"]) == (100, 80)
    assert (found["within_10pct"], found["persistence_within_10pct"]) == (1, 0)


def test_alerts_are_judged_against_what_came():
    found = figures(judged([15, 15, 0], [12, 0, 0], half=5))["alert"]
    assert found["event_rate_60"] == pytest.approx(2 / 3, abs=1e-4)  # 95 is above 90
    assert (found["outside_rate_60"], found["outside_ppv_60"]) == (pytest.approx(1 / 3, abs=1e-4), 1)
    assert found["outside_sensitivity_60"] == 0.5
    assert found["leaves_rate_60"] == pytest.approx(1 / 3, abs=1e-4)


def test_a_part_that_no_row_speaks_of_is_null_and_no_crash():
    found = figures(judged([1, 2], [0, 0], usual=(np.nan, np.nan)))
    assert found["direction_60"] is None
    assert found["alert"]["event_rate_60"] is None


def test_intervals_draw_days_and_hold_the_figure():
    rng = np.random.default_rng(0)
    days = [judged(rng.normal(0, 10, 30), np.zeros(30), day=f"2026-01-{n:02d}") for n in range(1, 21)]
    found = figures(joined(days))
    low, high = found["coverage_p10_p90_ci95"]
    assert low < found["coverage_p10_p90"] < high
    assert figures(days[0])["coverage_p10_p90_ci95"] == [None, None]  # one day is no sample


def test_scaled_widths_leave_a_tenth_on_either_side_and_never_cross():
    rng = np.random.default_rng(0)
    calm, after = (judged(rng.normal(0, 10, 4000), np.zeros(4000), half=3.0) for _ in range(2))
    fitted = scaled(after, width_scales(calm, 0.2))
    found = figures(limited(fitted, POLICY))
    assert found["coverage_p10_p90"] == pytest.approx(0.8, abs=0.02)
    assert found["below_p10_60"] == pytest.approx(0.1, abs=0.015)
    assert (np.diff(fitted.change, axis=2) > 0).all()


def test_limits_are_quantiles_of_what_was_seen():
    some = judged([10] * 4, [0] * 4, lead=[0.1, 0.2, 0.3, 0.4])
    assert confidence_for(some, 0.75) == pytest.approx(0.175)
    assert widest_for(some, 0.9) == pytest.approx((20, 20, 20))
