"""Peers that open everything and say nothing, little or too much: everybody else is served meanwhile.

The node runs in a process of its own with its default settings. What it costs to the millisecond is
`python -m benchmarks.dicom_abuse`; here nobody may be locked out.
"""

import socket
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.dicom_abuse import ABUSES, cost_of, idle_associations, overfull, silent_sockets
from benchmarks.dicom_receivers import ours, running
from benchmarks.raw_peer import (
    A_ABORT,
    COMMAND,
    EXPLICIT,
    IMPLICIT,
    LAST,
    P_DATA_TF,
    VERIFICATION,
    ConnectionEnded,
    RawPeer,
    association_request,
    command_set,
    echo,
    pdu,
    store_command,
    value,
)
from dicom_node.bounds import Bounds

pytestmark = pytest.mark.slow
CT = "1.2.840.10008.5.1.4.1.1.2"
CONTEXTS = {1: (CT, (EXPLICIT,)), 3: (VERIFICATION, (IMPLICIT,))}


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    with running(ours("ours", {}), tmp_path_factory.mktemp("abuse") / "node") as (port, pid):
        yield port, pid


@pytest.mark.parametrize("abuse", ABUSES.values(), ids=ABUSES)
@pytest.mark.timed
def test_everybody_else_is_answered_and_the_node_grows_by_less_than_ten_megabytes(process, abuse):
    holds = abuse in {silent_sockets, idle_associations}
    cost = cost_of(abuse, *process, seconds=1.0, rest=holds)
    assert cost.failed == 0
    assert cost.echo_median_s < 0.5
    assert cost.rss_growth_mb < 10
    if holds:
        assert cost.cpu_at_rest < 0.01


def test_beyond_1024_descriptors_every_kind_of_association_is_served(process):
    port, pid = process
    commitment = "1.2.840.10008.1.20.1"  # not served by the code that serves storage and verification
    with contextmanager(overfull)(port):
        until = time.monotonic() + 60
        while len(list(Path(f"/proc/{pid}/fd").iterdir())) <= 2000:  # taken by the system, and not by the node yet
            assert time.monotonic() < until
            time.sleep(0.02)
        with RawPeer(port) as storing, RawPeer(port) as asking:
            storing.associate(CONTEXTS)
            asking.associate(CONTEXTS | {5: (commitment, (IMPLICIT,))})
            assert 5 in asking.accepted
            assert max(storing.echo(3), asking.echo(3)) < 30


def ended_within(peer: RawPeer, seconds: float) -> bool:
    """Read until the node hangs up or aborts; tell whether it did so in time."""
    peer.socket.settimeout(seconds)
    try:
        return peer.read_pdu()[0] == A_ABORT
    except ConnectionEnded:
        return True
    except TimeoutError:
        return False


def drip(peer: RawPeer, data: bytes, pause_s: float, seconds: float) -> None:
    """Send a byte at a time until the other side hangs up or the time is over."""
    until = time.monotonic() + seconds
    for at in range(len(data)):
        try:
            peer.socket.send(data[at : at + 1])
        except OSError:
            return
        if time.monotonic() > until:
            return
        time.sleep(pause_s)


@pytest.mark.timed
def test_a_request_that_comes_a_byte_at_a_time_has_an_absolute_time(node):
    node.start(acse_timeout_s=0.5)
    with RawPeer(node.port) as peer:
        began = time.monotonic()
        drip(peer, association_request(CONTEXTS), 0.05, 30)
        assert ended_within(peer, 30)
        assert time.monotonic() - began < 8  # the whole of it would have taken nine seconds and more
    echo(node.port)


@pytest.mark.timed
def test_an_object_that_comes_too_slowly_is_given_up_and_leaves_nothing(node):
    node.start(bounds=Bounds(stall_s=0.5, slowest=1000.0))
    with RawPeer(node.port) as peer:
        peer.associate(CONTEXTS)
        peer.send(pdu(P_DATA_TF, value(1, COMMAND | LAST, command_set(store_command(CT, "1.2.3")))))
        data = pdu(P_DATA_TF, value(1, 0, bytes(400)))
        began = time.monotonic()
        drip(peer, data, 0.05, 30)
        assert ended_within(peer, 30)
        assert time.monotonic() - began < 15  # the whole of it would have taken twenty seconds and more
    until = time.monotonic() + 10
    while node.parts() and time.monotonic() < until:
        time.sleep(0.02)
    assert node.parts() == []
    echo(node.port)


def test_an_association_that_stops_within_a_pdu_is_given_up(node):
    node.start(bounds=Bounds(stall_s=0.3))
    with RawPeer(node.port) as peer:
        peer.associate(CONTEXTS)
        peer.send(pdu(P_DATA_TF, value(1, COMMAND | LAST, command_set(store_command(CT, "1.2.3"))))[:50])
        assert ended_within(peer, 30)
    echo(node.port)


def test_when_there_are_too_many_silent_connections_the_oldest_gives_way(node):
    node.start(acse_timeout_s=60.0, bounds=Bounds(connections=20, connections_per_host=10))
    silent = [socket.create_connection(("127.0.0.1", node.port), timeout=30) for _ in range(30)]
    assert echo(node.port) < 30
    assert silent[0].recv(1) == b""
    for one in silent:
        one.close()
