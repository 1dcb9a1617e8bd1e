"""Our SCUs against Orthanc (find, move, get) and dcmtk's worklist server."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import BasicTextSRStorage, JPEG2000Lossless, UltrasoundImageStorage

from clinical.identity import IssuerTable
from dicom_node.destinations import Destination
from dicom_node.header import read_stored_header
from dicom_node.intake import Intake, Sender
from dicom_node.query import scu
from dicom_node.query.get_scu import get
from dicom_node.query.words import in_words
from dicom_node.query.worklist import Code, orders_of
from dicom_node.scu import send
from dicom_node.sop_classes import IMAGE_CLASSES
from dicom_node.testing import dx_dataset, write_dicom
from record_store.instances import instances_of
from record_store.testing import database
from tests.dicom_node.conftest import Node
from tests.dicom_node.query.peers import program, running, said
from tests.ports import free_port

PIXELS = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours")
    db = database(folder)
    one = Node(folder, db).start()
    yield one
    one.scp.stop()
    db.dispose()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory, node):
    """Orthanc with two studies of one patient; it knows us by name."""
    folder = tmp_path_factory.mktemp("orthanc")
    dicom, http = free_port(), free_port()
    settings = {
        "Name": "TEST", "DicomPort": dicom, "HttpPort": http, "DicomAet": "ORTHANC", "Plugins": [],
        "StorageDirectory": str(folder / "store"), "IndexDirectory": str(folder / "store"),
        "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowFind": True, "DicomAlwaysAllowMove": True,
        "DicomModalities": {"ours": ["CONSILIUM", "127.0.0.1", node.port]},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    paths = []
    for number in range(3):
        ds = dx_dataset(
            PIXELS, seed=f"scu {number}", StudyInstanceUID=f"1.7.{number // 2}", SOPInstanceUID=f"1.9.{number}",
            PatientID="P1", StudyDate=f"2025010{1 + number // 2}", StudyDescription="Thorax äöü",
        )  # fmt: skip
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        if number == 1:
            ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        paths.append(write_dicom(ds, folder / f"{number}.dcm"))
    with running([program("Orthanc"), str(folder / "orthanc.json")], http):
        peer = Destination("orthanc", "127.0.0.1", dicom, "ORTHANC")
        assert all(one.taken for one in send(paths, peer, "CONSILIUM"))
        yield peer


def held(node, study):
    with node.db.read() as conn:
        return [
            (one.sop_instance_uid, one.transfer_syntax_uid, one.calling_ae) for one in instances_of(conn, study)
        ]


@pytest.mark.slow
def test_orthanc_is_asked_and_answers_are_decoded(orthanc) -> None:
    wanted = scu.query(
        "STUDY", {"PatientID": "P1", "StudyInstanceUID": "", "StudyDescription": "", "StudyDate": ""}
    )
    found = scu.find(orthanc, "CONSILIUM", wanted)
    assert sorted(one.StudyInstanceUID for one in found) == ["1.7.0", "1.7.1"]
    assert {one.StudyDescription for one in found} == {"Thorax äöü"}
    assert scu.find(orthanc, "CONSILIUM", scu.query("STUDY", {"PatientID": "P9", "StudyInstanceUID": ""})) == []
    assert len(scu.find(orthanc, "CONSILIUM", wanted, most=1)) == 1


@pytest.mark.slow
def test_orthanc_moves_a_study_to_us(orthanc, node) -> None:
    moved = scu.move(orthanc, "CONSILIUM", scu.query("STUDY", {"StudyInstanceUID": "1.7.1"}), "CONSILIUM")
    assert (moved.status, moved.completed, moved.failed) == (0, 1, 0)
    assert [(uid, ae) for uid, _, ae in held(node, "1.7.1")] == [("1.9.2", "ORTHANC")]
    with node.db.read() as conn:
        assert [one.fetched for one in instances_of(conn, "1.7.1")] == [1]  # it says who has asked for them


@pytest.mark.slow
def test_orthanc_gives_a_study_as_it_is_stored_there(orthanc, node) -> None:
    intake = Intake(node.db, node.blobs, IssuerTable({}), lambda: datetime.now(UTC))

    def take(part, syntax):
        intake.take(part, read_stored_header(part), syntax, Sender("ORTHANC", "CONSILIUM"))

    wanted = scu.query("STUDY", {"StudyInstanceUID": "1.7.0"})
    got = get(orthanc, "CONSILIUM", wanted, IMAGE_CLASSES, node.blobs.staging, take)
    assert (got.status, got.completed) == (0, 2), got.words
    assert sorted((uid, syntax) for uid, syntax, _ in held(node, "1.7.0")) == [
        ("1.9.0", "1.2.840.10008.1.2.1"),
        ("1.9.1", str(JPEG2000Lossless)),
    ]
    assert node.parts() == []


@pytest.mark.slow
def test_what_we_refuse_of_a_get_is_a_failure_there_and_leaves_nothing(orthanc, node) -> None:
    from clinical.errors import Busy  # noqa: PLC0415

    def full(_part, _syntax):
        raise Busy("no room")

    wanted = scu.query("STUDY", {"StudyInstanceUID": "1.7.1"})
    got = get(orthanc, "CONSILIUM", wanted, IMAGE_CLASSES, node.blobs.staging, full)
    assert got.completed == 0
    assert got.failed >= 1
    assert node.parts() == []


@pytest.mark.slow
def test_a_refusal_is_told_in_words(orthanc) -> None:
    away = Destination("away", "127.0.0.1", free_port(), "AWAY")
    wanted = scu.query("STUDY", {"StudyInstanceUID": "1.7.1"})
    with pytest.raises(scu.Unanswered, match="no connection"):
        scu.find(away, "CONSILIUM", wanted)
    unknown = scu.move(orthanc, "CONSILIUM", wanted, "NOBODY")
    assert unknown.status != 0
    assert unknown.words


def test_what_an_archive_says_itself_is_no_part_of_the_words_that_are_logged() -> None:
    status = Dataset()
    status.Status, status.ErrorComment = 0xC123, "no prior of Doe^Zzcanary"
    ended = scu.last_of(iter([(status, None)]))
    assert ended.words == in_words(0xC123)
    assert ended.comment == "no prior of Doe^Zzcanary"


def test_every_status_has_words_and_none_is_a_bare_number() -> None:
    for status in (0x0000, 0xA701, 0xA801, 0xB000, 0xC123, 0xFE00, 0x4711):
        assert in_words(status)[0].isalpha()


ITEM = """(0008,0005) CS [ISO_IR 100]
(0008,0050) SH [{accession}]
(0008,0090) PN [Dr^Who]
(0010,0010) PN [Doe^Zzcanary]
(0010,0020) LO [{patient}]
(0010,0030) DA [19600101]
(0010,0040) CS [F]
(0020,000d) UI [1.7.{accession}]
(0032,1060) LO [{description}]
(0032,1064) SQ
(fffe,e000) -
(0008,0100) SH [399208008]
(0008,0102) SH [SCT]
(0008,0104) LO [Plain chest X-ray]
(fffe,e00d) -
(fffe,e0dd) -
(0040,1001) SH [RP1]
(0040,1002) LO [cough]
(0040,0100) SQ
(fffe,e000) -
(0008,0060) CS [DX]
(0040,0001) AE [XRAY]
(0040,0002) DA [20260102]
(0040,0003) TM [101500]
(0040,0007) LO [step]
(0040,0009) SH [SPS1]
(fffe,e00d) -
(fffe,e0dd) -
"""


@pytest.fixture(scope="module")
def worklist(tmp_path_factory):
    """dcmtk's worklist server with three orders."""
    folder = tmp_path_factory.mktemp("worklist")
    place = folder / "RIS"
    place.mkdir()
    (place / "lockfile").touch()
    orders = [("1", "P1", "Knee left"), ("2", "P1", "Chest"), ("3", "P2", "Knee right")]
    for accession, patient, description in orders:
        text = folder / f"{accession}.dump"
        text.write_text(ITEM.format(accession=accession, patient=patient, description=description))
        out = said("dump2dcm", "-q", "+te", "-g", text, place / f"{accession}.wl")
        assert (place / f"{accession}.wl").is_file(), out
    port = free_port()
    with running([program("wlmscpfs"), "-dfp", str(folder), str(port)], port):
        yield Destination("worklist", "127.0.0.1", port, "RIS")


