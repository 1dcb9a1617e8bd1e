"""What may be said of a forecast: quantiles in beats, trend, personal range, alarm."""

from datetime import UTC, datetime

import numpy as np
import pytest

from clinical.finding import ModelRef
from clinical.forecast import (
    Alarm,
    HeartRateForecast,
    Policy,
    Step,
    Trend,
    UsualRange,
    direction,
    steps_of,
    usual_range,
)

POLICY = Policy(
    direction_from=0.2, widest=(20, 20, 20), usual_shares=(0.02, 0.98), usual_from_hours=12, guard=(40, 130)
)
EVEN = (0.3, 0.4, 0.3)
USUAL = UsualRange(55, 110, 40.0)


def step(low=70.0, middle=75.0, high=80.0, chances=EVEN, minutes=60, sure=True):
    return Step(minutes, low, middle, high, chances, sure)


def forecast(*steps, usual=USUAL):
    return HeartRateForecast(
        75.0, datetime(2026, 11, 22, 9, 0, tzinfo=UTC), steps, usual, ModelRef("m", "1.0.0", "0" * 64)
    )


def test_changes_are_shares_of_the_newest_mean():
    change = np.array([[-0.1, 0.0, 0.1], [-0.1, 0.05, 0.1], [-0.2, 0.1, 0.25]])
    steps = steps_of(80.0, change, np.array([EVEN] * 3), (15, 30, 60), POLICY)
    assert [(one.low, one.middle, one.high) for one in steps] == [
        pytest.approx(row) for row in ((72, 80, 88), (72, 84, 88), (64, 88, 100))
    ]
    assert [one.sure for one in steps] == [True, True, False]  # 36 a minute is wider than 20


@pytest.mark.parametrize(
    ("chances", "said"),
    [
        ((0.2, 0.5, 0.3), Trend.STEADY),
        ((0.1, 0.3, 0.6), Trend.RISING),
        ((0.6, 0.3, 0.1), Trend.FALLING),
        ((0.35, 0.25, 0.40), None),
        ((0.30, 0.20, 0.50), Trend.RISING),  # a lead of 0.2 is enough
    ],
)
def test_a_direction_is_said_only_with_a_lead(chances, said):
    assert direction(step(chances=chances), POLICY) == said


def test_the_personal_range_comes_from_the_past_week_within_the_guard_range():
    rate = np.linspace(50, 140, 13 * 60)
    found = usual_range(rate, POLICY)
    assert (found.low, found.high) == pytest.approx((51.8, 130.0), abs=0.2)
    assert found.hours == pytest.approx(13)


def test_too_few_readings_or_a_week_outside_give_the_guard_range():
    assert usual_range(np.full(11 * 60, 70.0), POLICY) == UsualRange(40, 130, None)
    assert usual_range(np.full(13 * 60, 150.0), POLICY) == UsualRange(40, 130, None)


def test_readings_older_than_a_week_do_not_count():
    rate = np.concatenate([np.full(20 * 60, 70.0), np.full(7 * 24 * 60, np.nan)])
    assert usual_range(rate, POLICY).hours is None


@pytest.mark.parametrize(
    ("one", "alarm"),
    [
        (step(), Alarm.NONE),
        (step(55, 80, 110), Alarm.NONE),
        (step(100, 109, 111), Alarm.HIGH),
        (step(54, 60, 70), Alarm.LOW),
        (step(50, 80, 111), Alarm.LOW),
        (step(54, 80, 120), Alarm.HIGH),
        (step(100, 111, 122, sure=False), Alarm.NONE),
    ],
)
def test_an_alarm_is_an_interval_that_leaves_the_personal_range_on_the_side_where_it_goes_further(one, alarm):
    assert forecast(one).alarm == alarm


def test_the_first_horizon_that_leaves_names_the_side():
    found = forecast(step(minutes=15), step(45, 54, 60, minutes=30), step(100, 111, 122))
    assert found.alarm == Alarm.LOW
    assert [one.minutes for one in found.alarming()] == [30, 60]
    assert found.when(found.alarming()[0]) == datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def test_a_forecast_is_sure_when_one_horizon_is():
    assert forecast(step(sure=False), step()).sure
    assert not forecast(step(sure=False)).sure
