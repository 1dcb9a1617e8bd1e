"""The command line: what an operator can mend is said in words, with an exit code, and never as a traceback."""

import json
import os
import socket
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consilium import cli, doctor
from consilium.settings import load_settings
from consilium.wiring import House, prepare_storage
from fhir_adapters.publish import publish
from record_store.testing import postgres_absent, postgres_url
from tests.fhir_adapters.conftest import reading_with
from tests.fhir_adapters.test_publish import results
from tests.pooler import pooler

pytestmark = pytest.mark.usefixtures("no_settings")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["consilium", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capfd.readouterr()
        return int(ended.value.code or 0), shown.out + shown.err

    return call


@pytest.mark.parametrize(
    "command", ["serve", "web", "dicom", "worker", "migrate", "doctor", "studies", "deliveries"]
)
def test_a_data_folder_that_cannot_be_made_is_named(run, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("")
    code, said = run(command, "--data-dir", tmp_path / "file" / "below")
    assert code == 78
    assert "CONSILIUM_DATA_DIR: expected a folder" in said


@pytest.mark.parametrize("command", ["studies", "deliveries", "jobs"])
def test_a_question_to_an_empty_folder_says_what_to_run(run, tmp_path: Path, command: str) -> None:
    code, said = run(command, "--data-dir", tmp_path)
    assert code == 1
    assert "consilium migrate" in said
    assert "SELECT" not in said


@pytest.mark.parametrize("command", ["migrate", "studies"])
def test_a_database_that_is_away_is_one_line(run, monkeypatch, tmp_path: Path, command: str) -> None:
    monkeypatch.setenv("CONSILIUM_DATABASE_URL", "postgresql+psycopg://user:hunter2@127.0.0.1:1/none")
    code, said = run(command, "--data-dir", tmp_path)
    assert code == 1
    assert said == "consilium: the database is away, locked or full\n"


@pytest.mark.parametrize("command", ["migrate", "studies"])
def test_a_data_folder_that_is_made_is_for_the_servers_account_alone(run, tmp_path: Path, command: str) -> None:
    before = os.umask(0o022)
    try:
        run(command, "--data-dir", tmp_path / "data")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


_ROW = {"object": "c1aa3a4ae8fe", "kind": "SEG-FRACTIONAL", "why": "[/odd] said " + 30 * "at length "}


def test_what_is_copied_from_a_list_is_never_cut_in_a_narrow_terminal(monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    cli.show_table([_ROW])
    assert _ROW["object"] in capsys.readouterr().out


def test_a_list_that_is_piped_has_a_line_for_each_row(monkeypatch, capsys) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    cli.show_table([_ROW])
    (line,) = [one for one in capsys.readouterr().out.splitlines() if _ROW["object"] in one]
    assert _ROW["why"].strip() in line


def test_a_state_that_no_delivery_has_is_refused(run, tmp_path: Path) -> None:
    code, said = run("deliveries", "--data-dir", tmp_path, "--state", "nonsense")
    assert code == 2
    assert "dead" in said


def test_a_port_that_is_taken_ends_a_role_with_its_name(run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = run("web", "--data-dir", tmp_path, "--http-port", taken.getsockname()[1])
    assert code == 1
    assert "CONSILIUM_HTTP_PORT" in said


def test_doctor_finds_nothing_wrong_with_the_defaults(run, tmp_path: Path) -> None:
    prepare_storage(load_settings(data_dir=tmp_path))
    code, said = run("doctor", "--json", "--data-dir", tmp_path)
    found = json.loads(said)
    assert found["settings"].startswith("ok, but CONSILIUM_PACS is empty")
    assert (found["database"], found["models"]) == ("ok", "ok")
    # Somebody may be using the default ports of this machine.
    assert code == (found["http port"] != "ok" or found["dicom port"] != "ok")


def test_doctor_knows_the_server_that_runs_on_this_folder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = load_settings(data_dir=tmp_path, http_port=taken.getsockname()[1], dicom_port=0)
        stranger = doctor.examine(settings)["http port"]
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "children.json").write_text(json.dumps({"web": {"pid": os.getpid()}}))
        ours = doctor.examine(settings)["http port"]
    assert (stranger.wrong, ours.wrong) == (True, False)
    assert "CONSILIUM_HTTP_PORT" in stranger.text


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("mode", "wrong", "said"),
    [
        ("transaction", False, "a pooler such as PgBouncer stands before it"),
        ("session", False, "a pooler such as PgBouncer stands before it"),
        ("statement", True, "set pool_mode=transaction"),
    ],
)
def test_doctor_says_that_a_pooler_stands_before_the_database_and_what_it_lacks(
    tmp_path: Path, mode: str, wrong: bool, said: str
) -> None:
    if reason := postgres_absent():
        pytest.skip(reason)
    with postgres_url() as url, pooler(tmp_path, url, mode) as address:
        given = {"database_url": address, "models_dir": tmp_path / "none", "http_port": 0, "dicom_port": 0}
        found = doctor.examine(load_settings(data_dir=tmp_path, **given))["database"]
    assert (found.wrong, said in found.text) == (wrong, True)


def test_doctor_finds_a_spoilt_model(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, models_dir=tmp_path / "none", http_port=0, dicom_port=0)
    assert doctor.examine(settings)["models"].wrong


def test_a_recall_from_the_shell_goes_to_the_end_and_says_what_is_left(run, tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    prepare_storage(settings)
    db = House(settings).db
    with db.write() as conn:
        publish(conn, results(reading_with(findings=2)), datetime(2026, 11, 22, tzinfo=UTC))
    recall = ("ai", "recall", "--data-dir", tmp_path, "--reason", "ribs")
    code, said = run(*recall, "lung-nodule@0.1.0", "--by", "kim & co")
    assert (code, "expected who does it" in said) == (1, True)
    code, said = run(*recall, "lung-nodule@0.1.0", "--dry-run")
    assert (code, "dryRun: yes" in said, "retracted: 3" in said) == (0, True, True)
    code, said = run(*recall, "lung-nodule@0.1.0", "--json")
    told = {one["name"]: one for one in json.loads(said)["parameter"]}
    assert (code, told["retracted"]["valueInteger"], told["complete"]["valueBoolean"]) == (0, 3, True)
    code, said = run(*recall, "lung-nodule")
    assert (code, "as lung-nodule@1.0.0" in said) == (1, True)
