"""Clients that are not ours call a served house: Medplum in node, a page in Chromium, and the checklist."""

import json
import os
import queue
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask, request

from cds.client.keys import new_key, private_text, public_set
from cds.client.record import RecordReader
from cds.client.remote import filled, remote, request_body, services_of
from cds.client.testing import live
from cds.client.tokens import Client
from cds.conformance.bench import Options
from cds.conformance.model import Level, Verdict
from cds.conformance.record import PATIENT_ID
from cds.conformance.record import invented_record as record_at
from cds.conformance.run import bench, passes, rows, run
from cds.wire_schema.testing import problems
from clinical.clock import utc_now
from consilium.demo.server import RunningServer
from tests.ports import free_port
from tests.serving import serving

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent / "clients"
ISS = "https://client.example"
MEDPLUM = "@medplum/core@5.2.13"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


@dataclass(frozen=True)
class Page:
    """A page server: what it tells the page, and what the page says."""

    origin: str
    told: dict[str, Any]
    said: "queue.Queue[dict[str, Any]]"


@contextmanager
def page_server() -> Iterator[Page]:
    app, told, said = Flask("page"), {}, queue.Queue()

    @app.get("/")
    def page() -> str:
        return (HERE / "page.html").read_text(encoding="utf-8")

    @app.get("/told.json")
    def tell() -> dict[str, Any]:
        return told

    @app.post("/result")
    def result() -> str:
        said.put(request.get_json(force=True))
        return ""

    with live(app) as origin:
        yield Page(origin, told, said)


@pytest.fixture(scope="module")
def listed() -> Iterator[Page]:
    with page_server() as page:
        yield page


@pytest.fixture(scope="module")
def unlisted() -> Iterator[Page]:
    with page_server() as page:
        yield page


@pytest.fixture(scope="module")
def client() -> Client:
    return Client(ISS, new_key("ES384", "k1"), utc_now)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clients")


@pytest.fixture(scope="module")
def fhir_port() -> int:
    return free_port()  # one of the system's own may be somebody's connection by the time that it is bound


@pytest.fixture(scope="module")
def server(folder: Path, client: Client, listed: Page, fhir_port: int) -> Iterator[RunningServer]:
    (folder / "jwks.json").write_text(json.dumps(public_set([client.key])))
    (folder / "private.jwk").write_text(private_text(client.key))
    (folder / "issuers.toml").write_text(
        f'[[issuer]]\nname = "client"\niss = "{ISS}"\nkeys_file = "{folder / "jwks.json"}"\nmax_life_s = 900\n'
        f'fhir_bases = ["http://127.0.0.1:{fhir_port}/fhir"]\nnetwork = "loopback"\n'
    )
    settings = {
        "CDS_ISSUERS_FILE": str(folder / "issuers.toml"),
        "CORS_ORIGINS": json.dumps([listed.origin]),
        "WEB_WORKERS": "1",
        "HOOK_BUDGET_MS": "10000",  # the machine may be busy with the rest of the suite
    }
    with serving(folder, settings) as running:
        yield running


# --- Medplum -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def medplum(folder: Path) -> Path:
    """A folder with our script and the npm package, installed into a temporary place."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node and npm on this machine")
    home = folder / "node"
    home.mkdir()
    (home / "package.json").write_text('{"private": true, "type": "module"}')
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", MEDPLUM]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode != 0:
        pytest.skip(f"npm cannot install {MEDPLUM}")
    shutil.copy(HERE / "medplum.mjs", home)
    return home


def test_medplum_fills_prefetch_from_our_fhir_api_calls_the_hook_and_sends_feedback(
    server: RunningServer, medplum: Path, folder: Path
) -> None:
    # Before node 22 the global WebSocket that the package expects is an experiment.
    flags = ["--experimental-websocket"] if _node_version() < 22 else []
    command = ["node", *flags, "medplum.mjs", server.base_url, str(folder / "private.jwk"), ISS]
    done = subprocess.run(command, cwd=medplum, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout)
    assert "diabetes-risk" in seen["services"]
    assert {name: seen["prefetched"][name] for name in ("patient", "bmi", "waist", "glucose")} == {
        "patient": 1,
        "bmi": 1,
        "waist": 1,
        "glucose": 1,
    }
    assert len(seen["response"]["cards"]) == 1
    assert problems("response", seen["response"]) == []
    assert seen["told"] == {}


def _node_version() -> int:
    shown = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(shown.lstrip("v").split(".")[0])


# --- A page in Chromium --------------------------------------------------------------------------------------


def _open(page: Page, folder: Path) -> dict[str, Any]:
    """Let Chromium load the page and return what it says."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    browser = subprocess.Popen(
        [chromium, *FLAGS, f"--user-data-dir={folder}", "--remote-debugging-port=0", f"{page.origin}/"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(folder)},
    )
    try:
        return page.said.get(timeout=60)
    finally:
        browser.terminate()
        browser.wait(timeout=20)


