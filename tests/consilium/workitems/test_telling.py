"""Subscribers of steps that are pushed to us: who is told what, in which order, and for how long."""

import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import UnifiedProcedureStepEvent, UnifiedProcedureStepPush, UnifiedProcedureStepWatch
from sqlalchemy import func, select

from consilium.workitems.own import OwnSteps
from consilium.workitems.telling import TURN_S, Telling, tell
from dicom_node.destinations import Destination
from dicom_node.ups.reports import cancel_terms
from dicom_node.ups.states import StepState
from record_store import own_steps, readings, ups_events, ups_subscriptions
from record_store.deliveries import RetryPolicy
from record_store.tables import ups_event
from record_store.testing import MemoryBlobs
from record_store.ups_subscriptions import GLOBAL
from tests.consilium.workitems.conftest import NOW, RULE, UID, World
from tests.consilium.workitems.test_own import new, orchestrator, port  # noqa: F401 - a fixture
from tests.ports import free_port

OTHER = "2.25.101"
PUSH, WATCH = UnifiedProcedureStepPush, UnifiedProcedureStepWatch
RETRY = RetryPolicy(max_attempts=2, first_s=1, jitter=lambda: 1.0)


@contextmanager
def subscriber(title="RIS", at=0):
    """An AE that is told; yields (its port, what it was told as (step, Event Type ID, Event Information))."""
    heard, classes = [], set()

    def hear(event):
        heard.append((event.request.AffectedSOPInstanceUID, event.event_type, event.event_information))
        classes.add(event.request.AffectedSOPClassUID)
        return 0x0000, None

    ae = AE(ae_title=title)
    ae.add_supported_context(UnifiedProcedureStepEvent, scu_role=True, scp_role=True)
    server = ae.start_server(("127.0.0.1", at), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, hear)])
    try:
        yield server.server_address[1], heard
    finally:
        server.shutdown()
    assert classes <= {PUSH}


@pytest.fixture
def own(db):
    return OwnSteps(db, {"ORCHESTRATOR"}, (RULE,), lambda: NOW, receivers={"RIS"})


def telling(own, at, now=lambda: NOW):
    node = Destination("RIS", "127.0.0.1", at, "RIS")
    return Telling(own.db, {"RIS": node}, "CONSILIUM", RETRY, now)


def told(heard):
    return [
        (str(uid), kind, said.get("ProcedureStepState") or said.get("RequestingAE") or "")
        for uid, kind, said in heard
    ]


def subscribe(association, uid=UID, action=3, receiver="RIS", lock="FALSE"):
    terms = Dataset()
    terms.ReceivingAE = receiver
    if action == 3:
        terms.DeletionLock = lock
    return association.send_n_action(terms, action, PUSH, uid, meta_uid=WATCH)[0].Status


def subscriptions(own, uid=UID):
    with own.db.read() as conn:
        return ups_subscriptions.told_of(conn, uid)


@contextmanager
def watching(port, title="ORCHESTRATOR"):  # noqa: F811
    ae = AE(ae_title=title)
    ae.add_requested_context(WATCH)
    association = ae.associate("127.0.0.1", port, ae_title="CONSILIUM")
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def test_a_subscriber_is_told_of_each_change_of_a_step_in_its_order(own, tmp_path) -> None:
    world = World(own.db, MemoryBlobs(tmp_path), own, None)
    own.create(UID, new(), "ORCHESTRATOR")
    assert own.subscribe(UID, "RIS", lock=False) == 0x0000
    world.looks(3)
    world.made(world.closes((readings.DONE, None)))
    world.looks(2)
    with subscriber() as (at, heard):
        assert telling(own, at).once() == len(heard) > 0
        assert telling(own, at).once() == 0
    states = [state for _, kind, state in told(heard) if kind == 1]
    assert states == ["SCHEDULED", "IN PROGRESS", "COMPLETED"]
    assert {one.InputReadinessState for _, kind, one in heard if kind == 1} == {"READY"}
    percents = [
        one.ProcedureStepProgressInformationSequence[0].ProcedureStepProgress for _, k, one in heard if k == 3
    ]
    assert percents == sorted(percents)
    assert percents[-1] == 100


def test_a_request_to_cancel_is_told_with_who_asks_and_why_and_then_that_it_is_canceled(own, tmp_path) -> None:
    world = World(own.db, MemoryBlobs(tmp_path), own, None)
    own.create(UID, new(), "ORCHESTRATOR")
    world.looks(3)
    own.subscribe(UID, "RIS", lock=False)
    terms = Dataset()
    terms.ReasonForCancellation = "ordered twice"
    assert own.request_cancel(UID, "ORCHESTRATOR", terms) == 0x0000
    world.looks(2)
    with subscriber() as (at, heard):
        telling(own, at).once()
    kinds = [(kind, state) for _, kind, state in told(heard) if kind != 3]
    assert kinds == [(1, "IN PROGRESS"), (2, "ORCHESTRATOR"), (1, "CANCELED")]
    assert next(one for _, kind, one in heard if kind == 2).ReasonForCancellation == "ordered twice"
    (why,) = heard[-1][2].ProcedureStepDiscontinuationReasonCodeSequence
    assert why.CodeValue == "110513"


