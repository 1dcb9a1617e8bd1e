"""C-FIND, C-MOVE and C-GET over what we hold, asked by dcmtk and by pynetdicom."""

import time
from datetime import UTC, datetime

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, RLELossless
from pynetdicom import AE, StoragePresentationContexts, build_role, evt
from pynetdicom.sop_class import (
    DigitalXRayImageStorageForPresentation,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_node.destinations import Destination
from dicom_node.peer_library import prepare_pynetdicom
from dicom_node.query import find_scp, retrieve_scp
from dicom_node.query.access import Access, Caller, May
from dicom_node.query.indexing import HeaderIndex
from dicom_node.query.node import Archive
from dicom_node.query.service import query_retrieve_services
from dicom_node.testing import cr_dataset, dx_dataset, send_files, write_dicom
from record_store.exchanges import Kind
from record_store.testing import database
from tests.dicom_node.conftest import Node
from tests.dicom_node.query.peers import program, running, said
from tests.ports import free_port

pytestmark = pytest.mark.slow  # starts programs and opens associations
PIXELS = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
EVERYTHING = frozenset(May)
FIND, GET = StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelGet
MOVE = StudyRootQueryRetrieveInformationModelMove


def objects(folder):
    """Three studies: two radiographs; one as JPEG 2000 and one as RLE; one that another AE has sent."""
    made = []
    for number in range(5):
        make = cr_dataset if number == 4 else dx_dataset
        ds = make(
            PIXELS, seed=f"qr {number}", StudyInstanceUID=f"1.7.{number // 2}", SeriesInstanceUID=f"1.8.{number}",
            SOPInstanceUID=f"1.9.{number}", InstanceNumber=number, PatientID=f"P{number // 2}",
            PatientName="Müller^Zzcanary" if number < 2 else "Doe^Zzcanary", StudyDate=f"2026010{1 + number // 2}",
        )  # fmt: skip
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        if number in {2, 3}:
            ds.compress(JPEG2000Lossless if number == 2 else RLELossless, generate_instance_uid=False)
        made.append(write_dicom(ds, folder / f"{number}.dcm"))
    return made


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """A node with five objects; its destination is a storescp of dcmtk that writes to `folder`."""
    folder = tmp_path_factory.mktemp("node")
    db = database(folder)
    one = Node(folder, db)
    received = tmp_path_factory.mktemp("received")
    port = free_port()
    destinations = {
        "workstation": Destination("workstation", "127.0.0.1", port, "DCMTK"),
        "off": Destination("off", "127.0.0.1", free_port(), "OFF"),
        "secret": Destination("secret", "127.0.0.1", port, "SECRET"),
    }
    callers = {
        "VIEWER": Caller(EVERYTHING, "everything", frozenset({"workstation", "off"})),
        "XRAY": Caller(frozenset({May.FIND, May.GET}), "own"),
    }
    one.notes = []
    archive = Archive(
        db, one.blobs, HeaderIndex(db, one.blobs, lambda: datetime.now(UTC)), Access(callers, destinations),
        "CONSILIUM", one.notes.append,
    )  # fmt: skip
    one.start(storage_classes="images", services=query_retrieve_services(archive))
    one.received, one.archive = received, archive
    out = tmp_path_factory.mktemp("out")
    files = objects(out)
    assert send_files(files[:4], one.port, calling="PACS") == [0] * 4
    assert send_files(files[4:], one.port, calling="XRAY") == [0]
    with running([program("storescp"), "+B", "+xa", "-od", str(received), str(port)], port):
        yield one
    one.scp.stop()
    db.dispose()


@pytest.fixture(autouse=True)
def fresh(held):
    held.notes.clear()
    for path in held.received.iterdir():
        path.unlink()


def key(level, **keys):
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for name, value in keys.items():
        setattr(ds, name, value)
    return ds


class Peer:
    """An SCU of pynetdicom; stored: what C-GET brought it."""

    def __init__(self, port, *classes, calling="VIEWER", storage=(), syntaxes=None, status=0x0000):
        prepare_pynetdicom()
        ae = AE(ae_title=calling)
        for one in classes:
            ae.add_requested_context(one)
        for one in storage:
            ae.add_requested_context(one, *([syntaxes] if syntaxes else []))
        self.stored = []

        def on_store(event):
            self.stored.append(event.encoded_dataset())
            return status

        self.association = ae.associate(
            "127.0.0.1", port, ae_title="CONSILIUM", evt_handlers=[(evt.EVT_C_STORE, on_store)],
            ext_neg=[build_role(one, scp_role=True) for one in storage],
        )  # fmt: skip
        for name in ("send_c_echo", "send_c_find", "send_c_get", "send_c_move"):
            setattr(self.association, name, self._once_settled(getattr(self.association, name)))

    def _once_settled(self, send):
        """Ask only when pynetdicom's own reactor runs again: else it may take the response away from who waits."""

        def wait_and_send(*args, **more):
            until = time.monotonic() + 5
            while self.association._is_paused and time.monotonic() < until:
                time.sleep(0.001)
            return send(*args, **more)

        return wait_and_send

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.association.is_established:
            self.association.release()

    def find(self, query, model=FIND):
        answers = list(self.association.send_c_find(query, model))
        return [(status.Status, found) for status, found in answers]


def findscu(held, model, **keys):
    return dcmtk("findscu", held, model, **keys)


def dcmtk(name, held, *options, **keys):
    """Ask as dcmtk's SCUs do."""
    asked = [part for name, value in keys.items() for part in ("-k", f"{name}={value}" if value else name)]
    return said(name, *options, *asked, "-aec", "CONSILIUM", "-aet", "VIEWER", "127.0.0.1", held.port)


def test_who_may_not_ask_finds_the_setting_in_the_log(held, caplog) -> None:
    ended = said("findscu", "-S", "-aec", "CONSILIUM", "-aet", "PACS", "-k", "StudyDate", "127.0.0.1", held.port)
    assert "No Acceptable Presentation Contexts" in ended
    until, told = time.monotonic() + 30, []
    while not told and time.monotonic() < until:  # the answer is on its way before it is said
        time.sleep(0.01)
        told = [one for one in caplog.records if one.getMessage() == "presentation contexts not accepted"]
    assert [(one.calling_ae, one.levelname) for one in told] == [("PACS", "WARNING")]
    assert "CONSILIUM_QUERY_AES" in told[0].why


def test_findscu_gets_what_matches_in_both_models_and_at_every_level(held) -> None:
    study = findscu(
        held, "-S", QueryRetrieveLevel="STUDY", StudyDate="20260101-20260102", StudyInstanceUID="",
        ModalitiesInStudy="", NumberOfStudyRelatedInstances="",
    )  # fmt: skip
    assert "[1.7.0" in study
    assert "[1.7.1" in study
    assert "[1.7.2" not in study
    assert "(0020,1208) IS [2 ]" in study
    assert "Find Response: 2 (Pending)" in study
    patient = findscu(held, "-P", QueryRetrieveLevel="PATIENT", PatientName="doe*", PatientID="")
    assert "[P1]" in patient
    assert "[P2]" in patient
    assert "[P0]" not in patient
    series = findscu(
        held, "-S", QueryRetrieveLevel="SERIES", StudyInstanceUID="1.7.1", SeriesInstanceUID="", Modality=""
    )
    assert series.count("(0020,000e) UI [1.8.") == 2
    image = findscu(
        held, "-P", QueryRetrieveLevel="IMAGE", PatientID="P0", StudyInstanceUID="1.7.0",
        SeriesInstanceUID="1.8.1", SOPInstanceUID="", Rows="",
    )  # fmt: skip
    assert "[1.9.1" in image
    assert "(0028,0010) US 64" in image


def test_names_beyond_ascii_are_answered_in_unicode_with_their_character_set(held) -> None:
    with Peer(held.port, FIND) as peer:
        query = key("STUDY", PatientName="MÜLLER*", StudyInstanceUID="", SpecificCharacterSet="ISO_IR 192")
        (_, found), (last, _) = peer.find(query)
    assert (found.SpecificCharacterSet, str(found.PatientName), last) == ("ISO_IR 192", "Müller^Zzcanary", 0)
    assert (found.RetrieveAETitle, found.InstanceAvailability) == ("CONSILIUM", "ONLINE")


def test_an_optional_key_that_is_not_known_is_said_to_be_unmatched(held) -> None:
    with Peer(held.port, FIND) as peer:
        known = peer.find(key("STUDY", PatientID="P0", StudyDescription=""))
        unknown = peer.find(key("STUDY", PatientID="P0", PatientComments="x"))
    assert [status for status, _ in known] == [0xFF00, 0x0000]
    assert [status for status, _ in unknown] == [0xFF01, 0x0000]
    assert "PatientComments" not in unknown[0][1]


@pytest.mark.parametrize(
    "query",
    [
        key("SERIES", SeriesInstanceUID=""),
        key("SERIES", StudyInstanceUID="1.7.0\\1.7.1"),
        key("IMAGE", StudyInstanceUID="1.7.0"),
        key("PATIENT", PatientID=""),
        key("STUDY", StudyDate="yesterday"),
        key("", StudyInstanceUID="1.7.0"),
    ],
)
def test_an_identifier_without_its_unique_keys_or_level_is_refused_and_not_answered_with_nothing(
    held, query
) -> None:
    with Peer(held.port, FIND) as peer:
        ((status, _),) = peer.find(query)
    assert status == find_scp.NOT_THIS_CLASS


def test_a_query_ends_when_it_is_cancelled(held, monkeypatch) -> None:
    many = [dict.fromkeys((0x0020000D, 0x00100020), "1")] * 5000
    monkeypatch.setattr(find_scp, "search", lambda _db, _question: iter(many))
    with Peer(held.port, FIND) as peer:
        statuses = []
        for status, _ in peer.association.send_c_find(key("STUDY", StudyInstanceUID=""), FIND, msg_id=7):
            statuses.append(status.Status)
            if len(statuses) == 1:
                peer.association.send_c_cancel(7, query_model=FIND)
    assert statuses[-1] == find_scp.CANCELLED
    assert len(statuses) < 5000


def test_too_many_matches_are_a_failure_and_not_an_end(held, monkeypatch) -> None:
    monkeypatch.setattr(find_scp, "MOST_MATCHES", 2)
    with Peer(held.port, FIND) as peer:
        answers = peer.find(key("STUDY", StudyInstanceUID=""))
    assert [status for status, _ in answers] == [0xFF00, 0xFF00, find_scp.OUT_OF_RESOURCES]


def test_who_is_not_named_may_ask_nothing_and_others_only_what_is_theirs(held) -> None:
    with Peer(held.port, FIND, GET, PatientRootQueryRetrieveInformationModelFind, calling="STRANGER") as peer:
        assert not peer.association.is_established
    with Peer(held.port, FIND, MOVE, calling="XRAY") as peer:
        assert [str(one.abstract_syntax) for one in peer.association.accepted_contexts] == [str(FIND)]
        studies = [
            found.StudyInstanceUID for status, found in peer.find(key("STUDY", StudyInstanceUID="")) if found
        ]
        assert studies == ["1.7.2"]
        assert [status for status, _ in peer.find(key("SERIES", StudyInstanceUID="1.7.0"))] == [0]
    with Peer(held.port, GET, calling="XRAY", storage=[DigitalXRayImageStorageForPresentation]) as peer:
        statuses = [
            one.Status for one, _ in peer.association.send_c_get(key("STUDY", StudyInstanceUID="1.7.0"), GET)
        ]
    assert statuses == [0]
    assert peer.stored == []


def test_every_query_and_transfer_is_noted_without_what_was_asked_for(held) -> None:
    with Peer(held.port, FIND) as peer:
        peer.find(key("STUDY", PatientName="DOE*", StudyInstanceUID=""))
    with Peer(held.port, GET, storage=[DigitalXRayImageStorageForPresentation]) as peer:
        list(peer.association.send_c_get(key("STUDY", StudyInstanceUID="1.7.0"), GET))
    query, begun, ended = held.notes
    assert (query.kind, query.source.name, query.what) == (Kind.QUERY, "VIEWER", "C-FIND")
    assert "PatientName" in query.note
    assert "DOE" not in query.note
    assert (begun.kind, begun.studies) == (Kind.TRANSFER_BEGUN, {"1.7.0": 2})
    assert (ended.kind, ended.studies, ended.asked_by_destination) == (Kind.TRANSFERRED, {"1.7.0": 2}, True)


def test_getscu_gets_a_study_bit_for_bit(held, tmp_path) -> None:
    wanted = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.7.0"}
    out = dcmtk("getscu", held, "-S", "-B", "-od", tmp_path, **wanted)
    got = sorted(dcmread(one).SOPInstanceUID for one in tmp_path.iterdir())
    assert got == ["1.9.0", "1.9.1"], out


def test_what_a_caller_of_get_cannot_take_as_it_is_stored_is_refused_for_itself(held) -> None:
    query = key("STUDY", StudyInstanceUID="1.7.1")
    with Peer(held.port, GET, storage=[DigitalXRayImageStorageForPresentation], syntaxes=JPEG2000Lossless) as peer:
        *_, (last, named) = list(peer.association.send_c_get(query, GET))
    assert last.Status == retrieve_scp.WARNING
    assert (last.NumberOfCompletedSuboperations, last.NumberOfFailedSuboperations) == (1, 1)
    assert named.FailedSOPInstanceUIDList == "1.9.3"
    assert "transfer syntax" in last.ErrorComment
    assert len(peer.stored) == 1
    with Peer(held.port, GET, storage=[DigitalXRayImageStorageForPresentation]) as peer:
        *_, (last, named) = list(peer.association.send_c_get(query, GET))
    assert last.Status == retrieve_scp.NOTHING_SENT
    assert sorted(named.FailedSOPInstanceUIDList) == ["1.9.2", "1.9.3"]


def test_a_caller_of_get_that_refuses_or_remarks_is_believed(held) -> None:
    query = key("IMAGE", StudyInstanceUID="1.7.0", SeriesInstanceUID="1.8.0", SOPInstanceUID="1.9.0")
    for status, expected in ((0xA700, retrieve_scp.NOTHING_SENT), (0xB000, retrieve_scp.WARNING)):
        with Peer(held.port, GET, storage=[DigitalXRayImageStorageForPresentation], status=status) as peer:
            assert list(peer.association.send_c_get(query, GET))[-1][0].Status == expected


def test_an_association_of_get_still_takes_images_only_of_classes_that_are_stored(held) -> None:
    storage = [one.abstract_syntax for one in StoragePresentationContexts[:100]]
    with Peer(held.port, GET, storage=storage) as peer:
        may_store = [
            one for one in peer.association.accepted_contexts if one.as_scu and one.abstract_syntax in storage
        ]
    assert may_store == []  # the roles that were asked for were SCP alone


def test_movescu_sends_a_study_to_the_destination_as_it_is_stored(held) -> None:
    wanted = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.7.1"}
    out = dcmtk("movescu", held, "-d", "-S", "-aem", "DCMTK", **wanted)
    got = {dcmread(one).SOPInstanceUID: dcmread(one) for one in held.received.iterdir()}
    assert sorted(got) == ["1.9.2", "1.9.3"], out
    assert [got[uid].file_meta.TransferSyntaxUID for uid in sorted(got)] == [JPEG2000Lossless, RLELossless]
    assert "Success" in out


@pytest.mark.parametrize(("wanted", "calling"), [("NOWHERE", "VIEWER"), ("SECRET", "VIEWER")])
def test_a_destination_that_a_caller_may_not_send_to_is_unknown(held, wanted, calling) -> None:
    with Peer(held.port, MOVE, calling=calling) as peer:
        query = key("STUDY", StudyInstanceUID="1.7.0")
        ((status, _),) = list(peer.association.send_c_move(query, wanted, MOVE))
    assert status.Status == retrieve_scp.UNKNOWN_DESTINATION
    assert [one.kind for one in held.notes] == [Kind.REFUSED]
    assert list(held.received.iterdir()) == []


def test_a_destination_that_is_away_fails_every_sub_operation_with_the_reason(held) -> None:
    with Peer(held.port, MOVE) as peer:
        *_, (last, named) = list(peer.association.send_c_move(key("STUDY", StudyInstanceUID="1.7.0"), "OFF", MOVE))
    assert (last.Status, last.NumberOfFailedSuboperations) == (retrieve_scp.NOTHING_SENT, 2)
    assert "connection" in last.ErrorComment
    assert len(named.FailedSOPInstanceUIDList) == 2


def test_a_retrieval_of_nothing_is_a_success_and_one_without_a_unique_key_is_refused(held) -> None:
    with Peer(held.port, MOVE) as peer:

        def move(query):
            return list(peer.association.send_c_move(query, "DCMTK", MOVE))[-1][0].Status

        assert move(key("STUDY", StudyInstanceUID="1.7.99")) == 0
        assert move(key("STUDY", PatientID="P0")) == find_scp.NOT_THIS_CLASS
        assert move(key("STUDY", StudyInstanceUID="1.7.0\\1.7.2")) == 0
    assert len(list(held.received.iterdir())) == 3


def test_a_retrieval_ends_when_it_is_cancelled_and_says_what_remains(held, monkeypatch) -> None:
    monkeypatch.setattr("dicom_node.query.retrieve_response.PENDING_EVERY_S", 0.0)
    storage = [DigitalXRayImageStorageForPresentation]
    with Peer(held.port, GET, storage=storage) as peer:
        statuses = []
        for status, _ in peer.association.send_c_get(key("STUDY", StudyInstanceUID="1.7.0"), GET, msg_id=9):
            statuses.append(status)
            if len(statuses) == 1:
                peer.association.send_c_cancel(9, query_model=GET)
    # The second object may have been on its way already; what is said of it is true.
    last = statuses[-1]
    assert last.Status in {0xFE00, 0x0000}
    assert last.NumberOfCompletedSuboperations == len(peer.stored)


GARBAGE = {
    "nothing": b"",
    "noise": bytes(range(256)),
    "an element beyond the end": b"\x08\x00\x52\x00CS\xff\x7fSTUDY ",
    "sequences in sequences": b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000,
    "a level that is no text": b"\x08\x00\x52\x00CS\x06\x00\xff\xfe\x00\x01\x02\x03",
    "a number that is none": b"\x08\x00\x52\x00CS\x06\x00STUDY \x20\x00\x08\x12IS\x04\x00abcd",
    "a hundred keys": b"".join(b"\x09\x00" + bytes([n, 16]) + b"LO\x02\x00a " for n in range(100)),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_an_identifier_that_is_none_is_refused_and_the_association_lives_on(held, name) -> None:
    from io import BytesIO  # noqa: PLC0415

    from pynetdicom.dimse_primitives import C_FIND, C_MOVE  # noqa: PLC0415

    for model, kind in ((FIND, C_FIND), (MOVE, C_MOVE)):
        with Peer(held.port, model, "1.2.840.10008.1.1", syntaxes=None) as peer:
            (context,) = [one for one in peer.association.accepted_contexts if one.abstract_syntax == model]
            request = kind()
            request.MessageID, request.AffectedSOPClassUID, request.Priority = 5, model, 2
            request.Identifier = BytesIO(GARBAGE[name] or b"\0")
            if kind is C_MOVE:
                request.MoveDestination = "DCMTK"
            peer.association._reactor_checkpoint.clear()
            while not peer.association._is_paused:
                time.sleep(0.001)
            peer.association.dimse.send_msg(request, context.context_id)
            _, answer = peer.association.dimse.get_msg(block=True)
            peer.association._reactor_checkpoint.set()
            assert answer.Status >= 0xA700, name
            assert answer.Status != 0xFF00, name
            assert peer.association.send_c_echo().Status == 0
