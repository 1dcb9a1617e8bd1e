"""A person decides about a result: who it was is written down, and no program decides otherwise afterwards."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from fhir_adapters.publish import publish
from fhir_adapters.resources.reading import result_ids
from record_store.resource_history import history
from tests.fhir_adapters.r4 import check_r4
from tests.fhir_adapters.test_ai_recall import parameters
from tests.fhir_adapters.test_publish import results

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


@pytest.fixture
def stored(sqlite_db, make_reading):
    with sqlite_db.write() as conn:
        publish(conn, results(make_reading(findings=2)), NOW)
    return result_ids(make_reading(findings=2), reading_id="r1")


@pytest.fixture
def confirm(client):
    def call(kind, ident, headers=None, **values):
        body = parameters(**values)
        reply = client.post(f"/fhir/{kind}/{ident}/$ai-confirm", json=body, headers=headers)
        return reply.status_code, json.loads(reply.data)

    return call


def provenances(db):
    with db.read() as conn:
        return [json.loads(one.stored.body) for one in history(conn, "Provenance")]


@pytest.mark.parametrize("status", ["final", "amended", "entered-in-error"])
def test_a_decision_is_a_new_version_with_the_words_of_the_person_and_who_it_was(
    sqlite_db, client, stored, confirm, status
):
    ident = stored.observations[0]
    code, body = confirm("Observation", ident, status=status, note="Seen on the lateral view.")
    assert (code, body["status"], body["meta"]["versionId"]) == (200, status, "2")
    assert body["note"][0]["text"].endswith("Seen on the lateral view.")
    assert body["meta"]["security"][0]["code"] == "AIAST"  # the model said it first
    check_r4(body)
    (made,) = provenances(sqlite_db)
    check_r4(made)
    assert made["target"] == [{"reference": f"Observation/{ident}/_history/2"}]
    assert made["entity"] == [{"role": "revision", "what": {"reference": f"Observation/{ident}/_history/1"}}]
    (agent,) = made["agent"]
    assert agent["type"]["coding"][0]["code"] == "verifier"
    assert agent["who"]["display"]
    assert client.get(f"/fhir/Observation/{ident}/_history/1").get_json(force=True)["status"] == "preliminary"


def test_a_report_is_confirmed_with_its_findings_at_once_and_names_its_interpreter(sqlite_db, stored, confirm):
    who = {"reference": "Practitioner/radiologist"}
    code, body = confirm("DiagnosticReport", stored.report, status="final", results=True, verifier=who)
    assert (code, body["status"], body["resultsInterpreter"]) == (200, "final", [who])
    assert body["conclusion"].startswith("Confirmed by a person. AI result")
    (made,) = provenances(sqlite_db)
    assert len(made["target"]) == 3
    kinds = [agent["type"]["coding"][0]["code"] for agent in made["agent"]]
    assert (kinds, made["agent"][0]["who"]) == (["verifier", "enterer"], who)


def test_a_finding_that_a_report_names_twice_is_decided_once(client, stored, confirm):
    report = json.loads(client.get(f"/fhir/DiagnosticReport/{stored.report}").data)
    twice = report | {"result": [*report["result"], *report["result"]]}
    assert client.put(f"/fhir/DiagnosticReport/{stored.report}", json=twice).status_code == 200
    code, _ = confirm("DiagnosticReport", stored.report, status="final", results=True)
    assert code == 200
    assert json.loads(client.get(f"/fhir/Observation/{stored.observations[0]}").data)["meta"]["versionId"] == "2"


def test_the_same_decision_again_changes_nothing(sqlite_db, stored, confirm):
    confirm("Observation", stored.observations[0], status="final")
    code, body = confirm("Observation", stored.observations[0], status="final")
    assert (code, body["meta"]["versionId"], len(provenances(sqlite_db))) == (200, "2", 1)


def test_a_later_reading_of_the_study_leaves_the_decision(sqlite_db, stored, confirm, make_reading):
    confirm("Observation", stored.observations[0], status="entered-in-error")
    with sqlite_db.write() as conn:
        written = publish(conn, results(make_reading(findings=2, probability=0.99)), NOW + timedelta(hours=1))
    assert f"Observation/{stored.observations[0]}" not in written
    assert f"Observation/{stored.observations[1]}" in written


def test_what_is_in_error_does_not_come_back(stored, confirm):
    confirm("Observation", stored.observations[0], status="entered-in-error")
    code, outcome = confirm("Observation", stored.observations[0], status="final")
    assert (code, outcome["issue"][0]["expression"]) == (412, ["status"])


def test_only_one_of_two_decides_about_a_version(stored, confirm):
    ident = stored.observations[0]
    assert confirm("Observation", ident, {"If-Match": 'W/"1"'}, status="final")[0] == 200
    assert confirm("Observation", ident, {"If-Match": 'W/"1"'}, status="entered-in-error")[0] == 412


@pytest.mark.parametrize(
    ("kind", "ident", "values", "status"),
    [
        ("Observation", "nobody", {"status": "final"}, 404),
        ("Patient", "p1", {"status": "final"}, 422),
        ("Observation", None, {"status": "preliminary"}, 400),
        ("Observation", None, {}, 400),
        ("Observation", None, {"status": "final", "verifier": {"reference": "Device/d"}}, 400),
        ("Observation", None, {"status": "final", "verifier": {"reference": "Practitioner/x/../y"}}, 400),
        ("Observation", None, {"status": "final", "note": "x" * 2001}, 400),
        ("Observation", None, {"status": "final", "note": "a\x07b"}, 400),
        ("Observation", None, {"status": "final", "note": " "}, 400),
    ],
)
def test_what_cannot_be_confirmed_is_refused_in_words(stored, confirm, kind, ident, values, status):
    code, outcome = confirm(kind, ident or stored.observations[0], **values)
    assert (code, outcome["resourceType"]) == (status, "OperationOutcome")


def test_what_no_model_said_is_not_confirmed(client, confirm):
    theirs = {"resourceType": "Observation", "status": "preliminary", "code": {"text": "x"}}
    ident = client.post("/fhir/Observation", json=theirs).get_json(force=True)["id"]
    code, outcome = confirm("Observation", ident, status="final")
    assert (code, "AIAST" in outcome["issue"][0]["details"]["text"]) == (422, True)
