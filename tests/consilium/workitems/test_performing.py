"""A step from being scheduled to its end, by DIMSE and by UPS-RS: claimed once, fetched, read, reported, ended."""

from datetime import timedelta

import pytest

from consilium.workitems.outcome import OTHER_PATIENT, STAYED_HELD
from consilium.workitems.performing import HELD_FOR
from dicom_node.query.scu import Retrieved
from record_store import deliveries, readings, workitems
from record_store.audit import digest
from record_store.tables import audit
from tests.consilium.workitems.conftest import IMAGE, STUDY, UID
from tests.dicom_node.ups.peer import Book, code, step

DONE = (readings.DONE, None)


def reason(book):
    (found,) = book.progress().ProcedureStepDiscontinuationReasonCodeSequence
    return found.CodeValue


def test_a_scheduled_step_is_claimed_fetched_read_and_completed_with_its_results(world) -> None:
    world.looks()
    assert world.book.state() == "IN PROGRESS"
    world.looks(2)
    assert world.fetched == [("PACS", STUDY, "move")]
    assert world.book.progress().ProcedureStepProgress == 10
    key = world.closes((readings.QUEUED, None))
    world.looks()
    assert world.book.progress().ProcedureStepProgressDescription == "a model reads it"
    with world.db.write() as conn:
        readings.finish_job(conn, key, readings.DONE, None, world.at)
    world.made(key)
    world.looks(2)
    assert (world.book.state(), world.row().state, world.row().outputs) == ("COMPLETED", workitems.COMPLETED, 1)
    done = world.book.performed()
    (made,) = done.OutputInformationSequence
    assert made.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.500"
    assert made.SeriesInstanceUID == "2.25.400"
    assert made.DICOMRetrievalSequence[0].RetrieveAETitle == "PACS"
    assert made.WADORSRetrievalSequence[0].RetrieveURL.endswith(f"/studies/{STUDY}/series/2.25.400")
    assert done.PerformedWorkitemCodeSequence[0].CodeValue == "110004"
    assert {transaction for *_, transaction in world.book.changes} == {world.row().transaction_uid}


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([], "110522"),
        ([(readings.DONE, "no image was read: it is no chest")], "110522"),
        ([(readings.FAILED, "the model has crashed")], "110501"),
    ],
)
def test_a_step_without_results_is_canceled_with_the_reason_as_a_code(world, ends, expected) -> None:
    world.looks(3)
    world.closes(*ends)
    world.looks(2)
    assert (world.book.state(), reason(world.book)) == ("CANCELED", expected)
    said = world.book.progress().ReasonForCancellation
    assert said == world.row().reason
    assert (ends[0][1] if ends else "no model reads it") in said


def test_a_step_that_another_performer_has_claimed_is_left_to_it(world) -> None:
    world.asking.once()
    world.book.change(UID, "IN PROGRESS", "2.25.999")
    world.looks(3)
    assert (world.row().state, world.book.owners[UID]) == (workitems.LOST, "2.25.999")
    assert world.fetched == []


def test_two_of_our_processes_claim_a_step_once(near) -> None:
    first, second = near.process(), near.process()
    assert [first[0].once(), second[0].once()] == [1, 0]
    for _, performing in (first, second, first, second):
        performing.once()
    assert [state for _, state, _ in near.book.changes] == ["IN PROGRESS"]


@pytest.mark.parametrize("cut", ["claim", "end"])
def test_after_a_lost_answer_or_a_kill_the_step_is_ours_by_its_transaction_uid(near, cut) -> None:
    near.book.cut_after = cut
    near.looks(2)
    near.process()
    near.looks(3)
    near.made(near.closes(DONE))
    near.looks(2)
    near.process()
    near.looks(3)
    assert (near.book.state(), near.row().state) == ("COMPLETED", workitems.COMPLETED)
    assert {transaction for *_, transaction in near.book.changes} == {"2.25.71"}


def test_a_step_that_was_in_hand_at_a_kill_goes_on_as_soon_as_its_worker_is_back(near) -> None:
    near.asking.once()
    workitems.claim(near.db, [workitems.WANTED], near.at, 120, "worker-1")
    _, performing = near.process()
    assert performing.once() == 0
    performing.resume()
    assert performing.once() == 2  # claimed, and looked into
    assert near.book.state() == "IN PROGRESS"


