"""Questions of senders whether we keep what we took: kept until they are answered, by one process at a time."""

from datetime import timedelta

import pytest

from clinical.errors import Busy
from clinical.identity import PatientKey
from record_store import commitment_requests
from record_store.commitment_requests import (
    DEAD,
    PENDING,
    REPORTED,
    CommitmentRequest,
    claim,
    claim_this,
    due_now,
    due_senders,
    held,
    keep,
    purge,
    requests,
    told,
)
from record_store.deliveries import RetryPolicy
from record_store.instances import ReceivedInstance, record_instance
from record_store.readings import ResultObject, add_result_object

CR, SEG = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.66.4"
ASKED = CommitmentRequest("MODALITY", "2.25.7", ((CR, "1.1"), (SEG, "1.2")))
STEADY = RetryPolicy(max_attempts=2, first_s=10, jitter=lambda: 1.0)


@pytest.fixture
def ask(db, now):
    """ask(request): keep it, due at once; whether it was kept."""

    def one(request=ASKED, after_s=0):
        with db.write() as conn:
            return keep(conn, request, now(), now() + timedelta(seconds=after_s))

    return one


def tell(db, now, request, problem=None):
    with db.write() as conn:
        return told(conn, request, problem, now(), STEADY)


def test_a_question_is_answered_once_by_whoever_takes_it_first(db, now, ask):
    assert ask()
    assert due_senders(db, now()) == ["MODALITY"]
    request = claim(db, "MODALITY", now(), 60)
    assert (request.objects, request.attempts) == (ASKED.objects, 1)
    assert claim(db, "MODALITY", now(), 60) is None
    assert claim_this(db, ASKED, now(), 60) is None
    assert tell(db, now, request) == REPORTED
    now.advance(1000)
    assert due_senders(db, now()) == []


def test_the_association_of_the_question_goes_first_and_then_a_worker_at_once(db, now, ask):
    ask(after_s=15)
    assert due_senders(db, now()) == []
    here = claim_this(db, ASKED, now(), 60)
    assert here.attempts == 1
    with db.write() as conn:
        due_now(conn, ASKED, now())  # of an earlier attempt: somebody else has it
        assert due_senders(db, now()) == []
        due_now(conn, here, now())
    assert claim(db, "MODALITY", now(), 60).attempts == 2


def test_an_answer_that_is_not_taken_is_told_again_after_a_pause_and_given_up_in_the_end(db, now, ask):
    ask()
    assert tell(db, now, claim(db, "MODALITY", now(), 60), "no connection") == PENDING
    assert claim(db, "MODALITY", now(), 60) is None
    now.advance(10)
    assert tell(db, now, claim(db, "MODALITY", now(), 60), "no connection") == DEAD
    with db.read() as conn:
        (row,) = requests(conn)
    assert (row.state, row.attempts, row.last_problem, row.objects) == (DEAD, 2, "no connection", 2)


def test_a_dead_process_keeps_a_question_only_until_its_lease_is_over(db, now, ask):
    ask()
    claim(db, "MODALITY", now(), 60)
    now.advance(60)
    assert claim(db, "MODALITY", now(), 60).attempts == 2


def test_the_same_question_again_is_answered_again_and_its_uid_stands_for_nothing_else(db, now, ask):
    ask()
    tell(db, now, claim(db, "MODALITY", now(), 60))
    assert ask()
    assert due_senders(db, now()) == ["MODALITY"]
    assert not ask(CommitmentRequest("MODALITY", "2.25.7", ((CR, "1.9"),)))
    assert ask(CommitmentRequest("OTHER", "2.25.7", ((CR, "1.9"),)))  # each sender has UIDs of its own
    assert due_senders(db, now()) == ["MODALITY", "OTHER"]


def test_one_sender_cannot_fill_the_store_with_questions(db, now, ask, monkeypatch):
    monkeypatch.setattr(commitment_requests, "MOST_WAITING", 2)
    for number in range(2):
        ask(CommitmentRequest("MODALITY", f"2.25.{number}", ASKED.objects))
    with pytest.raises(Busy):
        ask()
    assert ask(CommitmentRequest("OTHER", "2.25.7", ASKED.objects))


def test_what_was_received_and_what_was_made_here_is_held(db, now):
    with db.write() as conn:
        image = ReceivedInstance(
            "1.1", CR, "1.2.840.10008.1.2.1", "1.2", "1.3", "CR", PatientKey("urn:h", "1"), "a" * 64, 9, "A", "B"
        )
        record_instance(conn, image, now())
        add_result_object(conn, ResultObject("1.2", "job", "SEG", SEG, "1.2", "b" * 64, now()))
        assert held(conn, ["1.1", "1.2", "1.3"]) == {"1.1": (CR, "a" * 64), "1.2": (SEG, "b" * 64)}
        assert held(conn, [f"9.{number}" for number in range(1200)]) == {}


def test_settled_questions_are_removed_and_waiting_ones_never(db, now, ask):
    ask()
    ask(CommitmentRequest("MODALITY", "2.25.8", ASKED.objects))
    tell(db, now, claim(db, "MODALITY", now(), 60))
    now.advance(10)
    with db.write() as conn:
        assert purge(conn, now()) == 1
    with db.read() as conn:
        assert [one.state for one in requests(conn)] == [PENDING]
