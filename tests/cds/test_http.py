"""CDS Hooks on the wire: routing, statuses, and that everything but 200 is an OperationOutcome."""

import json
import re

import pytest
from flask import Flask

from cds.http import MAX_BODY_BYTES, blueprint
from cds.services import SERVICES
from cds.testing import HOOK_INSTANCE, hook_body, one_card_service
from clinical.errors import Busy, Denied, Fault, NotFound, Unsupported


@pytest.fixture
def hello(make_client):
    return make_client((one_card_service(),))


def raising(error):
    service = one_card_service()

    def answer(call, context):
        raise error

    object.__setattr__(service, "answer", answer)
    return service


def outcome_of(response):
    assert response.json["resourceType"] == "OperationOutcome"
    assert response.content_type.startswith("application/fhir+json")
    return response.json["issue"][0]


def test_discovery_tells_prefetch_usage_and_versions(client):
    response = client.get("/cds-services")
    services = {service["id"]: service for service in response.json["services"]}
    assert list(services) == list(dict.fromkeys(service.id for service in SERVICES))
    risk = services["diabetes-risk"]
    assert (risk["hook"], risk["hookVersion"], risk["version"]) == ("patient-view", "1.0", "3.0.0")
    keys = ["patient", "bmi", "waist", "blood-pressure", "glucose", "insulin", "health-and-habits"]
    assert list(risk["prefetch"]) == [*keys, "family-history"]
    assert risk["prefetch"]["patient"] == "Patient/{{context.patientId}}"
    assert risk["usageRequirements"]
    assert "null" not in response.text


def test_discovery_need_not_be_sent_twice(client):
    etag = client.get("/cds-services").headers["ETag"]
    again = client.get("/cds-services", headers={"If-None-Match": etag})
    assert (again.status_code, again.data) == (304, b"")


def test_a_call_is_answered_with_cards_as_json(hello, post):
    response = post(hello, "one-card", hook_body())
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert response.json["cards"][0]["summary"] == "Hello"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/cds-services/none", 404),
        ("GET", "/cds-services/none", 404),
        ("POST", "/cds-services/one-card/feedback", 404),
        ("GET", "/cds-services/", 404),
        ("GET", "/cds-services/one-card", 405),
        ("DELETE", "/cds-services/one-card", 405),
        ("OPTIONS", "/cds-services/one-card", 405),
        ("OPTIONS", "/cds-services", 405),
        ("POST", "/cds-services", 405),
    ],
)
def test_wrong_addresses_and_methods(hello, method, path, status):
    response = hello.open(path, method=method, json=hook_body())
    assert response.status_code == status
    outcome_of(response)
    assert ("Allow" in response.headers) == (status == 405)


def test_a_hook_that_the_service_does_not_serve_is_400(hello, post):
    response = post(hello, "one-card", hook_body(hook="order-sign"))
    assert response.status_code == 400
    assert outcome_of(response)["expression"] == ["hook"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b'{"a": NaN}',
        b'{"context":{"patientId":"p1","patientId":"p2"}}',
        b"[" * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
        json.dumps(hook_body(hookInstance="1")).encode(),
    ],
)
def test_a_bad_body_is_400(hello, post, body):
    response = post(hello, "one-card", body)
    assert response.status_code == 400
    outcome_of(response)


def test_a_body_over_the_limit_is_413_with_and_without_a_length(hello, post):
    body = b" " * (MAX_BODY_BYTES + 1)
    response = post(hello, "one-card", body)
    assert response.status_code == 413
    assert outcome_of(response)["code"] == "too-long"


@pytest.mark.parametrize(
    ("content_type", "headers"),
    [
        ("text/plain", {}),
        ("application/xml", {}),
        ("application/json; charset=latin-1", {}),
        ("application/json", {"Content-Encoding": "gzip"}),
        ("", {}),
    ],
)
def test_what_is_not_plain_json_is_415(hello, post, content_type, headers):
    response = post(hello, "one-card", hook_body(), content_type=content_type, headers=headers)
    assert response.status_code == 415
    assert "application/json" in outcome_of(response)["details"]["text"]


def test_json_may_name_its_charset(hello, post):
    assert post(hello, "one-card", hook_body(), "application/json; charset=UTF-8").status_code == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Busy("later", retry_after_s=7), 503),
        (Fault("broken"), 500),
        (NotFound("gone"), 404),
        (Unsupported("no"), 422),
        (RuntimeError("Zzcanary Quillon"), 500),
        (KeyError("zzcanary"), 500),
        (MemoryError(), 500),
    ],
)
def test_an_error_of_a_service_is_never_an_empty_card_list(make_client, post, error, status):
    response = post(make_client((raising(error),)), "one-card", hook_body())
    assert response.status_code == status
    outcome_of(response)
    assert "cards" not in response.json
    assert "zzcanary" not in response.text.lower()
    assert response.headers.get("Retry-After") == ("7" if status == 503 else None)


def test_who_is_not_let_in_is_told_nothing_more(make_client, post):
    class Shut:
        def admit(self, headers, url, peer):
            raise Denied("the token is from yesterday", unauthenticated=True)

    client = make_client((one_card_service(),), door=Shut())
    for response in (client.get("/cds-services"), post(client, "one-card", b"{")):
        assert (response.status_code, response.data) == (401, b"")
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_no_header_opens_anything_to_other_origins(hello, post):
    responses = [
        hello.get("/cds-services", headers={"Origin": "https://evil.example"}),
        post(hello, "one-card", hook_body(), headers={"Origin": "https://evil.example"}),
        hello.options("/cds-services/one-card", headers={"Origin": "https://evil.example"}),
    ]
    assert not [name for response in responses for name, _ in response.headers if name.startswith("Access-")]


def test_two_services_with_one_id_and_hook_stop_the_start(make_context):
    with pytest.raises(Fault):
        blueprint((one_card_service(), one_card_service()), make_context())


def test_every_call_is_measured_however_it_ends(make_client, post):
    seen = []

    def observe(service, outcome, seconds):
        seen.append((service, outcome, seconds >= 0))

    client = make_client((one_card_service(),), observe=observe)
    post(client, "one-card", hook_body())
    post(client, "one-card", {})
    post(make_client((raising(ValueError("x")),), observe=observe), "one-card", hook_body())
    assert seen == [("one-card", "cards", True), ("one-card", "incorrect", True), ("one-card", "fault", True)]


def test_the_log_of_a_call_names_the_instance_and_no_patient(hello, post, caplog):
    with caplog.at_level("DEBUG"):
        post(hello, "one-card", hook_body("ZZCANARY-4711"))
        post(hello, "one-card", hook_body("ZZCANARY-4711", prefetch={"x": {"resourceType": "Patient", "id": "z"}}))
        post(hello, "one-card", b'{"zzcanary": "Quillon"')
    everything = " ".join(str(record.__dict__) for record in caplog.records).lower()
    assert HOOK_INSTANCE in everything
    assert not re.search("zzcanary|quillon", everything)


def test_the_hooks_work_beside_another_blueprint_and_leave_its_404_alone(make_context):
    app = Flask("x")
    app.register_blueprint(blueprint((one_card_service(),), make_context()))
    assert app.test_client().get("/elsewhere").content_type.startswith("text/html")
