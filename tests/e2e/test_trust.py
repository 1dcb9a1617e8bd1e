"""A real server of two web workers: a token lets in one call, of whichever worker, and after a restart no more."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from fhir_adapters.trust.testing import Signer, claims
from record_store.testing import postgres_url
from tests.ports import free_port
from tests.serving import prepared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ISS = "https://ehr.example/fhir"
AUD = "our-cds"
SECRET = "s" * 48


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer("kid-1")


@pytest.fixture(scope="module")
def issuers(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Path:
    folder = tmp_path_factory.mktemp("issuers")
    (folder / "ehr.jwks.json").write_text(json.dumps({"keys": [signer.jwk]}))
    entry = f'[[issuer]]\nname = "ehr"\niss = "{ISS}"\nkeys_file = "ehr.jwks.json"\naud_aliases = ["{AUD}"]\n'
    (folder / "issuers.toml").write_text(entry)
    return folder / "issuers.toml"


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, issuers: Path) -> Iterator[dict[str, str]]:
    base = {
        "CDS_ISSUERS_FILE": str(issuers),
        "BEARER_TOKEN": SECRET,  # so that the development profile is closed too
        "CORS_ORIGINS": '["https://app.example"]',
        "WEB_WORKERS": "2",
        "LOG_LEVEL": "DEBUG",
        "MODELS_DIR": str(issuers.parent),  # discovery needs none, and loading them takes long
        "REQUIRED_MODELS": "[]",
    }
    if request.param == "sqlite":
        yield base
        return
    with postgres_url(request.getfixturevalue("postgres_template")) as url:
        yield base | {"DATABASE_URL": url}


@dataclass(frozen=True, slots=True)
class Web:
    base_url: str
    log: Path


@contextmanager
def web_alone(folder: Path, settings: dict[str, str]) -> Iterator[Web]:
    """Run `consilium web` until the block ends: hooks need no DICOM and no worker."""
    port = free_port()
    if "DATABASE_URL" not in settings:
        prepared(folder)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CONSILIUM_")}
    environ |= {f"CONSILIUM_{name}": value for name, value in settings.items()}
    command = [
        sys.executable,
        "-m",
        "consilium",
        "web",
        "--data-dir",
        str(folder / "data"),
        "--http-port",
        str(port),
    ]
    server = Web(f"http://127.0.0.1:{port}", folder / "server.log")
    with server.log.open("wb") as stderr, subprocess.Popen(command, env=environ, stderr=stderr) as process:
        try:
            until = time.monotonic() + 60
            while not alive(server) and process.poll() is None and time.monotonic() < until:
                time.sleep(0.05)
            yield server
        finally:
            process.terminate()


def alive(server: Web) -> bool:
    try:
        return httpx.get(f"{server.base_url}/livez", trust_env=False, verify=False, timeout=60).status_code == 200
    except httpx.HTTPError:
        return False


def discover(server: Web, token: str | None, **headers: str) -> httpx.Response:
    shown = {} if token is None else {"Authorization": f"Bearer {token}"}
    # A connection each: the kernel gives it to either worker. verify: no authorities to read for plain HTTP.
    url = f"{server.base_url}/cds-services"
    return httpx.get(url, headers=shown | headers, trust_env=False, timeout=30, verify=False)


def test_a_token_is_good_once_for_all_workers_and_starts(
    tmp_path: Path, settings: dict[str, str], signer: Signer
) -> None:
    tokens = [signer.token(claims(ISS, AUD, datetime.now(UTC), f"zzcanary-jti-{number}")) for number in range(7)]
    with web_alone(tmp_path, settings) as server, ThreadPoolExecutor(12) as callers:
        for token in tokens[:5]:
            answers = list(callers.map(lambda _, token=token: discover(server, token), range(12)))
            assert Counter(answer.status_code for answer in answers) == {200: 1, 401: 11}
        while workers_that_refused(tmp_path / "data") < 2:  # the other one may still have been starting
            assert discover(server, tokens[0]).status_code == 401
        bare = discover(server, None, Origin="https://app.example")
        assert (bare.status_code, bare.content, bare.headers["www-authenticate"]) == (401, b"", "Bearer")
        assert bare.headers["access-control-allow-origin"] == "https://app.example"
        assert discover(server, SECRET).status_code == 401
        assert call_with_nonsense(server, tokens[6]).status_code == 400
        text = server.log.read_text()
    with web_alone(tmp_path, settings) as server:
        assert [discover(server, token).status_code for token in tokens] == [401] * 5 + [200, 401]
        text += server.log.read_text()
    assert text.count("web listening") == 2
    assert text.count("hook refused") == 1
    for token in tokens:
        assert not any(part in text for part in token.split("."))
    assert "zzcanary" not in text.lower()
    if "DATABASE_URL" not in settings:
        with closing(sqlite3.connect(tmp_path / "data" / "consilium.db")) as db:
            stored = "\n".join(db.iterdump())
        assert stored.count("token-refused") > 0
        assert "zzcanary" not in stored.lower()
        assert not any(part in stored for token in tokens for part in token.split("."))


def call_with_nonsense(server: Web, token: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    url = f"{server.base_url}/cds-services/diabetes-risk"
    return httpx.post(url, headers=headers, content=b"[", trust_env=False, timeout=30, verify=False)


def workers_that_refused(data: Path) -> int:
    """How many processes have counted a refusal: each has a metrics file of its own."""
    files = (data / "run" / "metrics").glob("counter_*.db")
    return sum(b"consilium_tokens_refused_total" in file.read_bytes() for file in files)
