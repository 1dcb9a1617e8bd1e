"""P-DATA and commands broken by PS3.7 and PS3.8: an abort or a failure status, never Success, nothing stored.

After each of them the same node verifies. Where the standard tells a receiver not to look, it does not.
"""

import struct

import numpy as np
import pytest
from pydicom.uid import ComputedRadiographyImageStorage
from pynetdicom.dsutils import encode

from benchmarks.raw_peer import (
    A_ABORT,
    A_RELEASE_RP,
    COMMAND,
    EXPLICIT,
    IMPLICIT,
    LAST,
    NO_DATA_SET,
    P_DATA_TF,
    STATUS,
    VERIFICATION,
    ConnectionEnded,
    RawPeer,
    command_set,
    echo,
    echo_command,
    element,
    elements_of,
    fragments,
    message,
    pdu,
    store_command,
    us,
    value,
)
from dicom_node.testing import cr_dataset

pytestmark = pytest.mark.slow  # they share a server
CR = str(ComputedRadiographyImageStorage)
CONTEXTS = {1: (CR, (EXPLICIT,)), 3: (VERIFICATION, (IMPLICIT,)), 5: (CR, (IMPLICIT,)), 7: ("1.2.3", (IMPLICIT,))}
_DS = cr_dataset(np.arange(256, dtype=np.uint16).reshape(16, 16))
DATA, UID = encode(_DS, is_implicit_vr=False, is_little_endian=True), str(_DS.SOPInstanceUID)
SOP_CLASS, COMMAND_FIELD, MESSAGE_ID, PRIORITY, DATA_SET_TYPE, INSTANCE = 0x2, 0x100, 0x110, 0x700, 0x800, 0x1000
ABORT = {"aborted"}
REFUSED = {
    "aborted",
    "0xA900",
    "0xC000",
    "0x0117",
    "0x0122",
    "0x0115",
    "0x0106",
    "0x0119",
    "0x0120",
    "0x0210",
    "0x0211",
}


def p_data(*values: bytes, length: int | None = None) -> bytes:
    return pdu(P_DATA_TF, b"".join(values), length=length)


def command(changes: dict[int, bytes | None], base: dict[int, bytes] | None = None) -> dict[int, bytes]:
    """Return the elements of a C-STORE-RQ with some replaced, or left out with None."""
    elements = {**(base or store_command(CR, UID)), **changes}
    return {tag: elements[tag] for tag in sorted(elements) if elements[tag] is not None}


def store(changes: dict[int, bytes | None], data: bytes | None = DATA, context: int = 1) -> bytes:
    return message(context, command(changes), data)


STORE = command_set(store_command(CR, UID))
WHOLE_COMMAND = value(1, COMMAND | LAST, STORE)

# PDUs and presentation data values: PS3.8 9.2 state Sta6 and 9.3.5; a violation is AA-8, an A-ABORT.
PDUS = {
    "a PDU of 4 GiB": (p_data(value(1, 3, STORE), length=0xFFFFFFFF)[:200], ABORT),
    "a value of 4 GiB": (p_data(value(1, 3, STORE, length=0xFFFFFFFF)), ABORT),
    "a value longer than its PDU": (p_data(value(1, 3, STORE, length=len(STORE) + 3)), ABORT),
    "a value of length 0": (p_data(struct.pack(">L", 0)), ABORT),
    "a value of length 1": (p_data(struct.pack(">LB", 1, 1)), ABORT),
    "half a value's header": (p_data(b"\0\0\0"), ABORT),
    "bytes behind the last value": (p_data(WHOLE_COMMAND, b"\0\0\0"), ABORT),
    "PDU type 0": (pdu(0, bytes(4)), ABORT),
    "PDU type 9": (pdu(9, bytes(4)), ABORT),
    "PDU type 255 of 4 GiB": (pdu(255, bytes(4), length=0xFFFFFFFF), ABORT),
    "a second A-ASSOCIATE-RQ": (pdu(1, bytes(68)), ABORT),
    "an A-ASSOCIATE-AC": (pdu(2, bytes(68)), ABORT),
    "an A-ASSOCIATE-RJ": (pdu(3, b"\0\1\1\1"), ABORT),
    "an A-RELEASE-RP": (pdu(6, bytes(4)), ABORT),
    "an A-RELEASE-RQ of 100 kB": (pdu(5, bytes(100_000)), {"aborted", "released"}),
    "an A-RELEASE-RQ of no bytes": (pdu(5, b""), {"aborted", "released"}),
    "an A-ABORT": (pdu(7, bytes(4)), {"closed"}),
    "an A-ABORT of no bytes": (pdu(7, b""), {"closed", "aborted"}),
    "garbage": (b"\xde\xad\xbe\xef" * 64, ABORT),
}

