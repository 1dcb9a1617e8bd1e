"""A care plan and a goal that are only proposed: legal R4, labelled, and tied together."""

from datetime import UTC, datetime, timedelta

import pytest
from fhir.resources.R4B.careplan import CarePlan
from fhir.resources.R4B.goal import Goal

from clinical.codes import HEART_RATE
from fhir_adapters.resources.care_proposal import Plan, RangeGoal, care_plan_resource, goal_resource

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
TOMORROW = NOW + timedelta(days=1)
KEY = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def goal():
    return RangeGoal(
        KEY, HEART_RATE, 55.04, 110.0, "/min", "Heart rate between 55 and 110", NOW + timedelta(days=1)
    )


@pytest.fixture
def plan():
    return Plan(
        "Watch", "After a forecast.", HEART_RATE, ("Measure again.", "Look."), NOW, NOW + timedelta(days=1)
    )


def test_both_are_legal_r4(goal, plan):
    Goal.model_validate(goal_resource(goal, "p1"))
    CarePlan.model_validate(care_plan_resource(plan, goal, "p1"))


def test_neither_is_more_than_a_proposal_of_an_ai(goal, plan):
    made, planned = goal_resource(goal, "p1"), care_plan_resource(plan, goal, "p1")
    assert made["lifecycleStatus"] == "proposed"
    assert (planned["status"], planned["intent"]) == ("draft", "proposal")
    for resource in (made, planned):
        assert resource["meta"]["security"][0]["code"] == "AIAST"
        assert resource["subject"] == {"reference": "Patient/p1"}
        assert "not a medical device" in resource["note"][0]["text"]
        assert "id" not in resource


def test_the_plan_names_its_goal_before_either_has_an_id(goal, plan):
    made, planned = goal_resource(goal, "p1"), care_plan_resource(plan, goal, "p1")
    assert planned["goal"][0]["identifier"] == made["identifier"][0]
    assert [activity["detail"]["description"] for activity in planned["activity"]] == ["Measure again.", "Look."]


def test_the_target_is_the_range_in_ucum(goal):
    (target,) = goal_resource(goal, "p1")["target"]
    assert target["measure"]["coding"][0]["code"] == "8867-4"
    assert target["detailRange"]["low"] == {
        "value": 55.0,
        "unit": "/min",
        "system": "http://unitsofmeasure.org",
        "code": "/min",
    }
    assert target["dueDate"] == "2026-11-23"
