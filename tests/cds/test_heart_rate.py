"""heart-rate: what the clinician reads, when it warns, and that too few readings are never silence."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from fhir.resources.R4B.careplan import CarePlan
from fhir.resources.R4B.goal import Goal

from cds.testing import hook_body
from clinical.errors import Busy, Fault
from clinical.trend import BLOCKS
from model_runtime.testing import CannedEngine, forecast_document, manifest_of

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)  # the fixtures' clock
EVEN = [0.2, 0.6, 0.2]
RISING = [0.1, 0.3, 0.6]
NARROW = np.array([[-0.05, 0.0, 0.05]] * 3)


def engine_of(change=NARROW, trend=(EVEN, EVEN, RISING), **policy):
    """A canned model: the same changes for every row, but nothing moves without the newest quarter of an hour."""

    def model(inputs):
        rows = len(inputs["recent"])
        changes = np.repeat(np.asarray(change, np.float32)[None], rows, axis=0)
        if rows > 1:
            changes[1] = 0
        return {"change": changes, "trend": np.repeat(np.asarray(trend, np.float32)[None], rows, axis=0)}

    answer = change if isinstance(change, Exception) else model
    name = "heart-rate-trend"
    return CannedEngine({name: answer}, {name: manifest_of(forecast_document(**policy))})


def rate(value, ago, unit="/min"):
    return {
        "resourceType": "Observation",
        "id": f"h{ago}",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": (NOW - timedelta(minutes=ago)).isoformat(),
        "valueQuantity": {"value": value, "system": "http://unitsofmeasure.org", "code": unit},
    }


@pytest.fixture
def chart(make_bundle):
    """Thirteen hours of readings between 60 and 84 a minute, 80 in the newest five minutes."""
    rates = [rate(80 if ago < 5 else 60 + ago % 25, ago) for ago in range(13 * 60)]
    return {
        "patient": {"resourceType": "Patient", "id": "p1", "gender": "male", "birthDate": "1969-05-01"},
        "heart-rate": make_bundle(*rates),
        "steps": make_bundle(),
    }


@pytest.fixture
def card_of(make_client, post, chart):
    """card_of(**engine) -> the one card."""

    def call(prefetch=None, **engine):
        response = post(
            make_client(engine=engine_of(**engine)), "heart-rate", hook_body(prefetch=chart | (prefetch or {}))
        )
        assert response.status_code == 200, response.text
        (card,) = response.json["cards"]
        return card

    return call


def rows_of(detail, title):
    block = detail.split(title, 1)[1].split("\n\n")[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()[2:]]


def issue_of(response, status=412):
    assert response.status_code == status, response.text
    assert "cards" not in response.json
    return response.json["issue"][0]


def test_the_card_shows_quantiles_beside_persistence_with_trend_and_chances(card_of):
    card = card_of(change=[[-0.05, 0.0, 0.04], [-0.1, 0.0, 0.04], [-0.2, -0.05, 0.04]])
    assert card["summary"] == "Heart rate in 60 minutes: 76/min (64 to 83), rising; now 80/min"
    assert card["indicator"] == "info"
    assert rows_of(card["detail"], "**Forecast from 2026-11-22 09:00**") == [
        ["15 min", "76", "80", "83", "steady", "20%, 60%, 20%", "80"],
        ["30 min", "72", "80", "83", "steady", "20%, 60%, 20%", "80"],
        ["60 min", "64", "76", "83", "rising", "10%, 30%, 60%", "80"],
    ]
    assert "heart-rate-trend 0.1.0" in card["detail"]
    assert "not a medical device" in card["detail"]


def test_the_inputs_used_and_missing_are_told(card_of, make_bundle, chart):
    wrong = rate(70, 1, "/s")
    chart["heart-rate"]["entry"].append({"resource": wrong})
    detail = card_of(chart)["detail"]
    newest = ["Heart rate, newest five minutes", "80 per minute", "2026-11-22 09:00"]
    assert newest in rows_of(detail, "**Inputs used**")
    assert rows_of(detail, "**Inputs missing or not used**") == [
        ["Steps", "none recorded for this time"],
        ["Heart rate, 1 value", "not used: the unit is not understood"],
    ]


def test_it_warns_when_the_forecast_leaves_the_personal_range(card_of):
    # the week lies between 60 and 84 (98 % quantile 84): 80 x 1.1 = 88 is above it
    card = card_of(change=[[-0.2, -0.1, 0.0], [-0.1, 0.0, 0.1], [0.0, 0.1, 0.2]])
    assert card["indicator"] == "warning"
    assert card["summary"] == "Heart rate may rise above the personal range (60 to 84/min) within 30 minutes"
    assert "60 to 84/min (from 13 hours of the past week's readings)" in card["detail"]
    assert "Look at the patient now: pain, fever" in card["detail"]


def test_it_warns_of_falling_below_the_personal_range(card_of):
    card = card_of(change=[[-0.35, -0.3, -0.25]] * 3)
    assert card["indicator"] == "warning"
    assert "fall below" in card["summary"]
    assert "drugs that slow the heart" in card["detail"]


def test_without_a_past_the_range_is_a_general_one(card_of, make_bundle, chart):
    chart["heart-rate"] = make_bundle(*[rate(80, ago) for ago in range(120)])
    card = card_of(chart, change=[[0.0, 0.1, 0.2]] * 3)
    assert card["indicator"] == "info"
    assert "40 to 130/min (a general range" in card["detail"]


def test_an_interval_too_wide_is_not_shown_as_a_forecast(card_of):
    wide = [[-0.3, 0.2, 0.3]] * 3  # from 56 to 104, 48 a minute: wider than 30 and 40, not than 50
    card = card_of(change=wide)
    rows = rows_of(card["detail"], "**Forecast from 2026-11-22 09:00**")
    assert [row[2] for row in rows] == ["not sure enough", "not sure enough", "96"]
    assert "**Not sure enough** at 15, 30 minutes" in card["detail"]


def test_unsure_at_every_horizon_is_an_answer_and_offers_no_plan(card_of):
    card = card_of(change=[[-0.4, 0.2, 0.4]] * 3)
    assert card["summary"] == "Heart rate forecast: not sure enough; now 80/min"
    assert card["indicator"] == "info"
    assert "suggestions" not in card


def test_a_direction_without_a_lead_is_not_said(card_of):
    detail = card_of(trend=[[0.4, 0.25, 0.35]] * 3)["detail"]
    assert [row[4] for row in rows_of(detail, "**Forecast from")] == ["not sure enough"] * 3


def test_what_moved_the_forecast_comes_from_one_run_with_parts_of_the_history_taken_away(make_client, post, chart):
    engine = engine_of(change=[[0.0, 0.1, 0.2]] * 3)
    response = post(make_client(engine=engine), "heart-rate", hook_body(prefetch=chart))
    ((_, inputs),) = engine.calls
    assert len(inputs["recent"]) == 1 + len(BLOCKS)
    assert np.isnan(inputs["recent"][1, -3:-1, 0]).all()
    detail = response.json["cards"][0]["detail"]
    assert rows_of(detail, "**What moved the forecast at 60 minutes**") == [
        ["The newest quarter of an hour", "+8.0"]
    ]


def test_a_plan_and_a_goal_are_offered_as_proposals(card_of):
    (offered,) = card_of(change=[[0.0, 0.1, 0.2]] * 3)["suggestions"]
    assert offered["isRecommended"] is True
    goal, plan = (action["resource"] for action in offered["actions"])
    assert [action["type"] for action in offered["actions"]] == ["create", "create"]
    Goal.model_validate(goal)
    CarePlan.model_validate(plan)
    assert (goal["lifecycleStatus"], plan["intent"], plan["status"]) == ("proposed", "proposal", "draft")
    assert goal["subject"] == plan["subject"] == {"reference": "Patient/p1"}
    assert (
        goal["target"][0]["detailRange"]["low"]["value"],
        goal["target"][0]["detailRange"]["high"]["value"],
    ) == (60, 84)


def test_without_an_alarm_the_plan_is_offered_and_not_recommended(card_of):
    (offered,) = card_of(change=[[-0.05, -0.04, -0.03]] * 3)["suggestions"]
    assert "isRecommended" not in offered


@pytest.mark.parametrize(
    ("readings", "needed"),
    [
        ([], "no heart rate"),
        ([rate(70, ago) for ago in range(20, 140)], "older than 15 minutes"),
        ([rate(70, ago) for ago in range(30)], "12 of the last 24 five-minute intervals"),
        ([rate(1.2, ago, "/s") for ago in range(140)], "with a unit per minute"),
    ],
)
def test_too_few_readings_are_412_with_what_is_needed(make_client, post, chart, make_bundle, readings, needed):
    chart["heart-rate"] = make_bundle(*readings)
    issue = issue_of(post(make_client(engine=engine_of()), "heart-rate", hook_body(prefetch=chart)))
    assert issue["expression"] == ["prefetch.heart-rate"]
    assert needed in issue["details"]["text"]


@pytest.mark.parametrize("birth_date", [None, "2015-01-01", "2027-01-01"])
def test_a_child_or_somebody_of_unknown_age_is_412(make_client, post, chart, birth_date):
    chart["patient"]["birthDate"] = birth_date
    issue = issue_of(post(make_client(engine=engine_of()), "heart-rate", hook_body(prefetch=chart)))
    assert issue["expression"] == ["prefetch.patient.birthDate"]


def test_missing_prefetch_is_412_and_names_the_key(make_client, post, chart):
    del chart["heart-rate"]
    issue = issue_of(post(make_client(engine=engine_of()), "heart-rate", hook_body(prefetch=chart)))
    assert issue["expression"] == ["prefetch.heart-rate"]


def test_steps_that_were_not_seen_are_named(card_of, chart):
    del chart["steps"]
    chart_without = dict(chart)
    detail = card_of(chart_without)["detail"]
    assert rows_of(detail, "**Parts of the record that were not seen") == [
        ["steps", "it was not sent, and no fhirServer was named"]
    ]


@pytest.mark.parametrize(
    ("answer", "status"),
    [(Busy("later"), 503), (Fault("broken"), 500), ([[0.0, 0.0]] * 3, 500)],
)
def test_a_model_that_fails_is_never_a_card(make_client, post, chart, answer, status):
    response = post(make_client(engine=engine_of(change=answer)), "heart-rate", hook_body(prefetch=chart))
    issue_of(response, status)


def test_drift_is_told_the_inputs_and_what_was_said(make_client, post, chart):
    told = []

    class Observer:
        def observe(self, manifest, values, score, answer=None):
            told.append((manifest.name, values["newest_mean"], round(score, 3), answer))

    client = make_client(engine=engine_of(change=[[0.0, 0.1, 0.2]] * 3), drift=Observer())
    post(client, "heart-rate", hook_body(prefetch=chart))
    assert told == [("heart-rate-trend", 80.0, 8.0, "rising")]
