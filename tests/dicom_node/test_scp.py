"""C-STORE: Success means durable and queued; everything else is a status, with the association alive."""

import hashlib
import socket
import struct
import threading
import time
import zlib
from io import BytesIO

import numpy as np
import pytest
import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    ComputedRadiographyImageStorage,
    ModalityWorklistInformationFind,
    Verification,
)
from sqlalchemy import select

from clinical.errors import Busy
from clinical.uids import uid_digest
from dicom_node.incoming import Bounds
from dicom_node.service import Service
from dicom_node.testing import CANARY_ID, cr_dataset, dx_dataset, send_files, write_dicom
from record_store.instances import study_row
from record_store.tables import audit, instance, study

pytestmark = pytest.mark.slow  # each starts a server and opens associations: 0.1 s

CR = ComputedRadiographyImageStorage
PIXELS = np.arange(256, dtype=np.uint16).reshape(16, 16)


@pytest.fixture
def radiograph(tmp_path):
    def write(seed="a", **attributes):
        return write_dicom(cr_dataset(PIXELS, seed=seed, **attributes), tmp_path / f"{seed}.dcm")

    return write


def rows(node, table):
    with node.db.read() as conn:
        return conn.execute(select(table)).mappings().all()


def associate(node, syntax=ExplicitVRLittleEndian, sop_class=CR, *, called="CONSILIUM", calling="MODALITY"):
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    ae.add_requested_context(sop_class, syntax)
    ae.add_requested_context(Verification)
    return ae.associate("127.0.0.1", node.port, ae_title=called)


def store_bytes(
    association, data, *, sop_instance="1.2.3", sop_class=CR, syntax=ExplicitVRLittleEndian, originator=None
):
    """Send a C-STORE whose data set is these bytes, whatever they are; return the status."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, sop_instance
    request.MoveOriginatorApplicationEntityTitle = originator
    request.DataSet = BytesIO(data)
    context = next(cx for cx in association.accepted_contexts if cx.abstract_syntax == sop_class)
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.001)
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    while association._is_paused and association.is_established:  # else its reactor may take the next answer
        time.sleep(0.001)
    return answer.Status if answer else None


def data_set(syntax=ExplicitVRLittleEndian, **attributes):
    ds = cr_dataset(PIXELS, **attributes)
    return encode(ds, syntax.is_implicit_VR, syntax.is_little_endian), str(ds.get("SOPInstanceUID"))


@pytest.mark.parametrize(
    "sop_classes", [[CR], [CR, ModalityWorklistInformationFind]], ids=["alone", "with others"]
)
@pytest.mark.parametrize(("originator", "fetched"), [(None, 0), ("WORKSTATION", 0), ("CONSILIUM", 1)])
def test_what_answers_a_c_move_of_ours_is_known_for_it(node, sop_classes, originator, fetched):
    """With others than storage an association is pynetdicom's."""
    node.start(services=[Service((build_context(ModalityWorklistInformationFind),), {})])
    ae = AE(ae_title="PACS")
    ae.requested_contexts = [build_context(one, ExplicitVRLittleEndian) for one in sop_classes]
    association = ae.associate("127.0.0.1", node.port, ae_title="CONSILIUM")
    data, uid = data_set()
    assert store_bytes(association, data, sop_instance=uid, originator=originator) == 0x0000
    association.release()
    assert [row["fetched"] for row in rows(node, instance)] == [fetched]


def test_success_means_stored_bit_for_bit_committed_and_queued(node, radiograph):
    path = radiograph()
    node.start()
    assert send_files([path], node.port) == [0x0000]
    (stored,) = node.stored()
    sent = dcmread(path)
    assert stored.endswith(encode(sent, False, True))
    assert stored[:132] == b"\0" * 128 + b"DICM"
    (row,) = rows(node, instance)
    assert row["sha256"] == hashlib.sha256(stored).hexdigest()
    assert (row["size"], row["modality"], row["calling_ae"]) == (len(stored), "CR", "MODALITY")
    assert row["transfer_syntax_uid"] == ExplicitVRLittleEndian
    with node.db.read() as conn:
        study = study_row(conn, str(sent.StudyInstanceUID))
    assert (study.state, study.instances) == ("open", 1)
    assert (study.patient.system, study.patient.value) == ("urn:hospital", CANARY_ID)
    assert [one["action"] for one in rows(node, audit)] == ["instance-received"]
    assert node.parts() == []


