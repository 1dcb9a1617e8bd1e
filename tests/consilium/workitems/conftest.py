"""A performer over a store of its own, archives that answer as they are told, and a clock."""

import hashlib
import io
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import update

from clinical.identity import IssuerTable, PatientKey
from consilium.circuit import ArchiveCircuits
from consilium.rules.workitems import WorkitemRule
from consilium.workitems.asking import Asking
from consilium.workitems.canceling import Canceling
from consilium.workitems.ending import Ending
from consilium.workitems.fetching import Fetching
from consilium.workitems.http import Http
from consilium.workitems.inputs import Inputs
from consilium.workitems.lanes import Lanes, Lease
from consilium.workitems.outputs import Places
from consilium.workitems.performing import Performing
from consilium.workitems.rs import UpsRs
from consilium.workitems.standing import Standing
from consilium.workitems.wado import WebFetch
from dicom_node.destinations import Destination, SendTimeouts
from dicom_node.file_intake import FileIntake
from dicom_node.intake import Intake
from dicom_node.query.scu import Retrieved, Unanswered
from dicom_node.sop_classes import IMAGE_CLASSES
from dicom_node.testing import dx_dataset
from dicom_node.ups.scu import UpsPull
from dicom_node.ups.states import said_by
from record_store import deliveries, readings, workitems
from record_store.deliveries import RetryPolicy
from record_store.instances import ReceivedInstance, close_study, hold_study, record_instance
from record_store.tables import delivery, reading
from record_store.testing import MemoryBlobs
from record_store.times import to_text
from tests.consilium.workitems.peer_rs import rs
from tests.dicom_node.ups.peer import Book, dimse, step

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
STUDY, UID = "1.2.826.0.1.1", "2.25.100"
IMAGE = f"{STUDY}.1"
RULE = WorkitemRule("chest", code=("110004^DCM",), archive="main")
# The worklist is a thread of this process and always answers: how soon is the machine's.
PATIENT = SendTimeouts(connect_s=30.0, acse_s=30.0, dimse_s=60.0, network_s=60.0)


