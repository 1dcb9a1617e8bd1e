"""`consilium research export`: files, tables and a manifest of what was done."""

import json

import pytest
from arro3.io import read_parquet
from sqlalchemy import select
from typer.testing import CliRunner

from consilium.cli import app
from consilium.securing import disguise_of
from consilium.setting_values import PacsDestination
from consilium.settings import load_settings
from consilium.wiring import House
from fhir_adapters.publish import publish
from fhir_adapters.research import parquet
from record_store.migrate import migrate
from record_store.tables import audit
from tests.consilium.conftest import NOW

SECRET = "s" * 32
LOINC = "http://loinc.org"
COMPONENT = {"code": {"coding": [{"system": LOINC, "code": "8462-4"}]}, "valueQuantity": {"value": 80}}


@pytest.fixture
def folder(tmp_path, no_settings, monkeypatch):
    monkeypatch.setenv("CONSILIUM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CONSILIUM_PSEUDONYM_KEY", SECRET)
    monkeypatch.setenv("CONSILIUM_PATIENT_ISSUERS", json.dumps({"HOSP": "urn:hosp"}))
    house = House(load_settings())
    migrate(house.db)
    patient = {
        "resourceType": "Patient",
        "id": "p1",
        "identifier": [{"system": "urn:hosp", "value": "17"}],
        "name": [{"family": "Zzcanary"}],
        "birthDate": "1961-04-23",
    }
    observation = {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "85354-9"}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2026-01-02",
        "component": [COMPONENT, COMPONENT],
    }
    with house.db.write() as conn:
        publish(conn, [patient, observation], NOW)
    house.db.dispose()
    return tmp_path


def run(*args):
    return CliRunner().invoke(app, ["research", "export", *map(str, args)])


def test_who_exports_is_named_as_the_audit_names_people(folder):
    assert "expected who does it" in str(run("--out", folder / "out", "--by", "kim & co").exception)
    assert not (folder / "out").exists()


def test_files_tables_and_a_manifest_are_written(folder):
    out = folder / "out"
    reply = run("--out", out, "--for", "far", "--format", "both", "--by", "jo")
    assert reply.exit_code == 0, reply.output
    manifest = json.loads((out / "manifest.json").read_text())
    assert set(manifest["files"]) == {
        "Patient.ndjson",
        "Patient.parquet",
        "Observation.ndjson",
        "Observation.parquet",
        "Observation.component.parquet",
    }
    assert b"Zzcanary" not in b"".join(file.read_bytes() for file in out.iterdir())
    patient = json.loads((out / "Patient.ndjson").read_text())
    table = read_parquet(out / "Observation.parquet").read_all()
    assert table.column("subject_id").to_pylist() == [patient["id"]]
    inner = read_parquet(out / "Observation.component.parquet").read_all()
    observation = json.loads((out / "Observation.ndjson").read_text())
    assert inner.column("resource_id").to_pylist() == [observation["id"]] * 2
    assert inner.column("number").to_pylist() == [0, 1]
    assert inner.column("valueQuantity_value").to_pylist() == [80.0, 80.0]
    # A destination's images have the same name for the patient.
    far = PacsDestination(name="far", host="h", port=104, ae_title="FAR", deidentify=True)
    names = disguise_of(load_settings(pacs=[far.model_dump()]), far).names
    assert patient["id"] == names.patient_id("HOSP\x1f17")
    with House(load_settings()).db.read() as conn:
        rows = conn.execute(
            select(audit.c.actor, audit.c.subject).where(audit.c.action == "research-export")
        ).all()
    assert [tuple(row) for row in rows] == [("operator:jo", "far")]


def test_a_second_export_does_not_go_into_the_folder_of_another(folder):
    assert run("--out", folder / "out", "--type", "Patient").exit_code == 0
    assert sorted(file.name for file in (folder / "out").iterdir()) == ["Patient.ndjson", "manifest.json"]
    assert "not empty" in str(run("--out", folder / "out").exception.message)
    assert "Observation, Patient" in run("--out", folder / "other", "--type", "Device").exception.message


def test_without_a_key_or_the_packages_it_says_what_to_do(folder, monkeypatch):
    monkeypatch.setattr(parquet, "find_spec", lambda name: None)
    assert "consilium-cds[research]" in run("--out", folder / "a", "--format", "parquet").exception.message
    monkeypatch.delenv("CONSILIUM_PSEUDONYM_KEY")
    assert "CONSILIUM_PSEUDONYM_KEY" in run("--out", folder / "b").exception.message
    assert not (folder / "a").exists()
