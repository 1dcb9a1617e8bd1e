"""FHIRPath Patch (R4 3.1.0.6.3): by PATCH, in a transaction, in a batch."""

import base64
import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.errors import IncorrectInput
from fhir_adapters.rest.fhirpath_patch import fhirpath_patch

FHIR_JSON = "application/fhir+json"


def operation(kind, path, value=None, **parts):
    listed = [{"name": "type", "valueCode": kind}, {"name": "path", "valueString": path}]
    listed += [
        {"name": name, "valueString" if isinstance(one, str) else "valueInteger": one}
        for name, one in parts.items()
    ]
    return {"name": "operation", "part": listed + ([{"name": "value", **value}] if value else [])}


def parameters(*operations):
    return {"resourceType": "Parameters", "parameter": list(operations)}


def patched(resource, *operations):
    return fhirpath_patch(parameters(*operations))(copy.deepcopy(resource))


PATIENT = {
    "resourceType": "Patient",
    "id": "p",
    "identifier": [{"system": "urn:a", "value": "1"}, {"system": "urn:b", "value": "2"}],
    "name": [{"family": "Test", "given": ["Ann", "Bea", "Cleo"], "_given": [None, {"id": "x"}, None]}],
    "gender": "male",
    "birthDate": "1970-01-01",
}
OBSERVATION = {
    "resourceType": "Observation",
    "status": "preliminary",
    "code": {"text": "c"},
    "valueQuantity": {"value": 1},
    "component": [{"code": {"text": "a"}, "valueInteger": 1}, {"code": {"text": "b"}}],
}


@pytest.mark.parametrize(
    ("resource", "change", "at", "becomes"),
    [
        (PATIENT, operation("replace", "Patient.gender", {"valueCode": "female"}), ["gender"], "female"),
        (
            PATIENT,
            operation("replace", "Patient.name[0].family", {"valueString": "X"}),
            ["name", 0, "family"],
            "X",
        ),
        (
            PATIENT,
            operation("replace", "Patient.identifier.where(system = 'urn:b').value", {"valueString": "3"}),
            ["identifier", 1, "value"],
            "3",
        ),
        (PATIENT, operation("add", "Patient", {"valueBoolean": False}, name="active"), ["active"], False),
        (
            PATIENT,
            operation("add", "Patient", {"valueContactPoint": {"value": "1"}}, name="telecom"),
            ["telecom"],
            [{"value": "1"}],
        ),
        (
            PATIENT,
            operation("add", "Patient", {"valueBoolean": True}, name="deceased"),
            ["deceasedBoolean"],
            True,
        ),
        (
            PATIENT,
            operation("insert", "Patient.name[0].given", {"valueString": "Zoe"}, index=1),
            ["name", 0],
            {"family": "Test", "given": ["Ann", "Zoe", "Bea", "Cleo"], "_given": [None, None, {"id": "x"}, None]},
        ),
        (
            PATIENT,
            operation("move", "Patient.name[0].given", source=1, destination=0),
            ["name", 0],
            {"family": "Test", "given": ["Bea", "Ann", "Cleo"], "_given": [{"id": "x"}, None, None]},
        ),
        (PATIENT, operation("delete", "Patient.name.first()"), ["name"], None),
        (PATIENT, operation("delete", "Patient.identifier[0]"), ["identifier"], PATIENT["identifier"][1:]),
        (PATIENT, operation("delete", "Patient.photo"), ["photo"], None),
        (OBSERVATION, operation("replace", "Observation.value", {"valueString": "s"}), ["valueString"], "s"),
        (OBSERVATION, operation("replace", "Observation.value", {"valueString": "s"}), ["valueQuantity"], None),
        (OBSERVATION, operation("delete", "Observation.value"), ["valueQuantity"], None),
        (
            OBSERVATION,
            operation("replace", "Observation.component.where(code.text = 'a').value", {"valueInteger": 2}),
            ["component", 0, "valueInteger"],
            2,
        ),
        (
            OBSERVATION,
            operation(
                "add",
                "Observation",
                {
                    "part": [
                        {"name": "code", "valueCodeableConcept": {"text": "new"}},
                        {"name": "value", "valueInteger": 9},
                        {"name": "referenceRange", "part": [{"name": "text", "valueString": "t"}]},
                    ]
                },
                name="component",
            ),
            ["component", 2],
            {"code": {"text": "new"}, "valueInteger": 9, "referenceRange": [{"text": "t"}]},
        ),
    ],
)
def test_each_operation_does_what_r4_says(resource, change, at, becomes):
    found = patched(resource, change)
    for step in at[:-1]:
        found = found[step]
    assert (found.get(at[-1]) if isinstance(found, dict) else found[at[-1]]) == becomes