@pytest.mark.slow
def test_the_worklist_says_what_was_ordered_under_an_accession_number(worklist) -> None:
    (order,) = orders_of(worklist, "CONSILIUM", accession_number="1")
    assert (order.patient_id, order.study_uid, order.description) == ("P1", "1.7.1", "Knee left")
    assert order.codes == (Code("399208008", "SCT", "Plain chest X-ray"),)
    assert (order.side, order.reason, order.modality, order.scheduled_date) == ("L", "cough", "DX", "20260102")
    assert "Zzcanary" not in repr(order)
    assert "P1" not in repr(order)


@pytest.mark.slow
def test_orders_of_others_do_not_come_through(worklist) -> None:
    assert {one.accession_number for one in orders_of(worklist, "CONSILIUM", patient_id="P1")} == {"1", "2"}
    assert orders_of(worklist, "CONSILIUM", accession_number="1", patient_id="P2") == []
    assert orders_of(worklist, "CONSILIUM", accession_number="99") == []
    with pytest.raises(ValueError, match="not for everything"):
        orders_of(worklist, "CONSILIUM")


@pytest.mark.slow
def test_the_command_line_tries_a_peer(orthanc, worklist, node, tmp_path, monkeypatch, capfd) -> None:
    from consilium import cli  # noqa: PLC0415

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["consilium", "dicom", *arguments, "--data-dir", str(tmp_path / "data")])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capfd.readouterr()
        return ended.value.code, shown.out + shown.err

    pacs = {"name": "main", "host": orthanc.host, "port": orthanc.port, "ae_title": "ORTHANC"}
    ris = {"host": worklist.host, "port": worklist.port, "ae_title": "RIS"}
    monkeypatch.setenv("CONSILIUM_PACS", json.dumps([pacs]))
    monkeypatch.setenv("CONSILIUM_WORKLIST", json.dumps(ris))
    code, shown = run("find", "main", "-k", "PatientID=P1")
    assert (code, "2 found." in shown, "StudyInstanceUID=1.7.1" in shown) == (0, True, True)
    code, shown = run("get", "main", "-k", "StudyInstanceUID=1.7.0", "--folder", str(tmp_path / "got"))
    assert (code, "done: 2 taken" in shown) == (0, True)
    assert sorted(dcmread(one).SOPInstanceUID for one in (tmp_path / "got").iterdir()) == ["1.9.0", "1.9.1"]
    code, shown = run("move", "main", "-k", "StudyInstanceUID=1.7.1", "--to", "NOBODY")
    assert code == 1
    assert "refused" in shown or "failed" in shown
    code, shown = run("worklist", "--accession", "3")
    assert (code, "side=R" in shown, "1 found." in shown) == (0, True, True)
    code, shown = run("find", "nobody")
    assert (code, "no archive of CONSILIUM_PACS has this name; there are: main" in shown) == (1, True)
    code, shown = run("find", "main", "-k", "PatientIDD=P1")
    assert (code, "no keyword of PS3.6, as PatientID is; is PatientID meant?" in shown) == (1, True)
    for command, level, key, lacks in (
        ("move", "STUDY", "PatientID=P1", "StudyInstanceUID"),
        ("get", "SERIES", "StudyInstanceUID=1.7.1", "SeriesInstanceUID"),
        ("move", "patient", "StudyInstanceUID=1.7.1", "PatientID"),
    ):
        code, shown = run(command, "main", "--level", level, "-k", key)
        assert (code, f"what is retrieved at level {level.upper()} is named by -k {lacks}=" in shown) == (1, True)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["get", "move"])
