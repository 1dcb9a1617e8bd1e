"""The PDUs that an acceptor sends, as bytes (PS3.8 9.3). Pure."""

import struct
from collections.abc import Iterable, Iterator

from dicom_node.negotiation import ContextResult

A_ASSOCIATE_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ = 0x01, 0x02, 0x03
P_DATA_TF, A_RELEASE_RQ, A_RELEASE_RP, A_ABORT = 0x04, 0x05, 0x06, 0x07
HEADER_BYTES = 6
COMMAND, LAST = 1, 2  # message control header, PS3.8 E.2
# The source of an A-ABORT and its reasons, PS3.8 9.3.8.
BY_USER, BY_PROVIDER = 0, 2
NOT_SPECIFIED, UNRECOGNIZED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = 0, 1, 2, 6
_APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"


def accept(
    request: bytes, results: Iterable[ContextResult], *, maximum_length: int, implementation: tuple[str, str]
) -> bytes:
    """Return an A-ASSOCIATE-AC (9.3.3). request: the A-ASSOCIATE-RQ's body, whose AE titles go back as they came.

    maximum_length: the longest P-DATA-TF that we take. implementation: class UID and version name.
    """
    body = struct.pack(">HH", 1, 0) + request[4:68] + _item(0x10, _APPLICATION_CONTEXT)
    for one in results:
        syntax = _item(0x40, one.transfer_syntax.encode("ascii", "replace"))
        body += _item(0x21, bytes((one.context_id, 0, one.result, 0)) + syntax)
    user = _item(0x51, struct.pack(">L", maximum_length))
    user += _item(0x52, implementation[0].encode()) + _item(0x55, implementation[1].encode())
    return _pdu(A_ASSOCIATE_AC, body + _item(0x50, user))


def request(body: bytes) -> bytes:
    """Return an A-ASSOCIATE-RQ whose body this is (9.3.2)."""
    return _pdu(A_ASSOCIATE_RQ, body)


def reject(result: int, source: int, reason: int) -> bytes:
    """Return an A-ASSOCIATE-RJ (9.3.4)."""
    return _pdu(A_ASSOCIATE_RJ, bytes((0, result, source, reason)))


def abort(source: int, reason: int) -> bytes:
    """Return an A-ABORT (9.3.8)."""
    return _pdu(A_ABORT, bytes((0, 0, source, reason)))


def released() -> bytes:
    """Return an A-RELEASE-RP (9.3.7)."""
    return _pdu(A_RELEASE_RP, bytes(4))


def command_message(context_id: int, command: bytes, maximum_length: int) -> bytes:
    """Return a message that is a command set alone, in P-DATA-TF PDUs that the peer takes (0: of any length).

    Raises ValueError when the peer takes none that carries anything.
    """
    return b"".join(
        _pdu(P_DATA_TF, struct.pack(">LBB", len(piece) + 2, context_id, control) + piece)
        for control, piece in _pieces(command, maximum_length)
    )


def _pieces(command: bytes, maximum_length: int) -> Iterator[tuple[int, bytes]]:
    # A fragment is of even length (PS3.8 E.1 by PS3.5 7.1's elements), after six bytes of PDV header.
    most = (maximum_length - HEADER_BYTES) & ~1 if maximum_length else len(command)
    if most < 2:
        raise ValueError("the peer takes no PDU that could hold a fragment")
    for start in range(0, len(command), most):
        last = LAST if start + most >= len(command) else 0
        yield COMMAND | last, command[start : start + most]


def _pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBL", kind, 0, len(body)) + body


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value
