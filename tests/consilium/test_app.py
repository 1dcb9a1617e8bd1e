"""The doors of the web process: what is closed in production, and what a person sees when something is wrong."""

import io
import uuid
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from PIL import Image

from cds.links import LinkSigner
from cds.viewer_handle import handle
from clinical.clock import utc_now
from consilium.app import create_app
from consilium.keys import derived_key
from consilium.settings import load_settings
from consilium.web_parts import build_parts
from consilium.wiring import House, prepare_storage

pytestmark = pytest.mark.usefixtures("no_settings")

BASE = "https://cds.example.org/consilium"
TOKEN = "a-token-of-more-than-thirty-two-characters"
SHOWN = {"Authorization": f"Bearer {TOKEN}"}
PRODUCTION = {
    "profile": "production",
    "tls": "proxy",
    "bearer_token": TOKEN,
    "secret_key": "a-secret-of-more-than-thirty-two-characters",
    "public_base_url": "https://cds.example.org/consilium/",
    "calling_aes": {"PACS": ["127.0.0.1"]},
    "dicom_plain": True,
    "patient_issuers": {"": "urn:oid:2.999.1"},
}


def _client(data_dir: Path, **settings: object) -> FlaskClient:
    house = House(load_settings(data_dir=data_dir, low_water_mb=0, **settings))
    return create_app(build_parts(house)).test_client()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    prepare_storage(load_settings(data_dir=folder))
    return folder


@pytest.fixture
def closed(prepared: Path) -> FlaskClient:
    return _client(prepared, **PRODUCTION)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/cds-services"),
        ("POST", "/cds-services/diabetes-risk"),
        ("POST", "/cds-services/diabetes-risk/feedback"),
    ],
)
def test_the_hooks_are_closed_and_say_no_more_than_that(closed: FlaskClient, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp4"}):
        answer = closed.open(path, method=method, headers=headers, json={})
        assert (answer.status_code, answer.data) == (401, b"")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert closed.open(path, method=method, headers=SHOWN, json={}).status_code != 401


def test_every_route_but_a_few_is_401_without_the_token(closed: FlaskClient) -> None:
    fill = {"service_id": "diabetes-risk", "resource_type": "Patient"}
    opened = set()
    for rule in closed.application.url_map.iter_rules():
        path = closed.application.url_map.bind("").build(
            rule.endpoint,
            {name: fill.get(name, "x") for name in rule.arguments},
            method=min(rule.methods or {"GET"}),
        )
        for method in rule.methods or ():
            answer = closed.open(path, method=method)
            if rule.endpoint.startswith("cds."):
                # A wrong address or method is said to everybody; nobody is let in (the door's 401 is bare).
                assert answer.status_code in {401, 404, 405}
            elif answer.status_code == 401:
                assert method == "HEAD" or answer.get_json()["resourceType"] == "OperationOutcome"
                assert answer.headers["WWW-Authenticate"] == "Bearer"
            else:
                opened.add(rule.rule)
    assert opened == {
        "/cds-hooks",
        "/openapi.json",
        "/fhir/api-docs",
        "/schemas/cds-hooks/<name>.json",
        "/fhir/metadata",
        "/fhir/.well-known/smart-configuration",
        "/livez",
        "/readyz",
        "/overlay/launch",
        "/overlay/<reading_id>",
        "/overlay/<reading_id>/image.png",
        "/static/<path:filename>",
        "/viewer/",
        "/viewer/<path:name>",
    }


@pytest.mark.parametrize("path", ["/livezx", "/readyz/", "/livez/../fhir/Patient", "//fhir/Patient", "/overlay"])
def test_an_address_that_looks_like_an_open_one_is_closed(closed: FlaskClient, path: str) -> None:
    assert closed.get(path).status_code == 401


def test_a_card_s_link_to_the_viewer_opens_one_study_by_dicomweb_and_nothing_else(prepared: Path) -> None:
    settings = load_settings(data_dir=prepared, low_water_mb=0, viewer_links=True, **PRODUCTION)
    parts = build_parts(House(settings))
    link = parts.pages.links.study("Open the study", "1.2.3")
    assert link is not None
    assert link.url.text.startswith(f"{BASE}/viewer/viewer?StudyInstanceUIDs=1.2.3&token=")
    shown = {"Authorization": f"Bearer {link.url.text.rpartition('token=')[2]}"}
    client = create_app(parts).test_client()
    assert client.get("/dicom-web/studies?StudyInstanceUID=1.2.3", headers=shown).status_code == 204
    assert client.get("/dicom-web/studies/1.2.4/metadata", headers=shown).status_code == 404
    assert client.post("/dicom-web/studies", headers=shown).status_code == 403
    for path in ("/fhir/Patient", "/metrics", "/", "/dicom-web"):
        assert client.get(path, headers=shown).status_code == 401
    assert client.get("/dicom-web/studies").status_code == 401


def test_only_pages_of_listed_origins_may_call_dicomweb_and_still_show_the_token(prepared: Path) -> None:
    client = _client(prepared, cors_origins=("https://viewer.example",), **PRODUCTION)
    asked = {
        "Origin": "https://viewer.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "accept,authorization",  # OHIF's Accept has quotes
    }
    allowed = client.options("/dicom-web/studies", headers=asked)
    assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (204, "https://viewer.example")
    answer = client.get("/dicom-web/studies", headers={"Origin": "https://viewer.example"})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, "https://viewer.example")
    for path, origin in (
        ("/dicom-web/studies", "https://evil.example"),
        ("/fhir/Patient", "https://viewer.example"),
    ):
        refused = client.options(path, headers=asked | {"Origin": origin})
        assert "Access-Control-Allow-Origin" not in refused.headers
        assert "Access-Control-Allow-Origin" not in client.get(path, headers={"Origin": origin}).headers


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_s_name_has_no_case(closed: FlaskClient, scheme: str) -> None:
    for path in ("/fhir/Patient", "/"):
        assert closed.get(path, headers={"Authorization": f"{scheme} {TOKEN}"}).status_code == 200
        assert closed.get(path, headers={"Authorization": f"{scheme} {TOKEN}x"}).status_code == 401


