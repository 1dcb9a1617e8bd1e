"""A recorded incident is played again offline, by the command line, with the same cards."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cds.client.record import RecordReader
from cds.client.remote import filled, request_body
from cds.client.testing import live
from cds.conformance.record import PATIENT_ID
from cds.conformance.record import invented_record as record_at
from clinical.clock import utc_now
from consilium.app import create_app
from consilium.cli import app
from consilium.settings import load_settings
from consilium.web_parts import build_parts
from consilium.wiring import House, prepare_storage

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_settings")]
BASE = "https://ehr.example/fhir"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["cds", *map(str, arguments)])


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    prepare_storage(load_settings(data_dir=folder))
    return folder


@pytest.fixture(scope="module")
def application(data_dir: Path) -> Any:
    settings = load_settings(
        data_dir=data_dir, low_water_mb=0, hook_budget_ms=60_000, record_calls_dir=data_dir / "tapes"
    )
    return create_app(build_parts(House(settings)))


@pytest.fixture(scope="module")
def body(application: Any) -> dict[str, Any]:
    """A call of diabetes-risk with everything that it asks for."""
    (entry,) = [
        one
        for one in application.test_client().get("/cds-services").get_json()["services"]
        if (one["id"], one["hook"]) == ("diabetes-risk", "patient-view")
    ]
    made = request_body("patient-view", {"userId": "Practitioner/1", "patientId": PATIENT_ID})
    return made | {"prefetch": filled(entry, made, RecordReader(record_at(utc_now())), BASE)}


def test_what_the_server_recorded_is_answered_alike_offline(
    application: Any, data_dir: Path, body: dict[str, Any]
) -> None:
    client = application.test_client()
    assert client.post("/cds-services/diabetes-risk", json=body).get_json()["cards"]
    lacking = {name: value for name, value in body.items() if name != "prefetch"}
    assert client.post("/cds-services/diabetes-risk", json=lacking).status_code == 412
    tapes = list((data_dir / "tapes").iterdir())
    assert len(tapes) == 2
    assert not any(PATIENT_ID in tape.read_text() or "Conny" in tape.read_text() for tape in tapes)
    done = run("replay", data_dir / "tapes", "--data-dir", data_dir)
    assert (done.exit_code, done.stdout) == (0, "2 of 2 are answered as before\n")


def test_an_answer_that_has_changed_is_told(application: Any, data_dir: Path, body: dict[str, Any]) -> None:
    with live(application) as url:
        file = data_dir / "body.json"
        file.write_text(json.dumps(body))
        assert (
            run("record", "diabetes-risk", file, data_dir / "own", "--url", url, "--data-dir", data_dir).exit_code
            == 0
        )
        (tape,) = (data_dir / "own").iterdir()
        made = json.loads(tape.read_text())
        del made["request"]["prefetch"]["glucose"]
        tape.write_text(json.dumps(made))
        done = run("replay", data_dir / "own", "--url", url, "--data-dir", data_dir)
    assert done.exit_code == 1
    assert "card 1: summary differs" in done.stdout or "0 cards in place of 1" in done.stdout
    assert "0 of 1 are answered as before" in done.stdout
