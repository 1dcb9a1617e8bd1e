"""Storage commitment with Orthanc: it asks us and is told, we ask it, and a restart in between loses nothing."""

import time
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from clinical.identity import IssuerTable
from consilium.committing import Answers, Committing
from consilium.delivering import Delivering
from consilium.vouching import Vouching
from dicom_node.commitment import ask
from dicom_node.commitment_scp import commitment_service
from dicom_node.destinations import Destination
from dicom_node.scp import ScpSettings, StorageScp
from dicom_node.scu import send_each
from dicom_node.testing import cr_dataset, send_files, write_dicom
from record_store import commitment_requests, deliveries
from record_store.blobs import open_blobs
from record_store.database import open_database
from record_store.deliveries import RetryPolicy
from record_store.readings import ResultObject, add_result_object
from record_store.testing import database
from tests.orthanc import orthanc_program, running_orthanc
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RETRY = RetryPolicy(max_attempts=5, first_s=1, jitter=lambda: 1.0)
WITHIN_S = 60.0


class House:
    """Our node and store beside one Orthanc. `start` and `stop` are those of our processes, not of the store."""

    def __init__(self, folder: Path, port: int, archive: Destination) -> None:
        self.folder, self.port, self.archive = folder, port, archive
        self.db = open_database(f"sqlite:///{folder}/consilium.db")
        self.blobs = open_blobs(f"file://{folder}/blobs", folder / "incoming")
        self.ahead_s, self.uids = 0.0, count(1)
        self.node: StorageScp | None = None

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s)

    @property
    def vouching(self) -> Vouching:
        nodes = {self.archive.ae_title: self.archive}
        return Vouching(self.db, self.blobs, nodes, "CONSILIUM", RETRY, self.now)

    def start(self) -> None:
        answers = Answers(self.db, {"pacs": self.archive}, RETRY, self.now, lambda *_: None)
        self.node = StorageScp(
            ScpSettings(port=self.port, low_water_bytes=0),
            db=self.db,
            blobs=self.blobs,
            issuers=IssuerTable({"": "urn:hospital"}),
            now=self.now,
            services=[commitment_service(self.vouching.keep, answers.take)],
        )
        self.node.start()

    def stop(self) -> None:
        if self.node is not None:
            self.node.stop()
            self.node = None

    def deliver(self) -> None:
        Delivering(
            db=self.db,
            blobs=self.blobs,
            destinations={"pacs": self.archive},
            calling_ae="CONSILIUM",
            retry=RETRY,
            now=self.now,
            send=send_each,
            observe=lambda *_: None,
        ).deliver("pacs")

    def ask(self) -> None:
        take = Answers(self.db, {"pacs": self.archive}, RETRY, self.now, lambda *_: None).take
        new_uid = lambda: f"2.25.{time.time_ns()}{next(self.uids)}"  # noqa: E731
        committing = Committing(self.db, {"pacs": self.archive}, "CONSILIUM", RETRY, self.now, new_uid, ask, take)
        committing.ask_about("pacs")

    def states(self) -> dict[str, tuple[str, str | None]]:
        with self.db.read() as conn:
            return {one.sop_instance_uid: (one.state, one.commitment) for one in deliveries.deliveries(conn)}


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    """Yield (our port, Orthanc): one Orthanc for all tests here, which knows our node."""
    program = orthanc_program()
    if program is None:
        pytest.skip("Orthanc is not on this machine")
    port = free_port()
    with running_orthanc(
        tmp_path_factory.mktemp("archive") / "store", program, {"consilium": ("CONSILIUM", port)}
    ) as one:
        yield port, one


@pytest.fixture
def house(peers, tmp_path):
    database(tmp_path).dispose()
    port, orthanc = peers
    one = House(tmp_path, port, Destination("pacs", "127.0.0.1", orthanc.port, "ARCHIVE", commitment=True))
    one.start()
    yield one
    one.stop()
    one.db.dispose()


def an_image(folder: Path, seed: str) -> tuple[Path, str, str]:
    ds = cr_dataset(np.zeros((16, 16), np.uint16), seed=seed)
    return write_dicom(ds, folder / f"{seed}.dcm"), str(ds.SOPClassUID), str(ds.SOPInstanceUID)


