"""`consilium fhir imaging-study`: the stored resource as R4 or R5 has it, and who looked."""

import json

import orjson
import pytest
from fhir.resources.imagingstudy import ImagingStudy
from sqlalchemy import select
from typer.testing import CliRunner

from clinical.errors import IncorrectInput, NotFound
from consilium.cli import app
from consilium.settings import load_settings
from consilium.wiring import House, prepare_storage
from fhir_adapters.publish import publish
from fhir_adapters.resources.ids import imaging_study_id
from fhir_adapters.resources.imaging_study import Instance, StudyFacts, imaging_study
from record_store.audit import digest
from record_store.instances import ReceivedInstance, record_instance
from record_store.tables import audit


@pytest.fixture
def house(tmp_path, no_settings):
    made = House(load_settings(data_dir=tmp_path))
    prepare_storage(made.settings)
    image = ReceivedInstance(
        "1.2.3.1", "1.2", "1.2.840.10008.1.2", "1.2.3", "1.9", "DX", None, "0" * 64, 9, "A", "B"
    )
    study = imaging_study(
        "1.2.3",
        resource_id=imaging_study_id("1.2.3"),
        patient_id="p1",
        instances=[Instance("1.2.3.1", "1.2", "1.9", "DX")],
        facts=StudyFacts(),
    )
    with made.db.write() as conn:
        record_instance(conn, image, made.now())
        publish(conn, [study], made.now())
    yield made
    made.db.dispose()


def asked(house, *arguments):
    folder = str(house.settings.data_dir)
    return CliRunner().invoke(app, ["fhir", "imaging-study", *arguments, "--data-dir", folder])


def test_a_study_is_written_as_r4_or_r5_has_it_and_the_audit_says_who_looked(house) -> None:
    as_r4 = json.loads(asked(house, "1.2.3").stdout)
    assert as_r4["modality"][0]["code"] == "DX"
    as_r5 = asked(house, digest("1.2.3"), "--release", "R5", "--by", "dr-blue").stdout
    ImagingStudy.model_validate_json(orjson.dumps(json.loads(as_r5)))
    assert json.loads(as_r5)["id"] == as_r4["id"]
    with house.db.read() as conn:
        rows = conn.execute(select(audit).where(audit.c.action == "imaging-study-shown").order_by(audit.c.row))
        told = [(row.outcome, row.actor, row.subject) for row in rows]
    assert [one[0] for one in told] == ["R4", "R5"]
    assert told[1][1:] == ("operator:dr-blue", digest("1.2.3"))


def test_nobody_is_shown_a_study_under_what_is_no_name(house) -> None:
    refused = asked(house, "1.2.3", "--by", "kim & co")
    assert (type(refused.exception), refused.stdout) == (IncorrectInput, "")


def test_a_study_that_nobody_read_has_none(house) -> None:
    assert isinstance(asked(house, "9.9.9").exception, NotFound)