def test_a_kill_while_a_study_comes_costs_seconds_and_not_the_time_that_a_transfer_may_take(near) -> None:
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    near.fetch, comes = killed, near.fetch
    near.process()
    with pytest.raises(Killed):
        near.looks()
    near.fetch = comes
    _, performing = near.process()
    performing.resume()
    assert performing.fetch_once() > 0
    assert near.fetched == [("PACS", STUDY, "move")]


def test_results_of_a_model_that_was_recalled_complete_no_step(near) -> None:
    near.looks(3)
    key = near.closes(DONE)
    near.made(key)
    near.recalls(key)
    near.looks(2)
    assert (near.book.state(), reason(near.book)) == ("CANCELED", "110501")
    assert near.row().reason == "model-0 failed: it was recalled"
    assert not near.book.performed().OutputInformationSequence


def test_a_model_that_is_recalled_while_its_worklist_is_away_completes_no_step_either(near) -> None:
    near.looks(3)
    key = near.closes(DONE)
    near.made(key)
    near.worklist.away = True
    near.looks(2)
    assert near.row().state == workitems.COMPLETING
    near.recalls(key)
    near.worklist.away = False
    near.looks(3)
    assert (near.book.state(), reason(near.book)) == ("CANCELED", "110501")


def test_that_a_worklist_has_more_steps_than_are_looked_at_is_said(near, caplog, monkeypatch) -> None:
    near.asking.once()
    assert "worklist cut" not in caplog.text
    monkeypatch.setattr("consilium.workitems.asking.MOST_STEPS", 1)
    near.asking.once()
    assert "worklist cut" in caplog.text


def test_a_kill_at_any_look_changes_nothing_in_the_end(near) -> None:
    for _ in range(4):
        near.process()
        near.looks()
    near.made(near.closes(DONE))
    for _ in range(4):
        near.process()
        near.looks()
    assert near.states == ["claimed", "completing", "completed"]
    assert near.fetched == [("PACS", STUDY, "move")]


def test_a_worklist_that_is_away_is_waited_for_however_long_that_takes(near) -> None:
    near.looks()
    near.worklist.away = True
    near.looks(3)
    near.made(near.closes(DONE))
    near.looks(20)
    assert (near.row().state, near.row().problem) == (workitems.COMPLETING, "no connection")
    near.worklist.away = False
    near.looks(2)
    assert near.book.state() == "COMPLETED"


def test_a_worklist_that_is_away_is_left_alone_after_three_failures_while_its_steps_go_on(near) -> None:
    near.looks()
    assert near.row().state == workitems.READING
    near.worklist.away, near.worklist.asked = True, 0
    near.looks(3, seconds=2.0)
    near.made(near.closes(DONE))
    near.looks(3, seconds=2.0)
    assert (near.row().state, near.worklist.asked) == (workitems.COMPLETING, 3)
    near.worklist.away = False
    near.looks(2)
    assert near.book.state() == "COMPLETED"


def test_a_worklist_that_refuses_the_results_is_given_up_until_an_operator_says_otherwise(near) -> None:
    near.looks(3)
    near.made(near.closes(DONE))
    near.book.refuses = True
    near.looks(8)
    assert (near.row().state, near.row().stopped_in) == (workitems.DEAD, workitems.COMPLETING)
    assert near.row().why == "the worklist failed (0x0110)"
    near.book.refuses = False
    near.looks(2)
    assert near.book.state() == "IN PROGRESS"
    with near.db.write() as conn:
        workitems.retry_dead(conn, None, near.at)
    near.looks(2)
    assert near.book.state() == "COMPLETED"


def test_a_step_that_was_given_up_while_it_is_canceled_says_afterwards_why_it_was_canceled(near) -> None:
    near.ended = Retrieved(0xA801, "refused: the archive does not know the destination")
    near.looks(2)
    near.book.refuses = True
    near.looks(12)
    assert (near.row().state, near.row().stopped_in) == (workitems.DEAD, workitems.CANCELING)
    assert near.row().why == "the worklist failed (0x0110)"
    near.book.refuses = False
    with near.db.write() as conn:
        workitems.retry_dead(conn, None, near.at)
    near.looks(2)
    assert near.book.state() == "CANCELED"
    assert near.row().why == near.book.progress().ReasonForCancellation
    assert "does not know the destination" in near.row().why


def test_an_archive_that_does_not_send_is_asked_again_and_then_the_step_is_canceled(near) -> None:
    near.ended = Retrieved(0xA801, "refused: the archive does not know the destination")
    near.looks(5)
    assert len(near.fetched) == 2
    assert (near.book.state(), reason(near.book)) == ("CANCELED", "110523")
    assert "does not know the destination" in near.book.progress().ReasonForCancellation


