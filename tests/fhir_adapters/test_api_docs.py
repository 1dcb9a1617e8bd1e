"""The OpenAPI document of the FHIR API: sound, and of every address that answers."""

import re

import pytest
from openapi_spec_validator import validate

from fhir_adapters import openapi
from fhir_adapters.rest import INTERACTIONS
from fhir_adapters.search.parameters import TYPES


@pytest.fixture
def document(client):
    reply = client.get("/fhir/api-docs")
    assert (reply.status_code, reply.mimetype) == (200, "application/json")
    return reply.get_json()


def test_it_is_sound_openapi(monkeypatch):
    # Of all types the validator takes a minute, and each is described by the same lines.
    monkeypatch.setattr(openapi, "TYPES", {name: TYPES[name] for name in ("Patient", "Subscription")})
    validate(openapi.document(INTERACTIONS, base_url="https://a.example/fhir", version="1"))


def test_it_describes_every_interaction_and_every_types_search(document):
    for each in INTERACTIONS:
        path = re.sub("<([a-z_]+)>", r"{\1}", each.path) or "/"
        assert each.method.lower() in document["paths"][path], each
    for name, of in TYPES.items():
        asked = {one["name"] for one in document["paths"][f"/{name}"]["get"]["parameters"]}
        assert asked >= set(of.parameters)
    names = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(set(names)) == len(names)
