"""Who waits costs nothing, who is too many is told, and every kind of association finds its way."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE, build_context, evt
from pynetdicom.dsutils import create_file_meta
from pynetdicom.dsutils import encode as encoded
from pynetdicom.sop_class import (
    ComputedRadiographyImageStorage,
    ModalityWorklistInformationFind,
    PatientRootQueryRetrieveInformationModelFind,
    Verification,
)

from benchmarks.raw_peer import (
    A_ABORT,
    A_ASSOCIATE_RJ,
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    RawPeer,
    association_request,
    command_set,
    echo_command,
    message,
    store_command,
)
from dicom_node.bounds import Bounds
from dicom_node.direct import DirectAssociation
from dicom_node.part10 import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION, file_beginning
from dicom_node.scp import AssociationSeen
from dicom_node.service import Later, Service
from dicom_node.testing import cr_dataset

CR, FIND = str(ComputedRadiographyImageStorage), PatientRootQueryRetrieveInformationModelFind
CONTEXTS = {1: (VERIFICATION, (IMPLICIT,)), 3: (CR, (EXPLICIT,))}
pytestmark = pytest.mark.slow


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def echo(peer):
    peer.send(message(1, echo_command(), None, peer.maximum_length))
    return peer.read_status()


def image(seed):
    ds = cr_dataset(np.arange(64, dtype=np.uint16).reshape(8, 8), seed=seed)
    return str(ds.SOPInstanceUID), encoded(ds, False, True)


def store(peer, seed):
    uid, data = image(seed)
    peer.send(message(3, store_command(CR, uid), data, peer.maximum_length))
    return peer.read_status()


def associated(node, stack, **fields):
    peer = stack.enter_context(RawPeer(node.port))
    peer.associate(CONTEXTS, **fields)
    return peer


def test_silent_connections_and_idle_associations_take_no_thread(node):
    node.start()
    before = threading.active_count()
    with ExitStack() as stack:
        idle = [associated(node, stack) for _ in range(40)]
        silent = [stack.enter_context(RawPeer(node.port)) for _ in range(200)]
        assert all(echo(peer) == 0 for peer in idle)
        assert until(lambda: threading.active_count() <= before)
        assert len(node.scp.active_associations) == 40
        assert [echo(peer) for peer in idle[::8]] == [0] * 5
        assert echo(associated(node, stack)) == 0
        assert len(silent) == 200
    assert until(lambda: not node.scp.active_associations)


@pytest.mark.parametrize("bound", ["associations", "associations_per_host", "associations_per_ae"])
def test_one_association_too_many_is_rejected_for_the_moment_and_a_place_that_is_left_is_free(node, bound):
    node.start(bounds=Bounds(**{bound: 2}))
    with ExitStack() as stack:
        first, _ = associated(node, stack), associated(node, stack)
        with RawPeer(node.port) as third:
            third.send(association_request(CONTEXTS))
            kind, body = third.read_pdu()
        assert (kind, tuple(body)) == (A_ASSOCIATE_RJ, (0, 2, 3, 2))  # transient, presentation, local limit
        first.socket.close()
        assert until(lambda: len(node.scp.active_associations) == 1)
        assert echo(associated(node, stack)) == 0


def test_whoever_is_turned_away_takes_no_thread_while_he_lingers(node):
    node.start(bounds=Bounds(associations=1))
    with ExitStack() as stack:
        first = associated(node, stack)
        before = threading.active_count()
        lingering = [stack.enter_context(RawPeer(node.port)) for _ in range(30)]
        for one in lingering:
            one.send(association_request(CONTEXTS))
        assert {one.read_pdu()[0] for one in lingering} == {A_ASSOCIATE_RJ}
        assert until(lambda: threading.active_count() <= before)
        assert echo(first) == 0
        assert all(not one.socket.recv(1) for one in lingering)  # closed by the node in the end


def test_a_caller_that_takes_its_limit_locks_no_other_out(node):
    node.start(bounds=Bounds(associations_per_ae=1))
    with ExitStack() as stack:
        associated(node, stack, calling="GREEDY")
        with pytest.raises(ConnectionRefusedError):
            associated(node, stack, calling="GREEDY")
        assert echo(associated(node, stack, calling="MODEST")) == 0


@pytest.mark.parametrize(
    ("kind", "length"), [(1, 0xFFFFFFFF), (1, 300_000), (4, 100), (0x47, 0x20202020)], ids=str
)
def test_a_first_pdu_that_is_no_request_is_aborted_and_never_waited_for(node, kind, length):
    node.start()
    with RawPeer(node.port) as peer:
        peer.send(bytes((kind, 0)) + length.to_bytes(4, "big") + b"x" * 50_000)
        assert peer.read_pdu()[0] == A_ABORT


def test_a_request_that_comes_too_slowly_is_cut_at_its_absolute_end(node):
    node.start(acse_timeout_s=0.5)
    with RawPeer(node.port) as peer:
        peer.socket.settimeout(0.05)
        assert any(is_closed_after(peer, byte) for byte in association_request(CONTEXTS))


def is_closed_after(peer, byte):
    """Send a byte; tell whether the other side has hung up."""
    peer.send(bytes((byte,)))
    try:
        return not peer.socket.recv(1)
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_an_object_that_comes_too_slowly_is_given_up_and_leaves_nothing(node):
    node.start(bounds=Bounds(stall_s=0.3, slowest=1_000_000))
    uid, data = image("slow")
    with RawPeer(node.port) as peer:
        peer.associate(CONTEXTS)
        for byte in message(3, store_command(CR, uid), data, peer.maximum_length):
            peer.send(bytes((byte,)))
            time.sleep(0.02)
            if not node.scp.active_associations:
                break
        assert peer.read_pdu()[0] == A_ABORT
    # The peer hears of it first.
    assert until(lambda: [one.outcome for one in node.seen] == ["accepted", "aborted"])
    assert node.parts() == node.stored() == []


def test_an_association_is_open_until_its_end_has_been_told(node):
    left = []

    class Seen(list):
        def append(self, one):
            left.append((one.outcome, len(node.scp.active_associations)))

    node.seen = Seen()
    node.start()
    with RawPeer(node.port) as peer:
        peer.associate(CONTEXTS)
        peer.release()
    node.scp.stop()
    assert left[-1] == ("released", 1)


def test_an_idle_association_is_aborted_when_its_time_is_over(node):
    node.start(network_timeout_s=0.2)
    with RawPeer(node.port) as peer:
        peer.associate(CONTEXTS)
        assert peer.read_pdu()[0] == A_ABORT


def test_messages_that_are_sent_without_waiting_are_answered_one_by_one(node):
    node.start()
    uids = [image(f"piped-{number}") for number in range(5)]
    with RawPeer(node.port) as peer:
        peer.send(
            association_request(CONTEXTS)
            + b"".join(message(3, store_command(CR, uid, n), data) for n, (uid, data) in enumerate(uids))
        )
        assert peer.read_pdu()[0] == 2
        assert [peer.read_status() for _ in uids] == [0] * 5
    assert len(node.stored()) == 5


def test_what_is_no_storage_command_on_a_storage_association_ends_it(node):
    node.start()
    with RawPeer(node.port) as peer:
        peer.associate(CONTEXTS)
        find = echo_command() | {0x00000100: (0x20).to_bytes(2, "little")}
        peer.send(message(3, find, None))
        assert peer.read_pdu()[0] == A_ABORT


def test_an_object_of_another_class_than_its_context_is_refused_and_the_association_lives(node):
    node.start()
    uid, data = image("class")
    with RawPeer(node.port) as peer:
        peer.associate(CONTEXTS)
        peer.send(message(3, store_command("1.2.840.10008.5.1.4.1.1.2", uid), data))
        assert peer.read_status() == 0x0122
        assert echo(peer) == 0
        assert store(peer, "class") == 0


def test_an_association_with_a_service_beside_storage_is_pynetdicom_s_and_stores_too(node):
    answered = []
    service = Service(
        (build_context(FIND),), {evt.EVT_C_FIND: lambda event: answered.append(event) or iter([(0x0000, None)])}
    )
    node.start(services=[service])
    ae = AE("MIXED")
    ae.acse_timeout = ae.dimse_timeout = 30
    for context in (FIND, CR, Verification):
        ae.add_requested_context(context, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", node.port, ae_title="CONSILIUM")
    assert until(lambda: node.scp.active_associations)  # pynetdicom answers before it is counted
    (ours,) = node.scp.active_associations
    assert not isinstance(ours, DirectAssociation)
    assert association.send_c_store(cr_dataset(np.eye(8, dtype=np.uint16), seed="mixed")).Status == 0
    query = cr_dataset(np.eye(2, dtype=np.uint16))
    del query.PixelData
    assert [status.Status for status, _ in association.send_c_find(query, FIND)] == [0x0000]
    association.release()
    assert until(lambda: not node.scp.active_associations)
    assert len(answered) == len(node.stored()) == 1
    with ExitStack() as stack:
        associated(node, stack)
        (ours,) = node.scp.active_associations
        assert isinstance(ours, DirectAssociation)


def ask_to_find(node):
    ae = AE("ASKS")
    ae.add_requested_context(FIND)
    return ae.associate("127.0.0.1", node.port, ae_title="CONSILIUM")


def test_services_are_made_once_when_the_first_association_needs_them_and_not_before(node):
    made = []

    def make():
        made.append("made")
        return [Service((build_context(FIND),), {})]

    node.start(services=[Later(frozenset((FIND,)), make)])
    with ExitStack() as stack:
        assert store(associated(node, stack), "stored") == 0
        with RawPeer(node.port) as peer:
            peer.associate(CONTEXTS | {9: (str(ModalityWorklistInformationFind), (IMPLICIT,))})  # nobody's here
    assert made == []
    with ThreadPoolExecutor(4) as threads:
        several = [*threads.map(lambda _: ask_to_find(node), range(4))]
    assert [one.is_established for one in several] == [True] * 4
    assert made == ["made"]
    for one in several:
        one.release()


def test_services_that_cannot_be_made_are_a_rejection_and_storage_goes_on(node):
    def broken():
        raise ImportError("no such library")

    node.start(services=[Later(frozenset((FIND,)), broken)], bounds=Bounds(associations=1))
    assert [ask_to_find(node).is_rejected for _ in range(2)] == [True, True]  # and their places are free again
    with ExitStack() as stack:
        assert store(associated(node, stack), "stored") == 0
    assert [one.outcome for one in node.seen if isinstance(one, AssociationSeen)][:2] == ["rejected", "rejected"]


@pytest.mark.parametrize("length", [3, 8])
def test_a_peer_that_takes_no_response_is_aborted_or_answered_in_fragments(node, length):
    node.start()
    with RawPeer(node.port) as peer:
        peer.associate(CONTEXTS, maximum_length=length)
        peer.send(message(1, echo_command(), None))
        if length < 8:
            assert peer.read_pdu()[0] == A_ABORT
        else:
            assert peer.read_status() == 0


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34", "2.25." + "9" * 59])
def test_our_file_begins_with_the_bytes_that_pydicom_would_write(uid):
    made = io.BytesIO()
    made.write(b"\0" * 128 + b"DICM")
    meta = create_file_meta(
        sop_class_uid=ComputedRadiographyImageStorage,
        sop_instance_uid=uid,
        transfer_syntax=JPEG2000Lossless,
        implementation_uid=IMPLEMENTATION_UID,
        implementation_version=IMPLEMENTATION_VERSION,
    )
    write_file_meta_info(made, meta)
    assert file_beginning(CR, uid, str(JPEG2000Lossless)) == made.getvalue()


def test_a_command_set_may_come_in_fragments(node):
    node.start()
    uid, data = image("fragments")
    command = command_set(store_command(CR, uid))
    with RawPeer(node.port) as peer:
        peer.associate(CONTEXTS)
        peer.send(message(3, store_command(CR, uid), data, 20))
        assert peer.read_status() == 0
    assert len(command) > 20
    assert len(node.stored()) == 1
