"""UPS Pull as SCU, against a worklist that is not ours."""

import socket

import pytest

from dicom_node.destinations import Destination
from dicom_node.query.scu import Unanswered
from dicom_node.ups import reports
from dicom_node.ups.scu import UpsPull
from dicom_node.ups.states import Answer, StepState
from dicom_node.ups.workitem import read_workitem
from tests.dicom_node.ups.peer import Book, dimse, step

UID, OURS, OTHERS = "2.25.100", "2.25.1", "2.25.2"


@pytest.fixture
def book():
    return Book(step(objects=("1.9",), retrieve_ae="PACS", patient_id="P1"))


@pytest.fixture
def worklist(book):
    with dimse(book) as port:
        yield UpsPull(Destination("ai", "127.0.0.1", port, "WORKLIST"), "CONSILIUM")


def test_scheduled_steps_are_found_and_read(worklist, book) -> None:
    (found,) = map(read_workitem, worklist.scheduled())
    assert (found.uid, found.state, found.labels) == (UID, StepState.SCHEDULED, ("Chest nodules",))
    assert book.searches[0].ProcedureStepState == "SCHEDULED"
    _, ds = worklist.read(UID)
    whole = read_workitem(ds)
    (given,) = whole.inputs
    assert (given.study_uid, given.objects, given.retrieve_ae) == ("1.2.826.0.1.1", ("1.9",), "PACS")
    assert whole.patient_id == "P1"


def test_a_step_is_claimed_by_one_performer_and_moved_by_nobody_else(worklist, book) -> None:
    assert worklist.change(UID, StepState.IN_PROGRESS, OURS).answer is Answer.DONE
    assert worklist.change(UID, StepState.IN_PROGRESS, OTHERS).answer is Answer.CONFLICT
    assert worklist.change(UID, StepState.CANCELED, OTHERS).answer is Answer.CONFLICT
    assert worklist.update(UID, OTHERS, reports.progress(5, "mine")).answer is Answer.CONFLICT
    assert worklist.update(UID, OURS, reports.progress(40, "a model reads it")).answer is Answer.DONE
    assert book.owners[UID] == OURS
    assert (book.progress().ProcedureStepProgress, book.state()) == (40, "IN PROGRESS")


def test_a_step_that_is_not_there_is_gone_and_one_without_results_cannot_be_completed(worklist) -> None:
    assert worklist.change("2.25.404", StepState.IN_PROGRESS, OURS).answer is Answer.GONE
    assert worklist.read("2.25.404")[0].answer is Answer.GONE
    worklist.change(UID, StepState.IN_PROGRESS, OURS)
    said = worklist.change(UID, StepState.COMPLETED, OURS)
    assert (said.answer, said.words) == (Answer.REFUSED, "what a finished step has to say is not there (0xC304)")


@pytest.mark.parametrize(("cut", "ask"), [("claim", "change"), ("report", "update")])
def test_an_answer_that_does_not_come_is_no_answer(worklist, book, cut, ask) -> None:
    if ask == "update":
        worklist.change(UID, StepState.IN_PROGRESS, OURS)
    book.cut_after = cut
    requests = {
        "change": lambda: worklist.change(UID, StepState.IN_PROGRESS, OURS),
        "update": lambda: worklist.update(UID, OURS, reports.progress(1, "begun")),
    }
    with pytest.raises(Unanswered):
        requests[ask]()


def test_a_worklist_that_is_away_is_said_to_be() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        away = Destination("ai", "127.0.0.1", one.getsockname()[1], "WORKLIST")
        with pytest.raises(Unanswered, match="no connection"):
            UpsPull(away, "CONSILIUM").read(UID)
