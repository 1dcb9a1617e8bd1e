"""A checklist that cannot fail proves nothing: each of its checks fails on a server that breaks the rule."""

import base64
import itertools
import json
from datetime import UTC, datetime

import httpx
import pytest
from flask import Flask, Response, request

from cds.client.keys import new_key
from cds.client.remote import Remote, remote
from cds.client.testing import live
from cds.client.tokens import Client
from cds.conformance.bench import Bench, Options
from cds.conformance.checks import CHECKS, transport
from cds.conformance.model import Failed, Verdict
from cds.conformance.record import invented_record as record_at
from cds.conformance.run import bench, counts, passes, rows, run
from cds.wire_schema import hooks

pytestmark = pytest.mark.slow
NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
CLIENT = Client("https://client.example", new_key("ES256", "k1"), lambda: NOW)
UUIDS = [f"d1577c69-dfbe-44ad-ba6d-3e05e953b2e{number}" for number in range(2)]
ASKS = {
    "patient": "Patient/{{context.patientId}}",
    "measured": "Observation?patient={{context.patientId}}",
    "user": "Practitioner/{{userPractitionerId}}",
}
PLAIN = {"hook", "hookInstance", "context", "prefetch"}
OF_SOMEBODY_ELSE = {"type": "create", "resource": {"subject": {"reference": "Patient/2"}}}
ILLEGAL = {
    "summary": "x" * 140,
    "indicator": "hard-stop",
    "source": {"label": ""},
    "detail": "<script>alert(1)</script>",
    "links": [{"label": "", "url": "/here", "type": "absolute", "appContext": "x"}],
    "overrideReasons": [{"code": "x"}],
    "suggestions": [
        {"label": "", "actions": [], "actionSelectionBehavior": "any"},
        {"label": "x", "uuid": "1", "actions": [OF_SOMEBODY_ELSE]},
    ],
}
LEGAL = {
    "uuid": UUIDS[0],
    "summary": "x",
    "indicator": "info",
    "source": {"label": "x"},
    "suggestions": [{"label": "x", "uuid": UUIDS[1]}],
    "selectionBehavior": "any",
}
ON_EVERY_HOOK = [
    {"hook": hook, "id": hook, "title": "x", "description": "x", "prefetch": ASKS} for hook in hooks()
]


@pytest.fixture(scope="module")
def failing():
    """failing(app) -> ids of the checks that fail on it."""

    def look(app, checks=CHECKS, **options):
        known = Options(origin="https://ehr.example", **options)
        with live(app) as url, remote(url, CLIENT) as server, bench(server, record_at(NOW), known) as on:
            results = run(on, checks)
        assert not passes(results)
        return {one.check.id for one in results if one.verdict is Verdict.FAIL}

    return look


def yes_sayer(http):
    """Takes everything, with an illegal card; goes wherever it is sent; tells what it was told."""
    app, numbers = Flask("yes"), itertools.count()

    @app.route("/cds-services")
    def discover():
        return {"services": ON_EVERY_HOOK}

    @app.post("/cds-services/<path:_rest>")
    def call(_rest):
        if "Authorization" not in request.headers:
            return Response("the token is missing", 401)
        body = request.get_json(force=True, silent=True)
        body = body if isinstance(body, dict) else {}
        follow(body, body.get("context", {}).get("patientId", ""))
        return {"cards": [ILLEGAL | {"summary": "x" * (140 + next(numbers))}], "systemActions": [], "told": body}

    def follow(body, patient):
        urls = [
            link["url"] for value in body.get("prefetch", {}).values() for link in (value or {}).get("link", ())
        ]
        if "fhirServer" in body:
            queries = (f"Patient/{patient}", f"Observation?patient={patient}", "Practitioner/")
            urls += [f"{body['fhirServer']}/{query}" for query in queries]
        for url in urls:
            http.get(url)

    @app.after_request
    def open_to_everybody(answer):
        answer.headers["Access-Control-Allow-Origin"] = request.headers.get("Origin", "*")
        answer.headers["Access-Control-Allow-Credentials"] = "true"
        return answer

    return app


def hypersensitive():
    """Answers the plainest call with a legal card, and breaks at anything beside it."""
    app = Flask("hypersensitive")

    @app.route("/cds-services")
    def discover():
        return {"services": ON_EVERY_HOOK}

    @app.post("/cds-services/<hook>")
    def call(hook):
        body = request.get_json(silent=True)
        usual = isinstance(body, dict) and body.keys() == PLAIN and hook == "patient-view"
        if not usual or unusual_token():
            return Response("oops", 500)
        legal = body["context"].keys() == {"userId", "patientId", "encounterId"}
        return {"cards": [LEGAL]} if legal else ("", 400)

    @app.post("/cds-services/<_hook>/feedback")
    def feedback(_hook):
        return Response("oops", 500)

    @app.before_request
    def door():
        shown = request.headers.get("Authorization")
        return Response("", 401) if request.method == "POST" and not shown else None

    return app


