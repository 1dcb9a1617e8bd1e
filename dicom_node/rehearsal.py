"""An object received from ourselves and taken back, so that no sender waits for what a process does only once.

Memory copied at the first touch after a fork, bytecode specialised to what it meets, the system's buffers: the
first object of each receiving process took five times as long as those after it.
"""

import socket
import struct
from dataclasses import replace

from dicom_node.command_set import store_request
from dicom_node.direct import DirectAssociation, End, Store
from dicom_node.negotiation import ContextResult
from dicom_node.pdu_stream import LONG_PIECE
from dicom_node.pdus import COMMAND, LAST, P_DATA_TF
from dicom_node.syntaxes import EXPLICIT

_CONTEXT = 1
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_UID = "2.25.0"
_FRAGMENT = LONG_PIECE + 1024  # long ones and a short one


def rehearse(store: Store, times: int) -> None:
    """Receive an object so often over an association with ourselves. Nothing of it stays and nobody is told."""
    peer, ours = socket.socketpair()
    ours.setblocking(False)  # silence is the end of a message
    association = DirectAssociation(
        ours,
        "",
        0,
        {_CONTEXT: ContextResult(_CONTEXT, _SECONDARY_CAPTURE, EXPLICIT)},
        replace(store, storing=store.storing.rehearsing()),
        brought=lambda _study: None,
        ended=lambda _how: None,
    )
    # Nobody reads while we send: where the system's sockets hold less than the message, it is left.
    peer.setblocking(False)
    with peer:
        for _ in range(times):
            try:
                peer.sendall(_message())
            except BlockingIOError:
                association.end(End.ABORTED)
                return
            association.serve()
    association.serve()


def _message() -> bytes:
    data = _data_set()
    message = _fragment(store_request(_SECONDARY_CAPTURE, _UID), COMMAND | LAST)
    for start in range(0, len(data), _FRAGMENT):
        piece = data[start : start + _FRAGMENT]
        message += _fragment(piece, LAST if start + len(piece) == len(data) else 0)
    return message


def _fragment(data: bytes, control: int) -> bytes:
    """Return it as the one value of a P-DATA-TF PDU (PS3.8 9.3.5)."""
    value = struct.pack(">LBB", len(data) + 2, _CONTEXT, control) + data
    return struct.pack(">BBL", P_DATA_TF, 0, len(value)) + value


def _data_set() -> bytes:
    """Return an object in explicit VR little endian that names nobody."""
    private = b"".join(_element(0x0009, number, b"LO", b"rehearsal ") for number in range(0x1000, 0x1030))
    return (
        _element(0x0008, 0x0016, b"UI", _SECONDARY_CAPTURE.encode() + b"\0")
        + _element(0x0008, 0x0018, b"UI", _UID.encode())
        + _element(0x0008, 0x0060, b"CS", b"OT")
        + _element(0x0008, 0x1140, b"SQ", struct.pack("<LL", 0xE000FFFE, 0))
        + private
        + _element(0x0010, 0x0020, b"LO", b"")
        + _element(0x0020, 0x000D, b"UI", _UID.encode())
        + _element(0x0020, 0x000E, b"UI", _UID.encode())
        + _element(0x7FE0, 0x0010, b"OW", bytes(_FRAGMENT))
    )


def _element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    if vr in (b"SQ", b"OW"):
        return struct.pack("<HH2sHL", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value
