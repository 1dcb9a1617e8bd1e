"""C-MOVE and C-GET as SCP (PS3.4 C.4.2, C.4.3): what we hold goes to where the caller wants it, counted.

pynetdicom's own loop decodes each object into memory and writes it out there; this one streams it from its file
(sub_operation.py), so a retrieval costs the same memory whatever its size.
"""

from collections.abc import Iterable
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import Association
from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.dsutils import decode

from clinical.errors import ClinicalError, IncorrectInput
from dicom_node.associating import associated
from dicom_node.destinations import Destination, SendTimeouts
from dicom_node.incoming import DECODER_ERRORS
from dicom_node.query.access import May
from dicom_node.query.attributes import UNIQUE, Level
from dicom_node.query.find_scp import NOT_AUTHORISED, UNABLE, status_of
from dicom_node.query.identifier import Asked, read_identifier
from dicom_node.query.node import MODELS, Archive, calling_ae
from dicom_node.query.retrieve_response import CANCELLED, NOTHING_SENT, PENDING, SUCCESS, WARNING, Counts, Response
from dicom_node.query.search import Question, search
from dicom_node.query.sub_operation import Lost, Origin, Refused, Wanted, store
from record_store.exchanges import Kind, Outcome, Party
from record_store.holdings import stored_objects

TOO_MANY, UNKNOWN_DESTINATION = 0xA701, 0xA801
MOST_OBJECTS = 20_000  # of one retrieval
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


class RetrieveScp:
    """Answers C-MOVE and C-GET requests over one archive."""

    def __init__(self, archive: Archive, timeouts: SendTimeouts | None = None) -> None:
        self._archive, self._timeouts = archive, timeouts or SendTimeouts()

    def serve(self, association: Association, request: C_GET | C_MOVE, context: Any) -> None:  # noqa: ANN401
        """Answer one request, in the association's own thread: pending responses, then the final one."""
        response = Response(association, request, context)
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
        self,
        association: Association,
        request: C_GET | C_MOVE,
        context: Any,  # noqa: ANN401
        response: "Response",
        caller: Party,
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
            if destination is None or not objects:
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
        self,
        destination: Destination,
        objects: list[Wanted],
        counts: Counts,
        response: "Response",
        origin: Origin,
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
        response: "Response",
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

    def _refused(self, response: "Response", caller: Party, what: str, status: int, why: str) -> None:
        log.warning("retrieval refused", calling_ae=caller.name, service=what, why=why)
        self._archive.tell(Kind.REFUSED, caller, outcome=Outcome.SERIOUS, what=what, note=why)
        response.last(status, None, why)


def _contexts(pairs: Iterable[tuple[str, str]]) -> list[Any]:
    """Return at most 128 contexts: each class as it is stored, uncompressed ones in both little endian forms."""
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
        read: Dataset = decode(
            request.Identifier, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated
        )
    except DECODER_ERRORS:
        raise IncorrectInput("the identifier cannot be read") from None
    return read


def _by_study(objects: Iterable[Wanted]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for one in objects:
        counted[one.study_uid] = counted.get(one.study_uid, 0) + 1
    return counted