# Contexts and order.
ORDER = {
    "a context that was not proposed": (message(9, store_command(CR, UID), DATA), ABORT),
    "a context that was refused": (message(7, store_command("1.2.3", UID), DATA), ABORT),
    "context 0": (message(0, store_command(CR, UID), DATA), ABORT),
    "context 2": (message(2, store_command(CR, UID), DATA), ABORT),
    "context 255": (message(255, store_command(CR, UID), DATA), ABORT),
    "a data set without a command": (p_data(value(1, LAST, DATA)), ABORT),
    "a data set before its command": (p_data(value(1, LAST, DATA), WHOLE_COMMAND), ABORT),
    "a data set within a command": (p_data(value(1, COMMAND, STORE[:40]), value(1, 0, DATA)), ABORT),
    "a command within a data set": (p_data(WHOLE_COMMAND, value(1, 0, DATA[:500]), WHOLE_COMMAND), ABORT),
    "an echo within a data set": (
        p_data(WHOLE_COMMAND, value(1, 0, DATA[:500])) + message(3, echo_command(), None),
        ABORT,
    ),
    "a command on two contexts": (p_data(value(1, COMMAND, STORE[:40]), value(5, 3, STORE[40:])), ABORT),
    "a data set on another context": (p_data(WHOLE_COMMAND, value(5, LAST, DATA)), ABORT),
    "a data set on two contexts": (
        p_data(WHOLE_COMMAND, value(1, 0, DATA[:500]), value(5, LAST, DATA[500:])),
        ABORT,
    ),
    "two commands and one data set": (p_data(WHOLE_COMMAND, WHOLE_COMMAND, value(1, LAST, DATA)), ABORT),
    "a release within a command": (
        p_data(value(1, COMMAND, STORE[:40])) + pdu(5, bytes(4)),
        {"aborted", "released"},
    ),
    "a release within a data set": (
        p_data(WHOLE_COMMAND, value(1, 0, DATA[:500])) + pdu(5, bytes(4)),
        {"aborted", "released"},
    ),
    "an abort within a data set": (p_data(WHOLE_COMMAND, value(1, 0, DATA[:500])) + pdu(7, bytes(4)), {"closed"}),
    "a request within a data set": (p_data(WHOLE_COMMAND, value(1, 0, DATA[:500])) + pdu(1, bytes(68)), ABORT),
}