def until(condition) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def asked_by(orthanc, objects) -> str:
    """Let Orthanc ask us about objects; return the address of the answer in its REST API."""
    question = {"DicomInstances": [{"SOPClassUID": kind, "SOPInstanceUID": uid} for kind, uid in objects]}
    return orthanc.post("/modalities/consilium/storage-commitment", question)["Path"]


def test_orthanc_asks_us_and_is_told_what_we_keep_and_what_not_and_why(house, peers, tmp_path) -> None:
    _, orthanc = peers
    path, sop_class, uid = an_image(tmp_path, "asked")
    assert send_files([path], house.port) == [0x0000]
    at = asked_by(orthanc, [(sop_class, uid), (sop_class, "1.2.3.404")])
    until(lambda: house.vouching.due() == ["ARCHIVE"])  # Orthanc hangs up and waits for our call
    assert house.vouching.tell_sender("ARCHIVE")
    until(lambda: orthanc.get(at)["Status"] != "Pending")
    said = orthanc.get(at)
    assert (said["Status"], said["RemoteAET"]) == ("Failure", "CONSILIUM")
    assert [one["SOPInstanceUID"] for one in said["Success"]] == [uid]
    assert [(one["SOPInstanceUID"], one["FailureReason"]) for one in said["Failures"]] == [("1.2.3.404", 0x0112)]


def test_a_question_that_was_taken_before_our_restart_is_answered_after_it(house, peers, tmp_path) -> None:
    _, orthanc = peers
    path, sop_class, uid = an_image(tmp_path, "restart")
    assert send_files([path], house.port) == [0x0000]
    at = asked_by(orthanc, [(sop_class, uid)])
    house.stop()
    house.start()
    house.ahead_s = 60  # whatever the old process had begun is over
    assert house.vouching.due() == ["ARCHIVE"]
    assert house.vouching.tell_sender("ARCHIVE")
    until(lambda: orthanc.get(at)["Status"] == "Success")


def test_our_result_is_asked_about_again_after_a_restart_and_stands_in_one_series(house, peers, tmp_path) -> None:
    _, orthanc = peers
    path, sop_class, uid = an_image(tmp_path, "result")
    stored = house.blobs.put(path.read_bytes())
    with house.db.write() as conn:
        add_result_object(conn, ResultObject(uid, "job", "SC", sop_class, "1.2", stored.sha256, house.now()))
        deliveries.enqueue(conn, uid, "pacs", house.now())
    house.deliver()
    assert house.states() == {uid: ("sent", "wanted")}
    house.stop()  # before Orthanc can answer: it calls our node and finds nobody
    house.ask()
    time.sleep(0.5)
    assert house.states() == {uid: ("sent", "asked")}
    house.start()
    house.ahead_s = 10  # past the pause
    house.ask()
    until(lambda: house.states() == {uid: ("sent", "committed")})
    found = orthanc.post("/tools/find", {"Level": "Series", "Query": {"PatientID": "*"}, "Expand": True})
    assert sum(series["MainDicomTags"]["SeriesInstanceUID"] in _series_of(path) for series in found) == 1


def _series_of(path: Path) -> set[str]:
    return {str(dcmread(path, stop_before_pixels=True).SeriesInstanceUID)}


def test_a_request_of_an_ae_without_an_address_stays_with_its_reason(house, tmp_path) -> None:
    path, sop_class, uid = an_image(tmp_path, "unknown")
    assert send_files([path], house.port) == [0x0000]
    node = Destination("node", "127.0.0.1", house.port, "CONSILIUM")
    assert ask(node, "STRANGER", "2.25.99", [(sop_class, uid)], lambda *_: None, linger_s=0) is None
    until(lambda: house.vouching.due() == ["STRANGER"])
    assert not house.vouching.tell_sender("STRANGER")
    with house.db.read() as conn:
        (row,) = commitment_requests.requests(conn)
    assert (row.state, row.last_problem) == ("pending", "CONSILIUM_NODES has no address of this sender")
