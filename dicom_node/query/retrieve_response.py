"""How a retrieval goes, and how its caller is told: sub-operations counted, responses pending and final."""

import time
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import Association
from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.dsutils import encode

from dicom_node.query.sub_operation import Wanted
from dicom_node.status import is_taken

SUCCESS, PENDING, WARNING, CANCELLED, NOTHING_SENT = 0x0000, 0xFF00, 0xB000, 0xFE00, 0xA702
MOST_NAMED = 1000  # UIDs in a Failed SOP Instance UID List: its explicit VR has 16 bits for its length
PENDING_EVERY_S = 0.25


@dataclass(slots=True)
class Counts:
    """The sub-operations of a retrieval. problems: why objects were not sent, each once."""

    remaining: int
    completed: int = 0
    failed: int = 0
    warning: int = 0
    failed_uids: list[str] = field(default_factory=list)
    problems: set[str] = field(default_factory=set)
    sent_of_study: dict[str, int] = field(default_factory=dict)

    def took(self, wanted: Wanted, status: int | None, problem: str = "") -> None:
        """Count one sub-operation. status: the peer's, None when it gave none."""
        self.remaining -= 1
        if status is not None and is_taken(status):
            self.completed += status == SUCCESS
            self.warning += status != SUCCESS
            self.sent_of_study[wanted.study_uid] = self.sent_of_study.get(wanted.study_uid, 0) + 1
            return
        self.failed += 1
        self.failed_uids.append(wanted.sop_instance_uid)
        self.problems.add(problem or f"the peer answered 0x{status or 0:04X}")

    def final_status(self) -> int:
        """Return the status of the last response (PS3.4 C.4.2.1.5, C.4.3.1.4)."""
        if not self.failed and not self.warning:
            return SUCCESS
        return WARNING if self.completed or self.warning else NOTHING_SENT


class Response:
    """Sends the responses of one request."""

    def __init__(self, association: Association, request: C_GET | C_MOVE, context: Any) -> None:  # noqa: ANN401
        self._association, self._request, self._context = association, request, context
        self._said_at = 0.0
        self.message_id = int(request.MessageID)

    @property
    def cancelled(self) -> bool:
        """True when the caller has sent a C-CANCEL for this request."""
        return self.message_id in self._association.dimse.cancel_req

    @property
    def alive(self) -> bool:
        """True while somebody can hear the answer."""
        return bool(self._association.is_established and self._association.dul.is_alive())

    def pending(self, counts: Counts) -> None:
        """Tell how it goes, the first time and then now and again."""
        if time.monotonic() - self._said_at >= PENDING_EVERY_S:
            self._said_at = time.monotonic()
            self._send(PENDING, counts, None, "")

    def last(self, status: int, counts: Counts | None, comment: str = "") -> None:
        """Tell the end."""
        named = None
        if counts is not None and status in {WARNING, NOTHING_SENT, CANCELLED}:
            named = Dataset()
            named.FailedSOPInstanceUIDList = counts.failed_uids[:MOST_NAMED]
        self._send(status, counts, named, comment)

    def _send(self, status: int, counts: Counts | None, identifier: Dataset | None, comment: str) -> None:
        if not self.alive:
            return
        response = type(self._request)()
        response.MessageIDBeingRespondedTo = self.message_id
        response.AffectedSOPClassUID = self._request.AffectedSOPClassUID
        response.Status = status
        if comment and status != SUCCESS:
            response.ErrorComment = comment[:64]
        if counts is not None:
            if status in {PENDING, CANCELLED}:
                response.NumberOfRemainingSuboperations = counts.remaining
            response.NumberOfCompletedSuboperations = counts.completed
            response.NumberOfFailedSuboperations = counts.failed
            response.NumberOfWarningSuboperations = counts.warning
        if identifier is not None:
            syntax = self._context.transfer_syntax[0]
            data = encode(identifier, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
            response.Identifier = BytesIO(data or b"")
        self._association.dimse.send_msg(response, self._context.context_id)
