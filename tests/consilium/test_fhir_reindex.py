"""`consilium fhir reindex` makes the index anew of what an earlier release stored, and says how much."""

from sqlalchemy import text
from typer.testing import CliRunner

from consilium.cli import app
from consilium.settings import load_settings
from consilium.wiring import House, prepare_storage
from fhir_adapters.publish import publish
from record_store.reindexing import stale_count


def test_what_an_earlier_release_stored_is_indexed_by_the_command(tmp_path):
    house = House(load_settings(data_dir=tmp_path))
    prepare_storage(house.settings)
    patients = [{"resourceType": "Patient", "id": f"p{number}", "active": True} for number in range(3)]
    with house.db.write() as conn:
        publish(conn, patients, house.now())
        conn.execute(text("UPDATE resource SET indexed = 0"))
        conn.execute(text("DELETE FROM sp_token"))
    for said in ("3 resources indexed, 0 left", "0 resources indexed, 0 left"):
        done = CliRunner().invoke(app, ["fhir", "reindex", "--data-dir", str(tmp_path)])
        assert (done.exit_code, done.stdout.strip()) == (0, said)
    with house.db.read() as conn:
        assert stale_count(conn) == 0
        assert conn.execute(text("SELECT count(*) FROM sp_token WHERE param = 'active'")).scalar_one() == 3
    house.db.dispose()
