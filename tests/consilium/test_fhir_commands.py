"""`consilium fhir import`: what an operator sees, and what a second run does."""

import json
import sys

import pytest

from consilium import cli
from consilium.settings import load_settings
from consilium.wiring import prepare_storage
from record_store.database import open_database
from record_store.tables import audit

pytestmark = pytest.mark.usefixtures("no_settings")


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    settings = load_settings(data_dir=tmp_path / "data")
    settings.data_dir.mkdir()
    prepare_storage(settings)

    def call(*arguments, group="fhir"):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(
            sys, "argv", ["consilium", group, *map(str, arguments), "--data-dir", str(settings.data_dir)]
        )
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capfd.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    call.database = settings.database
    return call


def test_an_import_counts_writes_a_report_and_is_noted_in_the_audit(run, tmp_path):
    lines = [{"resourceType": "Patient", "id": "p", "gender": "zzcanary"}, {"resourceType": "Patient", "id": "q"}]
    (tmp_path / "Patient.ndjson").write_text("\n".join(map(json.dumps, lines)))
    code, out, _ = run("import", "Patient.ndjson", "--dry-run", "--json")
    assert (code, json.loads(out)["created"]) == (1, 1)
    code, out, err = run("import", "Patient.ndjson", "--json")
    told = json.loads(out)
    assert (code, told["created"], told["refused"]) == (1, 1, 1)
    report = json.loads((tmp_path / told["report"]).read_text())
    assert report == {
        "file": "Patient.ndjson",
        "line": 1,
        "path": "Patient.gender",
        "severity": "error",
        "reason": report["reason"],
    }
    assert "zzcanary" not in out + err + json.dumps(report)
    code, out, _ = run("import", "Patient.ndjson", "--json")
    assert (code, json.loads(out)["created"], json.loads(out)["unchanged"]) == (1, 0, 1)
    with open_database(run.database).read() as conn:
        noted = conn.execute(audit.select()).all()
    assert [(one.action, one.outcome) for one in noted] == [("fhir-import", "incomplete")] * 2


def test_what_can_be_mended_is_one_line(run):
    code, _, err = run("import", "nowhere")
    assert (code, err.strip()) == (1, "consilium: there is no file or folder nowhere")


def test_an_import_goes_to_another_server_and_the_key_is_made_that_is_registered_there(run, tmp_path, monkeypatch):
    key = tmp_path / "ehr.jwk"
    there = {"name": "ehr", "url": "https://127.0.0.1:1/fhir", "client_id": "us", "key_file": str(key)}
    monkeypatch.setenv("CONSILIUM_FHIR_DESTINATIONS", json.dumps([there]))
    code, out, _ = run("keys", "ehr")
    (public,) = json.loads(out)["keys"]
    assert (code, public["alg"], "d" in public, key.stat().st_mode & 0o777) == (0, "ES384", False, 0o600)
    assert run("keys", "ehr")[1] == out
    (tmp_path / "Patient.ndjson").write_text(json.dumps({"resourceType": "Patient", "id": "q"}))
    monkeypatch.setattr("fhir_adapters.remote.server.Patience.pause_s", lambda *_: 0.0)
    code, _, err = run("import", "Patient.ndjson", "--to", "ehr")
    assert (code, "the token endpoint: the server could not be reached" in err) == (1, True)
    assert "FHIR_DESTINATIONS (ehr)" in run("import", "Patient.ndjson", "--to", "nobody")[2]


def test_wearables_come_in_and_what_was_not_read_is_reported(run, tmp_path):
    (tmp_path / "w.csv").write_text("wearer,minute,hr\nw1,2026-01-01 08:00:00,60.50\nw1,2026-01-01 08:01:00,x\n")
    asked = ("import", "w.csv", "--source", "urn:w", "--zone", "Europe/Berlin")
    code, _, err = run(*asked, group="wearables")
    assert (code, "--make-patients" in err) == (1, True)
    code, out, _ = run(*asked, "--make-patients", "--json", group="wearables")
    told = json.loads(out)
    assert (code, told["values"], told["created"], told["patients"], told["unread"]) == (1, 1, 1, 1, 1)
    report = json.loads((tmp_path / "wearables-import-problems.ndjson").read_text())
    assert (report["line"], report["reason"]) == (3, "hr is no number")
    (tmp_path / "x.csv").write_text("of,no,layout\n")
    (tmp_path / "w.csv").write_text("wearer,minute,hr\nw1,2026-01-02 08:00:00,61\n")
    assert run("import", "w.csv", "x.csv", "--source", "urn:w", group="wearables")[0] == 1
    with open_database(run.database).read() as conn:
        noted = [(one.action, one.outcome) for one in conn.execute(audit.select())]
    # Nothing was written by the first one; by the last one the file before the wrong one was.
    assert noted == [("wearables-import", "incomplete"), ("wearables-import", "interrupted")]
    code, _, err = run("import", "w.csv", "--source", "urn:w", "--zone", "Nowhere/City", group="wearables")
    assert (code, "--zone is the name of a time zone" in err) == (1, True)