def test_a_prior_comes_by_either_way(orthanc, node, tmp_path, by) -> None:
    from consilium.fetching import fetch_of  # noqa: PLC0415
    from consilium.settings import Settings  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from record_store.migrate import migrate  # noqa: PLC0415

    house = House(Settings(data_dir=tmp_path))
    migrate(house.db)
    # By C-MOVE one whose objects came to the node by C-MOVE before, if at all: by C-GET their bytes may be others.
    study, count = ("1.7.0", 2) if by == "get" else ("1.7.1", 1)
    ended = fetch_of(house)(orthanc, study, by)
    assert (ended.status, ended.completed) == (0, count), ended.words
    with (house.db if by == "get" else node.db).read() as conn:
        assert [one.fetched for one in instances_of(conn, study)] == [1] * count
    house.db.dispose()


@pytest.mark.slow
def test_a_report_beside_the_images_of_a_prior_keeps_none_of_them_away(orthanc, node, tmp_path) -> None:
    from consilium.fetching import fetch_of  # noqa: PLC0415
    from consilium.settings import Settings  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415

    folder = tmp_path / "sent"
    folder.mkdir()
    of_study = {"StudyInstanceUID": "1.7.3", "PatientID": "P3"}
    images = [
        dx_dataset(PIXELS, seed=f"beside {number}", SOPInstanceUID=f"1.9.3{number}", **of_study)
        for number in range(2)
    ]
    report = dx_dataset(PIXELS, SOPClassUID=BasicTextSRStorage, Modality="SR", SOPInstanceUID="1.9.39", **of_study)
    del report.PixelData
    for one in (report, *images):
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    paths = [write_dicom(one, folder / f"{one.SOPInstanceUID}.dcm") for one in (report, *images)]
    assert all(one.taken for one in send(paths, orthanc, "CONSILIUM"))
    whole = scu.move(orthanc, "CONSILIUM", scu.query("STUDY", {"StudyInstanceUID": "1.7.3"}), "CONSILIUM")
    assert whole.status != 0
    ended = fetch_of(House(Settings(data_dir=tmp_path)))(orthanc, "1.7.3", "move")
    assert (ended.status, ended.completed, ended.failed) == (0, 2, 0), ended.words
    assert sorted(uid for uid, _, _ in held(node, "1.7.3")) == ["1.9.30", "1.9.31"]


def test_the_classes_of_get_leave_room_for_all_its_contexts() -> None:
    from dicom_node.query.get_scu import COMPRESSED  # noqa: PLC0415

    assert UltrasoundImageStorage in IMAGE_CLASSES
    assert 1 + len(IMAGE_CLASSES) * (1 + len(COMPRESSED)) <= 128
