"""Storage commitment as SCP: a sender is told what is kept, where it waits and where it has hung up."""

import threading
from contextlib import contextmanager

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from clinical.errors import Busy, IncorrectInput
from dicom_node.commitment import CommitmentAnswer, ask, read_answer
from dicom_node.commitment_scp import (
    TransactionReused,
    answer_for,
    commitment_service,
    read_request,
    report_to,
)
from dicom_node.destinations import Destination
from dicom_node.peer_library import prepare_pynetdicom
from record_store.commitment_requests import CommitmentRequest

MODEL, INSTANCE = StorageCommitmentPushModel, StorageCommitmentPushModelInstance
CR, CT = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.2"
OBJECTS = [(CR, "1.2.3.1"), (CT, "1.2.3.2")]
slow = pytest.mark.slow  # opens associations


class Keeper:
    """Keeps questions, and answers that the first object is kept and the others are not."""

    def __init__(self) -> None:
        self.requests, self.problems, self.error = [], [], None
        self.told = threading.Event()

    def __call__(self, request):
        if self.error is not None:
            raise self.error
        self.requests.append(request)
        return lambda report: self.tell(request, report)

    def tell(self, request, report) -> None:
        (_, first), *_ = request.objects
        failed = {uid: 0x0112 for _, uid in request.objects[1:]}
        answer = CommitmentAnswer(request.transaction_uid, frozenset([first]), failed)
        self.problems.append("over" if report is None else report(answer))
        self.told.set()


@pytest.fixture
def keeper(node):
    one = Keeper()
    node.start(services=[commitment_service(one, None)])
    return one


def here(node):
    return Destination("node", "127.0.0.1", node.port, "CONSILIUM")


@slow
def test_a_sender_that_waits_is_told_on_the_association_of_its_question(node, keeper) -> None:
    heard = []
    take = lambda ae_title, answer: heard.append((ae_title, answer))  # noqa: E731
    assert ask(here(node), "MODALITY", "2.25.7", OBJECTS, take, linger_s=30) is None
    assert keeper.told.wait(30)
    assert keeper.requests == [CommitmentRequest("MODALITY", "2.25.7", tuple(OBJECTS))]
    assert keeper.problems == [None]
    ((who, answer),) = heard
    assert (who, answer.transaction_uid) == ("CONSILIUM", "2.25.7")
    assert (answer.committed, answer.failed) == ({"1.2.3.1"}, {"1.2.3.2": 0x0112})


@slow
def test_a_sender_that_has_hung_up_is_left_to_an_association_of_our_own(node, keeper) -> None:
    assert ask(here(node), "MODALITY", "2.25.7", OBJECTS, lambda *_: None, linger_s=0) is None
    assert keeper.told.wait(30)
    assert keeper.problems == ["over"]


@contextmanager
def asking(node):
    """Yield (association, answers): one on which several questions can be asked."""
    prepare_pynetdicom()
    ae, answers = AE(ae_title="MODALITY"), []
    ae.add_requested_context(MODEL, ExplicitVRLittleEndian)
    ae.add_requested_context(Verification)

    def on_report(event):
        answers.append(read_answer(event.event_information))
        return 0x0000, None

    association = ae.associate(
        "127.0.0.1", node.port, ae_title="CONSILIUM", evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)]
    )
    assert association.is_established
    try:
        yield association, answers
    finally:
        association.release()


def question(uid="2.25.7", objects=OBJECTS):
    ds = Dataset()
    ds.TransactionUID = uid
    ds.ReferencedSOPSequence = []
    for sop_class, instance in objects:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        ds.ReferencedSOPSequence.append(item)
    return ds


@slow
def test_two_questions_one_after_the_other_are_both_answered_on_their_association(node, keeper) -> None:
    with asking(node) as (association, answers):
        for uid in ("2.25.1", "2.25.2"):
            status, _ = association.send_n_action(question(uid), 1, MODEL, INSTANCE)
            assert status.Status == 0x0000
        waited = threading.Event()
        while len(answers) < 2:
            assert not waited.wait(0.02)
        assert association.send_c_echo().Status == 0x0000
    assert [one.transaction_uid for one in answers] == ["2.25.1", "2.25.2"]
    assert keeper.problems == [None, None]


