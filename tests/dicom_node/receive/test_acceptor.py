"""What comes back to an acceptor that has stopped is ended there and then: nothing would ever look at it."""

import socket

import pytest

from dicom_node.acceptor import Acceptor
from dicom_node.bounds import Bounds


class Association:
    """An association that knows whether it was aborted."""

    def __init__(self, connection):
        self.connection, self.aborted, self.silent_since = connection, False, 0.0

    def serve(self):
        return True

    def abort(self, source, reason):
        self.aborted = True
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
    assert association.aborted