@pytest.mark.parametrize(
    "change",
    [
        operation("replace", "Patient.telecom", {"valueString": "x"}),
        operation("replace", "Patient.identifier.value", {"valueString": "x"}),
        operation("replace", "Patient", {"valueString": "x"}),
        operation("replace", "Observation.status", {"valueCode": "final"}),
        operation("replace", "Patient.gender | Patient.id", {"valueCode": "female"}),
        operation("replace", "Patient.name.where(iif(true, 1)).family", {"valueString": "x"}),
        operation("replace", "Patient.gender", None),
        operation("add", "Patient", {"valueCode": "female"}, name="gender"),
        operation("add", "Patient", {"valueCode": "x"}, name="colour"),
        operation("add", "Patient.gender", {"valueCode": "x"}, name="id"),
        operation("insert", "Patient.name", {"valueHumanName": {}}, index=5),
        operation("insert", "Patient.gender", {"valueCode": "female"}, index=0),
        operation("move", "Patient.name", source=0, destination=1),
        operation("delete", "Patient"),
        operation("rename", "Patient.gender"),
        operation("delete", "Patient." * 200),
        {"name": "other"},
    ],
)
def test_an_operation_that_cannot_be_done_is_refused_and_named(change):
    with pytest.raises(IncorrectInput, match=r"operation 2 \("):
        patched(PATIENT, operation("delete", "Patient.birthDate"), change)


@given(st.text(max_size=40))
def test_any_path_names_a_place_or_is_refused(path):
    try:
        patched(PATIENT, operation("delete", f"Patient.{path}"))
    except IncorrectInput as error:
        refusal = error.message
    else:
        refusal = "operation 1"
    assert "operation 1" in refusal


def made(client, **more):
    body = (
        b'{"resourceType":"Observation","status":"preliminary","code":{"text":"c"},"valueQuantity":{"value":1.10}}'
    )
    return client.post("/fhir/Observation", data=body, content_type=FHIR_JSON).get_json(force=True)["id"]


FINAL = operation("replace", "Observation.status", {"valueCode": "final"})
WRONG = operation("replace", "Observation.status", {"valueCode": "done"})


def test_a_patch_of_parameters_keeps_the_digits_of_what_it_does_not_touch(client):
    own = made(client)
    reply = client.patch(f"/fhir/Observation/{own}", json=parameters(FINAL), content_type=FHIR_JSON)
    assert (reply.status_code, reply.headers["ETag"]) == (200, 'W/"2"')
    assert b"1.10" in reply.data
    assert b'"final"' in reply.data
    refused = client.patch(f"/fhir/Observation/{own}", json=parameters(WRONG), content_type=FHIR_JSON)
    assert refused.status_code == 400
    other = client.patch(f"/fhir/Observation/{own}", json={"resourceType": "Observation"}, content_type=FHIR_JSON)
    assert other.status_code == 415


def bundle(kind, own, resource, **request):
    entry = {"resource": resource, "request": {"method": "PATCH", "url": f"Observation/{own}", **request}}
    return {"resourceType": "Bundle", "type": kind, "entry": [entry]}


def binary(*operations, media_type="application/json-patch+json"):
    data = base64.b64encode(json.dumps(list(operations)).encode()).decode()
    return {"resourceType": "Binary", "contentType": media_type, "data": data}


@pytest.mark.parametrize("kind", ["transaction", "batch"])
@pytest.mark.parametrize(
    "resource",
    [parameters(FINAL), binary({"op": "replace", "path": "/status", "value": "final"})],
    ids=["FHIRPath", "JSON Patch"],
)
def test_a_bundle_takes_both_patches(client, kind, resource):
    own = made(client)
    reply = client.post("/fhir", json=bundle(kind, own, resource, ifMatch='W/"1"'), content_type=FHIR_JSON)
    assert reply.get_json(force=True)["entry"][0]["response"]["status"].startswith("200")
    now = client.get(f"/fhir/Observation/{own}").data
    assert b'"final"' in now
    assert b"1.10" in now
    again = client.post("/fhir", json=bundle(kind, own, resource, ifMatch='W/"1"'), content_type=FHIR_JSON)
    refused = again if kind == "transaction" else None
    status = (
        refused.status_code if refused else int(again.get_json(force=True)["entry"][0]["response"]["status"][:3])
    )
    assert status == 412


@pytest.mark.parametrize(
    ("resource", "status"),
    [
        (parameters(WRONG), 400),
        (binary({"op": "replace", "path": "/nothing/here", "value": 1}), 400),
        (binary({}, media_type="text/plain"), 400),
        ({"resourceType": "Observation", "status": "final", "code": {"text": "c"}}, 400),
    ],
)
def test_a_patch_that_fails_undoes_its_transaction(client, resource, status):
    own = made(client)
    sent = bundle("transaction", own, resource)
    new = {"resourceType": "Patient", "gender": "female"}
    sent["entry"].insert(0, {"resource": new, "request": {"method": "POST", "url": "Patient"}})
    reply = client.post("/fhir", json=sent, content_type=FHIR_JSON)
    assert reply.status_code == status
    assert reply.get_json(force=True)["issue"][0]["expression"][0].startswith("Bundle.entry[1]")
    assert client.get("/fhir/Patient?_summary=count").get_json(force=True)["total"] == 0
