"""pynetdicom as we need it."""

import queue
import socket
import threading
import time

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification
from pynetdicom.transport import AssociationSocket

from dicom_node.peer_library import prepare_pynetdicom
from dicom_node.testing import listening_ae


class LateCheckpoint(threading.Event):
    """Its thread leaves it late, as on a busy machine: for who looks it still stands there."""

    def __init__(self):
        super().__init__()
        self.set()
        self.reached = threading.Event()

    def wait(self, timeout=None):
        passed = super().wait(timeout)
        self.reached.set()
        time.sleep(0.1)
        return passed


class LateReady(threading.Event):
    """Who waits for it goes on late, as on a busy machine."""

    def wait(self, timeout=None):
        ready = super().wait(timeout)
        time.sleep(0.3)
        return ready


class LateQueue(queue.Queue):
    """Who waits at it comes late."""

    def get(self, block=True, timeout=None):
        if block:
            time.sleep(0.3)
        return super().get(block, timeout)


def test_pynetdicoms_own_thread_takes_no_answer_from_who_waits_for_it():
    with listening_ae() as peer:
        ae = AE()
        ae.dimse_timeout = 5
        ae.add_requested_context(Verification)
        association = ae.associate("127.0.0.1", peer.port, ae_title=peer.ae_title)
        association.dimse.msg_queue = LateQueue()
        association._reactor_checkpoint = late = LateCheckpoint()
        assert late.reached.wait(30)
        answer = association.send_c_echo()
        association.release()
    assert answer.get("Status") == 0x0000


def test_an_association_that_ends_by_an_error_of_pynetdicoms_leaves_no_connection_open():
    def fails():
        raise ValueError

    prepare_pynetdicom()
    with listening_ae() as peer:
        ae = AE()
        ae.add_requested_context(Verification)
        association = ae.associate("127.0.0.1", peer.port, ae_title=peer.ae_title)
        connection = association.dul.socket.socket
        association.dul._is_transport_event = fails
        association.dul.join(30)
        assert connection.fileno() == -1


@pytest.fixture
def about_to_ask():
    """An association that has ended by the end of its connection, seen by who has just found it established."""
    prepare_pynetdicom()
    with listening_ae() as peer:
        ae = AE()
        ae.acse_timeout = ae.dimse_timeout = 300
        ae.add_requested_context(Verification)
        association = ae.associate("127.0.0.1", peer.port, ae_title=peer.ae_title)
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        association.join(30)
        association.is_established = True
        yield association


@pytest.mark.parametrize("ask", ["send_c_echo", "release"])
def test_nobody_waits_for_an_answer_longer_than_there_is_a_connection(about_to_ask, ask):
    asking = threading.Thread(target=getattr(about_to_ask, ask), daemon=True)
    asking.start()
    asking.join(30)
    assert not asking.is_alive()


def test_a_rejection_is_one_also_where_the_connection_is_closed_before_it_is_looked_at(monkeypatch):
    prepare_pynetdicom()
    as_it_is = AssociationSocket.__init__

    def late(self, *given, **more):
        as_it_is(self, *given, **more)
        self._ready = LateReady()

    monkeypatch.setattr(AssociationSocket, "__init__", late)
    peer, ae = AE("PEER"), AE()
    peer.require_called_aet = True
    peer.add_supported_context(Verification)
    ae.add_requested_context(Verification)
    server = peer.start_server(("127.0.0.1", 0), block=False)
    association = ae.associate("127.0.0.1", server.server_address[1], ae_title="SOMEBODY ELSE")
    server.shutdown()
    assert (association.is_rejected, association.is_aborted) == (True, False)
    assert association.acceptor.primitive.diagnostic == 0x07  # called AE title not recognised
