"""PATCH: only what it names changes, to the digit, and what comes out must be valid."""

import json

import pytest

from fhir_adapters.rest import patch as module

RAW = (
    b'{"resourceType":"Observation","id":"o1","status":"preliminary","code":{"text":"x"},'
    b'"valueQuantity":{"value":1.10,"unit":"g"},"component":[{"code":{"text":"a"},"valueQuantity":{"value":1.0E+2}}]}'
)
JSON_PATCH = "application/json-patch+json"
FINAL = [{"op": "replace", "path": "/status", "value": "final"}]


@pytest.fixture
def door(client):
    client.put("/fhir/Observation/o1", data=RAW, content_type="application/fhir+json")
    return client


def patch(client, change, media_type=JSON_PATCH, path="Observation/o1", **headers):
    data = change if isinstance(change, bytes) else json.dumps(change)
    return client.patch(f"/fhir/{path}", data=data, content_type=media_type, headers=headers)


def test_a_json_patch_changes_what_it_names_and_keeps_every_digit(door):
    reply = patch(door, [{"op": "test", "path": "/status", "value": "preliminary"}, *FINAL])
    assert (reply.status_code, reply.headers["ETag"]) == (200, 'W/"2"')
    stored = door.get("/fhir/Observation/o1").data
    assert b'"status":"final"' in stored
    assert b'"value":1.10' in stored
    assert b'"value":1.0E+2' in stored
    assert stored.index(b'"code"') < stored.index(b'"valueQuantity"') < stored.index(b'"component"')
    assert len(door.get("/fhir/Observation?status=final").get_json(force=True)["entry"]) == 1
    history = door.get("/fhir/Observation/o1/_history").get_json(force=True)
    assert [entry["request"]["method"] for entry in history["entry"]] == ["PATCH", "PUT"]


def test_a_patch_brings_its_own_digits(door):
    patch(door, b'[{"op":"add","path":"/component/0/valueQuantity/value","value":2.500}]')
    assert b'"value":2.500' in door.get("/fhir/Observation/o1").data


def test_a_patch_keeps_no_writer_waiting_and_is_made_anew_when_somebody_was_faster(db, make_client, monkeypatch):
    door, real, seen = make_client(db), module.changed_by, []
    door.put("/fhir/Observation/o1", data=RAW, content_type="application/fhir+json")

    def while_another_writes(fhir, kind, before, change):
        seen.append(before.stored.version)
        if len(seen) == 1:
            later = RAW.replace(b'"x"', b'"y"')
            assert (
                door.put("/fhir/Observation/o1", data=later, content_type="application/fhir+json").status_code
                == 200
            )
        return real(fhir, kind, before, change)

    monkeypatch.setattr(module, "changed_by", while_another_writes)
    noted = [
        {"op": "add", "path": "/note", "value": []},
        {"op": "add", "path": "/note/-", "value": {"text": "once"}},
    ]
    reply = patch(door, noted)
    assert (reply.status_code, seen, reply.headers["ETag"]) == (200, [1, 2], 'W/"3"')
    found = json.loads(reply.data)
    assert (found["code"], found["note"]) == ({"text": "y"}, [{"text": "once"}])


def test_integers_beyond_64_bits_keep_their_digits(door):
    door.put("/fhir/Basic/b1", json={"resourceType": "Basic", "id": "b1", "code": {"text": "x"}})
    long = 10**25
    change = f'[{{"op":"add","path":"/extension","value":[{{"url":"urn:x","valueDecimal":{long}}}]}}]'.encode()
    assert patch(door, change, path="Basic/b1").status_code == 200
    assert str(long).encode() in door.get("/fhir/Basic/b1").data


@pytest.mark.parametrize("media_type", ["application/merge-patch+json", "application/json"])
def test_a_merge_patch_sets_and_removes(door, media_type):
    change = {"status": "final", "component": None, "valueQuantity": {"unit": "kg"}}
    assert patch(door, change, media_type).status_code == 200
    stored = door.get("/fhir/Observation/o1")
    assert b'"valueQuantity":{"value":1.10,"unit":"kg"}' in stored.data
    assert "component" not in stored.get_json(force=True)


@pytest.mark.parametrize(
    "change",
    [
        {"op": "replace"},
        "no",
        [1],
        [{"op": "replace"}],
        [{"op": "dance", "path": "/status"}],
        [{"op": "replace", "path": "status", "value": "final"}],
        [{"op": "replace", "path": "/nowhere/at", "value": 1}],
        [{"op": "remove", "path": "/component/7"}],
        [{"op": "add", "path": "/component/x", "value": {}}],
        [{"op": "test", "path": "/status", "value": "final"}],
        [{"op": "move", "from": "/nothing", "path": "/note"}],
        [{"op": "replace", "path": "", "value": []}],
        [{"op": "replace", "path": "", "value": 1}],
        [{"op": "replace", "path": "/status", "value": "done"}],
        [{"op": "remove", "path": "/status"}],
        [{"op": "replace", "path": "/id", "value": "o2"}],
        [{"op": "replace", "path": "/resourceType", "value": "Patient"}],
        [{"op": "add", "path": "/colour", "value": "red"}],
        [{"op": "test", "path": "/status", "value": "preliminary"}] * 1001,
    ],
)
def test_a_patch_that_cannot_be_done_changes_nothing(door, change):
    reply = patch(door, change)
    assert reply.status_code == 400, reply.data
    assert reply.get_json(force=True)["resourceType"] == "OperationOutcome"
    assert door.get("/fhir/Observation/o1").headers["ETag"] == 'W/"1"'


def test_a_refusal_does_not_quote_the_resource(door):
    reply = patch(door, [{"op": "test", "path": "/status", "value": "zzcanary"}])
    assert b"zzcanary" not in reply.data
    assert b"preliminary" not in reply.data


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml-patch+xml", ""])
def test_other_forms_are_415(door, media_type):
    assert patch(door, FINAL, media_type).status_code == 415


def test_if_match_holds_for_a_patch(door):
    assert patch(door, FINAL, **{"If-Match": 'W/"2"'}).status_code == 412
    assert patch(door, FINAL, **{"If-Match": 'W/"1"'}).status_code == 200


def test_what_is_not_there_is_not_patched(door):
    assert patch(door, FINAL, path="Observation/none").status_code == 404
    door.delete("/fhir/Observation/o1")
    assert patch(door, FINAL).status_code == 410


def test_a_conditional_patch_changes_the_one_match(door):
    assert patch(door, FINAL, path="Observation?status=final").status_code == 404
    assert patch(door, FINAL, path="Observation?status=preliminary").status_code == 200
    door.put("/fhir/Observation/o2", data=RAW.replace(b'"o1"', b'"o2"'), content_type="application/fhir+json")
    patch(door, FINAL, path="Observation/o2")
    assert patch(door, FINAL, path="Observation?status=final").status_code == 412


def test_a_patch_cannot_copy_without_end(door):
    grows = [{"op": "copy", "from": "/component", "path": "/component/-"}] * 40  # 2^40 components
    reply = patch(door, grows)
    assert (reply.status_code, b"copies" in reply.data) == (400, True)


def test_a_patch_cannot_nest_without_end(door):
    value = {"a": 0}
    for _ in range(49):
        value = {"a": value}
    ways = ["/component/0" + "/a" * 50 * number + "/a" for number in range(20)]
    deeper = [{"op": "add", "path": way, "value": value} for way in ways]
    reply = patch(door, deeper)
    assert (reply.status_code, b"deep" in reply.data) == (400, True)
