"""Clients of the FHIR API, from the settings: the token endpoint among the doors, and the operator's commands."""

import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from consilium.app import create_app
from consilium.cli import app
from consilium.settings import SettingsError, load_settings
from consilium.web_parts import build_parts
from consilium.wiring import House, prepare_storage
from fhir_adapters.access.oauth import ASSERTION_TYPE
from fhir_adapters.trust.testing import Signer, claims

pytestmark = pytest.mark.usefixtures("no_settings")

BASE = "https://cds.example.org/consilium"
TOKEN_URL = f"{BASE}/oauth2/token"
OPERATOR = "a-token-of-more-than-thirty-two-characters"
PRODUCTION = {
    "profile": "production",
    "tls": "proxy",
    "secret_key": "a-secret-of-more-than-thirty-two-characters",
    "public_base_url": BASE,
    "calling_aes": {"PACS": ["127.0.0.1"]},
    "dicom_plain": True,
    "patient_issuers": {"": "urn:oid:2.999.1"},
    "low_water_mb": 0,
}
CLIENT = '[[client]]\nname = "lab"\nclient_id = "lab"\nkeys_file = "keys.json"\nscopes = ["system/Patient.rs"]\n'


@pytest.fixture(scope="module")
def signer():
    return Signer("kid-1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, signer):
    folder = tmp_path_factory.mktemp("clients")
    (folder / "keys.json").write_text(json.dumps({"keys": [signer.jwk]}))
    (folder / "clients.toml").write_text(CLIENT)
    prepare_storage(load_settings(data_dir=folder))
    return folder


@pytest.fixture
def make_client(folder):
    def make(**changes):
        settings = load_settings(
            data_dir=folder, fhir_clients_file=folder / "clients.toml", **PRODUCTION | changes
        )
        return create_app(build_parts(House(settings))).test_client()

    return make


def assertion_of(signer, aud=TOKEN_URL, **changes):
    jti = f"zzcanary-{datetime.now(UTC).timestamp()}"
    return signer.token(claims("lab", aud, datetime.now(UTC), jti, **{"sub": "lab", **changes}))


def form_of(assertion, **changes):
    usual = {"grant_type": "client_credentials", "scope": "system/*.rs", "client_assertion_type": ASSERTION_TYPE}
    return usual | {"client_assertion": assertion} | changes


def test_a_client_gets_a_token_and_reads_with_it_and_nobody_else_does(make_client, signer):
    client = make_client()
    answer = client.post("/oauth2/token", data=form_of(assertion_of(signer)))
    assert (answer.status_code, answer.json["scope"]) == (200, "system/Patient.rs")
    shown = {"Authorization": f"Bearer {answer.json['access_token']}"}
    assert client.get("/fhir/Patient", headers=shown).status_code == 200
    assert client.get("/fhir/Observation", headers=shown).status_code == 403
    assert client.get("/fhir/Patient").status_code == 401
    # The token is for FHIR alone.
    for path in ("/metrics", "/hooks/x", "/dicom-web/studies", "/cds-services"):
        assert client.get(path, headers=shown).status_code in {401, 404}


def test_without_a_bearer_token_of_the_operator_s_nobody_has_one(make_client):
    answer = make_client().get("/fhir/Patient", headers={"Authorization": f"Bearer {OPERATOR}"})
    assert answer.status_code == 401
    known = make_client(bearer_token=OPERATOR).get(
        "/fhir/Patient", headers={"Authorization": f"Bearer {OPERATOR}"}
    )
    assert known.status_code == 200


def test_in_development_one_may_come_without_a_token_but_not_with_a_bad_one(folder):
    settings = load_settings(data_dir=folder, fhir_clients_file=folder / "clients.toml", low_water_mb=0)
    client = create_app(build_parts(House(settings))).test_client()
    assert client.get("/fhir/Patient").status_code == 200
    assert client.get("/fhir/Patient", headers={"Authorization": "Bearer x"}).status_code == 401


def test_a_clients_file_that_cannot_be_used_stops_the_server(folder, tmp_path):
    (tmp_path / "clients.toml").write_text(CLIENT.replace("keys.json", "absent.json").replace(".rs", ".sr"))
    with pytest.raises(SettingsError) as wrong:
        load_settings(data_dir=folder, fhir_clients_file=tmp_path / "clients.toml")
    assert "CONSILIUM_FHIR_CLIENTS_FILE: client 1: scopes.0: expected a scope" in str(wrong.value)


@pytest.fixture
def run(folder, monkeypatch):
    monkeypatch.setenv("CONSILIUM_FHIR_CLIENTS_FILE", str(folder / "clients.toml"))
    monkeypatch.setenv("CONSILIUM_PUBLIC_BASE_URL", BASE)
    monkeypatch.setenv("CONSILIUM_DATA_DIR", str(folder))

    def invoke(*arguments, given=None):
        return CliRunner().invoke(app, ["fhir", "clients", *arguments], input=given)

    return invoke


def test_check_says_what_each_client_may_do(run, tmp_path):
    done = run("check")
    assert done.exit_code == 0
    assert "ok  lab" in done.stdout
    assert "system/Patient.rs: read, search Patient" in done.stdout
    (tmp_path / "wrong.toml").write_text(CLIENT.replace("client_id", "id"))
    wrong = run("check", str(tmp_path / "wrong.toml"))
    assert wrong.exit_code == 1
    assert "no  client 1: client_id: Field required" in wrong.stdout


def test_the_doctor_says_what_is_wrong_with_an_assertion_and_does_not_use_it_up(run, signer, make_client, folder):
    good = assertion_of(signer)
    done = run("doctor", "-", given=good)
    assert done.exit_code == 0
    assert "it would be let in, once" in done.stdout
    assert make_client().post("/oauth2/token", data=form_of(good)).status_code == 200
    bad = run("doctor", "-", given=assertion_of(signer, sub="x", aud=BASE))
    assert bad.exit_code == 1
    assert "Refused: sub-not-iss" in bad.stdout
    assert "Refused: audience" in bad.stdout
    assert "To do: It must be CONSILIUM_PUBLIC_BASE_URL and /oauth2/token" in bad.stdout


def test_the_doctor_shows_the_last_refusals(run, signer, make_client):
    make_client().post("/oauth2/token", data=form_of(assertion_of(signer, exp=1)))
    done = run("doctor")
    assert "lab at /oauth2/token: expired" in done.stdout
    assert "Compare the clocks" in done.stdout
    assert "zzcanary" not in done.stdout


def test_an_operator_makes_a_token_for_a_trial(run, make_client, monkeypatch):
    monkeypatch.setenv("CONSILIUM_SECRET_KEY", PRODUCTION["secret_key"])
    done = run("token", "lab", "--scope", "system/*.rs")
    assert done.exit_code == 0, done.output
    shown = {"Authorization": f"Bearer {done.stdout.strip()}"}
    assert make_client().get("/fhir/Patient", headers=shown).status_code == 200
    assert run("token", "nobody", "--scope", "system/*.rs").exit_code == 1