def _tell(page: Page, server: RunningServer, client: Client) -> None:
    with remote(server.base_url, client) as house:
        services = services_of(house.discover())
    (entry,) = [one for one in services if (one["id"], one["hook"]) == ("diabetes-risk", "patient-view")]
    body = request_body("patient-view", {"userId": "Practitioner/d1", "patientId": PATIENT_ID})
    body["prefetch"] = filled(entry, body, RecordReader(record_at(utc_now())), "https://ehr.example/fhir")
    call = {"path": "/cds-services/diabetes-risk", "body": body}
    page.told.update(base=server.base_url, jwk=client.key.as_dict(private=True), iss=ISS, call=call)


def test_a_page_of_a_listed_origin_calls_discovery_hook_and_feedback(
    server: RunningServer, client: Client, listed: Page, tmp_path: Path
) -> None:
    _tell(listed, server, client)
    seen = _open(listed, tmp_path)["everything"]
    assert {name: one["status"] for name, one in seen.items()} == {"discovery": 200, "hook": 200, "feedback": 200}
    assert problems("discovery", seen["discovery"]["body"]) == []
    assert problems("response", seen["hook"]["body"]) == []
    assert len(seen["hook"]["body"]["cards"]) == 1
    assert seen["feedback"]["body"] == {}


def test_a_page_of_another_origin_gets_nothing_even_with_good_tokens(
    server: RunningServer, client: Client, unlisted: Page, tmp_path: Path
) -> None:
    _tell(unlisted, server, client)
    assert _open(unlisted, tmp_path) == {"everything": "TypeError", "simple": "TypeError"}


# --- The documents and the checklist -------------------------------------------------------------------------


def test_the_served_openapi_describes_what_discovery_announces(server: RunningServer, client: Client) -> None:
    with remote(server.base_url, client) as house:
        announced = {one["id"] for one in services_of(house.discover())}
    document = httpx.get(f"{server.base_url}/openapi.json", trust_env=False, timeout=60).json()
    assert {path.split("/")[2] for path in document["paths"] if path.count("/") == 2} == announced
    assert document["servers"] == [{"url": server.base_url}]


def test_the_served_house_passes_every_must_and_every_should_that_applies(
    server: RunningServer, client: Client, listed: Page, fhir_port: int
) -> None:
    # docs/conformance/consilium.md holds C7 at 500 ms; this machine may be starting other servers.
    options = Options(origin=listed.origin, open_on_purpose=True, target_ms=10_000)
    with (
        remote(server.base_url, client) as house,
        bench(house, record_at(utc_now()), options, fhir_port) as on,
    ):
        results = run(on)
    assert {one.check.id: one.reason for one in results if one.verdict is Verdict.FAIL} == {}
    assert {one.check.id for one in results if one.verdict is Verdict.SKIPPED} == {"J6.1"}
    assert passes(results)
    judged = {row: verdict for row, verdict in rows(results).items() if verdict is not Verdict.NOT_APPLICABLE}
    musts = {one.check.row for one in results if one.check.level is Level.MUST} & judged.keys()
    assert len(musts) >= 25
    assert all(judged[row] is Verdict.PASS for row in musts)
