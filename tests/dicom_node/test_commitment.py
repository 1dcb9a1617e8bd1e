"""Storage commitment as SCU: the answer counts on the question's association and on one of the archive's own."""

import threading
from contextlib import contextmanager

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from clinical.errors import Busy, IncorrectInput
from dicom_node.commitment import ask, read_answer
from dicom_node.commitment_scp import commitment_service
from dicom_node.destinations import Destination
from dicom_node.peer_library import prepare_pynetdicom
from dicom_node.testing import listening_ae

MODEL, INSTANCE = StorageCommitmentPushModel, StorageCommitmentPushModelInstance
OBJECTS = [("1.2.840.10008.5.1.4.1.1.66.4", "1.2.3.1"), ("1.2.840.10008.5.1.4.1.1.88.33", "1.2.3.2")]
slow = pytest.mark.slow  # opens associations


def report(uid="2.25.7", kept=("1.2.3.1",), failed=()):
    """Return the Event Information of an answer."""
    ds = Dataset()
    ds.TransactionUID = uid
    ds.ReferencedSOPSequence = [_item(one) for one in kept]
    if failed:
        ds.FailedSOPSequence = [_item(one, FailureReason=0x0112) for one in failed]
    return ds


def _item(uid, **more):
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = OBJECTS[0][0], uid
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item


class Heard:
    """What answers arrived, from whom."""

    def __init__(self, error=None):
        self.answers, self.error, self.event = [], error, threading.Event()

    def __call__(self, ae_title, answer):
        if self.error:
            raise self.error
        self.answers.append((ae_title, answer))
        self.event.set()


@contextmanager
def committing_archive(*, status=0x0000, failed=()):
    """Run an archive that answers on the association of the question; yield its destination and the questions."""
    prepare_pynetdicom()
    ae = AE(ae_title="PACS")
    ae.add_supported_context(MODEL)
    questions = []

    def on_action(event):
        questions.append(event.action_information)
        return status, None

    def on_sent(event):
        # The response has to be out before the report: this event follows the first and precedes the second.
        name = type(event.message).__name__
        if name == "N_ACTION_RSP" and status == 0x0000:
            kept = [one[1] for one in OBJECTS if one[1] not in failed]
            threading.Thread(target=_tell, args=(event.assoc, kept)).start()

    def _tell(association, kept):
        threading.Event().wait(0.05)
        association.send_n_event_report(
            report(str(questions[0].TransactionUID), kept, failed), 2 if failed else 1, MODEL, INSTANCE
        )

    handlers = [(evt.EVT_N_ACTION, on_action), (evt.EVT_DIMSE_SENT, on_sent)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield Destination("pacs", "127.0.0.1", server.server_address[1], "PACS"), questions
    finally:
        server.shutdown()


@slow
def test_the_question_names_every_object_and_the_answer_comes_on_the_same_association() -> None:
    heard = Heard()
    with committing_archive(failed=("1.2.3.2",)) as (archive, questions):
        assert ask(archive, "CONSILIUM", "2.25.7", OBJECTS, heard) is None
    (question,) = questions
    named = [(one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID) for one in question.ReferencedSOPSequence]
    assert (named, question.TransactionUID) == (OBJECTS, "2.25.7")
    ((ae_title, answer),) = heard.answers
    assert (ae_title, answer.transaction_uid) == ("PACS", "2.25.7")
    assert (answer.committed, answer.failed) == ({"1.2.3.1"}, {"1.2.3.2": 0x0112})


@slow
def test_a_refused_question_and_an_archive_without_the_service_are_told_in_words() -> None:
    with committing_archive(status=0x0122) as (archive, _):
        assert ask(archive, "CONSILIUM", "2.25.7", OBJECTS, Heard()) == "the archive refused the question (0x0122)"
    with listening_ae() as peer:
        archive = Destination("pacs", "127.0.0.1", peer.port, "PACS")
        problem = ask(archive, "CONSILIUM", "2.25.7", OBJECTS, Heard())
    assert problem == "the archive offers no storage commitment"


@pytest.fixture
def tell(node):
    """tell(event_type, data set): report to the node on an association of the archive's own; the status."""

    def send(kind, ds, *, role=True):
        prepare_pynetdicom()
        ae = AE(ae_title="ARCHIVE")
        ae.add_requested_context(MODEL, ImplicitVRLittleEndian)
        roles = [build_role(MODEL, scp_role=True)] if role else []
        association = ae.associate("127.0.0.1", node.port, ae_title="CONSILIUM", ext_neg=roles)
        if not association.is_established:
            return None
        try:
            status, _ = association.send_n_event_report(ds, kind, MODEL, INSTANCE)
            return status.Status if "Status" in status else -1
        finally:
            if association.is_established:
                association.release()

    return send


@slow
def test_an_answer_on_the_archives_own_association_is_taken_from_who_calls(node, tell) -> None:
    heard = Heard()
    node.start(services=[commitment_service(lambda request: lambda report: None, heard)])
    assert tell(1, report()) == 0x0000
    assert [(ae, one.transaction_uid, one.committed) for ae, one in heard.answers] == [
        ("ARCHIVE", "2.25.7", {"1.2.3.1"})
    ]
    assert tell(7, report()) == 0x0113
    assert tell(1, report(uid="no/uid")) == 0x0115
    endless = report()
    endless.EncapsulatedDocument = b"\0" * 2_000_000
    assert tell(2, endless) == -1  # longer than any honest one: aborted
    heard.error = Busy("the database is away")
    assert tell(1, report()) == 0x0110  # nothing is confirmed that was not written down
    assert len(heard.answers) == 1


@slow
def test_a_node_that_asks_nobody_lets_no_report_in_and_still_echoes(node, tell) -> None:
    node.start()
    assert tell(1, report()) is None
    ae = AE()
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", node.port, ae_title="CONSILIUM")
    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_an_object_in_both_lists_is_not_kept_and_a_broken_answer_is_none() -> None:
    answer = read_answer(report(kept=["1.2.3.1", "1.2.3.2"], failed=["1.2.3.2"]))
    assert (answer.committed, answer.failed) == ({"1.2.3.1"}, {"1.2.3.2": 0x0112})
    for broken in (Dataset(), report(uid=""), report(kept=["../x"])):
        with pytest.raises(IncorrectInput):
            read_answer(broken)