def test_a_study_of_which_something_that_is_named_does_not_come_is_not_called_read(near) -> None:
    near.book.steps[UID] = step(objects=(IMAGE, f"{STUDY}.2"), retrieve_ae="PACS")
    near.looks(5)
    assert len(near.fetched) == 1
    assert (near.book.state(), reason(near.book)) == ("CANCELED", "110523")


def test_a_study_that_is_here_is_not_fetched(near) -> None:
    near.arrives()
    near.looks(3)
    assert (near.fetched, near.row().state) == ([], workitems.READING)


def test_a_study_whose_place_the_step_does_not_name_is_asked_of_the_rule_s_archive(near) -> None:
    near.book.steps[UID] = step(objects=(IMAGE,), retrieve_ae="STRANGER")
    near.looks(2)
    assert near.fetched == [("PACS", STUDY, "move")]


@pytest.mark.parametrize(
    ("issuer", "patient", "ends"), [("", "P2", True), ("OTHER", "P1", True), ("", "P1", False), ("", "", False)]
)
def test_results_of_another_patient_complete_no_step(near, issuer, patient, ends) -> None:
    near.book.steps[UID] = step(objects=(IMAGE,), retrieve_ae="PACS", patient_id=patient, IssuerOfPatientID=issuer)
    near.looks(3)
    near.made(near.closes(DONE))
    near.looks(2)
    assert near.book.state() == ("CANCELED" if ends else "COMPLETED")
    if ends:
        assert near.book.progress().ReasonForCancellation == OTHER_PATIENT
        assert reason(near.book) == "110514"
        assert not near.book.performed().OutputInformationSequence


def test_a_held_study_keeps_its_step_open_for_a_day(near) -> None:
    near.looks(3)
    near.holds("its images name different patients")
    near.looks(2)
    assert near.book.state() == "IN PROGRESS"
    assert near.row().problem.startswith(STAYED_HELD)
    near.at += HELD_FOR
    near.looks(2)
    assert (near.book.state(), reason(near.book)) == ("CANCELED", "110513")


def test_a_step_is_completed_when_its_results_have_arrived_or_have_been_long_under_way(near) -> None:
    near.looks(3)
    near.made(near.closes(DONE), state=deliveries.PENDING)
    near.looks(2)
    assert (near.book.state(), near.row().problem) == ("IN PROGRESS", "its results are being sent")
    near.at += timedelta(minutes=10)
    near.looks(2)
    assert near.book.state() == "COMPLETED"
    (made,) = near.book.performed().OutputInformationSequence
    assert "DICOMRetrievalSequence" not in made
    assert made.WADORSRetrievalSequence


def test_what_a_newer_result_replaces_is_no_output(near) -> None:
    near.looks(3)
    key = near.closes(DONE)
    near.made(key)
    near.made(key, "2.25.501", deliveries.SUPERSEDED)
    near.looks(2)
    (made,) = near.book.performed().OutputInformationSequence
    assert [one.ReferencedSOPInstanceUID for one in made.ReferencedSOPSequence] == ["2.25.500"]


def test_a_step_that_is_canceled_over_there_is_no_longer_ours(near) -> None:
    near.looks(3)
    near.book.steps[UID].ProcedureStepState = "CANCELED"
    near.closes((readings.QUEUED, None))
    near.looks(2)
    assert near.row().state == workitems.LOST


@pytest.mark.parametrize(
    "other",
    [
        step(InputReadinessState="INCOMPLETE"),
        step(ScheduledWorkitemCodeSequence=[code("110005", "DCM", "Interpretation")]),
        step(uid="../1"),
    ],
)
def test_steps_that_are_not_ready_not_ours_or_not_readable_are_left_alone(near, other) -> None:
    near.book.steps = Book(other, step("2.25.101")).steps
    assert near.asking.once() == 1
    assert near.row().workitem_uid == "2.25.101"


def test_what_was_done_stands_in_the_audit_without_names(near) -> None:
    near.looks(3)
    near.made(near.closes(DONE))
    near.looks(2)
    with near.db.read() as conn:
        rows = conn.execute(audit.select().where(audit.c.subject == digest(UID)).order_by(audit.c.row)).all()
    actions = ["workitem-wanted", "workitem-claimed", "workitem-completing", "workitem-completed"]
    assert [row.action for row in rows] == actions
    assert not any("Quillon" in row.detail or "P1" in row.detail for row in rows)
