"""A request to cancel a step in progress: it ends as canceled before results go anywhere, or it was too late."""

import threading

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import select

from clinical.identity import IssuerTable
from consilium.workitems.canceling import ASKED, OVER_THERE, TOO_LATE, WITHDRAWN
from consilium.workitems.heeding import Heeding
from dicom_node.destinations import Destination
from dicom_node.scp import ScpSettings, StorageScp
from dicom_node.ups.event_scu import event_service
from dicom_node.ups.events import CANCEL_REQUESTED, PROGRESS_REPORT, STATE_REPORT
from dicom_node.ups.scu import UpsPull
from record_store import deliveries, readings, workitems
from record_store.instances import CLOSED, HELD, reopen_study, study_row
from record_store.study_history import history_of
from record_store.tables import audit
from record_store.testing import MemoryBlobs
from tests.consilium.workitems.conftest import IMAGE, PATIENT, STUDY, UID, InHand, World
from tests.consilium.workitems.test_fetching import fetching_slowly
from tests.dicom_node.ups.peer import dimse, reports, step

DONE, QUEUED = (readings.DONE, None), (readings.QUEUED, None)
OTHER = "2.25.101"


def asks(near):
    """Somebody asks for the cancellation of the step."""
    with near.db.write() as conn:
        return workitems.ask_to_cancel(conn, near.worklist.name, UID, near.at)


def study(near):
    with near.db.read() as conn:
        return study_row(conn, STUDY)


def reason(book):
    return book.progress().ReasonForCancellation


def test_a_step_that_a_model_reads_is_canceled_and_what_was_fetched_for_it_is_held(near) -> None:
    near.looks(3)
    near.closes(QUEUED)
    near.looks()
    assert asks(near)
    near.looks(2, seconds=1.0)
    assert (near.book.state(), reason(near.book)) == ("CANCELED", ASKED)
    assert not near.book.performed().OutputInformationSequence
    assert (study(near).state, study(near).hold_reason) == (HELD, WITHDRAWN)


def test_a_step_whose_images_still_come_is_canceled_when_they_have_come(near) -> None:
    with fetching_slowly(near):
        assert asks(near)
    near.looks(2, seconds=1.0)
    assert (near.book.state(), study(near).state) == ("CANCELED", HELD)


@pytest.mark.parametrize("sent", [deliveries.SENT, deliveries.PENDING])
def test_when_results_are_there_it_is_too_late_which_is_said_and_the_step_is_completed(near, sent) -> None:
    near.looks(3)
    near.made(near.closes(DONE), state=sent)
    assert asks(near)
    near.looks(1, seconds=1.0)
    assert TOO_LATE in {
        one.ProcedureStepProgressInformationSequence[0].get("ProcedureStepProgressDescription")
        for _, one, _ in near.book.updates
    }
    near.delivered()
    near.looks(2)
    assert (near.book.state(), study(near).state) == ("COMPLETED", CLOSED)
    with near.db.read() as conn:
        actions = set(conn.execute(select(audit.c.action)).scalars())
    assert "workitem-not-canceled" in actions


@pytest.mark.postgres
def test_while_a_job_publishes_nobody_holds_its_study_and_then_it_is_too_late(postgres_db, book, tmp_path) -> None:
    near = World(postgres_db, MemoryBlobs(tmp_path), InHand(book), book)  # SQLite has one writer at a time
    near.looks(3)
    job = near.closes(QUEUED)
    near.looks()
    assert asks(near)
    looking = threading.Thread(target=near.looks, args=(1,), kwargs={"seconds": 1.0})
    with near.db.write() as conn:  # as `Publishing` does
        assert study_row(conn, STUDY, to_change=True).state == CLOSED
        looking.start()
        looking.join(0.5)
        assert looking.is_alive()  # it waits
        readings.finish_job(conn, job, readings.DONE, None, near.at)
    looking.join(30)
    assert study(near).state == CLOSED
    assert near.book.state() != "CANCELED"


def test_what_others_have_sent_or_ask_for_is_read_as_it_would_be_anyway(near) -> None:
    near.arrives()
    near.looks(3)
    near.closes(QUEUED)
    asks(near)
    near.looks(2, seconds=1.0)
    assert (near.book.state(), study(near).state) == ("CANCELED", CLOSED)


def test_a_worker_forgets_a_step_that_another_one_has_ended(near) -> None:
    near.looks(4)
    first, near.worker = near.performing, "worker-2"
    near.process()
    near.made(near.closes(DONE))
    near.looks(2)
    assert near.book.state() == "COMPLETED"
    near.book.steps[OTHER] = step(OTHER, objects=(IMAGE,))
    with near.db.write() as conn:
        reopen_study(conn, STUDY)
    near.performing = first
    near.looks(12)
    assert {key.split()[1] for key in first._asked} == {OTHER}


