"""`consilium dicom index`: brings the index of headers up to date, or makes it anew."""

import json

import numpy as np
import pytest

from consilium import cli
from consilium.settings import load_settings
from consilium.wiring import House
from dicom_node.header import read_stored_header
from dicom_node.intake import Intake, Sender
from dicom_node.query.attributes import Level
from dicom_node.query.search import Question, search
from dicom_node.testing import dx_dataset, write_dicom
from record_store.testing import database

pytestmark = pytest.mark.usefixtures("no_settings", "kept_logging")


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.setenv("CONSILIUM_PATIENT_ISSUERS", json.dumps({"": "urn:hospital"}))
    one = House(load_settings(data_dir=tmp_path))
    database(tmp_path).dispose()
    yield one
    one.db.dispose()


def run(monkeypatch, tmp_path, *more):
    arguments = ["consilium", "dicom", "index", "--data-dir", str(tmp_path), *more]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0


def test_it_indexes_what_is_missing_and_makes_everything_anew(house, tmp_path, monkeypatch, capfd) -> None:
    part = write_dicom(dx_dataset(np.zeros((8, 8), np.uint16)), house.blobs.staging / "one.part")
    intake = Intake(house.db, house.blobs, house.issuers, house.now)
    intake.take(part, read_stored_header(part), "1.2.840.10008.1.2.1", Sender("XRAY", "CONSILIUM"))
    assert list(search(house.db, Question(Level.STUDY))) == []
    for more, told in (
        ((), "1 objects indexed"),
        ((), "0 objects indexed"),
        (("--rebuild",), "1 objects indexed"),
    ):
        assert run(monkeypatch, tmp_path, *more) == 0
        assert told in capfd.readouterr().err
        assert len(list(search(house.db, Question(Level.STUDY)))) == 1
