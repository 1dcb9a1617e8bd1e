"""An archive is asked until it confirms; what it does not keep is sent again; a stranger confirms nothing."""

from itertools import count

import pytest

from record_store.commitments import NO_ANSWER, claim_question, due_destinations, put_off, settle, want
from record_store.deliveries import RetryPolicy, claim_due, deliveries, enqueue, record_outcome, resend
from record_store.readings import ResultObject, add_result_object

STEADY = RetryPolicy(max_attempts=2, first_s=10, jitter=lambda: 1.0)
SEG = "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.fixture
def taken(db, now):
    """taken(uid, ...): objects that the PACS took and is to be asked about."""

    def make(*uids: str, destination: str = "PACS") -> None:
        with db.write() as conn:
            for uid in uids:
                add_result_object(conn, ResultObject(uid, "job", "SEG", SEG, "1.2.3", "a" * 64, now()))
                enqueue(conn, uid, destination, now())
        for one in claim_due(db, now(), 60, 10):
            sent(db, now, one)

    return make


def sent(db, now, one):
    with db.write() as conn:
        record_outcome(conn, one.delivery_id, status=0, problem=None, now=now(), retry=STEADY)
        want(conn, one.delivery_id, now())


@pytest.fixture
def ask(db, now):
    numbers = count(1)

    def questions():
        claimed = [
            claim_question(db, now(), name, STEADY, lambda: f"2.25.{next(numbers)}")
            for name in due_destinations(db, now())
        ]
        return [one for one in claimed if one is not None]

    return questions


def answer(db, now, uid, *, committed=(), failed=None, destinations=("PACS",)):
    with db.write() as conn:
        told = settle(conn, uid, destinations, committed, failed or {}, now(), STEADY)
    return {one.sop_instance_uid: one.state for one in told}


def states(db):
    with db.read() as conn:
        return {one.sop_instance_uid: (one.state, one.commitment) for one in deliveries(conn)}


def test_what_was_taken_is_asked_about_once_and_then_kept(db, now, taken, ask):
    taken("1.1", "1.2")
    (question,) = ask()
    assert (question.destination, question.objects) == ("PACS", ((SEG, "1.1"), (SEG, "1.2")))
    assert ask() == []
    assert answer(db, now, question.transaction_uid, committed=["1.1", "1.2"]) == {
        "1.1": "committed",
        "1.2": "committed",
    }
    now.advance(1_000_000)
    assert ask() == []
    assert states(db) == dict.fromkeys(("1.1", "1.2"), ("sent", "committed"))


def test_what_is_not_kept_is_sent_again_and_parked_after_all_its_attempts(db, now, taken, ask):
    taken("1.1", "1.2")
    told = answer(db, now, ask()[0].transaction_uid, committed=["1.1"], failed={"1.2": "it does not hold it"})
    assert told == {"1.1": "committed", "1.2": "pending"}
    assert claim_due(db, now(), 60, 10) == []  # after a pause
    now.advance(10)
    (again,) = claim_due(db, now(), 60, 10)
    assert (again.sop_instance_uid, again.attempts) == ("1.2", 2)
    sent(db, now, again)
    assert answer(db, now, ask()[0].transaction_uid, failed={"1.2": "it does not hold it"}) == {"1.2": "dead"}
    with db.read() as conn:
        assert deliveries(conn, "dead")[0].last_problem == "taken, but not kept: it does not hold it"


def test_an_unanswered_question_is_asked_again_under_a_new_uid_and_given_up_in_the_end(db, now, taken, ask):
    taken("1.1")
    first = ask()[0].transaction_uid
    now.advance(9)
    assert ask() == []
    now.advance(1)
    second = ask()[0].transaction_uid
    assert second != first
    now.advance(20)
    assert ask() == []
    with db.read() as conn:
        (row,) = deliveries(conn)
    assert (row.state, row.commitment, row.last_problem) == ("sent", "unconfirmed", NO_ANSWER)


def test_an_answer_counts_for_its_transaction_and_its_archive_only(db, now, taken, ask):
    taken("1.1")
    uid = ask()[0].transaction_uid
    assert answer(db, now, "2.25.999", committed=["1.1"]) == {}
    assert answer(db, now, uid, committed=["1.1"], destinations=["VNA"]) == {}
    assert answer(db, now, uid, committed=["9.9"]) == {}
    assert states(db) == {"1.1": ("sent", "asked")}
    assert answer(db, now, uid, committed=["1.1"]) == {"1.1": "committed"}
    assert answer(db, now, uid, failed={"1.1": "no"}) == {}  # a second, different answer changes nothing


def test_each_destination_is_asked_for_itself(db, now, taken, ask):
    taken("1.1")
    taken("1.1", destination="VNA")
    asked = {one.destination: one.transaction_uid for one in ask()}
    assert set(asked) == {"PACS", "VNA"}
    assert len(set(asked.values())) == 2


def test_a_question_that_did_not_arrive_keeps_its_reason_and_is_asked_when_due(db, now, taken, ask):
    taken("1.1")
    with_problem = ask()[0].transaction_uid
    with db.write() as conn:
        put_off(conn, with_problem, "no connection")
    with db.read() as conn:
        assert deliveries(conn)[0].last_problem == "no connection"
    now.advance(10)
    assert len(ask()) == 1


def test_sending_again_by_hand_forgets_what_was_confirmed(db, now, taken, ask):
    taken("1.1")
    answer(db, now, ask()[0].transaction_uid, committed=["1.1"])
    with db.write() as conn:
        resend(conn, "1.1", "PACS", now())
    assert states(db) == {"1.1": ("pending", None)}