# Command sets: PS3.7 6.3 and 9.3.
COMMANDS = {
    "no bytes": (p_data(value(1, COMMAND | LAST, b"")), REFUSED),
    "three bytes": (p_data(value(1, COMMAND | LAST, b"\0\0\0")), REFUSED),
    "garbage": (p_data(value(1, COMMAND | LAST, b"\xde\xad\xbe\xef" * 30)), REFUSED),
    "zeros": (p_data(value(1, COMMAND | LAST, bytes(200))), REFUSED),
    "only a group length": (p_data(value(1, COMMAND | LAST, element(0, struct.pack("<L", 0)))), REFUSED),
    "in explicit VR": (p_data(value(1, COMMAND | LAST, encode(_DS.group_dataset(8), False, True))), REFUSED),
    "in big endian": (p_data(value(1, COMMAND | LAST, struct.pack(">HHLH", 0, 0x100, 2, 1))), REFUSED),
    "an element beyond the end": (p_data(value(1, 3, STORE + struct.pack("<HHL", 0, 0x1030, 4000))), REFUSED),
    "an element of 4 GiB": (p_data(value(1, 3, STORE + struct.pack("<HHL", 0, 0x1030, 0xFFFFFFFE))), REFUSED),
    "an element of undefined length": (
        p_data(value(1, 3, STORE + struct.pack("<HHL", 0, 0x1030, 0xFFFFFFFF))),
        REFUSED,
    ),
    "20 kB": (message(1, command({0x1030: b"A" * 20_000}), DATA), REFUSED),
    "20 MB": (b"".join(p_data(value(1, COMMAND, bytes(16_000))) for _ in range(1250)), ABORT),
    "no command field": (store({COMMAND_FIELD: None}), REFUSED),
    "an unknown command": (store({COMMAND_FIELD: us(0x7777)}), REFUSED),
    "a command field of one byte": (store({COMMAND_FIELD: b"\1"}), REFUSED),
    "a command field of four bytes": (store({COMMAND_FIELD: b"\1\0\0\0"}), REFUSED),
    "a response that nobody asked for": (store({COMMAND_FIELD: us(0x8001), 0x120: us(1), 0x900: us(0)}), REFUSED),
    "no message ID": (store({MESSAGE_ID: None}), REFUSED),
    "an empty message ID": (store({MESSAGE_ID: b""}), REFUSED),
    "a message ID of four bytes": (store({MESSAGE_ID: b"\1\0\0\0"}), REFUSED),
    "no SOP class": (store({SOP_CLASS: None}), REFUSED),
    "no SOP instance": (store({INSTANCE: None}), REFUSED),
    "no data set type": (store({DATA_SET_TYPE: None}), REFUSED),
    "no data set said, none sent": (store({DATA_SET_TYPE: us(NO_DATA_SET)}, None), REFUSED),
    "no data set said, one sent": (store({DATA_SET_TYPE: us(NO_DATA_SET)}), REFUSED),
    "another class than the context's": (store({SOP_CLASS: b"1.2.840.10008.5.1.4.1.1.2\0"}), REFUSED),
    "a class that is none": (store({SOP_CLASS: b"../../x\0"}), REFUSED),
    "a store on the verification context": (store({}, context=3), REFUSED),
    "an echo on a storage context": (message(1, echo_command(), None), REFUSED | {"0x0000"}),
    "an echo that says a data set follows": (
        message(3, command({0x800: us(1)}, echo_command()), b"1234"),
        REFUSED | {"0x0000"},
    ),
    "a query on a storage context": (
        message(
            1,
            command({COMMAND_FIELD: us(0x20), SOP_CLASS: b"1.2.840.10008.5.1.4.1.2.1.1\0", INSTANCE: None}),
            DATA,
        ),
        REFUSED,
    ),
    "a retrieval on a storage context": (
        message(1, command({COMMAND_FIELD: us(0x21), 0x600: b"EVIL"}), DATA),
        REFUSED,
    ),
    "a deletion": (message(1, command({COMMAND_FIELD: us(0x150), DATA_SET_TYPE: us(NO_DATA_SET)}), None), REFUSED),
    "an action": (message(1, command({COMMAND_FIELD: us(0x130), 0x1008: us(1)}), DATA), REFUSED),
}

