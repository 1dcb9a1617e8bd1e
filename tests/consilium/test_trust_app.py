"""Who is let in by the whole web application, as the settings of a production server wire it."""

import base64
import hashlib
import json
import uuid
from datetime import UTC, datetime

import pytest

from consilium.app import create_app
from consilium.settings import load_settings
from consilium.web_parts import build_parts
from consilium.wiring import House, prepare_storage
from fhir_adapters.trust.testing import Signer, claims

pytestmark = pytest.mark.usefixtures("no_settings")
BASE = "https://cds.example"
ISS = "https://ehr.example/fhir"
DER = b"the DER of a certificate, for the proxy has checked it"
SHA256 = hashlib.sha256(DER).hexdigest()


@pytest.fixture(scope="module")
def signer():
    return Signer("kid-1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, signer):
    data_dir = tmp_path_factory.mktemp("trust")
    (data_dir / "keys.json").write_text(json.dumps({"keys": [signer.jwk]}))
    (data_dir / "issuers.toml").write_text(
        f"""
        [client_certificate]
        proxies = ["10.1.2.3/32"]
        [[issuer]]
        name = "ehr"
        iss = "{ISS}"
        keys_file = "keys.json"
        [[issuer]]
        name = "machine"
        iss = "https://machine.example"
        certificates = {{ sha256 = ["{SHA256}"], use = "alone" }}
        """
    )
    prepare_storage(load_settings(data_dir=data_dir))
    return data_dir


@pytest.fixture
def make_client(folder):
    """make_client(**settings) -> a client of a production server with issuers and no bearer token."""

    def make(**settings):
        whole = {
            "profile": "production",
            "secret_key": "k" * 48,
            "public_base_url": BASE,
            "calling_aes": {"PACS": ["10.0.0.0/8"]},
            "dicom_plain": True,
            "patient_issuers": {"": "urn:oid:1.2.3"},
            "tls": "proxy",
            "cds_issuers_file": folder / "issuers.toml",
        }
        settings = load_settings(data_dir=folder, low_water_mb=0, **whole | settings)
        return create_app(build_parts(House(settings))).test_client()

    return make


def shown(signer, path="/cds-services"):
    token = signer.token(claims(ISS, BASE + path, datetime.now(UTC), f"zzcanary-{uuid.uuid4()}"))
    return {"Authorization": f"Bearer {token}"}


def test_with_issuers_alone_the_hooks_are_open_to_them_and_the_rest_to_nobody(make_client, signer):
    client = make_client()
    assert client.get("/cds-services", headers=shown(signer)).status_code == 200
    for headers in ({}, shown(signer), {"Authorization": "Bearer " + "s" * 48}, {"Authorization": "Bearer "}):
        for path in ("/fhir/Patient/p1", "/fhir/Observation", "/metrics", "/", "/feedback"):
            assert client.get(path, headers=headers).status_code == 401, path
    assert client.get("/livez").status_code == 200


def test_with_both_each_opens_its_own(make_client, signer):
    client = make_client(bearer_token="s" * 48)
    shared = {"Authorization": "Bearer " + "s" * 48}
    assert client.get("/fhir/Patient", headers=shared).status_code == 200
    bare = client.get("/cds-services", headers=shared)
    assert (bare.status_code, bare.data) == (401, b"")
    assert client.get("/cds-services", headers=shown(signer)).status_code == 200
    assert client.get("/fhir/Patient", headers=shown(signer)).status_code == 401


def test_the_address_behind_the_proxy_is_not_the_address_that_was_called(make_client, signer):
    client = make_client()
    inside = {"base_url": "http://10.0.0.7:8080"}
    assert client.get("/cds-services", headers=shown(signer), **inside).status_code == 200


@pytest.mark.parametrize(("peer", "status"), [("10.1.2.3", 200), ("10.1.2.4", 401), ("127.0.0.1", 401)])
def test_a_certificate_counts_when_the_proxy_passes_it_on(peer, status, make_client):
    headers = {"Client-Cert": f":{base64.b64encode(DER).decode()}:"}
    answer = make_client().get("/cds-services", headers=headers, environ_overrides={"REMOTE_ADDR": peer})
    assert answer.status_code == status


@pytest.mark.parametrize(
    "path", ["/cds-services", "/cds-services/diabetes-risk", "/cds-services/diabetes-risk/feedback"]
)
def test_every_address_answers_every_stranger_alike(path, make_client, signer):
    client = make_client(cors_origins=("https://app.example",))
    strangers = (
        {},
        {"Authorization": "Bearer nonsense"},
        shown(signer, "/elsewhere"),
        shown(Signer("kid-1"), path),
    )
    ask = client.get if path == "/cds-services" else client.post
    answers = [ask(path, headers=headers) for headers in strangers]
    assert [(answer.status_code, answer.data) for answer in answers] == [(401, b"")] * 4
    assert answers[0].headers["WWW-Authenticate"] == "Bearer"
    assert len({str(answer.headers) for answer in answers}) == 1
