"""What a test of the wiring must leave as it found it, and a study to read."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from clinical.identity import IssuerTable
from consilium.study import StudySteps
from dicom_node.header import read_stored_header
from dicom_node.pixels import Decoder
from dicom_node.testing import write_dicom
from record_store.instances import ReceivedInstance, close_study, record_instance
from record_store.readings import JobRow, add_job, job, job_key_of
from record_store.tables import delivery, reading, resource, result_object
from record_store.testing import MemoryBlobs, database

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
ISSUERS = IssuerTable({"": "urn:h"})


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the settings of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith("CONSILIUM_"):
            monkeypatch.delenv(name)


class _SilentObserver:
    def step_ended(self, step, seconds):
        pass

    def job_ended(self, model, state, seconds):
        pass


@pytest.fixture(scope="module")
def decoder():
    with Decoder() as child:
        yield child


class Study:
    """A study that images arrive in; `is_read` closes it and carries out its job.

    image: makes the data set of an image from a seed and attributes.
    """

    uid = "1.2.826.0.1.1"

    def __init__(self, folder, db, decoder, model, engine, image, **steps) -> None:
        self.folder, self.db, self.model, self.engine, self.image = folder, db, model, engine, image
        self.now = NOW
        self.blobs = MemoryBlobs(folder)
        self.steps = StudySteps(
            db=db,
            blobs=self.blobs,
            engine=engine,
            decoder=decoder,
            now=lambda: self.now,
            issuers=ISSUERS,
            destinations=("pacs",),
            patient_id=lambda key: "p1",
            software_version="0",
            device_serial="CONSILIUM",
            observe=_SilentObserver(),
            **steps,
        )

    def arrives(self, seed, **attributes) -> None:
        ds = self.image(seed, StudyInstanceUID=self.uid, **attributes)
        self.comes(write_dicom(ds, self.folder / f"{seed}.dcm"))

    def comes(self, path, syntax="1.2.840.10008.1.2.1") -> None:
        blob, header = self.blobs.put(path.read_bytes()), read_stored_header(path)
        with self.db.write() as conn:
            record_instance(
                conn,
                ReceivedInstance(
                    sop_instance_uid=header.sop_instance_uid,
                    sop_class_uid=header.sop_class_uid,
                    transfer_syntax_uid=syntax,
                    study_uid=header.study_uid,
                    series_uid=header.series_uid,
                    modality=header.modality,
                    patient=ISSUERS.from_dicom("", header.patient_id),
                    sha256=blob.sha256,
                    size=blob.size,
                    calling_ae="A",
                    called_ae="B",
                ),
                self.now,
            )

    def closes(self) -> str:
        version = self.engine.manifest(self.model).version
        with self.db.write() as conn:
            closed = close_study(conn, self.uid, self.now + timedelta(seconds=1))
            key = job_key_of(self.uid, closed.content_digest, self.model, version)
            row = JobRow(key, self.uid, closed.revision, closed.content_digest, self.model, version, self.now)
            add_job(conn, row)
        return key

    def run(self, key) -> None:
        result = {}
        for _, step in self.steps.in_order():
            result = step(key, result)

    def is_read(self) -> str:
        key = self.closes()
        self.run(key)
        return key

    def counts(self) -> dict[str, int]:
        with self.db.read() as conn:
            counted = {
                table.name: conn.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (reading, result_object, delivery)
            }
            reports = select(func.count()).where(resource.c.type == "DiagnosticReport")
            return counted | {"reports": conn.execute(reports).scalar_one()}

    def resources(self, kind) -> list[dict]:
        with self.db.read() as conn:
            bodies = conn.execute(select(resource.c.body).where(resource.c.type == kind)).scalars()
            return [json.loads(body) for body in bodies]

    def job(self, key):
        with self.db.read() as conn:
            return job(conn, key)


@pytest.fixture
def make_study(tmp_path, decoder):
    """make_study(model, engine, image, **steps) -> a Study over a store of its own."""
    db = database(tmp_path)
    yield lambda model, engine, image, **steps: Study(tmp_path, db, decoder, model, engine, image, **steps)
    db.dispose()


@pytest.fixture
def store(db):
    """An empty, migrated database: each test runs on both kinds."""
    return db
