"""What operations are asked with may be of any shape: a refusal, never a 5xx. On both databases."""

import json

import pytest

JSON = "application/fhir+json"
PATIENT = {"name": "resource", "resource": {"resourceType": "Patient"}}
ABOUT = ({"name": "patient", "valueString": "p"}, {"name": "duration", "valueDecimal": 1})
NO_LIST = {"resourceType": "Parameters", "parameter": 5}


def parameters(*listed):
    return {"resourceType": "Parameters", "parameter": list(listed)}


SENT = [
    ("Patient/$validate", NO_LIST),
    ("Patient/$validate", parameters({"name": []})),
    ("Patient/$validate", parameters({"name": "mode", "valueCode": {}}, PATIENT)),
    ("Observation/$stats", NO_LIST),
    ("Observation/$stats", parameters(*ABOUT, {"name": "coding", "valueCoding": {"system": {}, "code": "x"}})),
    ("Observation/$stats", parameters(*ABOUT, {"name": "coding", "valueCoding": {"system": 5, "code": "x"}})),
    ("Observation/$lastn", NO_LIST),
    ("ConceptMap/$translate", NO_LIST),
]
ASKED = [
    "Observation/$stats?patient=p&code=a&start=0001-01-01T00:00:00Z&end=0002-01-01T00:00:00Z",
    "Observation/$stats?patient=p&code=a&duration=1e7&end=0100-01-01T00:00:00Z",
    "Observation/$lastn?patient=p&code=a&max=000100000000000000000000",
    "Subscription/$status?id=a%00b",
]
NOWHERE = [
    ("GET", "Patient/a%00b"),
    ("GET", "Patient/a%00b/_history"),
    ("GET", "Patient/a%00b/$everything"),
    ("POST", "Patient/a%00b/$everything"),
    ("GET", "Patient/a%00b/Observation"),
    ("GET", "Group/a%00b/$export"),
    ("GET", "Subscription/a%00b/$status"),
    ("GET", "Subscription/a%00b/$events"),
    ("DELETE", "Patient/a%00b"),
]


@pytest.fixture
def door(db, make_client):
    return make_client(db)


def test_parameters_of_another_shape_are_refused(door):
    replies = [door.post(f"/fhir/{path}", data=json.dumps(body), content_type=JSON) for path, body in SENT]
    replies += [door.get(f"/fhir/{path}") for path in ASKED]
    assert [one.status_code for one in replies] == [400] * len(replies)


def test_no_address_has_what_no_database_keeps(door):
    replies = [door.open(f"/fhir/{path}", method=method) for method, path in NOWHERE]
    assert [one.status_code for one in replies] == [404] * len(replies)
    assert all(one.get_json(force=True)["resourceType"] == "OperationOutcome" for one in replies)


def test_a_transaction_patches_no_such_address_either(door):
    parts = [{"name": "type", "valueCode": "delete"}, {"name": "path", "valueString": "Patient.name"}]
    patch = parameters({"name": "operation", "part": parts})
    entry = {"resource": patch, "request": {"method": "PATCH", "url": "Patient/a%00b"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    assert door.post("/fhir", data=json.dumps(bundle), content_type=JSON).status_code == 400
