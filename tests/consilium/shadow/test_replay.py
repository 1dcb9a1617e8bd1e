"""`consilium study replay`: over stored studies with a real model, cut off by a kill and gone on with."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

from consilium.cli import app
from consilium.settings import load_settings
from consilium.shadow.replay import Replay
from consilium.wiring import House, prepare_storage
from dicom_node.header import read_stored_header
from dicom_node.testing import write_dicom
from record_store.instances import ReceivedInstance, close_study, record_instance
from record_store.tables import audit, instance, shadow_reading
from tests.consilium.nodule import radiograph

pytestmark = pytest.mark.slow
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
STUDIES = 12


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A server's folder with closed studies of one radiograph each."""
    folder = tmp_path_factory.mktemp("replay")
    settings = load_settings(data_dir=folder, patient_issuers={"": "urn:h"})
    prepare_storage(settings)
    made = House(settings)
    for number in range(STUDIES):
        file = folder / "image.dcm"
        write_dicom(radiograph(f"image {number}", StudyInstanceUID=f"1.2.{number}"), file)
        header, blob = read_stored_header(file), made.blobs.put(file.read_bytes())
        image = ReceivedInstance(
            sop_instance_uid=header.sop_instance_uid,
            sop_class_uid=header.sop_class_uid,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            study_uid=header.study_uid,
            series_uid=header.series_uid,
            modality=header.modality,
            patient=made.issuers.from_dicom("", header.patient_id),
            sha256=blob.sha256,
            size=blob.size,
            calling_ae="A",
            called_ae="B",
        )
        with made.db.write() as conn:
            record_instance(conn, image, NOW + timedelta(days=number))
            close_study(conn, image.study_uid, NOW + timedelta(days=number + 1))
    yield made
    made.db.dispose()


def environ(house):
    return os.environ | {
        "CONSILIUM_DATA_DIR": str(house.settings.data_dir),
        "CONSILIUM_PATIENT_ISSUERS": '{"": "urn:h"}',
    }


def command(*arguments):
    return [sys.executable, "-m", "consilium", "study", "replay", "--model", "lung-nodule", "--json", *arguments]


def read_so_far(house) -> int:
    with house.db.read() as conn:
        return conn.execute(select(func.count()).select_from(shadow_reading)).scalar_one()


@contextmanager
def unread(house, study_uid):
    """Let whoever reads the study's image wait for it within the block."""
    with house.db.read() as conn:
        name = conn.execute(select(instance.c.sha256).where(instance.c.study_uid == study_uid)).scalar_one()
    with house.blobs.local_path(name) as path:
        kept = path.rename(path.with_suffix(".kept"))
        os.mkfifo(path)
        yield
        kept.replace(path)


def test_a_replay_that_is_killed_goes_on_and_reads_nothing_twice(house) -> None:
    with unread(house, f"1.2.{STUDIES - 1}"):  # so that it is not over before the kill
        killed = subprocess.Popen(
            command(), env=environ(house), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 120
        try:
            while not read_so_far(house):
                assert killed.poll() is None
                assert time.monotonic() < until
                time.sleep(0.01)
        finally:
            killed.kill()
            killed.wait()
    before = read_so_far(house)
    assert 0 < before < STUDIES
    with house.db.read() as conn:
        first = {row.reading_id: row.created_at for row in conn.execute(select(shadow_reading))}
    again = subprocess.run(command(), env=environ(house), capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout)
    assert (told["studies"], told["failed"], told["left"]) == (STUDIES, 0, 0)
    assert told["read"] + told["before"] == STUDIES
    with house.db.read() as conn:
        rows = {row.reading_id: row.created_at for row in conn.execute(select(shadow_reading))}
    assert len(rows) == STUDIES
    assert {key: rows[key] for key in first} == first, "what was read before the kill was not read again"
    third = subprocess.run(command(), env=environ(house), capture_output=True, text=True, check=False)
    assert json.loads(third.stdout)["before"] == STUDIES
    with house.db.read() as conn:
        query = select(audit.c.outcome).where(audit.c.action == "shadow-replay").order_by(audit.c.row)
        assert list(conn.execute(query).scalars()) == ["begun", "begun", "ended", "begun", "ended"]


def test_what_is_replayed_is_compared_and_forgotten_by_the_same_names(house, monkeypatch, tmp_path) -> None:
    for name, value in environ(house).items():
        monkeypatch.setenv(name, value)
    run = CliRunner().invoke
    made = run(app, ["study", "replay", "--model", "lung-nodule", "--json", "1.2.3"])
    assert made.exit_code == 0, made.output
    with house.db.read() as conn:
        version = conn.execute(select(shadow_reading.c.version).limit(1)).scalar_one()
    named = f"lung-nodule@{version}"
    picture = tmp_path / "plot.svg"
    told = run(
        app, ["study", "compare", "--live", named, "--shadow", named, "--json", "--each", "--plot", str(picture)]
    )
    assert told.exit_code == 0, told.output
    figures = json.loads(told.stdout)
    assert figures["images"] == len(figures["each"]) >= 1
    assert picture.read_text().startswith("<svg")
    compare = ["study", "compare", "--live", named, "--shadow", named]
    assert "plot cannot be written" in str(run(app, [*compare, "--plot", str(tmp_path)]).exception)
    assert "give --json too" in str(run(app, [*compare, "--each"]).exception)
    assert run(app, ["study", "replay", "--model", named, "--forget"]).exit_code == 0
    assert read_so_far(house) == 0
    assert "nothing was read" in str(run(app, ["study", "replay", "--model", named, "--forget"]).exception)


def test_days_and_names_say_which_studies(house) -> None:
    class Model:
        def manifest(self):
            return self

        modalities = ("DX",)

    replay = Replay(house.db, None, house.now, "operator:tester")
    assert replay.studies(Model(), [], NOW + timedelta(days=2), NOW + timedelta(days=4)) == ["1.2.2", "1.2.3"]
    assert replay.studies(Model(), ["1.2.5", "1.2.5", "1.2.1"]) == ["1.2.5", "1.2.1"]
    assert len(replay.studies(Model(), [])) == STUDIES


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "lung-nodule@9.9.9"], "no image model has this name and version"),
        (["--model", "diabetes-risk"], "no image model has this name and version"),
        ([], "name the model"),
        (["--model", "lung-nodule", "1.9.9"], "number 1 of those named"),
        (["--model", "lung-nodule", "1.2.3", "--from", "2026-10-01"], "name studies, or days"),
        (
            ["--model", "lung-nodule", "--from", "2026-10-01", "--to", "2026-10-01"],
            "--from has to be an earlier day",
        ),
        (["--model", "lung-nodule", "--by", "kim & co"], "who does it"),
        (["--model", "lung-nodule@9.9.9", "--forget"], "nothing was read"),
        (["--model", "lung-nodule@1.0.0", "--forget", "1.2.3"], "name no studies"),
    ],
)
def test_what_cannot_be_meant_is_said(house, monkeypatch, arguments, said) -> None:
    for name, value in environ(house).items():
        monkeypatch.setenv(name, value)
    assert said in str(CliRunner().invoke(app, ["study", "replay", *arguments]).exception)


def test_who_compares_is_named_as_the_audit_names_people() -> None:
    models = ("--live", "lung-nodule@1.0.0", "--shadow", "lung-nodule@2.0.0")
    assert "who does it" in str(
        CliRunner().invoke(app, ["study", "compare", *models, "--by", "kim & co"]).exception
    )
