"""The worker's loops: studies wait for a usable model, one bad object holds nobody back, no loop ever ends."""

import contextlib
import threading
from datetime import UTC, datetime, timedelta

import pytest

from clinical.errors import Busy, Fault
from clinical.identity import PatientKey
from consilium.closing import Closing
from consilium.completing import Completing
from consilium.rules.completion import Waits
from consilium.worker import Loop, image_models
from model_runtime.testing import (
    CannedEngine,
    lesion_document,
    manifest_of,
    risk_document,
    segmentation_document,
)
from record_store.instances import ReceivedInstance, record_instance, study_row
from record_store.readings import queued_jobs
from record_store.testing import database

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
MANIFESTS = {
    "lung-nodule": manifest_of(segmentation_document()),
    "diabetes-risk": manifest_of(risk_document()),
    "breast-lesion": manifest_of(lesion_document()),
}


class EnqueuedJobs:
    """Stands for the JobClient; keys: what was enqueued."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def enqueue(self, job_key: str, payload: dict) -> None:
        self.keys.append(job_key)


@pytest.fixture
def db(tmp_path):
    made = database(tmp_path)
    yield made
    made.dispose()


@pytest.fixture
def closing(db):
    def make(answers, required=()):
        engine = CannedEngine(answers, MANIFESTS)
        return Closing(
            db, EnqueuedJobs(), lambda: image_models(engine, required), Completing(Waits(5.0)), lambda: NOW
        )

    return make


@pytest.fixture(params=["DX"])
def arrived(db, request):
    with db.write() as conn:
        image = ReceivedInstance(
            "1.2.3.1",
            "1.2",
            "1.2.840.10008.1.2.1",
            "1.2.3",
            "1.9",
            request.param,
            PatientKey("urn:h", "1"),
            "0" * 64,
            9,
            "A",
            "B",
        )
        record_instance(conn, image, NOW - timedelta(seconds=6))


def test_a_quiet_study_is_closed_and_its_job_enqueued(db, closing, arrived) -> None:
    loop = closing({"lung-nodule": {}, "diabetes-risk": {}})
    loop.once()
    with db.read() as conn:
        (job,) = queued_jobs(conn)
        assert study_row(conn, "1.2.3").state == "closed"
    assert loop.jobs.keys == [job.job_key]


@pytest.mark.parametrize(
    ("answers", "required", "named"),
    [
        ({"lung-nodule": Fault("its bytes differ")}, (), "lung-nodule"),
        ({"diabetes-risk": {}}, ("lung-nodule",), "model lung-nodule is not in the models folder"),
    ],
)
def test_without_its_model_a_study_stays_open_and_is_read_when_the_model_is_there(
    db, closing, arrived, answers, required, named
) -> None:
    with pytest.raises(Fault, match=named):
        closing(answers, required).once()
    with db.read() as conn:
        assert study_row(conn, "1.2.3").state == "open"
    repaired = closing({"lung-nodule": {}})
    repaired.once()
    assert len(repaired.jobs.keys) == 1


@pytest.mark.parametrize(
    ("arrived", "model"), [("DX", "lung-nodule"), ("US", "breast-lesion")], indirect=["arrived"]
)
def test_a_study_is_read_by_the_models_of_its_modality(db, closing, arrived, model) -> None:
    closing({"lung-nodule": {}, "diabetes-risk": {}, "breast-lesion": {}}).once()
    with db.read() as conn:
        assert [job.model for job in queued_jobs(conn)] == [model]


@pytest.mark.parametrize(("arrived", "closed"), [("DX", 1), ("US", 0)], indirect=["arrived"])
def test_a_broken_model_holds_back_the_studies_of_its_modality_only(db, closing, arrived, closed) -> None:
    loop = closing({"lung-nodule": {}, "breast-lesion": Fault("its bytes differ")})
    with contextlib.nullcontext() if closed else pytest.raises(Fault, match="breast-lesion"):
        loop.once()
    assert len(loop.jobs.keys) == closed
    with db.read() as conn:
        assert study_row(conn, "1.2.3").state == ("closed" if closed else "open")


def test_a_broken_model_that_reads_no_images_holds_no_study_back(closing, arrived) -> None:
    loop = closing({"lung-nodule": {}, "diabetes-risk": Fault("broken")})
    loop.once()
    assert len(loop.jobs.keys) == 1


@pytest.mark.parametrize("error", [Busy("the database is away"), KeyError("Zzcanary"), RuntimeError("Zzcanary")])
def test_a_loop_goes_on_whatever_its_work_raises(error) -> None:
    worked = threading.Event()
    failures = iter([error])

    def work() -> int:
        for failure in failures:
            raise failure
        worked.set()
        return 0

    loop = Loop("test", work, 0.001, after_error_s=0.001)
    loop.start()
    assert worked.wait(30)
    loop.stop(30)


def test_loops_stop_together_and_not_one_after_the_other() -> None:
    begun, asked, ended = threading.Semaphore(0), threading.Event(), []

    def work() -> int:
        begun.release()
        ended.append(asked.wait(30))
        return 0

    loops = [Loop("test", work, 0.001) for _ in range(4)]
    for loop in loops:
        loop.start()
    assert all(begun.acquire(timeout=30) for _ in loops)
    for loop in loops:
        loop.ask_to_stop()
    asked.set()
    for loop in loops:
        loop.stop(30)
    assert ended == [True] * 4, "all were asked before the first had ended, and none began anew"
