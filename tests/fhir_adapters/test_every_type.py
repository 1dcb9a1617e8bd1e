"""Every type that is kept can be written, read, found and removed, each by the least that R4 demands of it."""

import json

import pytest

from fhir_adapters.definitions.structure import UnknownTypeError, structure_of
from fhir_adapters.search.parameters import TYPES

# A Subscription is a matter of its own: where it goes has to be allowed (rest of the suite).
WRITTEN = [name for name, each in TYPES.items() if not each.read_only and name != "Subscription"]
SAMPLES = {
    "boolean": True,
    "integer": 1,
    "positiveInt": 1,
    "unsignedInt": 1,
    "decimal": 1.5,
    "date": "2024-05-17",
    "dateTime": "2024-05-17T10:00:00Z",
    "instant": "2024-05-17T10:00:00Z",
    "uri": "http://example.org/a",
    "url": "http://example.org/a",
    "canonical": "http://example.org/a",
    "code": "en",
}
# What invariants demand beyond the cardinalities.
CLINICAL = "http://terminology.hl7.org/CodeSystem/"
DEMANDED = {
    "AllergyIntolerance": {
        "clinicalStatus": {"coding": [{"system": f"{CLINICAL}allergyintolerance-clinical", "code": "active"}]}
    },
    "Appointment": {"status": "proposed", "participant": [{"status": "accepted", "type": [{"text": "x"}]}]},
    "Condition": {"clinicalStatus": {"coding": [{"system": f"{CLINICAL}condition-clinical", "code": "active"}]}},
    "Consent": {"policyRule": {"text": "x"}},
    "InsurancePlan": {"name": "x"},
    "Organization": {"name": "x"},
}


def least(kind, target=""):
    """Return the least value of a type that its cardinalities and bindings allow."""
    if kind == "Reference":
        return {"reference": f"{target or 'Patient'}/x1"}
    try:
        structure = structure_of(kind)
    except UnknownTypeError:
        return SAMPLES.get(kind, "x")
    value = {}
    for _, names in structure.required:
        element = structure.elements[names[0]]
        target = min(element.targets, default="") if "Patient" not in element.targets else "Patient"
        one = next((codes for codes in (element.binding or {}).values() if codes), None)
        held = min(one) if one and element.kind == "code" else least(element.kind, target)
        if element.kind == "CodeableConcept":
            held = {"text": "x"}
        value[element.name] = [held] if element.many else held
    if not value and not structure.is_resource:  # ele-1: nothing is empty
        value = {
            next(one.name for one in structure.elements.values() if one.kind == "string" and one.name != "id"): "x"
        }
    return value


@pytest.fixture(scope="module")
def resources():
    return {name: {"resourceType": name, **least(name), **DEMANDED.get(name, {})} for name in WRITTEN}


def test_each_can_be_written_read_found_and_removed(client, resources):
    entries = [{"resource": one, "request": {"method": "POST", "url": name}} for name, one in resources.items()]
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    reply = client.post("/fhir", data=json.dumps(bundle), content_type="application/fhir+json").get_json(
        force=True
    )
    for name, entry in zip(resources, reply["entry"], strict=True):
        assert entry["response"]["status"].startswith("201"), (name, entry["response"])
    places = [
        entry["response"]["location"].split("/fhir/")[-1].removesuffix("/_history/1") for entry in reply["entry"]
    ]
    asked = [{"request": {"method": method, "url": url}} for place in places for method, url in (
        ("GET", place), ("GET", f"{place}/_history"), ("GET", f"{place.split('/')[0]}?_id={place.split('/')[1]}"),
        ("DELETE", place), ("GET", place),
    )]  # fmt: skip
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": asked}
    reply = client.post("/fhir", data=json.dumps(bundle), content_type="application/fhir+json").get_json(
        force=True
    )
    answers = [entry["response"]["status"][:3] for entry in reply["entry"]]
    for number, place in enumerate(places):
        assert answers[number * 5 : number * 5 + 5] in (
            ["200", "200", "200", "204", "410"], ["200", "200", "200", "200", "410"]), place  # fmt: skip
