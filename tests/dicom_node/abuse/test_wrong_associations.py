"""A-ASSOCIATE-RQ and what may come in its place, broken by PS3.8: each is told so or hung up on, and nobody waits.

After each of them the same node verifies. "accepted" stands only where the standard says that a receiver does not
look, or where the association is good for nothing because no context of it is accepted.
"""

import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom.uid import ComputedRadiographyImageStorage

from benchmarks.raw_peer import (
    A_ABORT,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    ConnectionEnded,
    RawPeer,
    association_request,
    echo,
    echo_command,
    item,
    message,
    pdu,
    presentation_context,
    request_fields,
)

pytestmark = pytest.mark.slow  # they share a server
CR = str(ComputedRadiographyImageStorage)
APPLICATION = item(0x10, b"1.2.840.10008.3.1.1.1")
CONTEXT = presentation_context(1, CR.encode(), EXPLICIT.encode())
MAXIMUM = item(0x51, struct.pack(">L", 16384))
USER = item(0x50, MAXIMUM + item(0x52, b"2.25.1"))
FIELDS = request_fields("CONSILIUM", "RAW")
GOOD = association_request({1: (CR, (EXPLICIT,))})


def request(*items: bytes, fields: bytes = FIELDS, length: int | None = None) -> bytes:
    return pdu(1, fields + b"".join(items), length=length)


def user(*items: bytes) -> bytes:
    return request(APPLICATION, CONTEXT, item(0x50, b"".join((MAXIMUM, *items))))


def contexts(*proposed: bytes) -> bytes:
    return request(APPLICATION, *proposed, USER)


NONE = "accepted, but no context"
REFUSED = {"aborted", "closed", "rejected 1/1/1", "rejected 1/2/1"}
NOT_USABLE = REFUSED | {NONE}

