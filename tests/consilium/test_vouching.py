"""Only what can be read back is vouched for, and a sender is told once, here or on an association of our own."""

from datetime import UTC, datetime, timedelta

import pytest

from clinical.errors import Busy
from clinical.identity import PatientKey
from consilium.vouching import NO_ADDRESS, SAME_ASSOCIATION_S, Vouching
from dicom_node.commitment_scp import TransactionReused
from dicom_node.destinations import Destination
from record_store.commitment_requests import CommitmentRequest, requests
from record_store.deliveries import RetryPolicy
from record_store.instances import ReceivedInstance, record_instance
from record_store.testing import MemoryBlobs, database

CR = "1.2.840.10008.5.1.4.1.1.1"
ASKED = CommitmentRequest("MODALITY", "2.25.7", ((CR, "1.1"), (CR, "1.2"), (CR, "1.3")))
NODES = {"MODALITY": Destination("MODALITY", "127.0.0.1", 104, "MODALITY")}


class Place:
    """A store with one image that can be read back and one that cannot; a clock; what was told elsewhere."""

    def __init__(self, folder) -> None:
        self.db, self.blobs, self.now, self.elsewhere = database(folder), MemoryBlobs(folder), None, []
        self.now = datetime(2026, 1, 2, tzinfo=UTC)
        for uid, sha256 in (("1.1", self.blobs.put(b"image").sha256), ("1.2", "f" * 64)):
            with self.db.write() as conn:
                row = ("1.2.840.10008.1.2.1", "1.2", "1.3", "CR", PatientKey("urn:h", "1"), sha256, 5, "A", "B")
                record_instance(conn, ReceivedInstance(uid, CR, *row), self.now)

    def vouching(self, problem=None, nodes=NODES) -> Vouching:
        def tell(node, ae_title, request, answer):
            self.elsewhere.append((node.ae_title, answer))
            return problem

        return Vouching(
            self.db, self.blobs, nodes, "CONSILIUM", RetryPolicy(max_attempts=3), lambda: self.now, tell
        )

    def row(self):
        with self.db.read() as conn:
            (one,) = requests(conn)
        return one


@pytest.fixture
def place(tmp_path):
    one = Place(tmp_path)
    yield one
    one.db.dispose()


def test_the_answer_on_the_questions_association_is_the_only_one(place) -> None:
    vouching, heard = place.vouching(), []
    vouching.keep(ASKED)(heard.append)
    (answer,) = heard
    assert (answer.committed, answer.failed) == ({"1.1"}, {"1.2": 0x0110, "1.3": 0x0112})
    place.now += timedelta(days=1)
    assert vouching.due() == []
    assert place.row().state == "reported"


@pytest.mark.parametrize("report", [None, lambda answer: "the sender did not answer the report"])
def test_what_cannot_be_told_there_is_told_at_once_on_an_association_of_our_own(place, report) -> None:
    vouching = place.vouching()
    vouching.keep(ASKED)(report)
    assert vouching.due() == ["MODALITY"]
    assert vouching.tell_sender("MODALITY")
    assert [(title, answer.committed) for title, answer in place.elsewhere] == [("MODALITY", {"1.1"})]
    assert vouching.due() == []


def test_a_process_that_dies_after_it_has_said_success_leaves_the_question_to_the_next(place) -> None:
    place.vouching().keep(ASKED)
    after = place.vouching()
    assert after.due() == []
    place.now += timedelta(seconds=SAME_ASSOCIATION_S)
    assert after.due() == ["MODALITY"]


def test_a_sender_without_an_address_and_one_that_is_away_are_told_later(place) -> None:
    place.vouching().keep(ASKED)(None)
    assert not place.vouching(nodes={}).tell_sender("MODALITY")
    assert (place.row().state, place.row().last_problem) == ("pending", NO_ADDRESS)
    place.now += timedelta(hours=1)
    assert not place.vouching("no connection").tell_sender("MODALITY")
    assert place.row().last_problem == "no connection"


def test_a_store_that_is_away_is_no_answer(place, monkeypatch) -> None:
    vouching, heard = place.vouching(), []

    def away(sha256):
        raise Busy("the object store does not answer")

    monkeypatch.setattr(place.blobs, "local_path", away)
    vouching.keep(ASKED)(heard.append)
    assert heard == []
    assert place.row().state == "pending"
    with pytest.raises(TransactionReused):
        vouching.keep(CommitmentRequest("MODALITY", "2.25.7", ((CR, "1.9"),)))