def test_a_step_that_is_canceled_before_it_is_begun_goes_by_way_of_in_progress(own) -> None:
    own.create(UID, new(), "ORCHESTRATOR")
    own.subscribe(UID, "RIS", lock=False)
    own.request_cancel(UID, "ORCHESTRATOR", Dataset())
    with subscriber() as (at, heard):
        telling(own, at).once()
    assert [state for *_, state in told(heard)] == ["SCHEDULED", "IN PROGRESS", "CANCELED"]


@pytest.mark.parametrize("of_step", [{}, {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Käthe"}])
def test_why_a_step_is_canceled_is_told_in_whatever_characters_it_was_said(own, port, of_step) -> None:  # noqa: F811
    terms = Dataset()
    terms.SpecificCharacterSet, terms.ReasonForCancellation = "ISO_IR 192", "zlecono już wcześniej"
    ds = new(**of_step)
    own.subscribe(GLOBAL, "RIS", lock=False)
    with orchestrator(port) as association:
        assert association.send_n_create(ds, PUSH, UID)[0].Status == 0x0000
        assert association.send_n_action(terms, 2, PUSH, UID)[0].Status == 0x0000
        status, step = association.send_n_get([], PUSH, UID)
    assert (status.Status, step.PatientName) == (0x0000, ds.PatientName)
    (said,) = step.ProcedureStepProgressInformationSequence
    with subscriber() as (at, heard):
        assert telling(own, at).once() == 3
    assert heard[-1][2].ReasonForCancellation == said.ReasonForCancellation == terms.ReasonForCancellation


def test_a_request_to_cancel_is_told_in_whatever_characters_it_was_said(own, tmp_path) -> None:
    world = World(own.db, MemoryBlobs(tmp_path), own, None)
    own.create(UID, new(), "ORCHESTRATOR")
    world.looks(3)
    own.subscribe(UID, "RIS", lock=False)
    terms = Dataset()
    terms.ContactDisplayName = "Łękołodzki"
    own.request_cancel(UID, "ORCHESTRATOR", cancel_terms(terms))
    with subscriber() as (at, heard):
        telling(own, at).once()
    assert heard[-1][2].ContactDisplayName == "Łękołodzki"


def test_a_slow_subscriber_delays_the_others_no_longer_than_its_turn(own) -> None:
    own.create(UID, new(), "ORCHESTRATOR")
    with own.db.write() as conn:
        for _ in range(3):
            tell(conn, "SLOW", [(UID, 1, Dataset())], lambda: NOW)
        tell(conn, "RIS", [(UID, 1, Dataset())], lambda: NOW)
    at, called = [NOW], []

    def slowly(node, _calling_ae, events):
        for _ in events:
            called.append(node.name)
            at[0] += timedelta(seconds=TURN_S / 2 + 1)
            yield None

    nodes = {name: Destination(name, "127.0.0.1", 104, name) for name in ("SLOW", "RIS")}
    tells = Telling(own.db, nodes, "CONSILIUM", RETRY, lambda: at[0], slowly)
    assert [tells.once() for _ in range(4)] == [2, 1, 1, 0]
    assert called == ["SLOW", "SLOW", "RIS", "SLOW"]


@pytest.mark.parametrize(("lock", "reported"), [(True, [UID]), (False, [])])
def test_who_is_subscribed_to_all_is_told_of_new_steps_and_with_a_lock_of_those_that_there_are(
    own, lock, reported
) -> None:
    own.create(UID, new(), "ORCHESTRATOR")
    own.subscribe(GLOBAL, "RIS", lock=lock)
    own.create(OTHER, new(OTHER), "ORCHESTRATOR")
    with subscriber() as (at, heard):
        telling(own, at).once()
    assert [uid for uid, *_ in told(heard)] == [*reported, OTHER]
    assert (subscriptions(own), subscriptions(own, OTHER)) == (["RIS"], ["RIS"])


class Timed:
    """A database that knows for how much processor time its transactions kept other writers waiting."""

    def __init__(self, db):
        self.db, self.read, self.held_s = db, db.read, 0.0

    @contextmanager
    def write(self):
        with self.db.write() as conn:
            began = time.thread_time()
            yield conn
            self.held_s += time.thread_time() - began


def test_who_subscribes_to_all_keeps_no_other_writer_waiting_while_the_steps_are_read(own) -> None:
    body = new().to_json()
    with own.db.write() as conn:
        for number in range(400):
            own_steps.create(conn, f"2.25.{number}", "SCHEDULED", body, "ORCHESTRATOR", NOW)
    timed, began = Timed(own.db), time.thread_time()
    assert replace(own, db=timed).subscribe(GLOBAL, "RIS", lock=True) == 0x0000
    assert timed.held_s < (time.thread_time() - began) / 2
    with own.db.read() as conn:
        assert conn.execute(select(func.count()).select_from(ups_event)).scalar_one() == 400


def test_subscriptions_end_one_by_one_for_new_steps_and_for_all(own) -> None:
    for uid in (UID, OTHER):
        own.create(uid, new(uid), "ORCHESTRATOR")
    own.subscribe(GLOBAL, "RIS", lock=False)
    assert own.unsubscribe(UID, "RIS") == 0x0000
    assert (subscriptions(own), subscriptions(own, OTHER)) == ([], ["RIS"])
    assert own.suspend(GLOBAL, "RIS") == 0x0000
    own.create("2.25.102", new("2.25.102"), "ORCHESTRATOR")
    assert (subscriptions(own, OTHER), subscriptions(own, "2.25.102")) == (["RIS"], [])
    assert own.unsubscribe(GLOBAL, "RIS") == 0x0000
    assert subscriptions(own, OTHER) == []


def test_an_ae_whose_address_nobody_knows_is_not_subscribed(own) -> None:
    own.create(UID, new(), "ORCHESTRATOR")
    assert own.subscribe(UID, "STRANGER", lock=False) == 0xC308
    assert own.subscribe("2.25.404", "RIS", lock=False) == 0xC307
    assert own.subscribe(f"{GLOBAL}.1", "RIS", lock=False) == 0xC307  # a filtered subscription
    assert own.suspend(UID, "RIS") == 0xC314


def test_a_change_that_is_made_while_somebody_subscribes_is_not_missed(postgres_db) -> None:
    own = OwnSteps(postgres_db, {"ORCHESTRATOR"}, (RULE,), lambda: NOW, receivers={"RIS"})
    own.create(UID, new(), "ORCHESTRATOR")
    with ThreadPoolExecutor(1) as other:
        with postgres_db.write() as conn:
            begun = replace(own_steps.read(conn, UID, to_change=True), state=StepState.IN_PROGRESS)
            own_steps.write(conn, begun, NOW)
            subscribed = other.submit(own.subscribe, UID, "RIS", lock=False)
            wait([subscribed], timeout=0.3)  # it waits for the change
        assert subscribed.result(30) == 0x0000
    (event,) = ups_events.claim(postgres_db, NOW, 60)
    assert StepState.IN_PROGRESS in event.body


def test_it_is_subscribed_by_watch_and_by_no_other_context(own, port) -> None:  # noqa: F811
    own.create(UID, new(), "ORCHESTRATOR")
    with watching(port) as association:
        assert subscribe(association) == 0x0000
        assert subscribe(association, action=4) == 0x0000
        assert subscribe(association, GLOBAL, action=5) == 0x0000
        assert subscribe(association, lock="") == 0x0120
        assert subscribe(association, lock="YES") == 0x0106
        assert subscribe(association, receiver="") == 0x0120
        assert subscribe(association, action=1) == 0x0123
    with watching(port, "STRANGER") as association:
        assert subscribe(association) == 0x0124
    with orchestrator(port) as association:
        assert association.send_n_action(None, 3, PUSH, UID)[0].Status == 0x0123
    assert subscriptions(own) == []


def test_a_subscriber_that_is_away_is_called_again_in_bounds_and_then_nothing_waits_for_it(own) -> None:
    own.create(UID, new(), "ORCHESTRATOR")
    own.subscribe(UID, "RIS", lock=False)
    at = free_port()

    def waiting():
        with own.db.read() as conn:
            return conn.execute(select(func.count()).select_from(ups_event)).scalar_one()

    telling(own, at).once()
    assert waiting() == 1
    assert telling(own, at).once() == 0  # it is left alone for a while
    with subscriber(at=at) as (_, heard):
        later = NOW.replace(minute=5)
        assert telling(own, at, lambda: later).once() == 1
        assert len(heard) == 1
    own.change(UID, StepState.IN_PROGRESS, "2.25.7")
    telling(own, at, lambda: NOW.replace(minute=10)).once()
    assert waiting() == 1
    telling(own, at, lambda: NOW.replace(minute=20)).once()
    assert waiting() == 0


def test_a_step_that_a_subscriber_wants_kept_is_kept_for_longer(own) -> None:
    for uid in (UID, OTHER):
        own.create(uid, new(uid), "ORCHESTRATOR")
        own.request_cancel(uid, "ORCHESTRATOR", Dataset())
    own.subscribe(UID, "RIS", lock=True)
    own.subscribe(OTHER, "RIS", lock=False)
    with own.db.write() as conn:
        assert own_steps.purge(conn, ("CANCELED",), NOW.replace(month=2), NOW) == 1
        ups_subscriptions.purge(conn)
    assert (own.step(OTHER), subscriptions(own, OTHER), subscriptions(own)) == (None, [], ["RIS"])
    with own.db.write() as conn:
        assert own_steps.purge(conn, ("CANCELED",), NOW.replace(month=2), NOW.replace(month=2)) == 1


def test_subscribers_are_told_when_we_have_begun_again(own) -> None:
    own.subscribe(GLOBAL, "RIS", lock=False)
    with subscriber() as (at, heard):
        telling(own, at).begun()
        telling(own, at).once()
    ((uid, kind, said),) = heard
    assert (uid, kind, said.SCPStatus, said.SubscriptionListStatus) == (GLOBAL, 4, "RESTARTED", "WARM START")
