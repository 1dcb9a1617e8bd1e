"""A requestor that says exactly the bytes it is told: for abuse tests, fuzzing and the ingest benchmark.

pynetdicom and dcmtk cannot be made to break PS3.7 or PS3.8, and both are slower than the server that they would
measure. Everything here has a correct default and can be replaced by something wrong.
"""

import socket
import ssl
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

A_ASSOCIATE_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ = 0x01, 0x02, 0x03  # PS3.8 9.3.1
P_DATA_TF, A_RELEASE_RQ, A_RELEASE_RP, A_ABORT = 0x04, 0x05, 0x06, 0x07
COMMAND, LAST = 1, 2  # bits of a message control header (PS3.8 E.2)
C_STORE_RQ, C_ECHO_RQ, RESPONSE = 0x0001, 0x0030, 0x8000  # PS3.7 E.1
STATUS, MESSAGE_ID_RESPONDED_TO = 0x00000900, 0x00000120
NO_DATA_SET = 0x0101
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
ANSWER_WITHIN_S = 60.0
_APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
_IMPLEMENTATION = b"2.25.1"

Contexts = Mapping[int, tuple[str, tuple[str, ...]]]  # context ID -> abstract syntax, transfer syntaxes


class ConnectionEnded(Exception):
    """The acceptor closed the connection where an answer was due."""