def unusual_token():
    """True for a readable token with an array of audiences, or a time before which it is not valid."""
    parts = request.headers.get("Authorization", "").split(".")
    told = json.loads(base64.urlsafe_b64decode(parts[1] + "==")) if len(parts) == 3 else {}
    return "nbf" in told or isinstance(told.get("aud"), list)


@pytest.fixture(scope="module")
def on_the_big_ones(failing):
    with httpx.Client(trust_env=False, follow_redirects=True) as http:
        return failing(yes_sayer(http)), failing(hypersensitive())


def small(prefetch=None, answer=lambda: {"cards": [LEGAL]}, discovery=True, then=lambda answer: answer, **service):
    """A server with one service on two hooks, and one thing that is wrong."""
    app = Flask("small")
    known = {
        "id": "s",
        "title": "x",
        "description": "x",
        "version": "3.0.0",
        "prefetch": prefetch or ASKS,
    } | service
    if discovery:
        pair = [known | {"hook": hook} for hook in ("patient-view", "order-sign")]
        app.add_url_rule("/cds-services", view_func=lambda: {"services": pair})
    app.add_url_rule("/cds-services/s", "call", answer, methods=["POST"])
    app.after_request(then)
    return app


def on_one_hook_only():
    return {"cards": [LEGAL]} if request.get_json()["hook"] == "patient-view" else Response("oops", 500)


def unfilled():
    base = request.get_json().get("fhirServer")
    if base:
        httpx.get(f"{base}/Patient/{{{{context.patientId}}}}", trust_env=False)
    return {"cards": [LEGAL]}


def documented_nowhere(answer):
    answer.headers["Link"] = '</nowhere>; rel="service-doc"'
    return answer


def in_plain_text(answer):
    answer.content_type = "text/plain"
    return answer


SMALL = {
    "C7.1": (small, {"target_ms": 0}),
    "D1.1": (lambda: small(discovery=False), {}),
    "D2.1": (lambda: small(description=""), {}),
    "D2.2": (lambda: small(title=""), {}),
    "D2.3": (lambda: small({"number": 5}), {}),
    "D4.1": (lambda: small(answer=on_one_hook_only), {}),
    "D5.1": (lambda: small({"one": "Condition?code={{%two.id}}", "two": "Patient/1"}), {}),
    "D6.1": (lambda: small({"one": "Observation?_include=Observation:performer"}), {}),
    "D8.1": (lambda: small(then=documented_nowhere), {}),
    "J1.1": (small, {}),
    "J2.1": (lambda: small(answer=lambda: Response("", 401)), {}),
    "P1.1": (lambda: small({"one": "Patient/{{nobody.knows}}"}), {}),
    "P1.2": (lambda: small(answer=unfilled), {}),
    "P2.1": (lambda: small({"one": "Patient/{{%one.id.toInteger()}}"}), {}),
    "T1.2": (lambda: small(then=in_plain_text), {}),
    "T3.1": (lambda: small(answer=lambda: Response('{"cards": [],}')), {}),
}
# Elsewhere: T1.1 below. J6.1 is never judged.
ALONE = {"T1.1", "J6.1"}


def test_every_check_fails_somewhere(on_the_big_ones):
    assert {check.id for check in CHECKS} == set.union(*on_the_big_ones) | SMALL.keys() | ALONE


@pytest.mark.parametrize("ident", sorted(SMALL))
def test_a_server_with_one_fault_fails_the_check_of_it(failing, ident):
    make, options = SMALL[ident]
    needed = {ident} | ({"C2.1"} if ident.startswith("T") else set())
    assert ident in failing(make(), [check for check in CHECKS if check.id in needed], **options)


def test_a_server_that_takes_everything_keeps_none_of_the_rules_on_cards_and_refusals(on_the_big_ones):
    refusals = {check.id for check in CHECKS if check.id.startswith(("C1.", "K", "A1.", "J2.1"))}
    assert refusals - {"J2.1", "J1.1"} <= on_the_big_ones[0]


def test_plain_http_to_another_machine_fails():
    with httpx.Client() as http:
        on = Bench(Remote("http://cds.example", http), record_at(NOW), None, None, Options())
        encrypted = next(check for check in transport.CHECKS if check.id == "T1.1")
        with pytest.raises(Failed):
            encrypted.run(on)


def test_a_server_that_is_not_there_passes_nothing():
    with remote("http://127.0.0.1:9") as server, bench(server, record_at(NOW), Options()) as on:
        results = run(on)
    assert not passes(results)
    assert {one.check.id for one in results if one.verdict is Verdict.PASS} == set()
    assert rows(results)["D1"] is Verdict.FAIL
    assert sum(sum(found.values()) for found in counts(results).values()) == len(CHECKS)
