"""`consilium audit archive` and `verify --archive`: one chain over files and database."""

from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from consilium.auditing import AUDIT_KEY, Auditing
from consilium.cli import app
from consilium.keys import derived_key
from consilium.settings import load_settings
from consilium.wiring import House, prepare_storage
from record_store import audit

pytestmark = pytest.mark.usefixtures("no_settings")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("CONSILIUM_DATA_DIR", str(tmp_path))
    prepare_storage(load_settings())
    house = House(load_settings())
    with house.db.write() as conn:
        for number in range(3):
            audit.append(
                conn,
                at=datetime.now(UTC),
                action="access:read",
                outcome="success",
                actor="client:a",
                subject=f"Patient/{number}",
            )
    house.db.dispose()
    return lambda *arguments: CliRunner().invoke(app, ["audit", *arguments])


def test_what_is_archived_is_verified_together_with_what_is_here(run, tmp_path):
    house = House(load_settings())
    Auditing(house.db, derived_key(house.key, AUDIT_KEY), house.now, "C", "http://h/fhir").once()
    house.db.dispose()
    file = tmp_path / "a.ndjson"
    done = run("archive", str(file), "--before", "2100-01-01")
    assert done.exit_code == 0, done.output
    assert "archived: 3 rows up to row 3" in done.output
    whole = run("verify", "--archive", str(file))
    assert whole.exit_code == 0, whole.output
    assert "archived: the rows up to 3" in whole.output
    file.write_text(file.read_text().replace("Patient/1", "Patient/9"))
    assert run("verify", "--archive", str(file)).exit_code == 1
    nothing = run("archive", str(tmp_path / "b.ndjson"), "--before", "2001-01-01")
    assert nothing.output == "Nothing was sealed before then.\n"