def test_the_log_has_a_line_for_an_association_and_none_for_each_of_its_objects(node):
    objects = [data_set(seed=seed) for seed in "ab"]
    with structlog.testing.capture_logs() as logged:
        node.start()
        association = associate(node)
        for data, uid in [*objects, (b"rubbish", "1.2.3")]:
            store_bytes(association, data, sop_instance=uid)
        association.release()
        node.scp.stop()
    said = [
        line
        for line in logged
        if line["log_level"] != "debug" and line["event"].startswith(("objects", "instance"))
    ]
    refused, brought = said
    assert refused["event"] == "instance refused"
    assert (brought["taken"], brought["not_taken"], brought["outcome"]) == (2, 1, "released")
    assert brought["studies"] == [uid_digest(one["study_uid"]) for one in rows(node, study)]


def test_the_answer_comes_after_every_step_of_making_it_durable(node, radiograph):
    node.start()
    send_files([radiograph()], node.port)
    assert node.points == [
        "after-receive",
        "after-write",
        "after-fsync",
        "after-rename",
        "after-dirsync",
        "before-commit",
        "after-commit",
        "before-response",
    ]


def test_the_same_object_again_is_a_success_and_changes_nothing(node, radiograph):
    path = radiograph()
    node.start()
    assert send_files([path, path], node.port) == [0x0000, 0x0000]
    assert len(rows(node, instance)) == len(node.stored()) == 1


def test_other_bytes_under_the_same_uid_are_refused_as_duplicate_and_the_first_kept(node, radiograph):
    node.start()
    assert send_files([radiograph()], node.port) == [0x0000]
    kept = rows(node, instance)[0]["sha256"]
    assert send_files([radiograph(StudyDescription="changed")], node.port) == [0x0111]
    assert [one["sha256"] for one in rows(node, instance)] == [kept]
    assert len(node.stored()) == 1
    assert node.parts() == []


def test_echo_is_answered(node):
    node.start()
    association = associate(node)
    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_another_called_ae_title_is_rejected(node):
    node.start()
    assert associate(node, called="SOMEBODY").is_rejected


@pytest.mark.parametrize(
    ("table", "accepted"),
    [
        ({}, True),
        ({"MODALITY": ()}, True),
        ({"MODALITY": ("127.0.0.0/8",)}, True),
        ({"MODALITY": ("10.0.0.0/8", "192.0.2.7")}, False),
        ({"OTHER": ()}, False),
    ],
)
def test_the_table_of_calling_aes_and_addresses_decides_who_may_associate(node, table, accepted):
    node.start(calling=table)
    association = associate(node)
    assert association.is_established is accepted
    assert association.is_rejected is not accepted
    association.release()


def test_a_full_store_is_busy_and_the_association_lives_on(node, radiograph):
    node.start(low_water_bytes=1 << 62)
    association = associate(node)
    assert association.send_c_store(dcmread(radiograph())).Status == 0xA700
    assert association.send_c_echo().Status == 0x0000
    association.release()
    assert node.stored() == node.parts() == rows(node, instance) == []


def test_a_database_that_is_away_is_busy_and_the_retry_is_taken(node, radiograph):
    node.start()
    node.faults["before-commit"] = Busy("the database is away")
    association = associate(node)
    ds = dcmread(radiograph())
    assert association.send_c_store(ds).Status == 0xA700
    assert rows(node, instance) == []
    assert association.send_c_store(ds).Status == 0x0000
    association.release()
    assert len(rows(node, instance)) == 1


def test_the_sender_does_not_wait_for_an_absent_database_twice(node, radiograph):
    node.start()
    node.faults["before-commit"] = Busy("the database is away")
    assert send_files([radiograph()], node.port) == [0xA700]
    assert rows(node, audit) == []


