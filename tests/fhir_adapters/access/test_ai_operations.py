"""Who may recall, confirm and compute again: a token reaches the results that it may change or read, no others."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fhir_adapters.publish import publish
from fhir_adapters.resources.reading import result_ids
from fhir_adapters.rest import ai_replay
from record_store.resource_history import history
from tests.fhir_adapters.access.conftest import scopes_of
from tests.fhir_adapters.conftest import reading_with
from tests.fhir_adapters.test_ai_recall import parameters
from tests.fhir_adapters.test_publish import results

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
RECALL = parameters(model="lung-nodule", version="0.1.0", reason="ribs")
ALL = "system/Observation.u system/RiskAssessment.u system/DiagnosticReport.u system/Device.u"


@pytest.fixture
def asked(make_house, warehouse, monkeypatch):
    """asked(scope, path, body, patient) -> (status, body) of a POST with a token of that scope."""
    monkeypatch.setattr(ai_replay, "WAIT_S", 0.0)

    def post(scope, path, body, patient=""):
        client = replace(warehouse, scopes=scopes_of(*scope.split()), patient=patient)
        house = make_house(client)
        with house.db.write() as conn:
            publish(conn, results(reading_with()), NOW)
        headers = {"Authorization": f"Bearer {house.token(client, scope)}"}
        reply = house.client.post(f"/fhir/{path}", json=body, headers=headers)
        return reply.status_code, json.loads(reply.data or b"null"), house

    return post


OBSERVATION = f"Observation/{result_ids(reading_with(), reading_id='r1').observations[0]}"
FINAL = parameters(status="final")


@pytest.mark.parametrize(
    ("scope", "patient", "status"),
    [
        (ALL, "", 200),
        (ALL.replace("system/Device.u", "system/Device.r"), "", 403),
        (ALL.replace("Observation.u", "Observation.u?status=preliminary"), "", 403),
        (ALL.replace("system/", "patient/"), "p1", 403),
    ],
)
def test_a_recall_takes_the_right_to_change_every_result_of_everybody(asked, scope, patient, status):
    assert asked(scope, "$ai-recall", RECALL, patient)[0] == status


@pytest.mark.parametrize(
    ("scope", "patient", "status"),
    [
        ("system/Observation.u", "", 200),
        ("patient/Observation.u", "p1", 200),
        ("patient/Observation.u", "p2", 404),
        ("system/Observation.rs", "", 403),
        ("system/Observation.u?status=preliminary", "", 403),  # what it would write lies outside
    ],
)
def test_who_may_change_a_result_may_decide_about_it_and_nobody_else(asked, scope, patient, status):
    code, body, house = asked(scope, f"{OBSERVATION}/$ai-confirm", FINAL, patient)
    assert code == status, body
    if status == 200:
        with house.db.read() as conn:
            (made,) = (json.loads(one.stored.body) for one in history(conn, "Provenance"))
        who = made["agent"][0]["who"]
        assert who["identifier"]["system"] == "urn:consilium:fhir-client"
        assert who["display"] == "client:warehouse"


@pytest.mark.parametrize(
    ("scope", "patient", "status"),
    [("system/Observation.rs", "", 202), ("patient/Observation.rs", "p2", 404), ("system/Device.rs", "", 403)],
)
def test_who_may_read_a_result_may_have_it_computed_again(asked, scope, patient, status):
    assert asked(scope, f"{OBSERVATION}/$ai-replay", {}, patient)[0] == status
