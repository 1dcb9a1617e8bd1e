"""A recall: every result of a model version is in error afterwards, whatever interrupts it, and nothing else."""

import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select

from fhir_adapters.publish import publish
from fhir_adapters.rest import ai_recall
from record_store.resource_history import history
from record_store.resources import read
from record_store.tables import audit, outbox, resource
from tests.fhir_adapters.test_publish import results

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
RECALL = {"model": "lung-nodule", "version": "0.1.0", "reason": "marks ribs"}
KINDS = ("DiagnosticReport", "Observation", "RiskAssessment")


def parameters(**values):
    names = {str: "valueString", bool: "valueBoolean", int: "valueInteger", dict: "valueReference"}
    return {
        "resourceType": "Parameters",
        "parameter": [{"name": name, names[type(value)]: value} for name, value in values.items()],
    }


@pytest.fixture
def recall(make_client):
    """recall(db, **parameters) -> (status, {name: value or values}) of the answer."""

    def call(db, **values):
        reply = make_client(db).post("/fhir/$ai-recall", json=parameters(**values))
        body = json.loads(reply.data)
        if reply.status_code != 200:
            return reply.status_code, body
        told = {}
        for one in body["parameter"]:
            value = next(value for name, value in one.items() if name != "name")
            told.setdefault(one["name"], []).append(value)
        return 200, {name: value[0] if len(value) == 1 else value for name, value in told.items()}

    return call


def fill(db, make_reading, count=3, **more):
    with db.write() as conn:
        for number in range(count):
            publish(conn, results(make_reading(findings=2), reading_id=f"r{number}", **more), NOW)


def statuses(db):
    with db.read() as conn:
        query = select(resource.c.type, resource.c.body, resource.c.version).where(resource.c.type.in_(KINDS))
        return [(kind, json.loads(body)["status"], version) for kind, body, version in conn.execute(query)]


def test_all_results_of_the_version_are_in_error_as_a_new_version_with_provenance_and_audit(
    db, make_reading, recall
):
    fill(db, make_reading)
    assert recall(db, **RECALL)[1] | {"provenance": ""} == {
        "dryRun": False,
        "model": "lung-nodule",
        "version": "0.1.0",
        "retracted": 9,
        "alreadyInError": 0,
        "confirmedKept": 0,
        "confirmedRetracted": 0,
        "complete": True,
        "provenance": "",
    }
    assert {(status, version) for _, status, version in statuses(db)} == {("entered-in-error", 2)}
    with db.read() as conn:
        (provenance,) = (one.stored for one in history(conn, "Provenance"))
        made = json.loads(provenance.body)
        (device,) = (json.loads(one.stored.body) for one in history(conn, "Device", limit=1))
        (event,) = (json.loads(one.stored.body) for one in history(conn, "AuditEvent"))
        row = conn.execute(select(audit).where(audit.c.action == "ai-recalled")).one()
    assert len(made["target"]) == 9
    assert all(one["reference"].endswith("/_history/2") for one in made["target"])
    assert made["reason"] == [{"text": "marks ribs"}]
    assert made["activity"]["coding"][0]["code"] == "NULLIFY"
    assert made["agent"][0]["who"]["display"]
    assert device["status"] == "inactive"
    assert len([one for one in event["entity"] if "/_history/2" in one["what"]["reference"]]) == 9
    assert (row.outcome, row.subject, json.loads(row.detail)["count"]) == (
        "entered-in-error",
        "model:lung-nodule@0.1.0",
        9,
    )


def test_the_words_of_a_recalled_result_say_so_first(sqlite_db, make_reading, recall):
    fill(sqlite_db, make_reading, 1)
    recall(sqlite_db, **RECALL)
    with sqlite_db.read() as conn:
        bodies = [json.loads(one) for one in conn.execute(select(resource.c.body)).scalars()]
    said = "Entered in error: lung-nodule 0.1.0 was recalled (marks ribs)."
    assert {one["resourceType"] for one in bodies} >= {"DiagnosticReport", "Observation"}
    for one in bodies:
        if one["resourceType"] == "DiagnosticReport":
            assert one["conclusion"].startswith(f"{said} AI result")
        if one["resourceType"] == "Observation":
            assert one["note"][0]["text"] == said


def test_a_recall_twice_changes_nothing_the_second_time(db, make_reading, recall):
    fill(db, make_reading)
    recall(db, **RECALL)
    before = statuses(db)
    _, told = recall(db, **RECALL)
    assert (told["retracted"], told["alreadyInError"]) == (0, 9)
    assert "provenance" not in told
    assert statuses(db) == before


def test_a_dry_run_says_how_many_and_changes_nothing(db, make_reading, recall):
    fill(db, make_reading)
    before = statuses(db)
    _, told = recall(db, model="lung-nodule", version="0.1.0", dryRun=True)
    assert (told["dryRun"], told["retracted"], told["complete"]) == (True, 9, True)
    assert statuses(db) == before


