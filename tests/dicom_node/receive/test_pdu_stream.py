"""What a peer sends is the same message however the network cuts it, and bounded whatever it claims."""

import random
import struct
from itertools import repeat

import pytest

from benchmarks.raw_peer import element, pdu, us
from dicom_node.command_set import C_ECHO_RQ, C_STORE_RQ, Command, read_command, response
from dicom_node.pdu_stream import BUFFER_BYTES, LONG_PIECE, Aborted, DataSetEnd, PduStream, Released
from dicom_node.pdus import abort, command_message, released
from dicom_node.protocol_error import ProtocolError

P_DATA, RELEASE, ABORT = 4, 5, 7


def command(field=C_STORE_RQ, *, data_set=True):
    body = element(2, b"1.2\0") + element(0x100, us(field)) + element(0x110, us(7))
    body += element(0x800, us(1 if data_set else 0x101)) + element(0x1000, b"1.2.3\0")
    return element(0, struct.pack("<L", len(body))) + body


def value(data, control, context_id=1):
    return struct.pack(">LBB", len(data) + 2, context_id, control) + data


def message(data, pieces):
    """Return a C-STORE in P-DATA-TF PDUs whose fragments have these lengths."""
    encoded = pdu(P_DATA, value(command(), 3))
    while data:
        size = next(pieces)
        piece, data = data[:size], data[size:]
        encoded += pdu(P_DATA, value(piece, 0 if data else 2))
    return encoded


def stream(**changes):
    return PduStream({1, 3}, **({"longest_pdu": 1 << 20, "longest_command": 16384} | changes))


def events(into, data, chunk):
    """Feed bytes as a socket would, `chunk` at most at a time; return the events, data sets as bytes."""
    found, held = [], b""
    while True:
        while (event := into.next()) is not None:
            held += b"".join(into.run())
            found.append((event, held) if isinstance(event, DataSetEnd) else event)
            held = b"" if isinstance(event, DataSetEnd) else held
        if not data:
            return found
        if into.is_full:
            held += b"".join(into.run())
        room = into.room()
        count = min(len(room), chunk(), len(data))
        room[:count] = data[:count]
        into.received(count)
        data = data[count:]


@pytest.mark.parametrize("seed", range(12))
def test_however_the_bytes_are_cut_the_same_messages_come_out(seed):
    rng = random.Random(seed)
    objects = [rng.randbytes(rng.choice((1, 2, 500, 70_000, BUFFER_BYTES, 1_300_000))) for _ in range(3)]
    sizes = iter(lambda: rng.choice((1, 10, 2000, 16_372, 200_000)), None)
    if seed % 3:
        sizes = iter(lambda: 131_060, None)
    data = b"".join(message(one, sizes) for one in objects) + pdu(RELEASE, bytes(4))
    found = events(stream(), data, lambda: rng.choice((1, 5, 6, 100, 4096, 1 << 20)))
    assert [held for event, held in (one for one in found if isinstance(one, tuple))] == objects
    assert [one.message_id for one in found if isinstance(one, Command)] == [7, 7, 7]
    assert isinstance(found[-1], Released)


@pytest.mark.parametrize(
    ("fragment", "most"), [(1000, 8), (16_372, 8), (LONG_PIECE - 1, 6), (LONG_PIECE, 8), (131_060, 5)]
)
def test_short_fragments_are_pushed_together_and_long_ones_stay_where_they_came(fragment, most):
    into, data = stream(), message(random.Random(1).randbytes(8 * LONG_PIECE), repeat(fragment))
    into.put(data)
    assert isinstance(into.next(), Command)
    assert isinstance(into.next(), DataSetEnd)
    run = into.run()
    assert len(run) <= most
    assert min(map(len, run[:-1])) >= LONG_PIECE
    lies = [data.find(bytes(piece)) for piece in run]
    assert (min(lies) > 0) is (fragment >= LONG_PIECE)  # moved over a header, it lies nowhere in what came
    assert into.run() == []


