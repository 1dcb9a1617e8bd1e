"""Storage commitment as SCU (PS3.4 annex J): the archive is asked to say that it keeps what it took.

It answers with an N-EVENT-REPORT, on the association of the question or, minutes later, on one that it opens
to us. Which of the two is its choice, so both lead to the same `Take`.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import Association, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from clinical.errors import ClinicalError, IncorrectInput
from dicom_node.associating import NO_CONTEXT, associated
from dicom_node.destinations import Destination, SendTimeouts
from dicom_node.incoming import DECODER_ERRORS
from dicom_node.uids import checked_uid

_REQUEST = 1  # PS3.4 J.3.2.1: Action Type ID "Request Storage Commitment"
_EVENTS = (1, 2)  # PS3.4 J.3.3.1: all are kept; some are not
_SUCCESS, _PROCESSING_FAILURE, _INVALID_ARGUMENT, _NO_SUCH_EVENT = 0x0000, 0x0110, 0x0115, 0x0113
_PLAIN = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
LINGER_S = 3.0
_ANSWERED_S = 5.0  # how long a release waits for our response to be sent
# PS3.3 C.14.1.1
WHY_NOT_KEPT: Mapping[int, str] = {
    0x0110: "processing failure",
    0x0112: "it does not hold the object",
    0x0119: "the object is there with another SOP class",
    0x0122: "SOP class not supported",
    0x0131: "transaction UID used before",
    0x0213: "out of resources",
}
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CommitmentAnswer:
    """What an archive says of a transaction. failed: SOP instance UID -> failure reason (PS3.3 C.14.1.1)."""

    transaction_uid: str
    committed: frozenset[str]
    failed: Mapping[str, int]


Take = Callable[[str, CommitmentAnswer], None]  # (AE title of who answers, answer)


def read_answer(report: Dataset) -> CommitmentAnswer:
    """Return the Event Information of an N-EVENT-REPORT as a value.

    Raises IncorrectInput when a UID is none. An object in both lists is not kept.
    """
    failed = {
        checked_uid(str(item.get("ReferencedSOPInstanceUID", "")), "SOP Instance UID"): int(
            item.get("FailureReason") or 0x0110
        )
        for item in report.get("FailedSOPSequence") or ()
    }
    committed = {
        checked_uid(str(item.get("ReferencedSOPInstanceUID", "")), "SOP Instance UID")
        for item in report.get("ReferencedSOPSequence") or ()
    }
    uid = checked_uid(str(report.get("TransactionUID", "")), "Transaction UID")
    return CommitmentAnswer(uid, frozenset(committed - failed.keys()), failed)


def answer_to_report(event: evt.Event, take: Take) -> tuple[int, None]:
    """Hand over what an N-EVENT-REPORT says and return the status of the response.

    A failure to write it down is no success: the archive may report again, and we ask again in any case.
    """
    if event.event_type not in _EVENTS:
        return _NO_SUCH_EVENT, None
    try:
        take(peer_of(event), read_answer(event.event_information))
    except (IncorrectInput, *DECODER_ERRORS):
        log.warning("commitment report not understood", calling_ae=peer_of(event))
        return _INVALID_ARGUMENT, None
    except ClinicalError as error:
        log.warning("commitment report not kept", category=error.category, problem=error.message)
        return _PROCESSING_FAILURE, None
    return _SUCCESS, None


def ask(
    destination: Destination,
    calling_ae: str,
    transaction_uid: str,
    objects: Sequence[tuple[str, str]],
    take: Take,
    *,
    linger_s: float = LINGER_S,
    timeouts: SendTimeouts | None = None,
) -> str | None:
    """Ask a destination to commit to objects; return why it was not asked, None when it has accepted the question.

    objects: SOP class and instance UIDs. An answer on this association within `linger_s` goes to `take`.
    Never raises for what a peer or a network does.
    """
    heard, answered = threading.Event(), threading.Event()

    def on_sent(_event: evt.Event) -> None:
        if heard.is_set():
            answered.set()

    def on_report(event: evt.Event) -> tuple[int, None]:
        answer = answer_to_report(event, take)
        heard.set()
        return answer

    wanted = [(StorageCommitmentPushModel, _PLAIN)]
    handlers = [(evt.EVT_N_EVENT_REPORT, on_report), (evt.EVT_PDU_SENT, on_sent)]
    waits = timeouts or SendTimeouts()
    with associated(destination, calling_ae, wanted, waits, handlers) as (association, problem):
        if association is None:
            if problem == NO_CONTEXT:
                return "the archive offers no storage commitment"
            return problem or "no association"
        refused = _request(association, _question(transaction_uid, objects))
        if refused is None and heard.wait(linger_s):
            answered.wait(_ANSWERED_S)  # the response to the report goes out before the release
        return refused


def _question(transaction_uid: str, objects: Sequence[tuple[str, str]]) -> Dataset:
    question = Dataset()
    question.TransactionUID = transaction_uid
    question.ReferencedSOPSequence = Items([reference(*one) for one in objects])
    return question


def reference(sop_class: str, sop_instance: str) -> Dataset:
    """Return an item of a Referenced SOP Sequence."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    return item


def _request(association: Association, question: Dataset) -> str | None:
    try:
        status: Any
        status, _ = association.send_n_action(
            question, _REQUEST, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
    except (ValueError, RuntimeError):
        return "the association ended before the question"
    if "Status" not in status:
        return "the archive did not answer the question"
    return None if status.Status == _SUCCESS else f"the archive refused the question (0x{int(status.Status):04X})"


def peer_of(event: evt.Event) -> str:
    """Return the AE title of the other side, whichever of the two opened the association."""
    association = event.assoc
    if association.is_requestor:
        return str(association.acceptor.ae_title or "").strip()
    primitive = association.requestor.primitive
    return str((primitive.calling_ae_title if primitive else "") or "").strip()[:16]