INSTANCES = {
    "empty": b"",
    "a space": b" \0",
    "NULs": bytes(10),
    "65 characters": b"1." * 32 + b"1\0",
    "128 characters": b"1." * 64,
    "8 kB": b"1." * 4096,
    "one level up": b"../evil_uid\0",
    "two dots": b"..",
    "one dot": b".\0",
    "an absolute path": b"/etc/passwd\0",
    "a Windows path": b"C:\\x\0",
    "a NUL within": b"1.2\0.3\0",
    "a line break": b"1.2\n3.4\0",
    "letters": b"1.2.abc\0",
    "not ASCII": b"1.2.\xff\xfe\0",
    "UTF-8": "1.2.３".encode(),
    "two values": b"1.2.3\\4.5.6\0",
    "a dot at the end": b"1.2.3.",
    "a dot at the start": b".1.2.3",
    "two dots within": b"1..2.3",
    "a minus": b"1.-2.3",
    "SQL": b"1.2'; DROP TABLE instance;--",
    "of another object": b"1.2.3.4.5.6.7.8.9\0",
}
CASES = {
    **{f"PDU: {name}": case for name, case in PDUS.items()},
    **{f"order: {name}": case for name, case in ORDER.items()},
    **{f"command: {name}": case for name, case in COMMANDS.items()},
    **{f"instance: {name}": (store({INSTANCE: uid}), REFUSED) for name, uid in INSTANCES.items()},
}


def answer(peer: RawPeer) -> str:
    """Return what the node says next, in a word."""
    command = b""
    while True:
        try:
            kind, body = peer.read_pdu()
        except ConnectionEnded:
            return "closed"
        if kind != P_DATA_TF:
            return {A_ABORT: "aborted", A_RELEASE_RP: "released"}.get(kind, f"PDU type {kind}")
        command += body[6:]
        if body[5] & LAST:
            return f"0x{struct.unpack('<H', elements_of(command)[STATUS])[0]:04X}"


@pytest.mark.parametrize(("said", "allowed"), CASES.values(), ids=CASES)
def test_what_breaks_the_protocol_is_refused_and_the_node_goes_on(shared_node, said, allowed):
    before = len(shared_node.stored())
    with RawPeer(shared_node.port, answer_within_s=20) as peer:
        peer.associate(CONTEXTS)
        peer.send(said)
        assert answer(peer) in allowed
    echo(shared_node.port)
    assert len(shared_node.stored()) == before


@pytest.mark.parametrize("length", [1, 4, 6, 7, 8, 12])
def test_a_peer_that_takes_no_useful_pdu_is_not_answered_for_ever(shared_node, length):
    with RawPeer(shared_node.port, answer_within_s=20) as peer:
        peer.associate(CONTEXTS, maximum_length=length)
        peer.send(message(3, echo_command(), None))
        assert answer(peer) in {"aborted", "closed", "0x0000"}
    echo(shared_node.port)


@pytest.mark.parametrize("count", [1, 2000])
def test_cancelling_where_nothing_can_be_cancelled_ends_the_association(shared_node, count):
    cancel = {COMMAND_FIELD: us(0x0FFF), 0x120: us(77), DATA_SET_TYPE: us(NO_DATA_SET)}
    with RawPeer(shared_node.port) as peer:
        peer.associate({1: CONTEXTS[1], 3: CONTEXTS[3]})
        peer.send(message(1, cancel, None) * count)
        assert answer(peer) in {"aborted", "closed"}
    echo(shared_node.port)


def test_reserved_bits_of_a_control_header_are_not_looked_at(shared_node):
    with RawPeer(shared_node.port) as peer:  # PS3.8 E.2: "never checked by the receiver"
        peer.associate(CONTEXTS)
        peer.send(p_data(value(3, 0xFC | COMMAND | LAST, command_set(echo_command()))))
        assert answer(peer) == "0x0000"


def test_a_refused_object_leaves_the_association_alive_and_the_next_one_is_stored(node):
    node.start()
    with RawPeer(node.port) as peer:
        peer.associate(CONTEXTS)
        for bad in (b"..", b"1.2.3\0"):
            peer.send(store({INSTANCE: bad}))
            assert answer(peer) in REFUSED - ABORT
        # A byte to a fragment, and a thousand empty fragments between: slow, and right.
        peer.send(b"".join(fragments(1, COMMAND, STORE, 7)))
        peer.send(b"".join(p_data(value(1, 0, b"")) for _ in range(1000)))
        peer.send(b"".join(fragments(1, 0, DATA, 500)))
        assert answer(peer) == "0x0000"
        assert len(node.stored()) == 1
        peer.release()
