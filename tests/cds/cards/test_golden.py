"""The cards of the four services as three lines of clients get them, whole, for people to read in a review.

`CONSILIUM_WRITE_GOLDEN=1 pytest tests/cds/cards` writes the files in golden/ anew; then read what has changed.
"""

import importlib
import os
from pathlib import Path

import orjson
import pytest

from cds.adapt import adapt
from cds.caller import Caller, Capabilities, SpecVersion
from cds.testing import hook_body
from cds.wire_schema.testing import problems

GOLDEN = Path(__file__).parent / "golden"
LINES = {
    "1.0": Capabilities(version=SpecVersion.V1),
    "2.0": Capabilities(version=SpecVersion.V2),
    "3.0": Capabilities(
        version=SpecVersion.V3,
        system_actions=True,
        action_selection_behavior=True,
        smart_links=True,
        app_context=True,
    ),
}
SERVICES = ("breast-lesion", "diabetes-risk", "heart-rate", "imaging-findings")


def every_golden():
    return sorted(GOLDEN.glob("*.json"))


def golden(name):
    return orjson.loads((GOLDEN / name).read_bytes())


def suggestions_of(body):
    return [one for card in body["cards"] for one in card.get("suggestions", [])]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("service", SERVICES)
def test_the_cards_of_a_service_are_those_that_were_reviewed(service, line, ask):
    body = adapt(ask(service), LINES[line]).to_json()
    written = orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n"
    path = GOLDEN / f"{service}-{line}.json"
    if os.environ.get("CONSILIUM_WRITE_GOLDEN"):
        path.write_bytes(written)
    assert written.decode() == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", every_golden(), ids=lambda path: path.stem)
def test_every_resource_that_is_proposed_is_r4_and_labelled_as_an_ais(path):
    body = orjson.loads(path.read_bytes())
    actions = [action for one in suggestions_of(body) for action in one["actions"]]
    made = [action["resource"] for action in (*actions, *body.get("systemActions", []))]
    assert made
    for resource in made:
        for one in (resource, *resource.get("contained", [])):
            name = one["resourceType"]
            model = getattr(importlib.import_module(f"fhir.resources.R4B.{name.lower()}"), name)
            model.model_validate_json(orjson.dumps(one))
        assert resource["meta"]["security"][0]["code"] == "AIAST"
        assert resource["subject"] == {"reference": "Patient/p1"}
        assert "not a medical device" in str(resource).lower()


def test_a_recorded_risk_is_the_models_own_in_percent():
    body = golden("diabetes-risk-3.0.json")
    (action,) = body["systemActions"]
    risk = action["resource"]
    assert risk["resourceType"] == "RiskAssessment"
    assert risk["prediction"][0]["probabilityDecimal"] == 93.0
    assert risk["performer"]["reference"] == "#model"
    (device,) = risk["contained"]
    assert (device["resourceType"], device["id"]) == ("Device", "model")
    assert device["identifier"][0]["value"] == "diabetes-risk@0.1.0"
    assert "Condition" not in str(body["systemActions"])


def test_a_condition_is_offered_as_provisional_and_not_recommended():
    body = golden("diabetes-risk-3.0.json")
    (offered,) = [one for one in suggestions_of(body) if "Condition" in str(one["actions"])]
    resource = offered["actions"][0]["resource"]
    assert resource["verificationStatus"]["coding"][0]["code"] == "provisional"
    assert "isRecommended" not in offered


@pytest.mark.parametrize(
    "path", [one for one in every_golden() if "-1.0" not in one.stem], ids=lambda path: path.stem
)
def test_every_golden_answer_fits_the_schema_of_the_wire(path):
    assert problems("response", orjson.loads(path.read_bytes())) == []


class Door:
    """Lets everybody in as one client."""

    def __init__(self, capabilities):
        self._caller = Caller("https://ehr.example", "ehr", capabilities=capabilities)

    def admit(self, headers, url, peer=""):
        return self._caller


@pytest.mark.parametrize("line", LINES)
def test_over_http_a_client_is_sent_what_its_profile_says(line, make_client, engine_with, prefetch_of, post):
    client = make_client(engine=engine_with(), adapt=adapt, door=Door(LINES[line]))
    body = post(client, "diabetes-risk", hook_body(prefetch=prefetch_of("diabetes-risk"))).json
    assert ("systemActions" in body) == (line == "3.0")
    (card,) = body["cards"]
    assert ("topic" in card["source"]) == (line != "1.0")
    assert card["selectionBehavior"] == ("at-most-one" if line == "1.0" else "any")
