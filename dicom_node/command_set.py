"""Command sets of C-STORE and C-ECHO: requests read strictly, all as bytes (PS3.7 9.3.1, 9.3.5). Pure."""

import struct
from dataclasses import dataclass

from dicom_node.protocol_error import ProtocolError

C_STORE_RQ, C_ECHO_RQ = 0x0001, 0x0030  # PS3.7 E.1
_RESPONSE = 0x8000
_NO_DATA_SET = 0x0101
_SOP_CLASS, _FIELD, _MESSAGE_ID, _DATA_SET, _SOP_INSTANCE = 0x0002, 0x0100, 0x0110, 0x0800, 0x1000
_ORIGINATOR = 0x1030
_SHORTS = (_FIELD, _MESSAGE_ID, _DATA_SET)


@dataclass(frozen=True, slots=True)
class Command:
    """A request. sop_class, sop_instance: as they came, without padding; "" where there is none.

    originator: the AE title whose C-MOVE a C-STORE answers, "" where it is not said.
    """

    context_id: int
    field: int
    message_id: int
    has_data_set: bool
    sop_class: str = ""
    sop_instance: str = ""
    originator: str = ""


def read_command(context_id: int, data: bytes | bytearray) -> Command:
    """Read a whole command set. Raises ProtocolError when it does not hang together or is no request."""
    values = _elements(data)
    try:
        field, message_id, data_set = (struct.unpack("<H", values[one])[0] for one in _SHORTS)
    except (KeyError, struct.error):
        raise ProtocolError from None
    named = (_text(values, one) for one in (_SOP_CLASS, _SOP_INSTANCE, _ORIGINATOR))
    return Command(context_id, field, message_id, data_set != _NO_DATA_SET, *named)


def store_request(sop_class: str, sop_instance: str) -> bytes:
    """Return the command set of a C-STORE-RQ whose data set follows (PS3.7 9.3.1.1)."""
    body = _element(_SOP_CLASS, _padded(sop_class)) + _element(_FIELD, _us(C_STORE_RQ))
    body += _element(_MESSAGE_ID, _us(1)) + _element(0x0700, _us(0)) + _element(_DATA_SET, _us(1))
    body += _element(_SOP_INSTANCE, _padded(sop_instance))
    return _element(0x0000, struct.pack("<L", len(body))) + body


def response(command: Command, status: int) -> bytes:
    """Return the command set that answers a request."""
    body = _element(_SOP_CLASS, _padded(command.sop_class))
    body += _element(_FIELD, _us(command.field | _RESPONSE)) + _element(0x0120, _us(command.message_id))
    body += _element(_DATA_SET, _us(_NO_DATA_SET)) + _element(0x0900, _us(status))
    if command.field == C_STORE_RQ:
        body += _element(_SOP_INSTANCE, _padded(command.sop_instance))
    return _element(0x0000, struct.pack("<L", len(body))) + body


def _elements(data: bytes | bytearray) -> dict[int, bytes]:
    """Return the values of group 0000 by element number; an element that stands twice is an error."""
    values: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        if len(data) - position < 8:
            raise ProtocolError
        group, element, length = struct.unpack_from("<HHL", data, position)
        position += 8
        if group or element in values or length > len(data) - position or length & 1:
            raise ProtocolError
        values[element] = bytes(data[position : position + length])
        position += length
    return values


def _text(values: dict[int, bytes], element: int) -> str:
    # What is no UID is refused when it is used; here it only has to survive the way back to its sender.
    return values.get(element, b"").decode("latin-1").rstrip("\0 ")


def _padded(uid: str) -> bytes:
    value = uid.encode("latin-1")
    return value + b"\0" * (len(value) & 1)


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, element, len(value)) + value


def _us(value: int) -> bytes:
    return struct.pack("<H", value)
