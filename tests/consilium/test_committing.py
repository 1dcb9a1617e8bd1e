"""The worker asks, whoever receives the answer writes it down: both over the same rows."""

from datetime import UTC, datetime, timedelta

import pytest

from consilium.committing import Answers, Committing
from dicom_node.commitment import CommitmentAnswer
from dicom_node.destinations import Destination
from record_store import commitments, deliveries
from record_store.deliveries import RetryPolicy
from record_store.readings import ResultObject, add_result_object
from record_store.testing import database

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
PACS = {"pacs": Destination("pacs", "127.0.0.1", 104, "ARCHIVE", commitment=True)}
STEADY = RetryPolicy(max_attempts=3, first_s=10, jitter=lambda: 1.0)


class Place:
    """Rows, a clock, what was asked, what was counted."""

    def __init__(self, db) -> None:
        self.db, self.now, self.asked, self.counted = db, datetime(2026, 1, 2, tzinfo=UTC), [], []
        self.answers = Answers(db, PACS, STEADY, lambda: self.now, lambda *one: self.counted.append(one))

    def taken(self, *uids: str, destination: str = "pacs") -> None:
        with self.db.write() as conn:
            for uid in uids:
                add_result_object(conn, ResultObject(uid, "job", "SEG", SEG, "1.2.3", "a" * 64, self.now))
                deliveries.enqueue(conn, uid, destination, self.now)
        for one in deliveries.claim_due(self.db, self.now, 60, 10):
            with self.db.write() as conn:
                deliveries.record_outcome(
                    conn, one.delivery_id, status=0, problem=None, now=self.now, retry=STEADY
                )
                commitments.want(conn, one.delivery_id, self.now)

    def ask(self, problem: str | None = None, answer=None) -> int:
        def asked(destination, calling_ae, transaction_uid, objects, take) -> str | None:
            self.asked.append((destination.name, transaction_uid, tuple(objects)))
            if answer is not None:
                take("ARCHIVE", answer(transaction_uid))  # on the association of the question
            return problem

        number = len(self.asked) + 1
        committing = Committing(
            self.db,
            PACS,
            "CONSILIUM",
            STEADY,
            lambda: self.now,
            lambda: f"2.25.{number}",
            asked,
            self.answers.take,
        )
        before = len(self.asked)
        for name in committing.due():
            committing.ask_about(name)
        return sum(len(objects) for _, _, objects in self.asked[before:])

    def states(self) -> dict[str, tuple[str, str | None, str | None]]:
        with self.db.read() as conn:
            rows = deliveries.deliveries(conn)
        return {one.sop_instance_uid: (one.state, one.commitment, one.last_problem) for one in rows}


@pytest.fixture
def place(tmp_path):
    db = database(tmp_path)
    yield Place(db)
    db.dispose()


def test_an_answer_during_the_question_settles_each_object(place) -> None:
    place.taken("1.1", "1.2")
    answer = lambda uid: CommitmentAnswer(uid, frozenset(["1.1"]), {"1.2": 0x0112})  # noqa: E731
    assert place.ask(answer=answer) == 2
    assert place.asked == [("pacs", "2.25.1", ((SEG, "1.1"), (SEG, "1.2")))]
    assert place.states() == {
        "1.1": ("sent", "committed", None),
        "1.2": ("pending", None, "taken, but not kept: it does not hold the object"),
    }
    assert sorted(place.counted) == [("pacs", "committed"), ("pacs", "pending")]


def test_an_answer_hours_later_from_the_archive_counts_and_one_from_another_ae_does_not(place) -> None:
    place.taken("1.1")
    assert place.ask() == 1
    late = CommitmentAnswer("2.25.1", frozenset(["1.1"]), {})
    place.answers.take("STRANGER", late)
    assert place.states()["1.1"][1] == "asked"
    place.answers.take("ARCHIVE", late)
    assert place.states()["1.1"] == ("sent", "committed", None)
    place.now += timedelta(days=9)
    assert place.ask() == 0


def test_a_question_that_fails_is_asked_again_after_a_pause_with_its_reason_kept(place) -> None:
    place.taken("1.1")
    place.ask("no connection")
    assert place.states()["1.1"] == ("sent", "wanted", "no connection")
    assert place.ask() == 0
    place.now += timedelta(seconds=10)
    assert place.ask() == 1
    assert [uid for _, uid, _ in place.asked] == ["2.25.1", "2.25.2"]


def test_a_destination_that_is_no_longer_configured_is_asked_nothing(place) -> None:
    place.taken("1.1", destination="gone")
    place.ask()
    assert place.asked == []
    assert place.states()["1.1"] == ("sent", "wanted", "this destination is no longer configured")
