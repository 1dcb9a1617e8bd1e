"""$ai-replay over HTTP: the answer when a worker is there, an address when it takes longer."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from clinical.errors import PreconditionMissing
from clinical.finding import ModelRef
from consilium.replay_requests import ReplayRequests
from consilium.replaying import Replayed
from fhir_adapters.publish import publish
from fhir_adapters.resources.labels import AI_PROVENANCE_PROFILE
from fhir_adapters.resources.reading import result_ids
from fhir_adapters.rest import ai_replay
from fhir_adapters.rest.ai.compare import Difference, differences
from record_store import replays
from tests.fhir_adapters.test_publish import results

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
MODEL = ModelRef("lung-nodule", "0.1.0", "ab" * 32)


class CannedReplaying:
    def __init__(self, answer):
        self.answer = answer

    def run(self, kind, ident):
        if isinstance(self.answer, Exception):
            raise self.answer
        found = (Difference("Observation.status", "1", "2"),) if self.answer == "different" else ()
        return Replayed(f"{kind}/{ident}/_history/1", MODEL, "Device/d", "cd" * 32, found)


@pytest.fixture
def ident(sqlite_db, make_reading):
    with sqlite_db.write() as conn:
        publish(conn, results(make_reading()), NOW)
    return result_ids(make_reading(), reading_id="r1").observations[0]


@pytest.fixture
def ask(sqlite_db, make_client, ident, monkeypatch):
    """ask(answer) -> the reply, with a worker whose replaying gives `answer` (None: no worker)."""

    def call(answer=None, kind="Observation", which=None, **headers):
        worker = ReplayRequests(sqlite_db, CannedReplaying(answer).run, lambda: NOW)
        monkeypatch.setattr(ai_replay, "pause", lambda _s: worker.once() if answer is not None else None)
        return make_client(sqlite_db).post(f"/fhir/{kind}/{which or ident}/$ai-replay", headers=headers)

    return call


def told(reply):
    return {one["name"]: one for one in json.loads(reply.data)["parameter"]}


def test_the_same_again_is_equal_with_model_and_input(ask, ident):
    reply = ask("equal")
    said = told(reply)
    assert (reply.status_code, said["equal"]["valueBoolean"]) == (200, True)
    assert said["result"]["valueReference"]["reference"] == f"Observation/{ident}/_history/1"
    assert (said["modelDigest"]["valueString"], said["inputDigest"]["valueString"]) == ("ab" * 32, "cd" * 32)


def test_a_result_that_many_have_written_about_is_found_all_the_same(ask, ident, sqlite_db, monkeypatch):
    monkeypatch.setattr("fhir_adapters.rest.ai.origin._PAGE", 1)
    said = {
        "resourceType": "Provenance",
        "target": [{"reference": f"Observation/{ident}"}],
        "recorded": "2026-11-22T09:00:00Z",
        "agent": [{"who": {"display": "somebody"}}],
    }
    with sqlite_db.write() as conn:
        publish(conn, [said | {"id": f"0000{number}"} for number in range(3)], NOW)
    assert ask("equal").status_code == 200


def test_a_difference_has_its_place_and_both_values(ask):
    said = told(ask("different"))
    assert said["equal"]["valueBoolean"] is False
    assert [part["valueString"] for part in said["difference"]["part"]] == ["Observation.status", "1", "2"]


def test_what_is_missing_is_an_outcome_in_words(ask):
    reply = ask(PreconditionMissing("model lung-nodule 0.1.0 is not in the models folder"))
    assert (reply.status_code, reply.get_json(force=True)["resourceType"]) == (412, "OperationOutcome")


def test_a_failure_is_told_without_what_it_says(ask):
    reply = ask(ValueError("Zzcanary"))
    assert reply.status_code == 500
    assert b"anary" not in reply.data


def test_without_a_worker_the_answer_is_an_address_for_later(sqlite_db, ask, make_client, monkeypatch):
    monkeypatch.setattr(ai_replay, "WAIT_S", 0.05)
    for headers in ({}, {"Prefer": "respond-async"}):
        reply = ask(**headers)
        assert reply.status_code == 202
        place = reply.headers["Content-Location"].removeprefix("http://127.0.0.1:8080")
        assert make_client(sqlite_db).get(place).status_code == 202
        assert ReplayRequests(sqlite_db, CannedReplaying("equal").run, lambda: NOW).once() == 1
        assert told(make_client(sqlite_db).get(place))["equal"]["valueBoolean"] is True
    for nobody in ("nobody", "%00"):
        assert make_client(sqlite_db).get(f"/fhir/$ai-replay-status/{nobody}").status_code == 404


def test_a_result_is_computed_once_for_all_who_ask_and_not_too_many_wait(sqlite_db, ask, monkeypatch):
    monkeypatch.setattr(ai_replay, "WAIT_S", 0.0)
    first, second = ask(), ask()
    assert first.headers["Content-Location"] == second.headers["Content-Location"]
    monkeypatch.setattr(ai_replay, "MOST_WAITING", 1)
    with sqlite_db.write() as conn:
        replays.ask(conn, "other", "Observation", "other", NOW)
    assert ask().status_code == 202  # it waits already
    with sqlite_db.write() as conn:
        replays.settle(conn, first.headers["Content-Location"].rpartition("/")[2], replays.DONE, 200, "{}", NOW)
    refused = ask()
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "30")


def test_a_provenance_of_a_client_is_not_how_we_made_a_result(sqlite_db, ask, ident, make_client):
    sent = {
        "resourceType": "Provenance",
        "meta": {"profile": [AI_PROVENANCE_PROFILE]},
        "recorded": "2026-11-22T08:00:00Z",
        "target": [{"reference": f"Observation/{ident}/_history/x"}, {"display": "somebody"}],
        "agent": [{"who": {"display": "a model"}}],
    }
    made = make_client(sqlite_db).post("/fhir/Provenance", json=sent, content_type="application/fhir+json")
    assert made.status_code == 201
    assert ask("equal").status_code == 200


@pytest.mark.parametrize(("kind", "which", "status"), [("Observation", "nobody", 404), ("Patient", "p1", 422)])
def test_what_is_no_result_is_refused_at_once(ask, kind, which, status):
    assert ask(kind=kind, which=which).status_code == status


def test_a_request_of_a_worker_that_died_is_taken_again_and_an_old_answer_removed(db):
    with db.write() as conn:
        replays.ask(conn, "one", "Observation", "x", NOW)
        assert replays.take(conn, "one", NOW)
        assert not replays.take(conn, "one", NOW)
        assert replays.due(conn, NOW + timedelta(minutes=1)) is None
        assert replays.due(conn, NOW + timedelta(minutes=6)) == "one"
        replays.settle(conn, "one", replays.DONE, 200, "{}", NOW)
        replays.ask(conn, "two", "Observation", "x", NOW)
        replays.settle(conn, "two", replays.DONE, 200, "{}", NOW + timedelta(days=2))
        assert replays.row_of(conn, "one") is None


def test_differences_are_found_wherever_they_are_and_clocks_are_none():
    stored = {"resourceType": "Observation", "issued": "1", "component": [{"a": 1}, {"b": 2}], "x": {"y": 1}}
    computed = {"resourceType": "Observation", "issued": "2", "component": [{"a": 1}], "x": {"y": 1.5, "z": None}}
    assert [(one.place, one.stored, one.computed) for one in differences(stored, computed)] == [
        ("Observation.component[1]", '{"b":2}', "(absent)"),
        ("Observation.x.y", "1", "1.5"),
    ]
