"""What every answer says to browsers and caches: routes, refusals and failures alike; and closed means closed."""

import pytest

from cds.testing import hook_body
from consilium.app import create_app
from consilium.settings import load_settings
from consilium.web_parts import build_parts
from consilium.wiring import House, prepare_storage

pytestmark = pytest.mark.usefixtures("no_settings")

HOOK = "/cds-services/diabetes-risk"
ORIGIN = {"Origin": "https://evil.example"}
PREFLIGHT = ORIGIN | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
ASKED = {
    "discovery": ("GET", "/cds-services", {}),
    "a call": ("POST", HOOK, {"json": hook_body()}),
    "a bad call": ("POST", HOOK, {"json": {}}),
    "a call that is too large": (
        "POST",
        HOOK,
        {"data": b" " * (5 << 20) + b" ", "content_type": "application/json"},
    ),
    "a call of another media type": ("POST", HOOK, {"data": b"x"}),
    "feedback": ("POST", f"{HOOK}/feedback", {"json": {"feedback": []}}),
    "no route": ("GET", "/zzcanary", {}),
    "no method": ("DELETE", "/cds-services", {}),
    "a preflight": ("OPTIONS", HOOK, {"headers": PREFLIGHT}),
    "a resource that is not there": ("GET", "/fhir/Patient/none", {}),
    "a search": ("GET", "/fhir/Patient", {}),
    "a page": ("GET", "/", {}),
    "a link that does not open": ("GET", "/overlay/x?expires=1&sig=x", {}),
    "readiness": ("GET", "/readyz", {}),
    "the interface": ("GET", "/openapi.json", {}),
}


@pytest.fixture(scope="module")
def make_app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("headers")
    prepare_storage(load_settings(data_dir=folder))
    return lambda **settings: create_app(
        build_parts(House(load_settings(data_dir=folder, low_water_mb=0, **settings)))
    ).test_client()


@pytest.fixture
def client(make_app):
    return make_app()


@pytest.mark.parametrize("asked", ASKED)
def test_no_answer_is_guessed_framed_kept_or_open_to_other_origins(client, asked):
    method, path, more = ASKED[asked]
    answer = client.open(path, method=method, **{"headers": ORIGIN} | more)
    headers = answer.headers
    assert answer.status_code < 500, answer.text
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    kept = {"discovery", "the interface"}
    assert ("no-store" in headers["Cache-Control"]) == (asked not in kept)
    assert not [name for name, _ in headers if name.startswith("Access-Control")]
    assert "Strict-Transport-Security" not in headers
    assert "Server" not in headers


def test_who_is_reached_by_https_says_so(make_app):
    answer = make_app(public_base_url="https://cds.example.org").get("/cds-services")
    assert int(answer.headers["Strict-Transport-Security"].partition("=")[2]) >= 365 * 24 * 3600


@pytest.mark.parametrize(
    "path", ["//cds-services/diabetes-risk", "/cds-services//diabetes-risk", "/fhir//Patient"]
)
def test_no_address_is_sent_elsewhere(client, path):
    answer = client.post(path, json=hook_body(), headers={"Host": "evil.example"})
    assert answer.status_code == 404
    assert "Location" not in answer.headers
    assert answer.json["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize(
    "host",
    ["", "a b", "zzcanary:99999", "[::1", "x" * 300, "a@b", "a/b?c#d", "\xff\xfe", "*", "a,b", "127.0.0.1:x"],
)
def test_the_host_that_is_asked_for_changes_nothing(client, host):
    plain = client.get("/cds-services")
    odd = client.get("/cds-services", headers={"Host": host})
    assert odd.data == plain.data or (odd.status_code, odd.json["issue"][0]["code"]) == (400, "invalid")