def test_a_recall_in_bounded_batches_goes_on_where_it_was(db, make_reading, recall, monkeypatch):
    fill(db, make_reading, 4)
    monkeypatch.setattr("fhir_adapters.rest.ai.recall.BATCH", 5)
    monkeypatch.setattr(ai_recall, "BATCH", 5)
    _, told = recall(db, **RECALL, count=1)
    assert (told["retracted"], told["complete"]) == (5, False)
    assert sorted(status for _, status, _ in statuses(db)).count("entered-in-error") == 5
    rounds = 0
    while not told["complete"]:
        _, told = recall(db, **RECALL, count=1, after=told["next"])
        rounds += 1
    assert rounds == 2
    assert {status for _, status, _ in statuses(db)} == {"entered-in-error"}


def test_a_recall_that_was_cut_off_is_asked_for_again_from_the_front(sqlite_db, make_reading, recall, monkeypatch):
    fill(sqlite_db, make_reading, 4)
    monkeypatch.setattr("fhir_adapters.rest.ai.recall.BATCH", 5)
    monkeypatch.setattr(ai_recall, "BATCH", 5)
    recall(sqlite_db, **RECALL, count=1)
    _, told = recall(sqlite_db, **RECALL)
    assert (told["retracted"], told["alreadyInError"], told["complete"]) == (7, 5, True)


def test_other_versions_other_digests_and_what_people_wrote_stay_as_they_are(
    db, make_reading, recall, make_client
):
    fill(db, make_reading, 1)
    theirs = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
    make_client(db).post("/fhir/Observation", json=theirs)
    assert recall(db, **RECALL | {"version": "0.2.0"})[1]["retracted"] == 0
    assert recall(db, **RECALL, digest="00" * 32)[1]["retracted"] == 0
    assert recall(db, **RECALL, digest="ab" * 32)[1]["retracted"] == 3
    assert sorted(status for _, status, _ in statuses(db)) == ["entered-in-error"] * 3 + ["final"]


def test_a_device_names_the_version_and_the_digest(sqlite_db, make_reading, recall):
    fill(sqlite_db, make_reading, 1)
    with sqlite_db.read() as conn:
        device = conn.execute(select(resource.c.id).where(resource.c.type == "Device")).scalar_one()
    _, told = recall(sqlite_db, device={"reference": f"Device/{device}"}, reason="x")
    assert (told["model"], told["version"], told["digest"], told["retracted"]) == (
        "lung-nodule",
        "0.1.0",
        "ab" * 32,
        3,
    )


@pytest.mark.parametrize("keep", [True, False])
def test_what_a_person_has_confirmed_is_retracted_too_unless_it_is_to_be_kept(
    sqlite_db, make_reading, recall, make_client, keep
):
    fill(sqlite_db, make_reading, 1)
    with sqlite_db.read() as conn:
        row = conn.execute(select(resource.c.id).where(resource.c.type == "Observation")).first()
        body = json.loads(read(conn, "Observation", row.id).body)
    assert (
        make_client(sqlite_db).put(f"/fhir/Observation/{row.id}", json=body | {"status": "final"}).status_code
        == 200
    )
    _, told = recall(sqlite_db, **RECALL, keepConfirmed=keep)
    assert (told["confirmedKept"], told["confirmedRetracted"]) == ((1, 0) if keep else (0, 1))
    assert told["retracted"] == (2 if keep else 3)


def test_digits_that_a_client_wrote_into_a_result_are_kept_in_a_recall(
    sqlite_db, make_reading, recall, make_client
):
    fill(sqlite_db, make_reading, 1)
    with sqlite_db.read() as conn:
        row = conn.execute(select(resource.c.id).where(resource.c.type == "Observation")).first()
        body = read(conn, "Observation", row.id).body.replace(b'"value":12.3,', b'"value": 12.30,')
    make_client(sqlite_db).put(f"/fhir/Observation/{row.id}", data=body, content_type="application/fhir+json")
    recall(sqlite_db, **RECALL)
    with sqlite_db.read() as conn:
        assert b"12.30" in read(conn, "Observation", row.id).body


def test_subscribers_are_told_of_every_result(db, make_reading, recall):
    fill(db, make_reading, 1)
    with db.read() as conn:
        before = conn.execute(select(func.max(outbox.c.position))).scalar() or 0
    recall(db, **RECALL)
    with db.read() as conn:
        query = select(outbox.c.type).where(outbox.c.position > before)
        told = sorted(conn.execute(query).scalars())
    assert [one for one in told if one in KINDS] == ["DiagnosticReport", "Observation", "Observation"]


@pytest.mark.parametrize(
    ("asked", "status", "place"),
    [
        ({"reason": "x"}, 400, "Parameters.parameter"),
        ({"model": "lung-nodule", "version": "0.1.0"}, 400, "reason"),
        ({"model": "lung-nodule", "version": "0.1.0", "reason": "x", "count": 0}, 400, None),
        ({"model": 1, "version": "0.1.0", "reason": "x"}, 400, "Parameters.parameter[0]"),
        ({"other": "x"}, 400, "Parameters.parameter[0]"),
        ({"device": {"reference": "Device/nobody"}, "reason": "x"}, 404, None),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_words(sqlite_db, recall, asked, status, place):
    said, outcome = recall(sqlite_db, **asked)
    assert (said, outcome["resourceType"]) == (status, "OperationOutcome")
    assert place is None or outcome["issue"][0]["expression"] == [place]
