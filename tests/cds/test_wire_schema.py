import copy

import pytest
from flask import Flask
from jsonschema import Draft202012Validator

from cds.documents import blueprint
from cds.hooks import HOOKS
from cds.services import SERVICES
from cds.testing import hook_body
from cds.wire_schema import NAMES, hooks, schema
from cds.wire_schema.testing import WireWatch, problems

CONTEXTS = schema("contexts")["$defs"]
REQUEST, RESPONSE, FEEDBACK = (schema(name)["examples"] for name in ("request", "response", "feedback"))


@pytest.fixture(scope="module")
def web():
    app = Flask("documents")
    app.register_blueprint(blueprint(SERVICES, "https://cds.example", "0.1.0"))
    return app.test_client()


def changed(message, path, value):
    """The message with the value at a path set, or taken away when it is None."""
    message = copy.deepcopy(message)
    *steps, last = path
    place = message
    for step in steps:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return message


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_a_json_schema_of_2020_12(name):
    Draft202012Validator.check_schema(schema(name))
    assert schema(name)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"common", "contexts"}])
def test_every_message_has_examples_and_each_is_valid(name):
    assert schema(name)["examples"]
    for example in schema(name)["examples"]:
        assert problems(name, example) == []


def test_the_context_of_every_hook_of_the_library_has_a_valid_example():
    assert {name for name in CONTEXTS if "examples" in CONTEXTS[name]} == set(hooks())
    for hook in hooks():
        for context in CONTEXTS[hook]["examples"]:
            assert problems("contexts", context, hook) == []
            assert problems("request", hook_body(hook=hook, context=context)) == []


def test_the_schema_knows_the_hooks_that_the_server_knows():
    assert set(hooks()) == set(HOOKS)


@pytest.mark.parametrize("hook", hooks())
def test_a_context_without_one_of_its_required_fields_is_refused(hook):
    context = CONTEXTS[hook]["examples"][0]
    required = {"patientId", *CONTEXTS[hook].get("required", ())}
    for name in required:
        body = hook_body(hook=hook, context={key: value for key, value in context.items() if key != name})
        assert problems("request", body) == ["$.context: required"]


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        (["hook"], "patient-veiw", "$.hook: anyOf"),
        (["hookInstance"], "urn:uuid:d1577c69-dfbe-44ad-ba6d-3e05e953b2ea", "$.hookInstance: pattern"),
        (["fhirServer"], None, "$: dependentRequired"),
        (["fhirAuthorization", "token_type"], "bearer", "$.fhirAuthorization.token_type: const"),
        (["fhirAuthorization", "expires_in"], "300", "$.fhirAuthorization.expires_in: type"),
        (["context", "userId"], "Device/1", "$.context.userId: pattern"),
        (["context", "patientId"], "Patient/1", "$.context.patientId: pattern"),
        (["context", "patientId"], "..", "$.context.patientId: pattern"),
        (["prefetch", "patient"], "Patient/1", "$.prefetch.patient: anyOf"),
        (["extension"], [], "$.extension: type"),
    ],
)
def test_a_request_with_one_mistake_is_refused_where_it_is(path, value, found):
    assert problems("request", changed(REQUEST[0], path, value)) == [found]


CARD = ["cards", 0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ([*CARD, "summary"], "x" * 140),
        ([*CARD, "summary"], None),
        ([*CARD, "indicator"], "hard-stop"),
        ([*CARD, "source", "label"], None),
        ([*CARD, "source", "url"], "/relative"),
        ([*CARD, "detail"], ""),
        ([*CARD, "links"], []),
        ([*CARD, "extension"], {}),
        ([*CARD, "selectionBehavior"], None),
        ([*CARD, "suggestions", 0, "actions"], []),
        ([*CARD, "suggestions", 0, "actions", 0, "resource"], None),
        ([*CARD, "suggestions", 0, "actions", 0, "resourceId"], "ServiceRequest/1"),
        ([*CARD, "links", 0, "appContext"], "session=1"),
        ([*CARD, "links", 0, "autoLaunchable"], True),
        ([*CARD, "overrideReasons", 0, "display"], None),
        (["systemActions"], []),
        (["systemActions", 0, "resourceId"], None),
        (["cards"], None),
    ],
)
def test_an_illegal_card_is_refused(path, value):
    assert problems("response", changed(RESPONSE[1], path, value))


def test_two_favourites_are_legal_only_where_any_may_be_chosen():
    twice = changed(RESPONSE[1], [*CARD, "suggestions"], RESPONSE[1]["cards"][0]["suggestions"] * 2)
    assert problems("response", twice) == ["$.cards[0].suggestions: maxContains"]
    assert problems("response", changed(twice, [*CARD, "selectionBehavior"], "any")) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["feedback", 0, "outcome"], "ignored"),
        (["feedback", 0, "acceptedSuggestions"], None),
        (["feedback", 0, "outcomeTimestamp"], "2026-11-26"),
        (["feedback", 1, "overrideReason"], {}),
        (["feedback", 1, "card"], "card-1"),
    ],
)
def test_feedback_with_one_mistake_is_refused(path, value):
    assert problems("feedback", FEEDBACK[0]) == []
    assert problems("feedback", changed(FEEDBACK[0], path, value))


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_served_under_its_name_with_an_etag(web, name):
    answer = web.get(f"/schemas/cds-hooks/{name}.json")
    assert answer.content_type == "application/schema+json"
    assert answer.get_json(force=True) == schema(name)
    again = web.get(f"/schemas/cds-hooks/{name}.json", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


def test_references_between_served_schemas_lead_to_schemas_that_are_served(web):
    def references(value):
        if isinstance(value, dict):
            for key, item in value.items():
                yield from [item] if key == "$ref" else references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    files = {ref.partition("#")[0] for name in NAMES for ref in references(schema(name))} - {""}
    assert {web.get(f"/schemas/cds-hooks/{file}").status_code for file in files} == {200}


def test_the_watch_over_the_tests_sees_what_is_illegal():
    app, watch = Flask("illegal"), WireWatch()
    app.add_url_rule("/cds-services", view_func=lambda: {"services": [{"id": "x"}]})
    app.add_url_rule("/cds-services/x", "call", lambda: {"cards": [None]}, methods=["POST"])
    app.add_url_rule("/cds-services/y", "fail", lambda: ({"error": "x"}, 400), methods=["POST"])
    client = watch.over(app).test_client()
    client.get("/cds-services")
    client.post("/cds-services/x")
    client.post("/cds-services/y")
    assert watch.seen == 3
    assert {found.split()[1] for found in watch.found} == {"/cds-services", "/cds-services/x", "/cds-services/y"}