@pytest.mark.parametrize(
    "named",
    [{"PatientID": "Z" * 65}, {"PatientID": "ZZ\0CANARY"}, {"IssuerOfPatientID": "i" * 65}],
    ids=["long", "control", "long-issuer"],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # pydicom's, while the object is made
def test_an_image_whose_patient_is_no_legal_name_is_kept_and_names_nobody(node, radiograph, named):
    node.start()
    assert send_files([radiograph(**named)], node.port) == [0x0000]
    (row,) = rows(node, study)
    assert (row["patient_system"], row["patient_value"]) == (None, None)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_modality_that_is_none_is_not_kept_as_one(node, radiograph):
    node.start()
    assert send_files([radiograph(Modality="D\0X")], node.port) == [0x0000]
    assert rows(node, instance)[0]["modality"] == ""


def test_a_surprise_is_a_failure_status_and_never_a_success(node, radiograph):
    node.start()
    node.faults["after-receive"] = ZeroDivisionError("a bug")
    assert send_files([radiograph()], node.port) == [0xC000]
    assert node.parts() == rows(node, instance) == []
    (note,) = rows(node, audit)
    assert (note["action"], note["outcome"]) == ("instance-refused", "fault")
    assert "ZeroDivisionError at conftest.py" in note["detail"]


def test_a_data_set_that_is_not_the_named_instance_is_refused_and_audited(node):
    node.start()
    association = associate(node)
    data, _ = data_set()
    assert store_bytes(association, data, sop_instance="1.2.3.4") == 0xA900
    assert association.send_c_echo().Status == 0x0000
    association.release()
    assert node.stored() == node.parts() == []
    assert [one["outcome"] for one in rows(node, audit)] == ["incorrect"]
    assert node.seen[1].outcome == "incorrect"  # after "accepted"; "released" may not be there yet


@pytest.mark.parametrize("uid", ["../evil", "1.2/3", "1.2.3\0.4", "/etc/passwd", "a.b", "1..2", "1.2.x"])
def test_no_file_name_comes_from_the_wire(node, uid):
    node.start()
    data, _ = data_set(SOPInstanceUID=uid)
    association = associate(node)
    assert store_bytes(association, data, sop_instance=uid) in {0xA900, None}
    association.abort()
    assert node.stored() == []
    assert not list(node.folder.rglob("*evil*"))


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_an_object_without_its_uids_is_refused(node, missing):
    node.start()
    data, uid = data_set(**{missing: None})
    association = associate(node)
    if missing == "SOPInstanceUID":
        uid = "1.2.3"
    assert store_bytes(association, data, sop_instance=uid) == 0xA900
    association.release()


def nested(levels):
    """Return an explicit VR data set of sequences of undefined length, this deep."""
    sequence = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    ends = struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    return (sequence + item) * levels + ends * levels


GARBAGE = {
    "text": b"GET / HTTP/1.1\r\n\r\n" * 20,
    "truncated in an element": data_set()[0][:150],
    "a length beyond the end": struct.pack("<HH2sHL", 8, 0x1140, b"SQ", 0, 0x7FFFFFFF) + b"x" * 100,
    "50,000 nested sequences": nested(50_000),
    "a sequence that never ends": nested(3)[:48],
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_refused_at_once_and_nothing_of_it_stays(node, kind):
    node.start()
    association = associate(node)
    started = time.process_time()  # the node is in this process; what others do on the machine does not count
    assert store_bytes(association, GARBAGE[kind]) == 0xA900
    assert time.process_time() - started < 2
    assert association.send_c_echo().Status == 0x0000
    association.release()
    assert node.stored() == node.parts() == []


@pytest.mark.parametrize("with_data_set", [False, True])
def test_a_store_request_of_nothing_is_refused(node, with_data_set):
    node.start()
    command = command_set(AffectedSOPClassUID=str(CR), AffectedSOPInstanceUID="1.2.3")
    command.CommandDataSetType = 1 if with_data_set else 0x0101
    encoded = encode(command, is_implicit_vr=True, is_little_endian=True)
    values = struct.pack(">LBB", len(encoded) + 2, 1, 3) + encoded
    values += struct.pack(">LBB", 2, 1, 2) if with_data_set else b""
    with established(node) as peer:
        peer.sendall(struct.pack(">BBL", 4, 0, len(values)) + values)
        assert struct.pack("<HHLH", 0, 0x0900, 2, 0xA900) in peer.recv(4096)


def test_implicit_vr_and_deflated_data_sets_are_stored_as_they_came(node):
    node.start()
    data, uid = data_set(ImplicitVRLittleEndian)
    association = associate(node, ImplicitVRLittleEndian)
    assert store_bytes(association, data, sop_instance=uid) == 0x0000
    association.release()
    explicit, other = data_set(seed="b")
    packer = zlib.compressobj(wbits=-15)
    deflated = packer.compress(explicit) + packer.flush()
    association = associate(node, DeflatedExplicitVRLittleEndian)
    assert store_bytes(association, deflated, sop_instance=other) == 0x0000
    association.release()
    assert {one["transfer_syntax_uid"] for one in rows(node, instance)} == {
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
    }
    assert any(one.endswith(data) for one in node.stored())
    assert any(one.endswith(deflated) for one in node.stored())


def test_a_deflate_bomb_is_answered_without_inflating_it(node):
    node.start()
    packer = zlib.compressobj(9, wbits=-15)
    bomb = b"".join(packer.compress(b"\0" * (1 << 20)) for _ in range(256)) + packer.flush()
    association = associate(node, DeflatedExplicitVRLittleEndian)
    assert store_bytes(association, bomb) == 0xA900
    association.release()


def test_images_are_taken_by_default_and_everything_by_a_setting(node, tmp_path):
    node.start()
    association = associate(node, sop_class=BasicTextSRStorage)
    assert BasicTextSRStorage not in [cx.abstract_syntax for cx in association.accepted_contexts]
    association.release()
    node.scp.stop()
    node.start(storage_classes="all")
    association = associate(node, sop_class=BasicTextSRStorage)
    assert BasicTextSRStorage in [cx.abstract_syntax for cx in association.accepted_contexts]
    association.release()


def request_pdu():
    """Return an A-ASSOCIATE-RQ for C-STORE of CR images, as bytes."""
    syntax = struct.pack(">BBH", 0x40, 0, len(ExplicitVRLittleEndian)) + ExplicitVRLittleEndian.encode()
    abstract = struct.pack(">BBH", 0x30, 0, len(CR)) + CR.encode()
    context = struct.pack(">BBHBBBB", 0x20, 0, 4 + len(abstract) + len(syntax), 1, 0, 0, 0) + abstract + syntax
    application = struct.pack(">BBH", 0x10, 0, 21) + b"1.2.840.10008.3.1.1.1"
    user = struct.pack(">BBH", 0x50, 0, 8) + struct.pack(">BBHL", 0x51, 0, 4, 16384)
    body = (
        struct.pack(">HH16s16s32x", 1, 0, b"CONSILIUM".ljust(16), b"RAW".ljust(16)) + application + context + user
    )
    return struct.pack(">BBL", 1, 0, len(body)) + body


def connect(node):
    one = socket.create_connection(("127.0.0.1", node.port), timeout=10)
    one.settimeout(10)
    return one


def established(node):
    one = connect(node)
    one.sendall(request_pdu())
    kind, _, length = struct.unpack(">BBL", one.recv(6))
    assert kind == 2
    while length:
        length -= len(one.recv(length))
    return one


@pytest.mark.parametrize(
    "first", [b"\x01\0\xff\xff\xff\xff", b"\x04\0\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"]
)
def test_a_pdu_that_claims_four_gigabytes_or_is_none_ends_the_connection(node, first):
    node.start()
    with connect(node) as peer:
        peer.sendall(first + b"x" * 100_000)
        answer = b""
        try:
            while chunk := peer.recv(4096):
                answer += chunk
        except ConnectionResetError:
            pass
        assert answer[:1] in {b"", b"\x07"}  # nothing, or an A-ABORT


@pytest.mark.parametrize(
    "values",
    [
        struct.pack(">LBB", 1, 1, 3),  # shorter than its own header
        struct.pack(">LBB", 5000, 1, 3) + b"x" * 10,  # longer than the PDU
        struct.pack(">LBB", 12, 1, 2) + b"x" * 10,  # a data set without a command
        struct.pack(">LBB", 12, 9, 3) + b"\xff" * 10,  # a command that is none
        (struct.pack(">LBB", 4002, 1, 1) + b"\0" * 4000) * 5,  # a command set of 20 kB
    ],
)
def test_presentation_data_that_breaks_the_protocol_aborts_the_association(node, values):
    node.start()
    with established(node) as peer:
        peer.sendall(struct.pack(">BBL", 4, 0, len(values)) + values)
        assert peer.recv(1) == b"\x07"


def test_silent_connections_lock_nobody_out(node):
    node.start(acse_timeout_s=1.0, bounds=Bounds(associations=2))
    silent = [connect(node) for _ in range(12)]
    association = associate(node)
    assert association.send_c_echo().Status == 0x0000
    association.release()
    for one in silent:
        assert one.recv(1) == b""  # closed by the node when its time is over
        one.close()


def test_connections_that_are_closed_at_once_leave_nothing_behind(node):
    node.start()
    for _ in range(20):
        connect(node).close()
    until = time.monotonic() + 30
    while node.scp.active_associations and time.monotonic() < until:
        time.sleep(0.02)
    assert node.scp.active_associations == []


def test_associations_and_connections_have_a_limit_that_is_told(node):
    node.start(bounds=Bounds(associations=1, connections_per_host=3))
    first = associate(node)
    assert associate(node).is_rejected
    longest_silent, other = [connect(node) for _ in range(2)]
    with connect(node) as newest:
        assert longest_silent.recv(1) == b""
        assert first.send_c_echo().Status == 0x0000
        for one in (longest_silent, other, newest):
            one.close()
    first.release()


def test_a_transfer_that_is_cut_leaves_no_file(node):
    node.start()
    command = encode(
        command_set(AffectedSOPClassUID=str(CR), AffectedSOPInstanceUID="1.2.3"),
        is_implicit_vr=True,
        is_little_endian=True,
    )
    with established(node) as peer:
        values = struct.pack(">LBB", len(command) + 2, 1, 3) + command
        more = struct.pack(">LBB", 700_002, 1, 0) + b"\0" * 700_000
        for part in (values, more, more):  # more than is gathered before it is written
            peer.sendall(struct.pack(">BBL", 4, 0, len(part)) + part)
        until = time.monotonic() + 30
        while not node.parts() and time.monotonic() < until:
            time.sleep(0.01)
        assert len(node.parts()) == 1
    until = time.monotonic() + 30
    while node.parts() and time.monotonic() < until:
        time.sleep(0.01)
    assert node.parts() == []
    assert rows(node, instance) == []


def command_set(**attributes):
    command = Dataset()
    command.CommandGroupLength = 0
    command.CommandField, command.MessageID, command.Priority, command.CommandDataSetType = 1, 1, 2, 1
    for keyword, value in attributes.items():
        setattr(command, keyword, value)
    return command


def test_the_same_object_from_four_senders_at_once_is_stored_once(node, radiograph):
    path = radiograph()
    node.start()
    answers = []
    senders = [threading.Thread(target=lambda: answers.append(send_files([path], node.port))) for _ in range(4)]
    for one in senders:
        one.start()
    for one in senders:
        one.join()
    assert answers == [[0x0000]] * 4
    assert len(rows(node, instance)) == len(node.stored()) == 1


def test_what_is_observed_names_no_patient(node, radiograph):
    node.start()
    send_files([radiograph()], node.port)
    until = time.monotonic() + 30
    while len(node.seen) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    accepted, stored, released = node.seen
    assert (accepted.outcome, stored.outcome, released.outcome) == ("accepted", "new", "released")
    assert stored.size > 0
    assert stored.calling_ae == "MODALITY"


@pytest.mark.timed
def test_stopping_ends_open_associations_quickly(node):
    node.start()
    association = associate(node)
    started = time.monotonic()
    node.scp.stop()
    assert time.monotonic() - started < 3
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", node.port), timeout=2)
    association.abort()


def test_a_large_object_streams_through_whatever_the_sender_s_pdu_size(node, tmp_path):
    node.start()
    large = write_dicom(
        dx_dataset(np.random.default_rng(1).integers(0, 4096, (900, 1100), dtype=np.uint16)), tmp_path / "l"
    )
    assert send_files([large], node.port) == [0x0000]  # one PDU of 2 MB: the node announces no limit
    assert node.stored()[0].endswith(dcmread(large).PixelData)
