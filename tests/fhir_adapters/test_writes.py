"""Update, delete, history and conditions: no write is lost and no duplicate is made, on both databases."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fhir.resources.R4B.bundle import Bundle

FHIR_JSON = "application/fhir+json"
PATIENT = {"resourceType": "Patient", "name": [{"family": "Muster"}]}
WRITERS = 32


def identified(value):
    return PATIENT | {"identifier": [{"system": "urn:oid:1.2.3", "value": value}]}


def send(client, method, path, resource=None, **headers):
    data = json.dumps(resource) if resource is not None else None
    return client.open(f"/fhir/{path}", method=method, data=data, content_type=FHIR_JSON, headers=headers)


def put(client, resource_id, resource, **headers):
    return send(client, "PUT", f"Patient/{resource_id}", resource | {"id": resource_id}, **headers)


def told(reply):
    body = reply.get_json(force=True)
    assert body["resourceType"] == "OperationOutcome"
    return body["issue"][0]["code"]


@pytest.fixture
def door(db, make_client):
    return make_client(db)


def test_an_update_makes_the_next_version_and_keeps_the_bytes(client):
    assert put(client, "p1", PATIENT).status_code == 201
    data = b'{ "resourceType" : "Patient", "id":"p1", "multipleBirthInteger": 2 }'
    reply = client.put("/fhir/Patient/p1", data=data, content_type=FHIR_JSON)
    assert (reply.status_code, reply.headers["ETag"]) == (200, 'W/"2"')
    assert reply.headers["Location"].endswith("/fhir/Patient/p1/_history/2")
    assert b'"multipleBirthInteger": 2 }' in client.get("/fhir/Patient/p1").data
    assert client.get("/fhir/Patient/p1/_history/1").get_json(force=True)["name"] == PATIENT["name"]


def test_what_is_found_is_the_new_version(client):
    put(client, "p1", PATIENT)
    put(client, "p1", PATIENT | {"name": [{"family": "Neu"}]})
    assert "entry" not in client.get("/fhir/Patient?family=Muster").get_json(force=True)
    assert len(client.get("/fhir/Patient?family=Neu").get_json(force=True)["entry"]) == 1


@pytest.mark.parametrize("body", [PATIENT, PATIENT | {"id": "p2"}])
def test_the_body_names_the_resource_that_the_address_names(client, body):
    assert send(client, "PUT", "Patient/p1", body).status_code == 400


@pytest.mark.parametrize(
    ("version", "status"), [('W/"2"', 200), ('"2"', 200), ('W/"1"', 412), ('W/"3"', 412), ("x", 400)]
)
def test_if_match_lets_only_the_current_version_be_changed(client, version, status):
    put(client, "p1", PATIENT)
    put(client, "p1", PATIENT)
    reply = put(client, "p1", PATIENT, **{"If-Match": version})
    assert reply.status_code == status
    if status == 412:
        assert told(reply) == "conflict"


def test_if_match_on_what_is_not_there_is_refused(client):
    assert put(client, "p9", PATIENT, **{"If-Match": 'W/"1"'}).status_code == 412
    assert client.get("/fhir/Patient/p9").status_code == 404


def test_one_of_many_writers_of_a_version_wins_and_the_others_are_told(door):
    put(door, "p1", PATIENT)
    barrier = threading.Barrier(WRITERS, timeout=30)

    def write(number):
        barrier.wait()
        return put(door, "p1", PATIENT | {"name": [{"family": f"N{number}"}]}, **{"If-Match": 'W/"1"'}).status_code

    with ThreadPoolExecutor(WRITERS) as threads:
        statuses = list(threads.map(write, range(WRITERS)))
    assert sorted(statuses) == [200] + [412] * (WRITERS - 1)
    assert door.get("/fhir/Patient/p1").headers["ETag"] == 'W/"2"'


def test_of_many_conditional_creates_at_once_one_creates(door):
    for round_ in range(3):
        barrier = threading.Barrier(WRITERS, timeout=30)

        def create(_, barrier=barrier, value=f"v{round_}"):
            barrier.wait()
            condition = f"identifier=urn:oid:1.2.3|{value}"
            reply = send(door, "POST", "Patient", identified(value), **{"If-None-Exist": condition})
            return reply.status_code, reply.headers["Location"]

        with ThreadPoolExecutor(WRITERS) as threads:
            answers = list(threads.map(create, range(WRITERS)))
        assert sorted(status for status, _ in answers) == [200] * (WRITERS - 1) + [201]
        assert len({location for _, location in answers}) == 1
    assert door.get("/fhir/Patient?_summary=count").get_json(force=True)["total"] == 3


def test_a_condition_that_matches_several_is_412(client):
    for resource_id in ("p1", "p2"):
        put(client, resource_id, identified("x"))
    condition = "identifier=urn:oid:1.2.3|x"
    for reply in (
        send(client, "POST", "Patient", identified("x"), **{"If-None-Exist": condition}),
        send(client, "PUT", f"Patient?{condition}", identified("x")),
        send(client, "DELETE", f"Patient?{condition}"),
    ):
        assert reply.status_code == 412
        assert told(reply) == "multiple-matches"
    assert client.get("/fhir/Patient?_summary=count").get_json(force=True)["total"] == 2


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("", 412),
        ("_count=1", 400),
        ("gender=male&_include=*", 400),
        ("birthdate=ap1970", 400),
        ("colour=red", 400),
    ],
)
def test_a_condition_that_selects_nothing_is_refused(client, condition, status):
    assert send(client, "POST", "Patient", PATIENT, **{"If-None-Exist": condition}).status_code == status
    assert send(client, "PUT", f"Patient?{condition}", PATIENT).status_code == status
    assert send(client, "DELETE", f"Patient?{condition}").status_code == status
    assert client.get("/fhir/Patient?_summary=count").get_json(force=True)["total"] == 0


def test_a_conditional_update_updates_the_match_or_creates(client):
    condition = "Patient?identifier=urn:oid:1.2.3|x"
    created = send(client, "PUT", condition, identified("x"))
    assert created.status_code == 201
    updated = send(client, "PUT", condition, identified("x") | {"gender": "female"})
    assert updated.status_code == 200
    assert updated.headers["ETag"] == 'W/"2"'
    assert send(client, "PUT", condition, identified("x") | {"id": "other"}).status_code == 400
    named = send(client, "PUT", "Patient?identifier=urn:oid:1.2.3|y", identified("y") | {"id": "mine"})
    assert named.headers["Location"].endswith("/Patient/mine/_history/1")


def test_a_deleted_resource_is_gone_and_its_history_stays(door):
    put(door, "p1", PATIENT)
    assert door.delete("/fhir/Patient/p1").status_code == 204
    assert door.delete("/fhir/Patient/p1").status_code == 204  # R4 3.1.0.7: and again
    for path in ("Patient/p1", "Patient/p1/_history/2"):
        reply = door.get(f"/fhir/{path}")
        assert reply.status_code == 410
        assert told(reply) == "deleted"
    assert "entry" not in door.get("/fhir/Patient?family=Muster").get_json(force=True)
    assert door.get("/fhir/Patient/p1/_history/1").status_code == 200
    assert put(door, "p1", PATIENT).status_code == 201  # it comes back as a new version
    assert door.get("/fhir/Patient/p1").headers["ETag"] == 'W/"3"'
    assert len(door.get("/fhir/Patient?family=Muster").get_json(force=True)["entry"]) == 1


def test_a_conditional_delete_deletes_the_match_and_does_not_mind_none(client):
    put(client, "p1", identified("x"))
    assert send(client, "DELETE", "Patient?identifier=urn:oid:1.2.3|x").status_code == 204
    assert send(client, "DELETE", "Patient?identifier=urn:oid:1.2.3|x").status_code == 204
    assert client.get("/fhir/Patient/p1").status_code == 410


def test_a_history_tells_every_version_newest_first(door):
    put(door, "p1", PATIENT)
    put(door, "p1", PATIENT | {"gender": "female"})
    door.delete("/fhir/Patient/p1")
    created = send(door, "POST", "Patient", PATIENT)
    bundle = door.get("/fhir/Patient/p1/_history").get_json(force=True)
    Bundle.model_validate(bundle)
    assert [entry["request"]["method"] for entry in bundle["entry"]] == ["DELETE", "PUT", "PUT"]
    assert [entry["response"]["status"] for entry in bundle["entry"]] == ["204", "200", "201"]
    assert "resource" not in bundle["entry"][0]
    assert bundle["entry"][1]["resource"]["gender"] == "female"
    whole = door.get("/fhir/Patient/_history").get_json(force=True)["entry"]
    assert len(whole) == 4
    assert whole[0]["request"] == {"method": "POST", "url": "Patient"}
    since = created.headers["Last-Modified"] and whole[0]["resource"]["meta"]["lastUpdated"]
    assert len(door.get(f"/fhir/Patient/_history?_since={since}").get_json(force=True)["entry"]) == 1


def test_a_long_history_is_paged_without_gap_or_repetition(door):
    for number in range(7):
        put(door, "p1", PATIENT | {"multipleBirthInteger": number})
    versions, path = [], "/fhir/Patient/p1/_history?_count=3"
    while path:
        bundle = door.get(path).get_json(force=True)
        versions += [entry["response"]["etag"] for entry in bundle["entry"]]
        following = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
        path = following[0].removeprefix("http://127.0.0.1:8080") if following else None
        put(door, "p2", PATIENT)  # others go on writing
    assert versions == [f'W/"{number}"' for number in range(7, 0, -1)]


@pytest.mark.parametrize("query", ["_count=0", "_count=x", "_since=yesterday", "name=x", "_page=abc"])
def test_a_history_refuses_what_it_does_not_understand(client, query):
    put(client, "p1", PATIENT)
    assert client.get(f"/fhir/Patient/p1/_history?{query}").status_code == 400


def test_the_history_of_what_never_was_is_404(client):
    assert client.get("/fhir/Patient/nobody/_history").status_code == 404


@pytest.mark.parametrize("mode", ["create", "update", None])
def test_validate_tells_everything_and_stores_nothing(client, mode):
    wrong = PATIENT | {"gender": "f", "colour": "red"}
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": wrong}]}
    if mode:
        parameters["parameter"].append({"name": "mode", "valueCode": mode})
    for body in (wrong, parameters):
        reply = send(client, "POST", "Patient/$validate", body)
        assert reply.status_code == 200
        issues = reply.get_json(force=True)["issue"]
        assert {issue["expression"][0] for issue in issues} == {"Patient.gender", "Patient.colour"}
    fine = send(client, "POST", "Patient/$validate", PATIENT).get_json(force=True)
    assert [issue["severity"] for issue in fine["issue"]] == ["information"]
    assert client.get("/fhir/Patient?_summary=count").get_json(force=True)["total"] == 0


def test_validate_refuses_what_it_cannot_take(client):
    assert send(client, "POST", "Patient/$validate?mode=delete", PATIENT).status_code == 400
    assert send(client, "POST", "Patient/$validate", {"resourceType": "Parameters"}).status_code == 400
