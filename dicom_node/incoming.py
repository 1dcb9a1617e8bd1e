"""A DIMSE message that is being received on one of pynetdicom's associations, within bounds."""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydicom.errors import InvalidDicomError
from pynetdicom import Association
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA

from dicom_node.bounds import Bounds
from dicom_node.part10 import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION
from dicom_node.protocol_error import ProtocolError
from dicom_node.receiving import ReceivedObject

__all__ = ["BUFFER", "DECODER_ERRORS", "IMPLEMENTATION_UID", "IMPLEMENTATION_VERSION", "Bounds", "Incoming"]

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


class Incoming:
    """The DIMSE message that is being received on one association."""

    def __init__(
        self,
        association: Association,
        bounds: Bounds,
        accepts: Callable[[], str],
        folder: Path,
        deliver: Callable[[int, Any], None],
        private_syntaxes: Mapping[str, str],
    ) -> None:
        self._association = association
        self._deliver = deliver
        self._bounds = bounds
        self._accepts = accepts
        self._folder = folder
        self._private_syntaxes = private_syntaxes
        self._buffer = memoryview(bytearray(0))
        self._message: Any = None
        self._context_id: int | None = None  # of the data set that is due
        self._command_bytes = 0
        self._received: ReceivedObject | None = None
        self._size = 0
        self._waiting: list[ReceivedObject] = []

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
            self._received.write([self._buffer[:count]])
            size -= count
        if control & 2:
            self._hand_over()

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
        for received in (*self._waiting, *((self._received,) if self._received else ())):
            received.discard()
        self._waiting.clear()

    def _begin(self, context_id: int) -> ReceivedObject:
        context = self._association._accepted_cx.get(context_id)  # noqa: SLF001 - no public way in by id
        if context is None:
            raise ProtocolError
        command = self._message.command_set
        named = (command.get("AffectedSOPClassUID"), command.get("AffectedSOPInstanceUID"))
        syntax = str(context.transfer_syntax[0])
        return ReceivedObject(
            (str(named[0] or ""), str(named[1] or "")),
            syntax,
            accepts=self._accepts,
            folder=self._folder,
            object_bytes=self._bounds.object_bytes,
            encoding=self._private_syntaxes.get(syntax, ""),
        )

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
            self._waiting = [one for one in self._waiting if one.is_here]
            self._waiting.append(received)
            primitive.received = received
        self._deliver(message.context_id, primitive)