class World:
    """One worklist with one step, one archive, one store. process(): another of our processes."""

    def __init__(self, db, blobs, worklist, book) -> None:
        self.db, self.blobs, self.worklist, self.book = db, blobs, worklist, book
        self.at, self.number = NOW, 0
        self.patient = "P1"
        self.objects = (IMAGE,)
        self.fetched: list[tuple[str, str, str]] = []
        self.ended: Retrieved | None = None  # how the archive's answer ends, when it does not send the study
        self.states: list[str] = []
        self.web_archives = []
        self.worker, self.renewed_s = "worker-1", 60.0
        self.process()

    def process(self):
        """Begin anew with nothing but the store, as after a kill."""
        circuits = ArchiveCircuits(self.seconds)
        self.asking = Asking(self.db, self.worklist, (RULE,), self.clock, self.new_uid, circuits)
        archives = {"main": Destination("main", "127.0.0.1", 104, "PACS")}
        places = Places({"main": "PACS"}, "", "https://ai/dicom-web/studies/{}/series/{}".format)
        inputs = Inputs(archives, self.fetch, self.web(), IssuerTable({"": "urn:h", "OTHER": "urn:o"}), circuits)
        standing = Standing(
            self.db, self.clock, RetryPolicy(4, 1, jitter=lambda: 1.0), lambda *of: self.states.append(of[1])
        )
        self.performing = Performing(
            self.db,
            {self.worklist.name: self.worklist},
            (RULE,),
            inputs,
            Ending(self.db, self.blobs, places, "CONSILIUM", self.clock),
            standing,
            Fetching(self.db, inputs, standing, RetryPolicy(2, 1, jitter=lambda: 1.0), self.lease),
            Canceling(self.db, standing, lambda conn, one: inputs.found(conn, one, RULE, self.at)),
            Lanes(self.db, self.clock, self.worker),
            circuits,
            self.worker,
        )
        return self.asking, self.performing

    def lease(self, one):
        return Lease(self.db, one, self.worker, self.clock, self.renewed_s)

    def web(self):
        """What fetches by WADO-RS: from no archive but those of web_archives."""
        intake = Intake(self.db, self.blobs, IssuerTable({"": "urn:h"}), self.clock)
        files = FileIntake(intake, self.blobs.staging)
        return WebFetch(self.web_archives, files, IMAGE_CLASSES, "CONSILIUM")

    def clock(self):
        return self.at

    def seconds(self):
        return self.at.timestamp()

    def new_uid(self):
        self.number += 1
        return f"2.25.7{self.number}"

    def looks(self, times=1, seconds=100.0):
        """Let the loops run so many times, each after a pause."""
        for _ in range(times):
            self.asking.once()
            self.performing.once()
            self.performing.fetch_once()
            self.at += timedelta(seconds=seconds)

    def fetch(self, archive, study_uid, by):
        self.fetched.append((archive.ae_title, study_uid, by))
        if self.ended is not None:
            return self.ended
        if archive.host == "away":
            raise Unanswered("no connection")
        for uid in self.objects:
            self.arrives(uid)
        return Retrieved(0, "done", len(self.objects))

    def arrives(self, uid=IMAGE, study=STUDY):
        patient = PatientKey("urn:h", self.patient)
        row = ReceivedInstance(uid, "1.2", "1.2", study, f"{study}.8", "DX", patient, uid[-1] * 64, 1, "PACS", "C")
        with self.db.write() as conn:
            record_instance(conn, row, self.at)

    def closes(self, *jobs, study=STUDY):
        """Close the study with these jobs: (state, reason)."""
        with self.db.write() as conn:
            closed = close_study(conn, study, self.at + timedelta(seconds=1))
            for number, (state, reason) in enumerate(jobs):
                key = hashlib.sha256(f"{study}{closed.revision}{number}".encode()).hexdigest()
                row = readings.JobRow(key, study, closed.revision, "d", f"model-{number}", "1", self.at)
                readings.add_job(conn, row)
                if state != readings.QUEUED:
                    readings.finish_job(conn, key, state, reason, self.at)
        return key if jobs else None

    def holds(self, why):
        with self.db.write() as conn:
            hold_study(conn, STUDY, why)

    def made(self, job_key, uid="2.25.500", state=deliveries.SENT):
        """Store a result of a job, and where it stands with the archive."""
        ds = dx_dataset(
            np.zeros((8, 8), np.uint16),
            seed=uid[-3:],
            StudyInstanceUID=STUDY,
            SeriesInstanceUID="2.25.400",
            SOPInstanceUID=uid,
        )
        file = io.BytesIO()
        ds.save_as(file, enforce_file_format=True)
        sha256 = self.blobs.put(file.getvalue()).sha256
        result = readings.ResultObject(uid, job_key, "SEG", "1.2.840.10008.5.1.4.1.1.66.4", STUDY, sha256, self.at)
        with self.db.write() as conn:
            readings.add_result_object(conn, result)
            deliveries.enqueue(conn, uid, "main", self.at)
        self.delivered(uid, state)

    def recalls(self, job_key):
        """Recall what this job's model said of the image."""
        with self.db.write() as conn:
            job = readings.job(conn, job_key)
            row = {"reading_id": job_key, "job_key": job_key, "study_uid": STUDY, "sop_instance_uid": IMAGE}
            row |= {"model": job.model, "model_version": job.model_version, "findings": 0, "body": b"{}"}
            conn.execute(reading.insert(), row | {"mask_sha256": "", "created_at": to_text(self.at)})
            readings.recall(conn, [job_key], self.at)

    def delivered(self, uid="2.25.500", state=deliveries.SENT):
        with self.db.write() as conn:
            conn.execute(update(delivery).where(delivery.c.sop_instance_uid == uid).values(state=state))

    def row(self):
        with self.db.read() as conn:
            return workitems.every(conn)[0]


@pytest.fixture
def db(sqlite_db):
    return sqlite_db


@pytest.fixture
def book():
    return Book(step(objects=(IMAGE,), retrieve_ae="PACS", patient_id="P1"))


@pytest.fixture(params=["dimse", "ups-rs"])
def world(request, db, book, tmp_path):
    """The same with a worklist by DIMSE and by UPS-RS."""
    if request.param == "dimse":
        with dimse(book) as port:
            worklist = UpsPull(Destination("ai", "127.0.0.1", port, "WORKLIST"), "CONSILIUM", PATIENT)
            yield World(db, MemoryBlobs(tmp_path), worklist, book)
        return
    with rs(book) as url:
        yield World(db, MemoryBlobs(tmp_path), UpsRs("ai", url, Http("worklist")), book)


class InHand:
    """A worklist without a network: the book itself."""

    name = "ai"

    def __init__(self, book):
        self.book, self.away, self.asked = book, False, 0

    def _answers(self):
        self.asked += 1
        if self.away:
            raise Unanswered("no connection")

    def scheduled(self):
        self._answers()
        return self.book.scheduled()

    def read(self, uid):
        self._answers()
        return said_by(0 if uid in self.book.steps else 0xC307), self.book.steps.get(uid)

    def watch(self, uid):
        self._answers()
        return self.book.watch(uid, "CONSILIUM") == 0

    def change(self, uid, state, transaction_uid):
        self._answers()
        status = self.book.change(uid, state.value, transaction_uid)
        if self.book.is_cut("claim" if state.value == "IN PROGRESS" else "end"):
            raise Unanswered("the association ended before the request was answered")
        return said_by(status)

    def update(self, uid, transaction_uid, changes):
        self._answers()
        return said_by(self.book.update(uid, transaction_uid, changes))


@pytest.fixture
def near(db, book, tmp_path):
    """A world whose worklist is in hand, for what does not depend on the way there."""
    return World(db, MemoryBlobs(tmp_path), InHand(book), book)
