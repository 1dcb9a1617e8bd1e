"""A data set on its way from the wire to a file, and what a peer may make us hold meanwhile."""

import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from pydicom.errors import InvalidDicomError
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom import Association
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dsutils import create_file_meta
from pynetdicom.pdu_primitives import P_DATA

from clinical.uids import derived_uid

# These stand in every file we store, so they never change: the same object must give the same bytes.
IMPLEMENTATION_UID = UID(derived_uid("consilium", "implementation"))
IMPLEMENTATION_VERSION = "CONSILIUM"

BUFFER = 256 * 1024
# What pydicom's and pynetdicom's decoders raise on bytes that are not what they should be.
DECODER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a peer may make us hold. Sizes in bytes, times in seconds.

    control_pdu: longest PDU other than P-DATA. command_set: longest DIMSE command.
    object_bytes: longest data set of a C-STORE, which goes to a file. identifier: longest one of another message.
    associations: established at once.
    connections, connections_per_host: open sockets, whatever their state.
    stall_s: longest silence within a PDU. slowest: bytes a second below which a PDU is given up.
    """

    control_pdu: int = 256 * 1024
    command_set: int = 16 * 1024
    object_bytes: int = 8 * 1024**3
    identifier: int = 1024 * 1024
    associations: int = 64
    connections: int = 256
    connections_per_host: int = 128
    stall_s: float = 30.0
    slowest: float = 10_000.0


@dataclass(slots=True)
class ReceivedDataSet:
    """A data set as it came: a Part 10 file, complete and closed, or the reason why there is none.

    path: None when it could not be kept. offset: where the data set begins, after the file meta group.
    """

    path: Path | None
    offset: int = 0
    refused: str = ""

    def take(self) -> Path | None:
        """Return the file; from now on it is the caller's to store or to remove."""
        path, self.path = self.path, None
        return path

    def discard(self) -> None:
        """Remove the file, unless somebody has taken it."""
        path = self.take()
        if path is not None:
            path.unlink(missing_ok=True)


class ProtocolError(Exception):
    """The peer broke PS3.8; the association is aborted."""


class Incoming:
    """The DIMSE message that is being received on one association."""

    def __init__(
        self,
        association: Association,
        bounds: Bounds,
        accepts: Callable[[], str],
        folder: Path,
        deliver: Callable[[int, Any], None],
    ) -> None:
        self._association = association
        self._deliver = deliver
        self._bounds = bounds
        self._accepts = accepts
        self._folder = folder
        self._buffer = memoryview(bytearray(0))
        self._message: Any = None
        self._context_id: int | None = None  # of the data set that is due
        self._command_bytes = 0
        self._received: ReceivedDataSet | None = None
        self._file: FileIO | None = None
        self._size = 0
        self._waiting: list[ReceivedDataSet] = []

    def command(self, context_id: int, control: int, size: int, receive: Callable[[int], bytearray]) -> None:
        """Take a fragment of a command set; pynetdicom decodes it when it is whole."""
        self._command_bytes += size
        if self._context_id is not None or self._command_bytes > self._bounds.command_set:
            raise ProtocolError
        if self._message is None:
            self._message = DIMSEMessage()
        primitive = P_DATA()
        primitive.presentation_data_value_list.append((context_id, bytes([control]) + bytes(receive(size))))
        try:
            whole = self._message.decode_msg(primitive, self._association)
        except DECODER_ERRORS:
            raise ProtocolError from None
        if whole:
            self._hand_over()
        elif control & 2:
            self._context_id = context_id
            if isinstance(self._message, C_STORE_RQ):
                self._received = self._begin(context_id)

    def data(self, context_id: int, control: int, size: int, receive: Callable[[memoryview], int]) -> None:
        """Take a fragment of a data set: from the socket to the file."""
        if context_id != self._context_id:
            raise ProtocolError
        if self._received is None:
            self._identifier(context_id, control, size, receive)
            return
        if not self._buffer:
            self._buffer = memoryview(bytearray(BUFFER))
        while size:
            count = receive(self._buffer[: min(size, BUFFER)])
            self._write(self._buffer[:count])
            size -= count
        if control & 2:
            self._finish()

    def _identifier(self, context_id: int, control: int, size: int, receive: Callable[[memoryview], int]) -> None:
        """Take a fragment of a data set that is no object (a query, a report): kept in memory, so bounded."""
        self._size += size
        if self._size > self._bounds.identifier:
            raise ProtocolError
        fragment, filled = bytearray(size), 0
        while filled < size:
            filled += receive(memoryview(fragment)[filled:])
        primitive = P_DATA()
        primitive.presentation_data_value_list.append((context_id, bytes([control]) + bytes(fragment)))
        try:
            whole = self._message.decode_msg(primitive, self._association)
        except DECODER_ERRORS:
            raise ProtocolError from None
        if whole:
            self._hand_over()

    def close(self) -> None:
        """Forget everything: the association is over. What a handler has taken is not touched."""
        if self._file is not None:
            self._file.close()
            self._file = None
        for received in (*self._waiting, *((self._received,) if self._received else ())):
            received.discard()
        self._waiting.clear()

    def _begin(self, context_id: int) -> ReceivedDataSet:
        context = self._association._accepted_cx.get(context_id)  # noqa: SLF001 - no public way in by id
        if context is None:
            raise ProtocolError
        refused = self._accepts()
        if refused:
            return ReceivedDataSet(None, refused=refused)
        command = self._message.command_set
        path = self._folder / f"{uuid.uuid4().hex}.part"
        received = ReceivedDataSet(path)
        try:
            self._file = FileIO(path, "xb")
            self._file.write(b"\0" * 128 + b"DICM")
            meta = create_file_meta(
                sop_class_uid=command.AffectedSOPClassUID,
                sop_instance_uid=command.AffectedSOPInstanceUID,
                transfer_syntax=context.transfer_syntax[0],
                implementation_uid=IMPLEMENTATION_UID,
                implementation_version=IMPLEMENTATION_VERSION,
            )
            write_file_meta_info(self._file, meta)  # type: ignore[arg-type]  # any binary file does
            received.offset = self._file.tell()
        except OSError:
            self._give_up(received, "the object cannot be written")
        except (AttributeError, TypeError, ValueError):
            raise ProtocolError from None  # a command set without the UIDs that it must have
        return received

    def _write(self, view: memoryview) -> None:
        self._size += len(view)
        received = self._received
        if self._file is None or received is None:
            return  # refused: the rest is read and dropped, so that the association lives on
        if self._size > self._bounds.object_bytes:
            self._give_up(received, "the object is too large")
            return
        try:
            while view:
                view = view[self._file.write(view) or 0 :]
        except OSError:
            self._give_up(received, "the object cannot be written")

    def _give_up(self, received: ReceivedDataSet, why: str) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        received.discard()
        received.refused = why

    def _finish(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._hand_over()

    def _hand_over(self) -> None:
        message, received = self._message, self._received
        self._message, self._received, self._command_bytes, self._size = None, None, 0, 0
        self._context_id = None
        try:
            primitive = message.message_to_primitive()
        except (AttributeError, TypeError, ValueError):
            if received is not None:
                received.discard()
            raise ProtocolError from None
        if received is not None:
            self._waiting = [one for one in self._waiting if one.path is not None]
            self._waiting.append(received)
            primitive.received = received
        self._deliver(message.context_id, primitive)