def test_a_study_that_another_step_asks_for_is_not_held(near) -> None:
    near.looks(3)
    near.book.steps[OTHER] = step(OTHER, objects=(IMAGE,), retrieve_ae="PACS")
    near.looks(3)
    near.closes(QUEUED)
    asks(near)
    near.looks(2, seconds=1.0)
    assert (near.book.state(), near.book.state(OTHER), study(near).state) == ("CANCELED", "IN PROGRESS", CLOSED)


def test_a_study_that_is_held_already_stays_so_for_its_own_reason(near) -> None:
    near.looks(3)
    near.closes(QUEUED)
    near.holds("its images name different patients")
    asks(near)
    near.looks(2, seconds=1.0)
    assert near.book.state() == "CANCELED"
    assert study(near).hold_reason == "its images name different patients"


def test_that_a_study_is_held_is_among_what_happened_to_it(near) -> None:
    near.looks(3)
    near.closes(QUEUED)
    asks(near)
    near.looks(2, seconds=1.0)
    with near.db.read() as conn:
        assert [one.detail["why"] for one in history_of(conn, STUDY).acts] == [WITHDRAWN]


def test_a_step_that_its_worklist_canceled_without_a_word_is_noticed_within_a_minute(near) -> None:
    near.looks(3)
    near.closes(QUEUED)
    near.looks(1, seconds=1.0)
    near.book.steps[UID].ProcedureStepState = "CANCELED"
    near.looks(50, seconds=1.0)
    asked = near.worklist.asked
    near.looks(12, seconds=1.0)
    assert (near.row().state, near.row().reason) == (workitems.LOST, OVER_THERE)
    assert study(near).state == HELD
    assert near.worklist.asked - asked < 20  # a look a second, and a question a minute


def test_a_request_that_comes_when_the_step_has_ended_is_refused(near) -> None:
    near.looks(3)
    near.made(near.closes(DONE))
    near.looks(2)
    assert near.book.state() == "COMPLETED"
    assert not asks(near)


@pytest.fixture
def called(db, book, tmp_path):
    """A worklist by DIMSE with UPS Watch, and our node that it calls: yields (world, our port)."""
    with dimse(book) as port:
        worklist = UpsPull(Destination("ai", "127.0.0.1", port, "WORKLIST"), "CONSILIUM", PATIENT)
        world = World(db, MemoryBlobs(tmp_path), worklist, book)
        scp = StorageScp(
            ScpSettings(ae_title="CONSILIUM", port=0, low_water_bytes=0),
            db=db,
            blobs=world.blobs,
            issuers=IssuerTable({}),
            now=world.clock,
            services=[event_service(Heeding(db, {"WORKLIST": "ai"}, world.clock))],
        )
        try:
            yield world, scp.start()
        finally:
            scp.stop()


def test_a_worklist_at_which_we_are_subscribed_tells_us_of_a_request_and_the_step_is_canceled(called) -> None:
    world, port = called
    world.looks(3)
    world.closes(QUEUED)
    assert world.book.watchers == {UID: ["CONSILIUM"]}
    assert reports(port, PROGRESS_REPORT, ProcedureStepProgressInformationSequence=[Dataset()]) == 0x0000
    world.looks()
    assert world.book.state() == "IN PROGRESS"
    assert reports(port, CANCEL_REQUESTED, RequestingAE="RIS") == 0x0000
    world.looks(2, seconds=1.0)
    assert (world.book.state(), reason(world.book)) == ("CANCELED", ASKED)


def test_another_ae_than_its_worklist_cancels_no_step(called) -> None:
    world, port = called
    world.looks(3)
    world.closes(QUEUED)
    assert reports(port, CANCEL_REQUESTED, title="STRANGER", RequestingAE="RIS") == 0x0000
    assert reports(port, CANCEL_REQUESTED, uid="2.25.404", RequestingAE="RIS") == 0x0000
    assert reports(port, STATE_REPORT, ProcedureStepState="IN PROGRESS", InputReadinessState="READY") == 0x0000
    world.looks(2, seconds=1.0)
    assert world.book.state() == "IN PROGRESS"


def test_a_worklist_without_watch_is_performed_for_all_the_same(db, book, tmp_path) -> None:
    with dimse(book, watched=False) as port:
        worklist = UpsPull(Destination("ai", "127.0.0.1", port, "WORKLIST"), "CONSILIUM", PATIENT)
        world = World(db, MemoryBlobs(tmp_path), worklist, book)
        world.looks(3)
        assert (world.row().state, book.watchers) == (workitems.READING, {})
