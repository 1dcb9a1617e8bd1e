"""Results are sent until they are taken, by one worker at a time, and never for ever."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from clinical.errors import NotFound
from record_store.deliveries import (
    DEAD,
    PENDING,
    SENT,
    RetryPolicy,
    claim_due,
    deliveries,
    enqueue,
    record_outcome,
    resend,
)

REFUSED = "the destination refused the presentation context"
STEADY = RetryPolicy(max_attempts=3, first_s=10, ceiling_s=25, jitter=lambda: 1.0)


def add(db, now, *uids, destination="PACS"):
    with db.write() as conn:
        return [enqueue(conn, uid, destination, now()) for uid in uids]


def claim(db, now, limit=10):
    return claim_due(db, now(), lease_s=60, limit=limit)


def outcome(db, now, delivery, *, status=None, problem=None, retry=STEADY):
    with db.write() as conn:
        return record_outcome(conn, delivery.delivery_id, status=status, problem=problem, now=now(), retry=retry)


def the_only(db):
    with db.read() as conn:
        (row,) = deliveries(conn)
    return row


def test_an_object_is_enqueued_once_for_each_destination(db, now):
    assert add(db, now, "1.1", "1.2", "1.1") == [True, True, False]
    assert add(db, now, "1.1", destination="VNA") == [True]
    assert [(item.sop_instance_uid, item.destination) for item in claim(db, now)] == [
        ("1.1", "PACS"),
        ("1.2", "PACS"),
        ("1.1", "VNA"),
    ]


def test_a_claimed_delivery_is_nobody_elses_until_its_lease_is_over(db, now):
    add(db, now, "1.1")
    assert [item.attempts for item in claim(db, now)] == [1]
    now.advance(59)
    assert claim(db, now) == []
    now.advance(1)
    assert [item.attempts for item in claim(db, now)] == [2]


def test_a_taken_object_is_sent_and_never_due_again(db, now):
    add(db, now, "1.1")
    (item,) = claim(db, now)
    assert outcome(db, now, item, status=0xB000) == SENT
    assert (the_only(db).state, the_only(db).last_status) == (SENT, 0xB000)
    now.advance(10_000)
    assert claim(db, now) == []


@pytest.mark.parametrize(("status", "problem"), [(0xA700, "out of resources"), (None, REFUSED), (None, None)])
def test_anything_else_is_tried_again_with_growing_pauses_and_then_parked(db, now, status, problem):
    add(db, now, "1.1")
    pauses = []
    for _attempt in range(2):
        (item,) = claim(db, now)
        assert outcome(db, now, item, status=status, problem=problem) == PENDING
        pauses.append((the_only(db).next_attempt_at - now()).total_seconds())
        now.advance(pauses[-1])
    (item,) = claim(db, now)
    assert outcome(db, now, item, status=status, problem=problem) == DEAD
    assert pauses == [10, 20]
    assert (the_only(db).state, the_only(db).last_problem) == (DEAD, problem)
    now.advance(10_000)
    assert claim(db, now) == []


def test_the_pause_grows_to_a_ceiling_and_is_spread_by_at_most_half():
    early, late = (RetryPolicy(first_s=10, ceiling_s=25, jitter=lambda j=j: j) for j in (0.0, 1.0))
    assert [late.delay_s(attempts) for attempts in (1, 2, 3, 1000)] == [10, 20, 25, 25]
    assert [early.delay_s(attempts) for attempts in (1, 2, 3)] == [5, 10, 12.5]


def test_a_late_failure_does_not_undo_a_success(db, now):
    add(db, now, "1.1")
    (slow,) = claim(db, now)
    now.advance(60)
    (second,) = claim(db, now)
    assert outcome(db, now, second, status=0) == SENT
    assert outcome(db, now, slow, problem="timed out") == SENT
    assert (the_only(db).state, the_only(db).last_status) == (SENT, 0)


def test_a_parked_delivery_may_be_sent_again_from_the_start(db, now):
    add(db, now, "1.1")
    (item,) = claim(db, now)
    once = RetryPolicy(max_attempts=1)
    assert outcome(db, now, item, problem=REFUSED, retry=once) == DEAD
    with db.write() as conn:
        assert [row.state for row in deliveries(conn, DEAD)] == [DEAD]
        assert deliveries(conn, SENT) == []
        resend(conn, "1.1", "PACS", now())
    assert [item.attempts for item in claim(db, now)] == [1]


def test_unknown_deliveries_are_not_found(db, now):
    with db.write() as conn:
        with pytest.raises(NotFound):
            resend(conn, "1.1", "PACS", now())
        with pytest.raises(NotFound):
            record_outcome(conn, 1, status=0, problem=None, now=now(), retry=STEADY)


@pytest.mark.slow
def test_several_workers_take_every_delivery_exactly_once(db, now):
    add(db, now, *(f"1.{number}" for number in range(120)))

    def work(_):
        taken = []
        while batch := claim(db, now, limit=5):
            taken += [item.sop_instance_uid for item in batch]
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [uid for batch in pool.map(work, range(4)) for uid in batch]
    assert len(taken) == 120
    assert len(set(taken)) == 120


def test_postgresql_workers_pass_over_rows_that_another_one_is_taking(db, now):
    if db.dialect == "postgresql":  # SQLite lets one writer in at a time
        add(db, now, "1.1", "1.2")
        with db.write() as conn:
            conn.exec_driver_sql("SELECT 1 FROM delivery WHERE sop_instance_uid = '1.1' FOR UPDATE")
            assert [item.sop_instance_uid for item in claim(db, now)] == ["1.2"]