def test_an_empty_last_fragment_ends_a_data_set_and_an_abort_is_told():
    data = pdu(P_DATA, value(command(), 3)) + pdu(P_DATA, value(b"abcd", 0) + value(b"", 2)) + abort(0, 0)
    found = events(stream(), data, lambda: 3)
    assert [type(one) for one in found] == [Command, tuple, Aborted]
    assert found[1][1] == b"abcd"


BROKEN = {
    "a PDU longer than announced": struct.pack(">BBL", 4, 0, (1 << 20) + 1),
    "a PDU of 4 GiB": struct.pack(">BBL", 4, 0, 0xFFFFFFFF),
    "a PDU too short for a value": pdu(P_DATA, b"\0" * 5),
    "a value longer than its PDU": pdu(P_DATA, struct.pack(">LBB", 5000, 1, 3) + b"x" * 10),
    "a value without its header": pdu(P_DATA, struct.pack(">LBB", 1, 1, 3)),
    "a rest that is no value": pdu(P_DATA, value(command(data_set=False), 3) + b"\0\0\0"),
    "an unknown context": pdu(P_DATA, value(command(), 3, context_id=9)),
    "a data set that nobody announced": pdu(P_DATA, value(b"ab", 2)),
    "a data set of another context": pdu(P_DATA, value(command(), 3) + value(b"ab", 2, context_id=3)),
    "a command where a data set is due": pdu(P_DATA, value(command(), 3) + value(command(), 3)),
    "a command set that never ends": pdu(P_DATA, value(bytes(9000), 1)) * 2,
    "a command set of rubbish": pdu(P_DATA, value(b"\xff" * 24, 3)),
    "an association request": pdu(1, bytes(68)),
    "a release of another length": pdu(RELEASE, bytes(5)),
    "a PDU of an unknown type": pdu(0x51, bytes(4)),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_breaks_the_protocol_is_an_error_and_never_waits_for_more(what):
    with pytest.raises(ProtocolError):
        events(stream(), BROKEN[what], lambda: 1 << 20)


def test_nothing_is_kept_of_a_silent_peer():
    one = stream()
    assert one.is_idle
    events(one, pdu(P_DATA, value(command(C_ECHO_RQ, data_set=False), 3)), lambda: 50)
    assert one.is_idle
    one.rest()
    assert len(one._buffer) == 0
    events(one, pdu(P_DATA, value(command()[:20], 1)), lambda: 50)
    assert not one.is_idle


def test_empty_fragments_of_a_command_begin_a_message():
    """As silence they would keep an association for ever: the time of a message was not counted."""
    into = stream()
    assert events(into, pdu(P_DATA, value(b"", 1)), lambda: 100) == []
    assert not into.is_idle
    (event,) = events(into, pdu(P_DATA, value(command(C_ECHO_RQ, data_set=False), 3)), lambda: 100)
    assert (event.field, into.is_idle) == (C_ECHO_RQ, True)


@pytest.mark.parametrize("maximum_length", [0, 8, 20, 100, 16384])
def test_a_response_fits_what_the_peer_takes_and_reads_back(maximum_length):
    sent = command_message(1, response(read_command(1, command()), 0xA700), maximum_length)
    position, body = 0, b""
    while position < len(sent):
        _, _, length = struct.unpack_from(">BBL", sent, position)
        assert not maximum_length or length <= maximum_length
        size, context_id, control = struct.unpack_from(">LBB", sent, position + 6)
        assert (size, context_id) == (length - 4, 1)
        body += sent[position + 12 : position + 6 + length]
        position += 6 + length
    assert control == 3
    assert body.endswith(element(0x900, us(0xA700)) + element(0x1000, b"1.2.3\0"))
    assert struct.unpack_from("<L", body, 8)[0] == len(body) - 12


def test_a_peer_that_takes_no_fragment_at_all_is_told_by_an_error():
    for length in range(1, 8):
        with pytest.raises(ValueError, match="takes no PDU"):
            command_message(1, b"abcd", length)
    assert released()[0] == 6
