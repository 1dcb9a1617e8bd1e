"""C-MOVE and C-GET as SCP (PS3.4 C.4.2, C.4.3): what we hold goes to where the caller wants it, counted.

pynetdicom's own loop decodes each object into memory and writes it out there; this one streams it from its file
(sub_operation.py), so a retrieval costs the same memory whatever its size.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pynetdicom import Association
from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.dsutils import decode, encode

from clinical.errors import ClinicalError, IncorrectInput
from dicom_node.associating import associated
from dicom_node.destinations import Destination, SendTimeouts
from dicom_node.incoming import DECODER_ERRORS
from dicom_node.query.access import May
from dicom_node.query.attributes import UNIQUE, Level
from dicom_node.query.find_scp import CANCELLED, NOT_AUTHORISED, SUCCESS, UNABLE, status_of
from dicom_node.query.identifier import Asked, read_identifier
from dicom_node.query.node import MODELS, Archive, calling_ae
from dicom_node.query.search import Question, search
from dicom_node.query.sub_operation import Lost, Origin, Refused, Wanted, store
from dicom_node.status import is_taken
from record_store.exchanges import Kind, Outcome, Party
from record_store.holdings import stored_objects

PENDING, WARNING = 0xFF00, 0xB000
TOO_MANY, NOTHING_SENT, UNKNOWN_DESTINATION = 0xA701, 0xA702, 0xA801
MOST_OBJECTS = 20_000  # of one retrieval
MOST_NAMED = 1000  # UIDs in a Failed SOP Instance UID List: its explicit VR has 16 bits for its length
PENDING_EVERY_S = 0.25
STATUSES = {
    SUCCESS: "everything was sent and taken; also when nothing matches",
    PENDING: "sub-operations go on; with their counts",
    WARNING: "done, and some objects were not taken, or with a remark; the list names those that were not",
    CANCELLED: "ended at the caller's word (C-CANCEL)",
    TOO_MANY: f"more than {MOST_OBJECTS} objects match",
    NOTHING_SENT: "no object could be sent; the list names them",
    UNKNOWN_DESTINATION: "C-MOVE: the destination is none that this caller may send to",
    0xA700: "the index is being built, or the database is away",
    0xA900: "the identifier has no level of this model, or not its unique keys",
    UNABLE: "the identifier cannot be read, or we failed",
    NOT_AUTHORISED: "the calling AE may not retrieve",
}

log = structlog.get_logger()


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


class RetrieveScp:
    """Answers C-MOVE and C-GET requests over one archive."""

    def __init__(self, archive: Archive, timeouts: SendTimeouts | None = None) -> None:
        self._archive, self._timeouts = archive, timeouts or SendTimeouts()

    def serve(self, association: Association, request: C_GET | C_MOVE, context: Any) -> None:  # noqa: ANN401
        """Answer one request, in the association's own thread: pending responses, then the final one."""
        response = _Response(association, request, context)
        caller = Party(calling_ae(association), str(association.requestor.address or ""))
        what = "C-GET" if isinstance(request, C_GET) else "C-MOVE"
        try:
            self._serve(association, request, context, response, caller)
        except ClinicalError as error:
            self._refused(response, caller, what, status_of(error), error.message)
        except Lost:
            log.warning("retrieval ended", calling_ae=caller.name, why="the association was lost")
        except Exception as error:  # noqa: BLE001 - the association handler's edge: never an empty success
            log.warning("retrieval failed", calling_ae=caller.name, problem=type(error).__name__)
            self._refused(response, caller, what, UNABLE, "the request could not be processed")

    def _serve(
        self, association: Association, request: Any, context: Any, response: "_Response", caller: Party  # noqa: ANN401
    ) -> None:
        may, top = MODELS[str(request.AffectedSOPClassUID)]
        what = may.name.replace("GET", "C-GET").replace("MOVE", "C-MOVE")
        if not self._archive.access.allows(caller.name, may):
            self._refused(response, caller, what, NOT_AUTHORISED, "this AE may not retrieve")
            return
        destination: Destination | None = None
        if may is May.MOVE:
            wanted_ae = str(request.MoveDestination or "").strip()
            destination = self._archive.access.move_destination(caller.name, wanted_ae)
            if destination is None:
                text = "the destination is none that this AE may send to"
                self._refused(response, caller, what, UNKNOWN_DESTINATION, text)
                return
        asked = read_identifier(_identifier(request, context), top, retrieval=True)
        objects = self._objects(asked, caller.name)
        if objects is None:
            self._refused(response, caller, what, TOO_MANY, f"more than {MOST_OBJECTS} objects match")
            return
        counts = Counts(len(objects))
        to = None if destination is None else Party(destination.ae_title, destination.host)
        self._archive.tell(Kind.TRANSFER_BEGUN, caller, outcome=Outcome.SUCCESS, what=what, to=to,
                           studies=_by_study(objects))  # fmt: skip
        try:
            if destination is None:
                self._send(association, objects, counts, response, None)
            else:
                self._move(destination, objects, counts, response, Origin(caller.name, int(request.MessageID)))
        finally:
            outcome = Outcome.SUCCESS if not counts.failed and not counts.remaining else Outcome.MINOR
            self._archive.tell(
                Kind.TRANSFERRED, caller, outcome=outcome, what=what, to=to, studies=counts.sent_of_study,
                note="; ".join(sorted(counts.problems)),
            )  # fmt: skip
            log.info(
                "retrieval answered", calling_ae=caller.name, service=what, completed=counts.completed,
                failed=counts.failed, warning=counts.warning, remaining=counts.remaining,
                problems=sorted(counts.problems),
            )  # fmt: skip
        if response.cancelled:
            response.last(CANCELLED, counts)
        else:
            response.last(counts.final_status(), counts, "; ".join(sorted(counts.problems)))

    def _objects(self, asked: Asked, caller: str) -> list[Wanted] | None:
        """Return what matches, None when that is too much."""
        self._archive.index.catch_up(within_s=self._archive.patience_s)
        uid, found = UNIQUE[Level.IMAGE].tag, []
        for row in search(self._archive.db, Question(Level.IMAGE, asked.keys, self._archive.access.scope(caller))):
            found.append(row[uid])
            if len(found) > MOST_OBJECTS:
                return None
        with self._archive.db.read() as conn:
            return [Wanted(*one) for one in stored_objects(conn, found)]

    def _move(
        self, destination: Destination, objects: list[Wanted], counts: Counts, response: "_Response", origin: Origin
    ) -> None:
        pairs = dict.fromkeys((one.sop_class_uid, one.transfer_syntax_uid) for one in objects)
        contexts = _contexts(pairs)
        with associated(destination, self._archive.ae_title, contexts, self._timeouts) as (association, problem):
            if association is None:
                for one in objects:
                    counts.took(one, None, problem or "no association with the destination")
                return
            try:
                self._send(association, objects, counts, response, origin)
            except Lost as lost:
                for one in objects[len(objects) - counts.remaining :]:
                    counts.took(one, None, str(lost))

    def _send(
        self,
        association: Association,
        objects: Iterable[Wanted],
        counts: Counts,
        response: "_Response",
        origin: Origin | None,
    ) -> None:
        for number, one in enumerate(objects, 1):
            if response.cancelled or not response.alive:
                return
            try:
                message_id = (response.message_id + number) % 0x10000 or 1
                counts.took(one, store(association, self._archive.blobs, one, message_id, origin))
            except Refused as refused:
                counts.took(one, None, str(refused))
            if counts.remaining:
                response.pending(counts)

    def _refused(self, response: "_Response", caller: Party, what: str, status: int, why: str) -> None:
        log.warning("retrieval refused", calling_ae=caller.name, service=what, why=why)
        self._archive.tell(Kind.REFUSED, caller, outcome=Outcome.SERIOUS, what=what, note=why)
        response.last(status, None, why)


class _Response:
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


def _contexts(pairs: Iterable[tuple[str, str]]) -> list[Any]:
    """Return at most 128 contexts: each class as it is stored, uncompressed ones in both little endian forms."""
    from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian  # noqa: PLC0415

    plain = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    wanted: dict[tuple[str, str], tuple[UID, list[UID]]] = {}
    for sop_class, syntax in pairs:
        is_plain = syntax in plain
        wanted.setdefault(
            (sop_class, "" if is_plain else syntax), (UID(sop_class), plain if is_plain else [UID(syntax)])
        )
    return list(wanted.values())[:128]


def _identifier(request: Any, context: Any) -> Dataset:  # noqa: ANN401
    syntax = context.transfer_syntax[0]
    try:
        return decode(request.Identifier, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    except DECODER_ERRORS:
        raise IncorrectInput("the identifier cannot be read") from None


def _by_study(objects: Iterable[Wanted]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for one in objects:
        counted[one.study_uid] = counted.get(one.study_uid, 0) + 1
    return counted
