"""Steps that are pushed to us: created, asked about, performed as any other, canceled before they are begun."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import UnifiedProcedureStepPull, UnifiedProcedureStepPush, UnifiedProcedureStepQuery
from sqlalchemy import select

from clinical.identity import IssuerTable
from consilium.workitems.own import MOST_WAITING, NAME, NO_RULE, UNTAKEN_FOR, OwnSteps
from dicom_node.scp import ScpSettings, StorageScp
from dicom_node.ups.reports import progress
from dicom_node.ups.scp import step_services
from dicom_node.ups.states import Answer, StepState, after_cancel_request, after_change
from record_store import readings, workitems
from record_store.audit import digest
from record_store.tables import audit, own_step
from record_store.testing import MemoryBlobs
from record_store.times import to_text
from tests.consilium.workitems.conftest import IMAGE, NOW, RULE, STUDY, UID, World
from tests.dicom_node.ups.peer import code, step

PUSH, QUERY = UnifiedProcedureStepPush, UnifiedProcedureStepQuery


def new(uid=UID, **more):
    """A step as its creator sends it: with all that PS3.4 CC.2.5 asks for."""
    given = {"ScheduledProcedureStepPriority": "MEDIUM", "ScheduledProcedureStepStartDateTime": "20260102120000"}
    return step(uid, objects=(IMAGE,), retrieve_ae="PACS", patient_id="P1", **given | more)


@pytest.fixture
def own(db):
    return OwnSteps(db, {"ORCHESTRATOR"}, (RULE,), lambda: NOW)


@pytest.fixture
def port(db, own, tmp_path):
    scp = StorageScp(
        ScpSettings(ae_title="CONSILIUM", port=0, low_water_bytes=0),
        db=db,
        blobs=MemoryBlobs(tmp_path),
        issuers=IssuerTable({}),
        now=lambda: NOW,
        services=step_services(own, lambda: "2.25.777"),
    )
    yield scp.start()
    scp.stop()


@contextmanager
def orchestrator(port, title="ORCHESTRATOR"):
    ae = AE(ae_title=title)
    for one in (PUSH, QUERY, UnifiedProcedureStepPull):
        ae.add_requested_context(one)
    association = ae.associate("127.0.0.1", port, ae_title="CONSILIUM")
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def create(association, ds, uid=UID):
    status, answer = association.send_n_create(ds, PUSH, uid)
    return status.Status, answer


def states(association, **keys):
    asked = Dataset()
    asked.SOPInstanceUID, asked.ProcedureStepState = "", ""
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    found = association.send_c_find(asked, QUERY)
    return {str(ds.SOPInstanceUID): ds.ProcedureStepState for status, ds in found if status.Status == 0xFF00}


def test_a_pushed_step_is_performed_and_its_creator_sees_the_results(db, own, port, tmp_path) -> None:
    with orchestrator(port) as association:
        assert create(association, new())[0] == 0x0000
        assert states(association) == {UID: "SCHEDULED"}
        world = World(db, MemoryBlobs(tmp_path), own, None)
        world.looks(3)
        assert states(association, ProcedureStepState="IN PROGRESS") == {UID: "IN PROGRESS"}
        world.made(world.closes((readings.DONE, None)))
        world.looks(2)
        status, ds = association.send_n_get([], PUSH, UID)
    assert (status.Status, ds.ProcedureStepState) == (0x0000, "COMPLETED")
    (done,) = ds.UnifiedProcedureStepPerformedProcedureSequence
    assert done.OutputInformationSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.500"
    assert ds.PatientName == "Zzcanary^Quillon"
    assert "TransactionUID" not in ds
    assert world.row().worklist == NAME
    assert world.row().state == workitems.COMPLETED


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"ProcedureStepState": "IN PROGRESS"}, 0xC309),
        ({"ProcedureStepLabel": ""}, 0x0120),
        ({"ScheduledProcedureStepPriority": ""}, 0x0120),
        ({"InputReadinessState": "INCOMPLETE"}, 0x0106),
        ({"TransactionUID": "2.25.9"}, 0x0106),
        ({"ScheduledWorkitemCodeSequence": [code("110005", "DCM", "Interpretation")]}, 0x0110),
    ],
)
def test_a_step_that_is_not_whole_or_that_nobody_here_would_perform_is_refused(port, wrong, status) -> None:
    with orchestrator(port) as association:
        assert create(association, new(**wrong))[0] == status
        assert states(association) == {}


def test_a_step_is_created_once_and_one_without_a_uid_gets_one(port) -> None:
    with orchestrator(port) as association:
        assert create(association, new())[0] == 0x0000
        assert create(association, new())[0] == 0x0111
        status, _ = association.send_n_create(new(), PUSH, None)
        assert status.Status == 0x0000
        assert set(states(association)) == {UID, "2.25.777"}


def test_who_may_not_create_steps_sees_none_either(port) -> None:
    with orchestrator(port) as association:
        create(association, new())
    with orchestrator(port, "STRANGER") as association:
        assert create(association, new("2.25.101"), "2.25.101")[0] == 0x0124
        assert association.send_n_get([], PUSH, UID)[0].Status == 0x0124
        assert states(association) == {}


def test_a_step_is_found_by_what_it_says(port) -> None:
    with orchestrator(port) as association:
        create(association, new())
        assert states(association, ProcedureStepLabel="chest*") == {}
        assert states(association, ProcedureStepLabel="Chest*") == {UID: "SCHEDULED"}
        assert states(association, PatientID="P1") == {UID: "SCHEDULED"}
        assert states(association, PatientID="P2") == {}
        for value, found in (("110004", {UID: "SCHEDULED"}), ("110005", {})):
            assert states(association, ScheduledWorkitemCodeSequence=[code(value, "", "")]) == found


def test_a_step_is_read_by_its_attributes_and_one_that_is_not_there_is_said_to_be_not(port) -> None:
    with orchestrator(port) as association:
        create(association, new())
        _, ds = association.send_n_get([0x00741000], PUSH, UID)
        assert ds.dir() == ["ProcedureStepState"]
        assert association.send_n_get([], PUSH, "2.25.404")[0].Status == 0xC307


def test_names_in_other_characters_are_told_as_they_were_said(port) -> None:
    name = "Łękołodzki^Żaneta"
    with orchestrator(port) as association:
        create(association, new(SpecificCharacterSet="ISO_IR 192", PatientName=name))
        for tags in ([0x00100010], [0x00100010, 0x00741000], []):
            status, ds = association.send_n_get(tags, PUSH, UID)
            assert (status.Status, str(ds.PatientName)) == (0x0000, name)


def test_however_many_steps_there_were_the_newest_are_found_too(own) -> None:
    for number in range(5):
        own.create(f"2.25.{number}", new(f"2.25.{number}"), "ORCHESTRATOR")
    several = replace(own, at_once=2)
    assert [str(one.SOPInstanceUID) for one in several.every()] == [f"2.25.{number}" for number in range(5)]
    rest = several.every()
    next(rest)
    own.create("2.25.5", new("2.25.5"), "ORCHESTRATOR")  # an answer that has begun keeps nobody from writing
    assert len(list(rest)) == 5


def cancel(association, uid=UID, action=2, terms=None):
    return association.send_n_action(terms, action, PUSH, uid)[0].Status


def test_a_step_that_is_canceled_before_it_is_begun_says_why_and_whom_to_ask(port) -> None:
    terms = Dataset()
    terms.ReasonForCancellation, terms.ContactDisplayName = "ordered twice", "Radiology desk"
    terms.ProcedureStepDiscontinuationReasonCodeSequence = [code("110514", "DCM", "Incorrect worklist entry")]
    with orchestrator(port) as association:
        create(association, new())
        create(association, new("2.25.101"), "2.25.101")
        assert (cancel(association, terms=terms), cancel(association, "2.25.101")) == (0x0000, 0x0000)
        said, unsaid = (
            association.send_n_get([], PUSH, uid)[1].ProcedureStepProgressInformationSequence[0]
            for uid in (UID, "2.25.101")
        )
    assert said.ReasonForCancellation == "ordered twice"
    assert said.ProcedureStepCommunicationsURISequence[0].ContactDisplayName == "Radiology desk"
    codes = [one.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue for one in (said, unsaid)]
    assert codes == ["110514", "110513"]
    assert said.ProcedureStepCancellationDateTime == unsaid.ProcedureStepCancellationDateTime


def test_a_step_is_canceled_by_the_ae_that_created_it_and_by_no_other(db, tmp_path) -> None:
    own = OwnSteps(db, {"ORCHESTRATOR", "OTHER"}, (RULE,), lambda: NOW)
    own.create(UID, new(), "ORCHESTRATOR")
    assert own.request_cancel(UID, "OTHER", Dataset()) == 0x0124
    assert own.step(UID).ProcedureStepState == "SCHEDULED"
    assert own.request_cancel(UID, "ORCHESTRATOR", Dataset()) == 0x0000


def test_the_newest_step_is_seen_however_many_wait_before_it_that_nobody_takes(db, own) -> None:
    for number in range(5):
        own.create(f"2.25.{number}", new(f"2.25.{number}"), "ORCHESTRATOR")
    own.create(UID, new(ScheduledStationNameCodeSequence=[code("NEW", "99H", "new")]), "ORCHESTRATOR")
    ruled = replace(own, rules=(replace(RULE, station=("NEW",)),), at_once=2)
    assert [str(one.SOPInstanceUID) for one in ruled.scheduled()] == [UID]


def test_a_step_that_no_rule_takes_any_more_is_canceled_after_an_hour_and_not_scheduled_for_ever(own) -> None:
    own.create(UID, new(), "ORCHESTRATOR")
    without = replace(own, rules=())
    assert (without.scheduled(), own.step(UID).ProcedureStepState) == ([], "SCHEDULED")
    later = replace(without, now=lambda: NOW + UNTAKEN_FOR + timedelta(seconds=1))
    assert (later.scheduled(), own.step(UID).ProcedureStepState) == ([], "CANCELED")
    assert own.step(UID).ProcedureStepProgressInformationSequence[0].ReasonForCancellation == NO_RULE


def test_a_request_that_comes_while_the_results_are_told_is_refused(db, own, tmp_path) -> None:
    world = World(db, MemoryBlobs(tmp_path), own, None)
    own.create(UID, new(), "ORCHESTRATOR")
    world.looks(3)
    with db.write() as conn:
        workitems.go_on(conn, world.row(), workitems.COMPLETING, NOW)
    assert own.request_cancel(UID, "ORCHESTRATOR", Dataset()) == 0xC313
    assert own.step(UID).ProcedureStepState == "IN PROGRESS"


def test_what_is_taken_up_is_not_read_again_at_each_look(db, own, tmp_path) -> None:
    world = World(db, MemoryBlobs(tmp_path), own, None)
    own.create(UID, new(), "ORCHESTRATOR")
    assert world.asking.once() == 1
    assert own.scheduled() == []


def test_a_step_is_canceled_before_it_is_begun_and_its_performer_is_asked_to_afterwards(
    db, own, port, tmp_path
) -> None:
    world = World(db, MemoryBlobs(tmp_path), own, None)
    with orchestrator(port) as association:
        create(association, new())
        world.asking.once()
        assert cancel(association) == 0x0000
        world.looks(2)
        assert world.row().state == workitems.LOST
        assert (states(association)[UID], cancel(association)) == ("CANCELED", 0xB304)
        create(association, new("2.25.101"), "2.25.101")
        world.looks(2)
        assert cancel(association, "2.25.101") == 0x0000
        world.looks(2)
        assert (states(association)["2.25.101"], cancel(association, "2.25.101")) == ("CANCELED", 0xB304)
        assert cancel(association, "2.25.404") == 0xC307
        assert cancel(association, action=1) == 0x0123
    assert world.fetched == [("PACS", STUDY, "move")]


def test_a_request_to_cancel_is_audited_once_and_one_that_changes_nothing_makes_no_step_newer(db, own) -> None:
    def row():
        with db.read() as conn:
            said = select(audit.c.actor, audit.c.subject).where(audit.c.action == "workitem-canceled")
            return conn.execute(said).all(), conn.execute(select(own_step.c.state, own_step.c.updated_at)).one()

    own.create(UID, new(), "ORCHESTRATOR")
    assert own.request_cancel(UID, "ORCHESTRATOR", Dataset()) == 0x0000
    canceled = row()
    assert canceled == ([("ae:ORCHESTRATOR", digest(UID))], ("CANCELED", to_text(NOW)))
    later = replace(own, now=lambda: NOW + timedelta(days=29))
    assert later.request_cancel(UID, "ORCHESTRATOR", Dataset()) == 0xB304
    assert row() == canceled


def test_nobody_else_may_claim_what_is_pushed_to_us(port) -> None:
    with orchestrator(port) as association:
        taken = {str(one.abstract_syntax) for one in association.accepted_contexts}
    assert taken == {PUSH, QUERY}


def test_one_caller_does_not_fill_the_disk(db, own, port) -> None:
    row = {"state": "SCHEDULED", "created_by": "ORCHESTRATOR", "body": "{}"}
    times = {"created_at": to_text(NOW), "updated_at": to_text(NOW)}
    with db.write() as conn:
        conn.execute(
            own_step.insert(), [row | times | {"workitem_uid": f"2.25.1.{n}"} for n in range(MOST_WAITING)]
        )
    with orchestrator(port) as association:
        assert create(association, new())[0] == 0x0213


def test_only_its_performer_writes_into_a_step_and_only_while_it_is_in_progress(own) -> None:
    own.create(UID, new(), "ORCHESTRATOR")
    told = progress(10, "its images are coming")
    assert own.update(UID, "2.25.1", told).answer is Answer.CONFLICT
    own.change(UID, StepState.IN_PROGRESS, "2.25.1")
    assert own.update(UID, "2.25.2", told).answer is Answer.CONFLICT
    assert own.step(UID).ProcedureStepProgressInformationSequence == []
    assert own.update(UID, "2.25.1", told).answer is Answer.DONE
    assert own.step(UID).ProcedureStepProgressInformationSequence[0].ProcedureStepProgress == 10
    own.change(UID, StepState.CANCELED, "2.25.1")
    assert own.update(UID, "2.25.1", told).answer is Answer.CONFLICT
    assert own.update("2.25.404", "2.25.1", told).answer is Answer.GONE


S, P, C, X = StepState.SCHEDULED, StepState.IN_PROGRESS, StepState.COMPLETED, StepState.CANCELED


@pytest.mark.parametrize(
    ("now", "owner", "wanted", "given", "status", "after"),
    [
        (S, None, P, "1", 0x0000, P), (S, None, P, "", 0xC301, S), (S, None, C, "1", 0xC310, S),
        (S, None, X, "1", 0xC310, S), (P, "1", P, "1", 0xC302, P), (P, "1", P, "2", 0xC301, P),
        (P, "1", C, "1", 0x0000, C), (P, "1", C, "2", 0xC301, P), (P, "1", X, "1", 0x0000, X),
        (P, "1", S, "1", 0xC303, P), (C, "1", C, "1", 0xB306, C), (C, "1", X, "1", 0xC300, C),
        (C, "1", C, "2", 0xC301, C), (X, "1", X, "1", 0xB304, X), (X, "1", P, "1", 0xC300, X),
    ],
)  # fmt: skip
def test_a_step_moves_as_the_standard_s_table_says(now, owner, wanted, given, status, after) -> None:
    assert after_change(now, owner, wanted, given, may_end=True) == (status, after)


def test_a_final_state_needs_what_it_has_to_say_and_a_request_to_cancel_waits_for_nobody() -> None:
    assert after_change(P, "1", C, "1", may_end=False) == (0xC304, P)
    assert [after_cancel_request(one) for one in (S, P, C, X)] == [
        (0x0000, X), (0x0000, P), (0xC311, C), (0xB304, X),
    ]  # fmt: skip
