"""One C-STORE sub-operation of a retrieval: an object goes from its file to the wire in small pieces.

pynetdicom 3.0.4 puts a whole object into the queue of its writer, however slowly the peer reads; here at most
MOST_WAITING pieces of 64 KiB wait. The object goes as it is stored. Where the peer accepted only another
uncompressed transfer syntax, it is written anew in that one; nothing is ever decompressed or compressed.
"""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode, split_dataset

from clinical.errors import ClinicalError
from dicom_node.incoming import DECODER_ERRORS
from record_store.blobs import Blobs

MOST_WAITING = 16
PIECE = 64 * 1024
MOST_CONVERTED = 512 * 1024 * 1024  # bytes of an object that is written anew in memory
_PLAIN = frozenset((ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian))


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object to send. transfer_syntax_uid: that it is stored in."""

    sop_instance_uid: str
    sop_class_uid: str
    study_uid: str
    transfer_syntax_uid: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asked for a C-MOVE (PS3.7 9.1.1.1): AE title and Message ID."""

    ae_title: str
    message_id: int


class Refused(Exception):
    """The object cannot be sent on this association. The text says why."""


class Lost(Exception):
    """The association ended, or the peer does not read or answer."""


def store(
    association: Association, blobs: Blobs, wanted: Wanted, message_id: int, origin: Origin | None = None
) -> int:
    """Send one object and return the status that the peer answers with.

    Raises Refused when it cannot be sent here, Lost when nothing more can be.
    """
    context = _context(association, wanted)
    request = C_STORE()
    request.MessageID, request.Priority = message_id, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = wanted.sop_class_uid, wanted.sop_instance_uid
    if origin is not None:
        request.MoveOriginatorApplicationEntityTitle = origin.ae_title
        request.MoveOriginatorMessageID = origin.message_id
    try:
        with blobs.local_path(wanted.sha256) as path:
            if context.transfer_syntax[0] == wanted.transfer_syntax_uid:
                request._dataset_path = (path, split_dataset(path)[1])  # noqa: SLF001 - its chunked mode
            else:
                request.DataSet = _converted(path, context.transfer_syntax[0])
            with _alone(association):
                _send(association, request, context.context_id)
                return _answer(association)
    except (ClinicalError, OSError, *DECODER_ERRORS):
        raise Refused("the object cannot be read") from None


def _context(association: Association, wanted: Wanted) -> Any:  # noqa: ANN401 - pynetdicom's context
    possible = [
        one
        for one in association.accepted_contexts
        if one.abstract_syntax == wanted.sop_class_uid and (one.as_scu or association.is_requestor)
    ]
    if not possible:
        raise Refused("the peer does not take this SOP class here")
    stored = wanted.transfer_syntax_uid
    exact = next((one for one in possible if one.transfer_syntax[0] == stored), None)
    if exact is None and UID(stored) in _PLAIN:
        exact = next((one for one in possible if one.transfer_syntax[0] in _PLAIN), None)
    if exact is None:
        raise Refused("the peer does not take this transfer syntax here")
    return exact


def _converted(path: Path, syntax: UID) -> BytesIO:
    if path.stat().st_size > MOST_CONVERTED:
        raise Refused("the object is too large to be written in another transfer syntax")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values
        ds = dcmread(path)
        if syntax.is_little_endian is not ds.file_meta.TransferSyntaxUID.is_little_endian:
            raise Refused("the peer does not take this byte order")
        written = encode(ds, syntax.is_implicit_VR, syntax.is_little_endian)
    if written is None:
        raise Refused("the object cannot be written in the accepted transfer syntax")
    return BytesIO(written)


@contextmanager
def _alone(association: Association) -> Iterator[None]:
    """Keep pynetdicom's own thread from taking the answer; an acceptor that serves a request is that thread."""
    if not association.is_requestor:
        yield
        return
    association._reactor_checkpoint.clear()  # noqa: SLF001 - as its send_c_store does
    try:
        until = time.monotonic() + 5.0
        while not association._is_paused:  # noqa: SLF001
            if time.monotonic() > until or not association.is_established:
                raise Lost("the association ended before this object")
            time.sleep(0.0001)
        yield
    finally:
        association._reactor_checkpoint.set()  # noqa: SLF001


def _send(association: Association, request: C_STORE, context_id: int) -> None:
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    largest = association.dimse.maximum_pdu_size
    largest = min(largest, PIECE) if largest else PIECE
    for piece in message.encode_msg(context_id, largest):
        _wait_for_room(association)
        association.dul.send_pdu(piece)


def _wait_for_room(association: Association) -> None:
    until = time.monotonic() + (association.network_timeout or 60.0)
    while association.dul.to_provider_queue.qsize() >= MOST_WAITING:
        if time.monotonic() > until or not association.dul.is_alive():
            association.abort()
            raise Lost("the peer does not read")
        time.sleep(0.0005)


def _answer(association: Association) -> int:
    _, answer = association.dimse.get_msg(block=True)
    if not isinstance(answer, C_STORE) or not answer.is_valid_response or answer.Status is None:
        if association.is_established:
            association.abort()
        raise Lost("the peer did not answer")
    return int(answer.Status)
