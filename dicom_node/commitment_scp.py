"""Storage commitment as SCP (PS3.4 annex J): senders ask whether we keep what we took, and are told.

The question is an N-ACTION; the answer an N-EVENT-REPORT, on the association of the question when the sender waits
there, else on one that we open to it.
"""

import queue
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import Association, build_context, evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from clinical.errors import ClinicalError, IncorrectInput
from dicom_node.associating import associated
from dicom_node.commitment import CommitmentAnswer, Take, answer_to_report, peer_of, reference
from dicom_node.destinations import Destination, SendTimeouts
from dicom_node.incoming import DECODER_ERRORS
from dicom_node.service import Service
from dicom_node.uids import checked_uid
from record_store.commitment_requests import CommitmentRequest

_MODEL, _INSTANCE = StorageCommitmentPushModel, StorageCommitmentPushModelInstance
_REQUEST = 1  # PS3.4 J.3.2.1: Action Type ID "Request Storage Commitment"
_ALL_KEPT, _SOME_NOT = 1, 2  # PS3.4 J.3.3.1: Event Type ID
_SUCCESS, _NO_SUCH_INSTANCE, _INVALID_ARGUMENT = 0x0000, 0x0112, 0x0115
_NO_SUCH_ACTION, _OUT_OF_RESOURCES, _DUPLICATE_TRANSACTION = 0x0123, 0x0213, 0x0131
STATUSES = {
    _SUCCESS: "the request is written down; the report follows, on this association or on one of ours",
    _NO_SUCH_INSTANCE: "the SOP instance is not the well-known one",
    _INVALID_ARGUMENT: "the request names no transaction, or no objects",
    _NO_SUCH_ACTION: "another action than the request",
    _DUPLICATE_TRANSACTION: "the transaction UID was used for something else",
    _OUT_OF_RESOURCES: "the database is away, or this sender has too many questions open",
}
NOT_HELD, CLASS_CONFLICT, DAMAGED = 0x0112, 0x0119, 0x0110  # PS3.3 C.14.1.1: Failure Reason
_ESTABLISHED = "Sta6"  # PS3.8 9.2: ready for data transfer
_PLAIN = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
ANSWER_S = 10.0
log = structlog.get_logger()


class TransactionReused(IncorrectInput):
    """A transaction UID under which this sender asked about other objects before."""


# Keeps a request durably and returns what tells its answer on the association of the question, when the peer waits
# there: called with None when that association is over.
Keep = Callable[[CommitmentRequest], Callable[["Report | None"], None]]
Report = Callable[[CommitmentAnswer], str | None]  # why the answer was not taken, None when it was


def commitment_service(keep: Keep, take: Take | None) -> Service:
    """Return the service for a node. take: what archives say of our own questions; None where we ask nobody."""
    context = build_context(_MODEL, _PLAIN)
    if take is not None:  # an archive that calls us to answer is the SCP of what it says
        context.scu_role, context.scp_role = True, True
    handlers: dict[evt.InterventionEvent, Any] = {evt.EVT_N_ACTION: lambda event: _on_request(event, keep)}
    if take is not None:
        handlers[evt.EVT_N_EVENT_REPORT] = lambda event: answer_to_report(event, take)
    return Service((context,), handlers, name="Storage Commitment Push Model (N-ACTION)", statuses=STATUSES)


def read_request(calling_ae: str, question: Dataset) -> CommitmentRequest:
    """Return the Action Information of an N-ACTION as a value. Raises IncorrectInput when it names nothing."""
    objects = {
        checked_uid(str(item.get("ReferencedSOPInstanceUID", "")), "SOP Instance UID"): checked_uid(
            str(item.get("ReferencedSOPClassUID", "")), "SOP Class UID"
        )
        for item in question.get("ReferencedSOPSequence") or ()
    }
    if not objects:
        raise IncorrectInput("the request names no object")
    uid = checked_uid(str(question.get("TransactionUID", "")), "Transaction UID")
    return CommitmentRequest(calling_ae, uid, tuple((sop_class, one) for one, sop_class in objects.items()))


def answer_for(request: CommitmentRequest, held: Mapping[str, str], damaged: frozenset[str]) -> CommitmentAnswer:
    """Return what is kept of it. held: SOP instance UID -> class; damaged: what cannot be read back."""
    failed = {}
    for sop_class, uid in request.objects:
        if uid not in held:
            failed[uid] = NOT_HELD
        elif held[uid] != sop_class:
            failed[uid] = CLASS_CONFLICT
        elif uid in damaged:
            failed[uid] = DAMAGED
    kept = frozenset(uid for _, uid in request.objects) - failed.keys()
    return CommitmentAnswer(request.transaction_uid, kept, failed)