@slow
def test_a_question_that_is_none_is_refused_with_the_reason_of_the_standard(node, keeper) -> None:
    with asking(node) as (association, _):
        say = lambda ds, kind=1, instance=INSTANCE: association.send_n_action(ds, kind, MODEL, instance)[0].Status  # noqa: E731
        assert say(question(), kind=2) == 0x0123
        assert say(question(), instance="1.2.3") == 0x0112
        for broken in (question("no uid"), question(objects=[]), question(objects=[(CR, "../x")])):
            assert say(broken) == 0x0115
        for error, status in ((Busy("the database is away"), 0x0213), (TransactionReused("other"), 0x0131)):
            keeper.error = error
            assert say(question()) == status
    assert keeper.requests == []


@contextmanager
def sender(status=0x0000, *, role=True):
    """Run a sender that is told on an association of ours; yield its destination and what it was told."""
    prepare_pynetdicom()
    ae, told = AE(ae_title="MODALITY"), []
    roles = {"scu_role": True, "scp_role": True} if role else {}
    ae.add_supported_context(MODEL, **roles)

    def on_report(event):
        told.append((event.event_type, read_answer(event.event_information)))
        return status, None

    handlers = [(evt.EVT_N_EVENT_REPORT, on_report)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield Destination("MODALITY", "127.0.0.1", server.server_address[1], "MODALITY"), told
    finally:
        server.shutdown()


@slow
def test_on_an_association_of_our_own_we_are_the_scp_and_a_refusal_is_told() -> None:
    request = CommitmentRequest("MODALITY", "2.25.7", tuple(OBJECTS))
    kept = CommitmentAnswer("2.25.7", frozenset(["1.2.3.1", "1.2.3.2"]), {})
    some = CommitmentAnswer("2.25.7", frozenset(["1.2.3.1"]), {"1.2.3.2": 0x0119})
    with sender() as (node, told):
        assert report_to(node, "CONSILIUM", request, kept) is None
        assert report_to(node, "CONSILIUM", request, some) is None
    assert told == [(1, kept), (2, some)]
    with sender(0x0110) as (node, _):
        assert report_to(node, "CONSILIUM", request, kept) == "the sender refused the report (0x0110)"
    gone = Destination("MODALITY", "127.0.0.1", node.port, "MODALITY")
    assert report_to(gone, "CONSILIUM", request, kept) == "no connection"


@slow
def test_our_two_sides_understand_each_other_and_a_node_that_asks_nobody_takes_no_report(node, keeper) -> None:
    ae = AE(ae_title="ARCHIVE")
    ae.add_requested_context(MODEL)
    association = ae.associate(
        "127.0.0.1", node.port, ae_title="CONSILIUM", ext_neg=[build_role(MODEL, scp_role=True)]
    )
    status, _ = association.send_n_event_report(question(), 1, MODEL, INSTANCE)
    assert status.Status != 0x0000
    association.release()


@pytest.mark.parametrize(
    ("held", "damaged", "failed"),
    [
        ({"1.2.3.1": CR, "1.2.3.2": CT}, [], {}),
        ({"1.2.3.1": CR}, [], {"1.2.3.2": 0x0112}),
        ({"1.2.3.1": CR, "1.2.3.2": CR}, [], {"1.2.3.2": 0x0119}),
        ({"1.2.3.1": CR, "1.2.3.2": CT}, ["1.2.3.1"], {"1.2.3.1": 0x0110}),
        ({}, [], {"1.2.3.1": 0x0112, "1.2.3.2": 0x0112}),
    ],
)
def test_only_what_is_held_in_its_class_and_can_be_read_back_is_kept(held, damaged, failed) -> None:
    answer = answer_for(CommitmentRequest("A", "2.25.7", tuple(OBJECTS)), held, frozenset(damaged))
    assert answer.failed == failed
    assert answer.committed == {"1.2.3.1", "1.2.3.2"} - set(failed)


def test_an_instance_named_twice_is_asked_about_once() -> None:
    assert read_request("A", question(objects=[*OBJECTS, OBJECTS[0]])).objects == tuple(OBJECTS)
    with pytest.raises(IncorrectInput):
        read_request("A", question(objects=[("", "1.2.3.1")]))
