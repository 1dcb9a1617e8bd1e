import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from cds.openapi import document
from cds.services import SERVICES

DOCUMENT = document(SERVICES, "https://cds.example", "0.1.0")


def at(pointer):
    place = DOCUMENT
    for step in pointer.removeprefix("#/").split("/"):
        place = place[step]
    return place


def references(value):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from [item] if key == "$ref" else references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_the_document_is_openapi_3_1_and_every_reference_in_it_leads_somewhere():
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    for reference in set(references(DOCUMENT)):
        assert at(reference)


def test_discovery_every_service_and_its_feedback_are_described_and_nothing_else():
    expected = {"/cds-services"}
    for service in SERVICES:
        expected |= {f"/cds-services/{service.id}", f"/cds-services/{service.id}/feedback"}
    assert set(DOCUMENT["paths"]) == expected


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: f"{service.id}-{service.hook.name}")
def test_a_call_names_its_hooks_its_prefetch_keys_and_an_example(service):
    body = DOCUMENT["paths"][f"/cds-services/{service.id}"]["post"]["requestBody"]["content"]["application/json"]
    narrowed = body["schema"]["allOf"][1]["properties"]
    assert service.hook.name in narrowed["hook"]["enum"]
    assert {template.key for template in service.prefetch} <= set(narrowed["prefetch"]["properties"])
    assert body["examples"][service.hook.name]["value"]["hook"] == service.hook.name


def test_every_problem_is_an_operation_outcome_but_a_bare_401():
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                described = at(answer["$ref"]) if "$ref" in answer else answer
                if status == "401":
                    assert "content" not in described, path
                elif re.match("[45]", status):
                    assert list(described["content"]) == ["application/fhir+json"]
    assert "Retry-After" in at("#/components/responses/Problem503")["headers"]
