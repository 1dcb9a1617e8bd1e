"""Windows of a heart rate: what they hold, and that they never look ahead."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.errors import IncorrectInput
from clinical.trend import (
    BLOCKS,
    DAY_MIN,
    PERSON,
    MinuteSeries,
    joined,
    mean_over,
    occlusions,
    past_quantiles,
    summaries,
    targets,
    usable,
    windows,
)

START = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)


def series_of(rate, steps=None, clock_known=True):
    rate = np.asarray(rate, float)
    return MinuteSeries(START, rate, np.full_like(rate, np.nan) if steps is None else steps, clock_known)


def ramp(minutes=3 * 60):
    return series_of(60 + np.arange(minutes) / 10)


def person(read, name):
    return float(read.person[0, PERSON.index(name)])


def test_the_newest_bin_is_the_mean_of_the_last_five_minutes_and_the_oldest_two_hours_back():
    read = windows(ramp(), np.array([179]))
    # minutes 175..179 read 77.5 ... 77.9; minutes 60..64 read 66.0 ... 66.4
    assert read.recent[0, -1, 0] == pytest.approx(77.7)
    assert read.recent[0, 0, 0] == pytest.approx(66.2)
    assert read.minutes[0, -1] == pytest.approx(77.9)
    assert read.last == pytest.approx([77.7])


def test_the_spread_is_of_the_readings_of_a_bin_and_one_reading_has_none():
    rate = np.full(60, np.nan)
    rate[55:60] = [60, 60, 60, 60, 70]  # mean 62, variance (4 * 4 + 64) / 5 = 16
    rate[50] = 60
    read = windows(series_of(rate), np.array([59]))
    assert read.recent[0, -1, 1] == pytest.approx(4.0)
    assert np.isnan(read.recent[0, -2, 1])


def test_what_lies_before_the_first_reading_is_nan_and_not_zero():
    read = windows(ramp(30), np.array([29]))
    assert np.isnan(read.recent[0, :18]).all()
    assert not np.isnan(read.recent[0, 18:, 0]).any()


def test_the_same_time_of_day_is_taken_from_past_days_only():
    rate = np.full(2 * DAY_MIN + 60, 60.0)
    rate[: DAY_MIN - 1] = 80.0
    end = DAY_MIN + 600
    read = windows(series_of(rate), np.array([end]))
    assert person(read, "same_time_now") == pytest.approx(80.0)
    assert np.isnan(person(windows(series_of(rate), np.array([600])), "same_time_now"))


def test_the_clock_is_the_wall_clock_of_the_end_and_unknown_when_it_is_not_the_persons():
    series = ramp()
    read = windows(series, np.array([0]))  # 06:00 is a quarter of the day
    assert (person(read, "clock_sin"), person(read, "clock_cos")) == pytest.approx((1.0, 0.0), abs=1e-6)
    foreign = series_of(series.heart_rate, clock_known=False)
    assert np.isnan(windows(foreign, np.array([0])).person[0, 10:]).all()


def test_targets_are_the_five_minutes_that_end_at_each_horizon():
    # minutes 111..115 read 71.1 ... 71.5
    assert targets(ramp(), np.array([100]))[0] == pytest.approx([71.3, 72.8, 75.8])
    assert np.isnan(targets(ramp(110), np.array([100]))).all()


@given(st.integers(130, 400), st.integers(0, 2**32 - 1))
def test_no_reading_after_the_end_changes_a_window(end, seed):
    rng = np.random.default_rng(seed)
    rate = np.where(rng.random(500) < 0.2, np.nan, rng.uniform(50, 150, 500))
    other = rate.copy()
    other[end + 1 :] = rng.uniform(50, 150, 499 - end)
    here = np.array([end])
    for one, two in zip(
        windows(series_of(rate), here).inputs().values(),
        windows(series_of(other), here).inputs().values(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)


@given(st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_a_window_is_the_same_alone_and_among_others(cut, seed):
    rng = np.random.default_rng(seed)
    rate = np.where(rng.random(600) < 0.3, np.nan, rng.uniform(50, 150, 600))
    ends = np.array([450, 500, 599])
    together = windows(series_of(rate), ends)
    alone = joined([windows(series_of(rate), ends[n : n + 1]) for n in range(3)])
    for one, two in zip(together.inputs().values(), alone.inputs().values(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_forecast_wants_a_reading_now_and_an_hour_of_the_last_two():
    rate = np.full(121, 70.0)
    rate[1:61:5] = np.nan
    assert usable(series_of(rate), np.array([120]))[0]
    sparse = np.full(121, np.nan)
    sparse[120 - 5 * np.arange(12)] = 70.0  # one reading in each of twelve bins
    assert usable(series_of(sparse), np.array([120]))[0]
    sparse[120 - 5 * 11] = np.nan
    assert not usable(series_of(sparse), np.array([120]))[0]
    rate[116:] = np.nan
    assert not usable(series_of(rate), np.array([120]))[0]


def test_quantiles_of_the_week_need_an_hour_of_readings():
    assert np.isnan(past_quantiles(np.full(59, 70.0), 58)).all()
    assert past_quantiles(np.arange(101.0), 100, (0.1, 0.5)) == pytest.approx([10, 50])


def test_each_block_of_history_is_taken_away_once_and_the_newest_bin_never():
    rate = 70 + np.random.default_rng(0).uniform(-5, 5, 3 * DAY_MIN)
    read = windows(series_of(rate, steps=np.ones(3 * DAY_MIN)), np.array([3 * DAY_MIN - 1]))
    without = occlusions(read)
    assert len(without) == len(BLOCKS)
    assert np.array_equal(without.last, np.repeat(read.last, len(BLOCKS)))
    gone = [
        sum(int((np.isnan(a[row]) & ~np.isnan(b[0])).sum()) for a, b in zip(
            without.inputs().values(), read.inputs().values(), strict=True))
        for row in range(len(BLOCKS))
    ]  # fmt: skip
    assert gone == [2 + 10, 9, 12, 24, 5, 4, 2, 24]


def test_drift_is_watched_by_the_newest_mean_and_by_how_much_is_known():
    found = summaries(windows(ramp(), np.array([179])))
    assert found["newest_mean"] == pytest.approx([77.7])
    assert found["known_bins"] == pytest.approx([24])
    assert found["hours_known"] == pytest.approx([3.0])
    assert np.isnan(found["steps"]).all()


def test_heart_rate_and_steps_of_different_minutes_are_refused():
    with pytest.raises(IncorrectInput):
        MinuteSeries(START, np.ones(3), np.ones(4))


def test_a_mean_needs_as_many_readings_as_asked_for():
    values = np.array([1.0, np.nan, 3.0])
    assert mean_over(values, 3, 2)[-1] == pytest.approx(2.0)
    assert np.isnan(mean_over(values, 3, 3)[-1])