# Not an A-ASSOCIATE-RQ where one is due: PS3.8 9.2, state Sta2, action AA-1 (AA-2 after an A-ABORT).
FIRST = {
    "PDU type 0": (pdu(0, bytes(4)), REFUSED),
    "PDU type 8": (pdu(8, bytes(4)), REFUSED),
    "PDU type 255": (pdu(255, bytes(4)), REFUSED),
    "an A-ASSOCIATE-AC": (pdu(2, FIELDS + APPLICATION + USER), REFUSED),
    "an A-ASSOCIATE-RJ": (pdu(3, b"\0\1\1\1"), REFUSED),
    "a P-DATA-TF": (message(1, echo_command(), None), REFUSED),
    "an A-RELEASE-RQ": (pdu(5, bytes(4)), REFUSED),
    "an A-RELEASE-RP": (pdu(6, bytes(4)), REFUSED),
    "an A-ABORT": (pdu(7, bytes(4)), {"closed"}),
    "an HTTP request": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
    "a TLS hello": (bytes.fromhex("16030100c8010000c40303") + bytes(190), REFUSED),
    "an SSH greeting": (b"SSH-2.0-OpenSSH_9.2\r\n", REFUSED),
    "zeros": (bytes(4096), REFUSED),
    "ones": (b"\xff" * 4096, REFUSED),
    "one byte and the end": (b"\1", REFUSED),
    "a header and the end": (GOOD[:6], REFUSED),
    "half a request and the end": (GOOD[: len(GOOD) // 2], REFUSED),
    "nothing and the end": (b"", REFUSED),
}

# Lengths that lie.
LENGTHS = {
    "4 GiB": (request(APPLICATION, CONTEXT, USER, length=0xFFFFFFFF), REFUSED),
    "2 GiB": (request(APPLICATION, CONTEXT, USER, length=0x80000000), REFUSED),
    "1 MiB": (request(APPLICATION, CONTEXT, USER, length=1 << 20), REFUSED),
    "a PDU of no bytes": (pdu(1, b""), REFUSED),
    "a PDU of one byte": (pdu(1, b"\0"), REFUSED),
    "fields cut": (pdu(1, FIELDS[:40]), REFUSED),
    "only the fields": (pdu(1, FIELDS), REFUSED),
    "the last item cut": (request(APPLICATION, CONTEXT, USER[:-3]), REFUSED),
    "the length one short": (request(APPLICATION, CONTEXT, USER, length=len(GOOD) - 7), REFUSED),
    "the application context beyond the end": (request(b"\x10\0\xff\xff1.2.840.10008.3.1.1.1"), REFUSED),
    "a context beyond the end": (request(APPLICATION, b"\x20\0\xff\xff" + CONTEXT[4:]), REFUSED),
    "a context of no bytes": (contexts(item(0x20, b"")), REFUSED),
    "a context of three bytes": (contexts(item(0x20, b"\1\0\0")), REFUSED),
    "an abstract syntax beyond its context": (
        contexts(item(0x20, b"\1\0\0\0\x30\0\xff\0" + CR.encode())),
        REFUSED,
    ),
    "a transfer syntax beyond its context": (
        contexts(item(0x20, b"\1\0\0\0" + item(0x30, CR.encode()) + b"\x40\0\0\xff1.2")),
        REFUSED,
    ),
    "a maximum length of one byte": (request(APPLICATION, CONTEXT, item(0x50, item(0x51, b"\1"))), REFUSED),
    "a user item beyond the end": (request(APPLICATION, CONTEXT, item(0x50, b"\x52\0\xff\xff1.2")), REFUSED),
    "a role selection beyond its item": (user(item(0x54, b"\0\xff1.2\0\1")), REFUSED),
    "a user identity beyond its item": (user(item(0x58, b"\1\0\xff\xffname\0\0")), REFUSED),
    "an extended negotiation beyond its item": (user(item(0x56, b"\xff\xff1.2")), REFUSED),
    "an asynchronous window of one byte": (user(item(0x53, b"\0")), REFUSED),
    "an unknown item of the PDU": (request(APPLICATION, CONTEXT, USER, item(0x77, b"x")), REFUSED | {"accepted"}),
    "an unknown user item": (user(item(0x99, b"x" * 50)), REFUSED | {"accepted"}),
}

# What the items say.
SAID = {
    "protocol version 0": (
        request(APPLICATION, CONTEXT, USER, fields=request_fields("CONSILIUM", "RAW", version=0)),
        {"rejected 1/2/2"},
    ),
    "protocol version 2": (
        request(APPLICATION, CONTEXT, USER, fields=request_fields("CONSILIUM", "RAW", version=2)),
        {"rejected 1/2/2"},
    ),
    "another called AE": (association_request({1: (CR, (EXPLICIT,))}, called="OTHER"), {"rejected 1/1/7"}),
    "no called AE": (association_request({1: (CR, (EXPLICIT,))}, called=""), {"rejected 1/1/7", "aborted"}),
    "a called AE of NULs": (
        request(APPLICATION, CONTEXT, USER, fields=request_fields("\0" * 16, "RAW")),
        {"rejected 1/1/7", "aborted"},
    ),
    "no calling AE": (association_request({1: (CR, (EXPLICIT,))}, calling=""), {"rejected 1/1/3", "aborted"}),
    "a calling AE of control characters": (
        association_request({1: (CR, (EXPLICIT,))}, calling="A\r\nB\x1b[2J"),
        {"rejected 1/1/3", "aborted"},
    ),
    "a calling AE that is not ASCII": (
        request(APPLICATION, CONTEXT, USER, fields=FIELDS[:20] + b"\xff" * 16 + bytes(32)),
        {"rejected 1/1/3", "aborted"},
    ),
    "another application context": (request(item(0x10, b"1.2.3"), CONTEXT, USER), {"rejected 1/1/2", "aborted"}),
    "an application context of no bytes": (request(item(0x10, b""), CONTEXT, USER), REFUSED | {"rejected 1/1/2"}),
    "no application context": (request(CONTEXT, USER), REFUSED | {"rejected 1/1/2"}),
    "two application contexts": (request(APPLICATION, APPLICATION, CONTEXT, USER), REFUSED | {"accepted"}),
    "no context": (request(APPLICATION, USER), NOT_USABLE),
    "no user information": (request(APPLICATION, CONTEXT), REFUSED),
    "two user informations": (request(APPLICATION, CONTEXT, USER, USER), REFUSED | {"accepted"}),
    "no maximum length": (
        request(APPLICATION, CONTEXT, item(0x50, item(0x52, b"2.25.1"))),
        REFUSED | {"accepted"},
    ),
    "context 0": (contexts(presentation_context(0, CR.encode(), EXPLICIT.encode())), NOT_USABLE),
    "context 2": (contexts(presentation_context(2, CR.encode(), EXPLICIT.encode())), NOT_USABLE),
    "one context twice": (contexts(CONTEXT, CONTEXT), REFUSED | {"accepted"}),
    "one number for two classes": (
        contexts(CONTEXT, presentation_context(1, VERIFICATION.encode(), IMPLICIT.encode())),
        REFUSED,
    ),
    "a context without an abstract syntax": (
        contexts(item(0x20, b"\1\0\0\0" + item(0x40, b"1.2.840.10008.1.2"))),
        NOT_USABLE,
    ),
    "a context without a transfer syntax": (contexts(presentation_context(1, CR.encode())), NOT_USABLE),
    "two abstract syntaxes": (
        contexts(item(0x20, b"\1\0\0\0" + item(0x30, CR.encode()) * 2 + item(0x40, EXPLICIT.encode()))),
        REFUSED | {"accepted"},
    ),
    "an empty abstract syntax": (contexts(presentation_context(1, b"", EXPLICIT.encode())), NOT_USABLE),
    "an abstract syntax of 65 characters": (
        contexts(presentation_context(1, b"1." * 32 + b"1", EXPLICIT.encode())),
        NOT_USABLE,
    ),
    "an abstract syntax of 60 kB": (
        contexts(presentation_context(1, b"1." * 30000, EXPLICIT.encode())),
        NOT_USABLE,
    ),
    "an abstract syntax that is a path": (
        contexts(presentation_context(1, b"../../etc/passwd", EXPLICIT.encode())),
        NOT_USABLE,
    ),
    "an abstract syntax with a NUL within": (
        contexts(presentation_context(1, b"1.2\0.3", EXPLICIT.encode())),
        NOT_USABLE,
    ),
    "an abstract syntax that is not ASCII": (
        contexts(presentation_context(1, b"\xff\xfe\x80", EXPLICIT.encode())),
        NOT_USABLE,
    ),
    "an empty transfer syntax": (contexts(presentation_context(1, CR.encode(), b"")), NOT_USABLE),
    "an unknown transfer syntax": (contexts(presentation_context(1, CR.encode(), b"1.2.3.4")), NOT_USABLE),
    "a transfer syntax that is not ASCII": (
        contexts(presentation_context(1, CR.encode(), b"\xff" * 8)),
        NOT_USABLE,
    ),
    "a private class": (contexts(presentation_context(1, b"1.2.3.4.5", EXPLICIT.encode())), NOT_USABLE),
    "255 transfer syntaxes": (
        contexts(presentation_context(1, CR.encode(), *[b"1.2.3.%d" % n for n in range(255)])),
        NOT_USABLE,
    ),
    "300 contexts": (
        contexts(*[presentation_context(n * 2 % 256 + 1, b"1.2.3", b"1.2.3") for n in range(300)]),
        NOT_USABLE,
    ),
    "a role selection for nothing proposed": (
        user(item(0x54, struct.pack(">H", 3) + b"1.2" + b"\1\1")),
        REFUSED | {"accepted"},
    ),
    "a role selection of 2 and 255": (
        user(item(0x54, struct.pack(">H", len(CR)) + CR.encode() + b"\2\xff")),
        REFUSED | {"accepted"},
    ),
    "a user identity of an unknown type": (user(item(0x58, b"\xff\1\0\4name\0\0")), REFUSED | {"accepted"}),
    "fifty user identities": (user(*[item(0x58, b"\1\1\0\4name\0\0")] * 50), REFUSED | {"accepted"}),
    "reserved bytes that are not zero": (
        request(APPLICATION, CONTEXT, USER, fields=FIELDS[:2] + b"\xaa\xaa" + FIELDS[4:36] + b"\xaa" * 32),
        {"accepted"},
    ),  # "shall not be tested", PS3.8 table 9-11
}
CASES = {**FIRST, **LENGTHS, **SAID}


def outcome(port: int, data: bytes) -> str:
    """Say all of it and nothing more; return what the node does. TimeoutError when it does nothing."""
    with RawPeer(port, answer_within_s=20) as peer:
        peer.send(data)
        if is_cut(data):
            with suppress(OSError):  # hung up on already
                peer.socket.shutdown(socket.SHUT_WR)
        try:
            kind, body = peer.read_pdu()
        except ConnectionEnded:
            return "closed"
    if kind == A_ASSOCIATE_RJ:
        return "rejected {1}/{2}/{3}".format(*body)
    if kind == A_ASSOCIATE_AC:
        return "accepted" if b"\x21\0" in body and any(accepted(body)) else NONE
    return "aborted" if kind == A_ABORT else f"PDU type {kind}"


def is_cut(data: bytes) -> bool:
    """Tell whether a node may wait for more: then the end of the connection is what it must notice."""
    return len(data) < 6 or len(data) < 6 + struct.unpack_from(">L", data, 2)[0] <= 1 << 16


def accepted(body: bytes):
    position = 68
    while position < len(body):
        kind, _, length = struct.unpack_from(">BBH", body, position)
        if kind == 0x21 and body[position + 6] == 0:
            yield body[position + 4]
        position += 4 + length


@pytest.mark.parametrize(("said", "allowed"), CASES.values(), ids=CASES)
def test_what_is_no_request_is_refused_and_the_node_goes_on(shared_node, said, allowed):
    assert outcome(shared_node.port, said) in allowed
    echo(shared_node.port)
    assert shared_node.stored() == []


def test_a_good_request_is_accepted(shared_node):
    assert outcome(shared_node.port, GOOD) == "accepted"


def test_nothing_of_it_stays(shared_node):
    for _ in range(20):
        outcome(shared_node.port, GOOD[: len(GOOD) // 2])
    assert open_sockets_within(shared_node.port, 10) == 0


def open_sockets_within(port: int, seconds: float) -> int:
    """Wait until no connection of the node is open; return how many are still."""
    until = time.monotonic() + seconds
    while (count := established(port)) and time.monotonic() < until:
        time.sleep(0.05)
    return count


def established(port: int) -> int:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    local = f"0100007F:{port:04X}"
    return sum(line.split()[1] == local and line.split()[3] in {"01", "08"} for line in lines)