def pdu(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    """Return a PDU (PS3.8 9.3). length: what its header claims, by default the truth."""
    return struct.pack(">BBL", kind, 0, len(body) if length is None else length) + body


def item(kind: int, value: bytes) -> bytes:
    """Return an item of an A-ASSOCIATE PDU."""
    return struct.pack(">BBH", kind, 0, len(value)) + value


def presentation_context(context_id: int, abstract: bytes, *transfer: bytes) -> bytes:
    """Return a proposed presentation context item (PS3.8 9.3.2.2)."""
    return item(
        0x20, bytes((context_id, 0, 0, 0)) + item(0x30, abstract) + b"".join(item(0x40, t) for t in transfer)
    )


def association_request(
    contexts: Contexts, *, called: str = "CONSILIUM", calling: str = "RAW", maximum_length: int = 16384
) -> bytes:
    """Return an A-ASSOCIATE-RQ PDU (PS3.8 9.3.2). maximum_length: longest P-DATA-TF that we take, in bytes."""
    proposed = b"".join(
        presentation_context(number, abstract.encode(), *(one.encode() for one in transfer))
        for number, (abstract, transfer) in contexts.items()
    )
    user = item(0x51, struct.pack(">L", maximum_length)) + item(0x52, _IMPLEMENTATION)
    return pdu(
        A_ASSOCIATE_RQ,
        request_fields(called, calling) + item(0x10, _APPLICATION_CONTEXT) + proposed + item(0x50, user),
    )


def request_fields(called: str, calling: str, *, version: int = 1) -> bytes:
    """Return the fixed 68 bytes of an A-ASSOCIATE-RQ after its header."""
    return struct.pack(">HH16s16s32x", version, 0, called.encode().ljust(16), calling.encode().ljust(16))


def element(tag: int, value: bytes) -> bytes:
    """Return an element in Implicit VR Little Endian, the encoding of command sets (PS3.7 6.3.1)."""
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def us(value: int) -> bytes:
    """Return an unsigned short of a command set."""
    return struct.pack("<H", value)


def ui(value: str | bytes) -> bytes:
    """Return a UID of a command set, padded to even length (PS3.5 9.1)."""
    raw = value.encode() if isinstance(value, str) else value
    return raw + b"\0" * (len(raw) % 2)


def command_set(elements: Mapping[int, bytes]) -> bytes:
    """Return a command set with its group length. elements: tag -> value, in the order given."""
    body = b"".join(element(tag, value) for tag, value in elements.items())
    return element(0x00000000, struct.pack("<L", len(body))) + body


def store_command(sop_class: str | bytes, sop_instance: str | bytes, message_id: int = 1) -> dict[int, bytes]:
    """Return the elements of a C-STORE-RQ (PS3.7 9.3.1.1), to encode with `command_set`."""
    return {
        0x00000002: ui(sop_class),
        0x00000100: us(C_STORE_RQ),
        0x00000110: us(message_id),
        0x00000700: us(2),
        0x00000800: us(1),
        0x00001000: ui(sop_instance),
    }


def echo_command(message_id: int = 1) -> dict[int, bytes]:
    """Return the elements of a C-ECHO-RQ (PS3.7 9.3.5.1)."""
    return {
        0x00000002: ui(VERIFICATION),
        0x00000100: us(C_ECHO_RQ),
        0x00000110: us(message_id),
        0x00000800: us(NO_DATA_SET),
    }


def value(context_id: int, control: int, fragment: bytes, *, length: int | None = None) -> bytes:
    """Return a presentation data value (PS3.8 9.3.5.1). length: what it claims, by default the truth."""
    return struct.pack(">LBB", len(fragment) + 2 if length is None else length, context_id, control) + fragment


def fragments(context_id: int, what: int, data: bytes, maximum_length: int) -> Iterator[bytes]:
    """Yield the P-DATA-TF PDUs of a command set or a data set. what: COMMAND or 0."""
    step = maximum_length - 6
    for start in range(0, max(1, len(data)), step):
        last = LAST if start + step >= len(data) else 0
        yield pdu(P_DATA_TF, value(context_id, what | last, data[start : start + step]))


def message(
    context_id: int, command: Mapping[int, bytes], data: bytes | None, maximum_length: int = 16384
) -> bytes:
    """Return a whole DIMSE message. maximum_length: of its PDUs, as the acceptor announced it (0: no limit)."""
    longest = maximum_length or 1 << 20
    parts = list(fragments(context_id, COMMAND, command_set(command), longest))
    if data is not None:
        parts += fragments(context_id, 0, data, longest)
    return b"".join(parts)


def elements_of(command: bytes) -> dict[int, bytes]:
    """Return tag -> value of a command set that came. Raises struct.error when it is cut."""
    found, position = {}, 0
    while position < len(command):
        group, number, length = struct.unpack_from("<HHL", command, position)
        found[group << 16 | number] = command[position + 8 : position + 8 + length]
        position += 8 + length
    return found


class RawPeer:
    """A connection to an acceptor. Times are in seconds; no answer in time is TimeoutError.

    source: the address that it comes from: on Linux any of 127.0.0.0/8. tls: speaks TLS, by this context.
    """

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        source: str = "",
        answer_within_s: float = ANSWER_WITHIN_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        bound = (source, 0) if source else None  # a port bound beforehand may wait for its last connection's end
        self.socket = socket.create_connection((host, port), timeout=answer_within_s, source_address=bound)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket)
        self.maximum_length = 16384
        self.accepted: dict[int, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send these bytes. An acceptor that has hung up is no error: what it said is still to be read."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def read_pdu(self) -> tuple[int, bytes]:
        """Return type and body of the next PDU. Raises ConnectionEnded when there is none."""
        kind, _, length = struct.unpack(">BBL", self._receive(6))
        return kind, self._receive(length)

    def associate(self, contexts: Contexts, **fields: str | int) -> None:
        """Negotiate an association. Raises ConnectionRefusedError unless it is accepted."""
        self.send(association_request(contexts, **fields))  # type: ignore[arg-type]
        kind, body = self.read_pdu()
        if kind != A_ASSOCIATE_AC:
            raise ConnectionRefusedError(f"PDU type {kind} instead of an A-ASSOCIATE-AC")
        self.maximum_length, self.accepted = _agreed(body)

    def read_command(self) -> dict[int, bytes]:
        """Return the elements of the next command set. Raises ConnectionEnded on an abort."""
        command = b""
        while True:
            kind, body = self.read_pdu()
            if kind != P_DATA_TF:
                raise ConnectionEnded(f"PDU type {kind} instead of a response")
            for control, fragment in _values(body):
                command += fragment
                if control & LAST:
                    return elements_of(command)

    def read_status(self) -> int:
        """Return the status of the next response."""
        status: int = struct.unpack("<H", self.read_command()[STATUS])[0]
        return status

    def echo(self, context_id: int = 1) -> float:
        """Return how long a C-ECHO took; AssertionError when it is not answered with Success."""
        began = time.monotonic()
        self.send(message(context_id, echo_command(), None))
        status = self.read_status()
        if status != 0:
            raise AssertionError(f"C-ECHO was answered with 0x{status:04X}")
        return time.monotonic() - began

    def release(self) -> None:
        """Release the association and read the answer."""
        self.send(pdu(A_RELEASE_RQ, bytes(4)))
        self.read_pdu()

    def _receive(self, count: int) -> bytes:
        received = bytearray()
        while len(received) < count:
            try:
                chunk = self.socket.recv(min(count - len(received), 1 << 16))
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise ConnectionEnded("the connection was closed")
            received += chunk
        return bytes(received)


def _values(body: bytes) -> Iterable[tuple[int, bytes]]:
    position = 0
    while position < len(body):
        length, _, control = struct.unpack_from(">LBB", body, position)
        yield control, body[position + 6 : position + 4 + length]
        position += 4 + length


def _agreed(body: bytes) -> tuple[int, dict[int, str]]:
    """Return (longest PDU that the acceptor takes, context ID -> transfer syntax) of an A-ASSOCIATE-AC."""
    accepted, longest, position = {}, 0, 68
    while position + 4 <= len(body):
        kind, _, length = struct.unpack_from(">BBH", body, position)
        content = body[position + 4 : position + 4 + length]
        if kind == 0x21 and content[2] == 0:  # PS3.8 9.3.3.2: acceptance
            accepted[content[0]] = content[8:].decode("ascii")
        elif kind == 0x50 and content[0] == 0x51:
            longest = struct.unpack_from(">L", content, 4)[0]
        position += 4 + length
    return longest, accepted


@contextmanager
def association(port: int, contexts: Contexts, **fields: str | int) -> Iterator[RawPeer]:
    """Yield a peer with an association, released at the end unless something was raised."""
    with RawPeer(port) as peer:
        peer.associate(contexts, **fields)
        yield peer
        peer.release()


def echo(port: int, *, called: str = "CONSILIUM") -> float:
    """Verify the node over an association of its own; return how long that took, connecting included."""
    began = time.monotonic()
    with association(port, {1: (VERIFICATION, (IMPLICIT,))}, called=called) as peer:
        peer.echo()
    return time.monotonic() - began