def test_strangers_learn_from_readyz_which_check_fails_and_nothing_more(tmp_path: Path) -> None:
    empty = _client(tmp_path, **PRODUCTION)
    stranger, known = empty.get("/readyz"), empty.get("/readyz", headers=SHOWN)
    assert (stranger.status_code, known.status_code) == (503, 503)
    assert stranger.get_json()["checks"]["migrations"] == "failing"
    assert "consilium migrate" in known.get_json()["checks"]["migrations"]


def test_a_web_process_of_its_own_believes_no_parent_that_is_gone(prepared: Path) -> None:
    left = prepared / "run" / "children.json"
    left.parent.mkdir(exist_ok=True)
    left.write_text('{"worker": {"state": "restarting", "restarts": 9, "last_exit": -9}}')
    checks = _client(prepared).get("/readyz").get_json()["checks"]
    left.unlink()
    assert "children" not in checks


def test_the_status_page_is_a_page_also_without_its_database(tmp_path: Path) -> None:
    client = _client(tmp_path, database_url="postgresql+psycopg://nobody@127.0.0.1:1/none")
    answer = client.get("/")
    assert answer.status_code == 200
    assert "not ready" in answer.text
    assert "the database is away" in answer.text
    assert "Not known" in answer.text


def test_a_link_that_no_longer_opens_is_a_page_that_says_what_to_do(closed: FlaskClient) -> None:
    answer = closed.get("/overlay/x?expires=1&sig=x")
    assert answer.status_code == 403
    assert answer.mimetype == "text/html"
    assert "follow the link on the new card" in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_a_one_time_handle_leads_to_the_signed_page_once(closed: FlaskClient) -> None:
    signer = LinkSigner(derived_key(PRODUCTION["secret_key"].encode(), "overlay-link"), BASE, utc_now)
    made = handle(signer, "r-1", str(uuid.uuid4()))
    answer = closed.get("/overlay/launch", query_string={"handle": made})
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith(f"{BASE}/overlay/r-1?expires=")
    again = closed.get("/overlay/launch", query_string={"handle": made})
    assert again.status_code == closed.get("/overlay/launch").status_code == 403


def test_the_icon_of_cards_is_an_opaque_png_of_100_pixels_for_everybody(closed: FlaskClient) -> None:
    with closed.get("/static/icon.png") as answer:
        picture = Image.open(io.BytesIO(answer.data))
    assert (picture.format, picture.size) == ("PNG", (100, 100))
    assert "transparency" not in picture.info
    assert picture.mode in {"P", "RGB"}


def test_pages_find_their_style_below_a_proxy_s_path(closed: FlaskClient, prepared: Path) -> None:
    assert 'href="/consilium/static/consilium.css"' in closed.get("/", headers=SHOWN).text
    assert 'href="/static/consilium.css"' in _client(prepared).get("/").text


def test_links_of_fhir_are_the_public_ones(closed: FlaskClient) -> None:
    bundle = closed.get("/fhir/Patient?_count=1", headers=SHOWN).get_json()
    assert bundle["link"][0]["url"] == "https://cds.example.org/consilium/fhir/Patient?_count=1"
