"""What an acceptor keeps ends when it has been silent for its time, and at once when the acceptor has stopped."""

import socket
import threading
import time

import pytest

from dicom_node.acceptor import Acceptor
from dicom_node.bounds import Bounds


class Association:
    """An association that knows whether it was aborted."""

    def __init__(self, connection):
        self.connection, self.aborted, self.silent_since = connection, threading.Event(), 0.0

    def serve(self):
        self.connection.recv(1)  # which is no message
        return True

    def abort(self, source, reason):
        self.aborted.set()
        self.connection.close()


@pytest.fixture
def stopped():
    listener = socket.create_server(("127.0.0.1", 0))
    acceptor = Acceptor(listener, Bounds(), asked=lambda _arrived: None, artim_s=5, idle_s=5)
    acceptor.start()
    acceptor.stop()
    return acceptor


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_refused_connection_is_closed(stopped, pair):
    stopped.leave(pair[0], "127.0.0.1")
    assert pair[1].recv(1) == b""


def test_an_association_is_aborted(stopped, pair):
    association = Association(pair[0])
    stopped.park(association)
    assert association.aborted.is_set()


def test_one_that_is_woken_by_what_is_no_message_ends_before_those_that_were_silent_for_less(pair):
    younger, _theirs = socket.socketpair()
    acceptor = Acceptor(None, Bounds(), asked=lambda _arrived: None, artim_s=5, idle_s=300)
    woken, silent = Association(pair[0]), Association(younger)
    woken.silent_since, silent.silent_since = time.monotonic() - 298, time.monotonic()
    acceptor.start()
    try:
        acceptor.park(woken)
        acceptor.park(silent)
        pair[1].send(b"x")
        assert woken.aborted.wait(30)
        assert not silent.aborted.is_set()
    finally:
        acceptor.stop()
        _theirs.close()