def report_to(
    destination: Destination,
    ae_title: str,
    request: CommitmentRequest,
    answer: CommitmentAnswer,
    *,
    timeouts: SendTimeouts | None = None,
) -> str | None:
    """Report on an association that we open; return why that failed, None when it was taken. Never raises."""
    waits = timeouts or SendTimeouts()
    wanted = [(_MODEL, _PLAIN)]
    with associated(destination, ae_title, wanted, waits, as_scp=[_MODEL]) as (association, problem):
        if association is None:
            return problem or "no association"
        kind, information = _event(request, answer)
        try:
            status: Any
            status, _ = association.send_n_event_report(information, kind, _MODEL, _INSTANCE)
        except (ValueError, RuntimeError):
            return "the association ended before the report"
        return _judged(int(status.Status) if "Status" in status else None)


def _on_request(event: evt.Event, keep: Keep) -> tuple[int, None]:
    """Answer an N-ACTION: Success once the request is durable, never before."""
    sender = peer_of(event)
    if event.action_type != _REQUEST:
        return _NO_SUCH_ACTION, None
    if event.request.RequestedSOPInstanceUID != _INSTANCE:
        return _NO_SUCH_INSTANCE, None
    try:
        request = read_request(sender, event.action_information)
        tell = keep(request)
    except TransactionReused:
        return _DUPLICATE_TRANSACTION, None
    except (IncorrectInput, *DECODER_ERRORS):
        log.warning("commitment request not understood", calling_ae=sender)
        return _INVALID_ARGUMENT, None
    except ClinicalError as error:
        log.warning("commitment request not kept", calling_ae=sender, category=error.category)
        return _OUT_OF_RESOURCES, None
    association, context_id = event.assoc, event.context.context_id
    syntax = event.context.transfer_syntax

    def when_silent(established: bool) -> None:
        if not established:
            tell(None)
            return
        tell(lambda answer: _report_here(association, context_id, syntax, request, answer))

    later = getattr(association, "later", None)
    if later is not None:
        later.append(when_silent)
    return _SUCCESS, None


def _report_here(
    association: Association, context_id: int, syntax: str, request: CommitmentRequest, answer: CommitmentAnswer
) -> str | None:
    """Report on the association of the question, in its own thread.

    Not pynetdicom's send_n_event_report: it takes the next message for the response, whatever it is, and a sender
    may ask its next question at that moment.
    """
    kind, information = _event(request, answer)
    rq = N_EVENT_REPORT()
    rq.MessageID = 1  # of the requests that we send here, one at a time
    rq.AffectedSOPClassUID, rq.AffectedSOPInstanceUID, rq.EventTypeID = _MODEL, _INSTANCE, kind
    encoded = encode(information, UID(syntax).is_implicit_VR, is_little_endian=True)
    rq.EventInformation = BytesIO(encoded or b"")
    association.dimse.send_msg(rq, context_id)
    return _judged(_status_of(association, rq.MessageID))


def _status_of(association: Association, message_id: int) -> int | None:
    """Return the status of the response to a message; what else the peer says meanwhile is kept in its order."""
    until, others = time.monotonic() + ANSWER_S, []
    try:
        while time.monotonic() < until:
            try:
                of, message = association.dimse.msg_queue.get(timeout=0.1)
            except queue.Empty:
                if association.dul.state_machine.current_state != _ESTABLISHED:
                    return None
                continue
            if isinstance(message, N_EVENT_REPORT) and message.MessageIDBeingRespondedTo == message_id:
                return int(message.Status)
            if message:
                others.append((of, message))
        return None
    finally:
        for one in others:
            association.dimse.msg_queue.put(one)


def _event(request: CommitmentRequest, answer: CommitmentAnswer) -> tuple[int, Dataset]:
    """Return Event Type ID and Event Information (PS3.4 table J.3-2): a list that would be empty is left out."""
    information = Dataset()
    information.TransactionUID = answer.transaction_uid
    kept = [reference(*one) for one in request.objects if one[1] in answer.committed]
    if kept:
        information.ReferencedSOPSequence = Items(kept)
    failed = []
    for one in request.objects:
        if one[1] in answer.failed:
            failed.append(reference(*one))
            failed[-1].FailureReason = answer.failed[one[1]]
    if failed:
        information.FailedSOPSequence = Items(failed)
    return (_SOME_NOT if failed else _ALL_KEPT), information


def _judged(status: int | None) -> str | None:
    if status is None:
        return "the sender did not answer the report"
    return None if status == _SUCCESS else f"the sender refused the report (0x{status:04X})"
