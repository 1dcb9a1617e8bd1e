"""Sending without waiting for whoever reads, and reading without waiting for whoever sends."""

import socket
from collections.abc import Iterator

import pytest
from gunicorn.http.errors import NoMoreData

from consilium.connection import Arrived, Outgoing

LARGE = bytes(range(256)) * 40_000  # more than the buffers between two sockets


@pytest.fixture
def pair() -> Iterator[tuple[Outgoing, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(5)
        yield Outgoing(ours), theirs


def test_a_client_that_does_not_read_keeps_nobody_waiting_and_gets_everything_when_it_does(pair) -> None:
    ours, theirs = pair
    ours.sendall(LARGE)  # would never return on a plain socket
    ours.send(b"the end")
    assert ours.unsent.endswith(b"the end")
    got = b""
    while not got.endswith(b"the end"):
        got += theirs.recv(1 << 20)
        ours.flush()
    assert got == LARGE + b"the end"
    assert ours.flush()


def test_a_client_that_is_gone_is_an_error(pair) -> None:
    ours, theirs = pair
    ours.sendall(LARGE)
    theirs.close()
    with pytest.raises(OSError, match=r"pipe|reset"):
        ours.flush()


def test_everything_else_is_the_socket_s_own(pair) -> None:
    ours, theirs = pair
    theirs.sendall(b"abc")
    assert ours.recv(3) == b"abc"
    assert ours.fileno() >= 0


def test_the_parser_is_given_what_is_there_and_never_an_early_end() -> None:
    arrived = Arrived()
    arrived.put(memoryview(b"x" * 10_000))
    assert arrived.read(9_000) == b"x" * 9_000
    assert arrived.take_rest() == b"x" * 1_000
    with pytest.raises(NoMoreData):
        arrived.read(1)
