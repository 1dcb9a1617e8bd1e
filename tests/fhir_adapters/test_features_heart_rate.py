"""Observations of heart rate and steps -> one series by the minute: nothing guessed, what was left out is said."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from clinical.trend import MinuteSeries, windows
from fhir_adapters.features.heart_rate import heart_rate_record, newest_mean, readings, series_of, used_of
from fhir_adapters.features.sampled_data import sampled_data, samples

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
UCUM = "http://unitsofmeasure.org"
ZONE = "+01:00"


def obs(code="8867-4", ident="o1", **more):
    return {
        "resourceType": "Observation",
        "id": ident,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
    } | more


def rate(value, minutes_ago, unit="/min", **more):
    moment = NOW - timedelta(minutes=minutes_ago)
    text = (moment + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S") + ZONE
    return obs(effectiveDateTime=text, valueQuantity={"value": value, "system": UCUM, "code": unit}, **more)


def two_hours(value=72):
    return [rate(value, ago) for ago in range(120)]


def run_of(data, minutes_ago=60, period=60_000, code="8867-4", unit="/min", **more):
    start = (NOW - timedelta(minutes=minutes_ago)).isoformat()
    element = {
        "origin": {"value": 0, "system": UCUM, "code": unit},
        "period": period,
        "dimensions": 1,
        "data": data,
    } | more
    return obs(code, effectivePeriod={"start": start, "end": NOW.isoformat()}, valueSampledData=element)


def ignored(found):
    return {(one.what, one.reason): one.count for one in found.ignored}


def test_single_values_become_minutes_and_two_of_a_minute_are_averaged():
    found = readings([rate(70, 1), rate(80, 0), rate(Decimal(90), 0)], NOW)
    assert series_of(found).heart_rate.tolist() == [70.0, 85.0]
    assert found.newest == NOW
    assert found.newest.utcoffset() == timedelta(hours=1)
    assert found.clock_known


def test_an_instant_counts_and_a_bare_day_does_not():
    instant = rate(70, 0)
    instant["effectiveInstant"] = instant.pop("effectiveDateTime")
    day = rate(70, 1) | {"effectiveDateTime": "2026-11-22"}
    found = readings([instant, day, obs(valueQuantity={"value": 70, "system": UCUM, "code": "/min"})], NOW)
    assert len(found.heart_rate) == 1
    assert ignored(found) == {("heart rate", "no time of day, or no time at all"): 2}


def test_sampled_data_is_origin_plus_factor_times_number_and_its_letters_are_no_values():
    found = readings(
        [run_of("10 E 12 U L 14", origin={"value": 50, "system": UCUM, "code": "{beats}/min"}, factor=2)], NOW
    )
    series = series_of(found)
    assert series.heart_rate[[0, 2, 5]].tolist() == [70.0, 74.0, 78.0]
    assert np.isnan(series.heart_rate[[1, 3, 4]]).all()
    assert ignored(found) == {("heart rate", "no value"): 3}


def test_samples_a_second_are_averaged_by_minute():
    found = readings([run_of(" ".join(["60"] * 60 + ["66"] * 60), period=1000)], NOW)
    assert series_of(found).heart_rate.tolist() == [60.0, 66.0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dimensions": 2}, "the samples have more than one dimension"),
        ({"period": 0}, "the samples have no origin or no period"),
        ({"data": "70 seventy"}, "the samples hold something that is no number"),
        ({"data": "70 NaN"}, "the samples hold something that is no number"),
        ({"data": None}, "the samples hold something that is no number"),
        ({"factor": "2"}, "the samples hold something that is no number"),
        ({"origin": {"value": 0, "comparator": "<", "unit": "/min"}}, "the samples have no origin or no period"),
    ],
)
def test_samples_that_cannot_be_read_are_left_out_with_the_reason(change, reason):
    found = readings([run_of(**{"data": "70 71"} | change)], NOW)
    assert series_of(found) is None
    assert ignored(found) == {("heart rate", reason): 1}


@pytest.mark.parametrize("unit", ["/min", "{beats}/min", "{beat}/min", "1/min"])
def test_every_spelling_of_per_minute_is_read(unit):
    assert len(readings([rate(70, 0, unit)], NOW).heart_rate) == 1


@pytest.mark.parametrize("unit", ["/s", "Hz", "bpm", "", "{beats}"])
def test_another_unit_is_left_out_and_counted(unit):
    found = readings([rate(70, 0, unit), rate(71, 1)], NOW)
    assert found.heart_rate.tolist() == [71.0]
    assert ignored(found) == {("heart rate", "the unit is not understood"): 1}


@pytest.mark.parametrize("value", [0, 19.9, 250.1, 600])
def test_an_implausible_value_is_left_out_and_counted(value):
    assert sum(ignored(readings([rate(value, 0)], NOW)).values()) == 1


def test_what_is_dated_in_the_future_is_not_believed_but_clocks_may_differ_a_little():
    found = readings([rate(70, -4), rate(99, -30)], NOW)
    assert found.heart_rate.tolist() == [70.0]
    assert ignored(found) == {("heart rate", "dated in the future"): 1}


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled", "registered", "unknown"])
def test_results_that_are_none_are_not_read(status):
    assert len(readings([rate(70, 0, status=status)], NOW).heart_rate) == 0


@pytest.mark.parametrize("status", ["final", "amended", "corrected", "preliminary"])
def test_results_are_read(status):
    assert len(readings([rate(70, 0, status=status)], NOW).heart_rate) == 1


def test_a_component_of_a_panel_is_read_at_the_panels_time():
    panel = rate(1, 0) | {"code": {"coding": [{"system": "http://loinc.org", "code": "85353-1"}]}}
    del panel["valueQuantity"]
    panel["component"] = [{"code": obs()["code"], "valueQuantity": {"value": 77, "system": UCUM, "code": "/min"}}]
    assert readings([panel], NOW).heart_rate.tolist() == [77.0]


def test_utc_without_a_zone_does_not_tell_the_patients_clock():
    record = heart_rate_record([one | {"effectiveDateTime": one["effectiveDateTime"].replace(ZONE, "Z")}
                                for one in two_hours()], NOW + timedelta(hours=1))  # fmt: skip
    assert not record.series.clock_known
    assert any(line.startswith("Time of day") for line in record.missing)
    assert np.isnan(windows(record.series, record.end).person[0, 10:]).all()


def test_counts_of_steps_are_spread_over_their_period():
    period = {"start": (NOW - timedelta(minutes=10)).isoformat(), "end": NOW.isoformat()}
    steps = obs("55423-8", effectivePeriod=period, valueQuantity={"value": 500, "system": UCUM, "code": "{steps}"})
    found = readings([steps, *two_hours()], NOW)
    series = series_of(found)
    assert series.steps[-11:-1].tolist() == [50.0] * 10
    assert np.isnan(series.steps[-1])


def test_steps_of_a_day_say_nothing_of_a_minute():
    period = {"start": (NOW - timedelta(hours=24)).isoformat(), "end": NOW.isoformat()}
    day = obs("41950-7", effectivePeriod=period, valueQuantity={"value": 9000, "system": UCUM, "code": "{steps}"})
    moment = obs(
        "55423-8", effectiveDateTime=NOW.isoformat(), valueQuantity={"value": 90, "system": UCUM, "code": "1"}
    )
    found = readings([day, moment], NOW)
    assert len(found.steps) == 0
    assert ignored(found) == {("steps", "a count without a period of at most 15 minutes"): 2}


def test_sampled_steps_are_a_count_of_each_period_or_a_rate():
    counted = readings([run_of("10 30", code="55423-8", unit="{steps}", period=30_000)], NOW)
    assert counted.steps.tolist() == [20.0, 60.0]  # each half minute, as a rate a minute
    rated = readings([run_of("10 30", code="55423-8", unit="{steps}/min")], NOW)
    assert rated.steps.tolist() == [10.0, 30.0]


def test_a_complete_record_is_used_and_says_what_is_missing():
    record = heart_rate_record(two_hours(), NOW)
    assert newest_mean(record.series) == pytest.approx(72)
    assert record.newest_at == NOW
    assert record.source == "Observation/o1"
    assert record.missing == (
        "Steps: none recorded for this time",
        "The patient's own days: less than twelve hours of readings",
    )
    assert dict(used_of(record)) == {
        "Heart rate, newest five minutes": "72 per minute",
        "Minutes with a heart rate, last two hours": "120",
        "Hours with a heart rate, last seven days": "2.0",
    }


@pytest.mark.parametrize(
    ("resources", "needed"),
    [
        ([], "no heart rate"),
        ([rate(70, 0, "/s")], "no heart rate"),
        ([rate(70, ago) for ago in range(16, 120)], "older than 15 minutes"),
        ([rate(70, ago) for ago in range(50)], "12 of the last 24"),
    ],
)
def test_too_little_for_a_forecast_is_said_in_words(resources, needed):
    assert needed in heart_rate_record(resources, NOW)


def test_readings_of_more_than_a_week_are_cut():
    old = run_of("60 " * 5, minutes_ago=8 * 24 * 60)
    record = heart_rate_record([old, *two_hours()], NOW)
    assert len(record.series) == 7 * 24 * 60
    assert np.count_nonzero(~np.isnan(record.series.heart_rate)) == 120


def test_garbage_is_never_an_exception():
    odd = [None, 1, "x", [], {}, {"value": "70"}, {"value": True, "unit": "/min"}]
    for thing in odd:
        resource = obs(effectiveDateTime=NOW.isoformat(), valueQuantity=thing)
        assert len(readings([resource, obs(effectivePeriod=thing, valueSampledData=thing)], NOW).heart_rate) == 0
        assert isinstance(samples(thing), str)


def test_a_recording_written_as_sampled_data_comes_back_as_it_was():
    rng = np.random.default_rng(0)
    values = np.where(rng.random(300) < 0.2, np.nan, np.round(rng.uniform(50, 120, 300), 2))
    values[[0, -1]] = 70.0
    start = NOW.replace(tzinfo=NOW.astimezone().tzinfo) - timedelta(minutes=299)
    series = series_of(readings([obs() | sampled_data(start, values, "/min")]))
    np.testing.assert_array_equal(series.heart_rate, values)
    assert isinstance(series, MinuteSeries)
