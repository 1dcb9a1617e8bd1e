"""`consilium cds doctor`: past refusals, and a token in a file, in words."""

import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from clinical.clock import utc_now
from consilium.cli import app
from consilium.settings import load_settings
from consilium.wiring import House, prepare_storage
from fhir_adapters.trust.refusal import Reason, Refused
from fhir_adapters.trust.refusal_log import RefusalLog
from fhir_adapters.trust.testing import Signer, claims

pytestmark = pytest.mark.usefixtures("no_settings")
ISS = "https://ehr.example/fhir"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    signer = Signer("kid-1")
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [signer.jwk]}))
    entry = f'[[issuer]]\nname = "ehr"\niss = "{ISS}"\nkeys_file = "keys.json"\n'
    (tmp_path / "issuers.toml").write_text(entry)
    monkeypatch.setenv("CONSILIUM_CDS_ISSUERS_FILE", str(tmp_path / "issuers.toml"))
    monkeypatch.setenv("CONSILIUM_PUBLIC_BASE_URL", "https://cds.example")
    monkeypatch.setenv("CONSILIUM_DATA_DIR", str(tmp_path / "data"))
    return tmp_path, signer


def run(*arguments, given=None):
    return CliRunner().invoke(app, ["cds", "doctor", *arguments], input=given)


def token_of(signer, aud="https://cds.example/cds-services/one", **changes):
    return signer.token(claims(ISS, aud, datetime.now(UTC), "zzcanary-jti", **changes))


def test_a_good_token_ends_well(folder):
    path, signer = folder
    (path / "token").write_text(token_of(signer))
    done = run(str(path / "token"))
    assert done.exit_code == 0
    assert "it would be let in, once" in done.stdout
    assert "https://cds.example/cds-services/one" in done.stdout


def test_a_bad_token_from_standard_input_ends_with_1_and_what_to_do(folder):
    _, signer = folder
    done = run("-", "--url", "https://cds.example/cds-services/two", given=token_of(signer))
    assert done.exit_code == 1
    assert "Refused: audience" in done.stdout
    assert "aud_aliases" in done.stdout


def test_what_a_sender_writes_cannot_drive_the_terminal(folder):
    _, signer = folder
    done = run("-", given=token_of(signer, tenant="\x1b[2J[red]north"))
    assert "\x1b" not in done.stdout
    assert "?[2J[red]north" in done.stdout


def test_past_refusals_are_listed(folder):
    settings = load_settings()
    prepare_storage(settings)
    assert "Nobody has been refused" in run().stdout
    house = House(settings)
    RefusalLog(house.db, utc_now).record(Refused(Reason.NO_TOKEN), "/cds-services/one")
    house.db.dispose()
    done = run("--last", "5")
    assert done.exit_code == 0
    assert "unknown at /cds-services/one: no-token" in done.stdout
    assert "To do: Have the client send" in done.stdout


def test_without_an_issuers_file_it_says_what_is_missing(folder, monkeypatch):
    monkeypatch.delenv("CONSILIUM_CDS_ISSUERS_FILE")
    done = run("-", given="x")
    assert "CONSILIUM_CDS_ISSUERS_FILE" in str(done.exception)
