"""Sending without waiting for whoever reads, and reading without waiting for whoever sends."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import NoMoreData

from consilium.connection import HELD_BYTES, MAX_UNSENT, PIECES, Arrived, Connection, Outgoing

LARGE = bytes(range(256)) * 40_000  # more than the buffers between two sockets


@pytest.fixture
def pair() -> Iterator[tuple[Outgoing, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(30)
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


def test_an_answer_without_an_end_waits_for_its_reader_and_is_not_kept(pair) -> None:
    ours, theirs = pair
    total = 6 * len(LARGE)
    held = []

    def answer() -> None:
        for _ in range(6):
            ours.sendall(LARGE)
            held.append(len(ours.unsent))
        while not ours.flush():  # as the main loop does afterwards
            time.sleep(0.001)

    thread = threading.Thread(target=answer)
    thread.start()
    got = 0
    while got < total:
        got += len(theirs.recv(1 << 20))
    thread.join()
    assert max(held) <= MAX_UNSENT


def test_who_reads_a_long_answer_too_slowly_loses_it(pair, monkeypatch) -> None:
    monkeypatch.setattr("consilium.connection.WAIT_S", 0.05)
    ours, _theirs = pair
    ours.sendall(LARGE)
    with pytest.raises(TimeoutError):
        ours.sendall(LARGE)


def test_the_pieces_of_an_answer_go_out_together_and_a_long_one_does_not_wait(pair) -> None:
    ours, theirs = pair
    theirs.setblocking(False)
    ours.hold()
    ours.sendall(b"head ")
    ours.sendall(b"body")
    with pytest.raises(BlockingIOError):
        theirs.recv(1)
    ours.release()
    assert theirs.recv(100) == b"head body"
    ours.hold()
    ours.sendall(b"head ")
    ours.sendall(b"x" * HELD_BYTES)
    assert theirs.recv(5) == b"head "
    ours.sendall(b"the end")
    ours.release()
    heard = b""
    while not heard.endswith(b"the end"):
        heard += theirs.recv(1 << 20)
    assert heard == b"x" * HELD_BYTES + b"the end"
    ours.sendall(b"at once")  # nothing is held any more
    assert theirs.recv(100) == b"at once"


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


REQUEST = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture
def after() -> Iterator[Callable[[bytes], tuple[Connection, socket.socket]]]:
    """after(bytes) -> a connection that has read one request out of these bytes, and the client's side of it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def read(data: bytes) -> tuple[Connection, socket.socket]:
            conn = Connection(Config(), ours, ("127.0.0.1", 1), ("127.0.0.1", 2), lambda _conn: None)
            conn.begin(0.0)
            conn.framing.feed(data)
            conn.hand_over()
            assert next(conn.parser).body.read() == b"hi"
            return conn, theirs

        yield read


@pytest.fixture
def answered(after) -> tuple[Connection, socket.socket]:
    return after(REQUEST)


def test_a_client_that_asks_again_at_once_is_heard_by_the_thread_that_answered(answered) -> None:
    conn, theirs = answered
    theirs.sendall(REQUEST.replace(b"hi", b"yo"))
    assert conn.next_is_here(1.0)
    conn.hand_over()
    assert next(conn.parser).body.read() == b"yo"


@pytest.mark.timed
def test_a_thread_waits_for_nobody_who_says_nothing(answered) -> None:
    conn, _ = answered
    started = time.monotonic()
    assert not conn.next_is_here(1.0)
    assert time.monotonic() - started < 1.0
    assert not conn.begun


@pytest.mark.parametrize("cut", [1, 20, len(REQUEST) - 1])
def test_a_request_that_has_only_begun_is_left_to_the_main_loop_with_what_has_come(answered, cut: int) -> None:
    conn, theirs = answered
    theirs.sendall(REQUEST[:cut])
    assert not conn.next_is_here(1.0)
    assert conn.begun
    assert bytes(conn.framing.data) == REQUEST[:cut]


def test_a_large_request_that_comes_in_pieces_is_heard_whole(answered) -> None:
    conn, theirs = answered
    large = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 74000\r\n\r\n" + b"x" * 74_000
    sender = threading.Thread(
        target=lambda: [theirs.sendall(large[at : at + 30_000]) for at in (0, 30_000, 60_000)]
    )
    sender.start()
    whole = conn.next_is_here(1.0)
    sender.join()
    assert whole or conn.begun  # on a machine that stops the sender for 2 ms it is the main loop's
    assert large.startswith(bytes(conn.framing.data))


def test_a_client_that_trickles_keeps_a_thread_for_a_few_pieces_only(answered) -> None:
    conn, theirs = answered
    theirs.sendall(REQUEST[:1])
    pieces = []

    class Trickle:
        def __getattr__(self, name: str) -> object:
            return getattr(sock, name)

        def recv(self, _size: int) -> bytes:
            pieces.append(1)
            theirs.sendall(b"x")  # there is always one more
            return sock.recv(1)

    sock, conn.sock = conn.sock, Trickle()
    assert not conn.next_is_here(1.0)
    assert conn.begun
    assert len(pieces) == PIECES


def test_what_is_refused_is_left_to_the_main_loop_too(answered) -> None:
    conn, theirs = answered
    theirs.sendall(b"\x16\x03\x01 no HTTP at all")
    assert not conn.next_is_here(1.0)
    assert conn.begun
    assert conn.framing.refused == 400


def test_a_client_that_has_left_is_an_error_and_no_empty_request(answered) -> None:
    conn, theirs = answered
    theirs.close()
    with pytest.raises(ConnectionResetError):
        conn.next_is_here(1.0)


def test_what_came_with_the_last_request_is_not_asked_of_the_socket(after) -> None:
    conn, theirs = after(REQUEST + REQUEST)
    theirs.sendall(b"later")
    assert not conn.next_is_here(1.0)
    assert conn.has_more()
