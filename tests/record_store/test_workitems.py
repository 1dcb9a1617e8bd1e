"""Steps as rows: kept once, claimed by one worker, tried again, given up, and told where their input stands."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from clinical.identity import PatientKey
from record_store import workitems
from record_store.deliveries import RetryPolicy
from record_store.instances import ReceivedInstance, record_instance
from record_store.tables import workitem_study
from record_store.workitems import InputStudy

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
RETRY = RetryPolicy(max_attempts=2, first_s=10, jitter=lambda: 1.0)


def keep(db, uid="2.25.1", transaction="2.25.9"):
    with db.write() as conn:
        return workitems.keep(
            conn, "ai", uid, transaction_uid=transaction, rule="chest", codes=[("1", "DCM", "x")], now=NOW
        )


def take(db, at=NOW, states=workitems.UNDER_WAY):
    return workitems.claim(db, states, at, 60, "worker-1")


def test_a_step_is_kept_once_with_the_transaction_uid_of_its_first_time(db) -> None:
    assert keep(db)
    assert not keep(db, transaction="2.25.10")
    one = take(db)
    assert (one.transaction_uid, one.state, one.codes) == ("2.25.9", workitems.WANTED, (("1", "DCM", "x"),))
    with db.read() as conn:
        assert workitems.known(conn, "ai", ["2.25.1", "2.25.2"]) == {"2.25.1"}
        assert workitems.known(conn, "other", ["2.25.1"]) == frozenset()


def test_one_worker_has_a_step_until_its_lease_is_over(db) -> None:
    keep(db)
    assert take(db) is not None
    assert take(db) is None
    assert take(db, NOW + timedelta(seconds=61)) is not None


def test_a_worker_that_begins_again_goes_on_at_once_with_what_it_had_in_hand(db) -> None:
    keep(db)
    take(db)
    with db.write() as conn:
        assert workitems.let_go(conn, "worker-2", NOW) == 0
        assert workitems.let_go(conn, "worker-1", NOW) == 1
    assert take(db) is not None


def test_what_came_to_its_end_is_forgotten_with_its_input_and_what_was_given_up_stays(db) -> None:
    for number, state in enumerate((workitems.COMPLETED, workitems.DEAD, workitems.LOST)):
        keep(db, f"2.25.{number}")
        with db.write() as conn:
            one = next(row for row in workitems.every(conn) if row.state == workitems.WANTED)
            workitems.begin(conn, one, [InputStudy("1.7", "", ())], NOW, patient_system=None, patient_value="P1")
            one = next(row for row in workitems.every(conn) if row.state == workitems.FETCHING)
            workitems.go_on(conn, one, state, NOW)
    with db.write() as conn:
        assert workitems.purge(conn, NOW) == 0
        assert workitems.purge(conn, NOW + timedelta(seconds=1)) == 2
        assert [one.state for one in workitems.of_study(conn, "1.7")] == [workitems.DEAD]
        assert conn.execute(select(func.count()).select_from(workitem_study)).scalar_one() == 1


def test_who_is_late_changes_nothing(db) -> None:
    keep(db)
    first, second = take(db), take(db, NOW + timedelta(seconds=61))
    with db.write() as conn:
        assert workitems.go_on(conn, second, workitems.CLAIMED, NOW)
        assert not workitems.go_on(conn, first, workitems.LOST, NOW)
    assert take(db).state == workitems.CLAIMED


def test_an_attempt_that_failed_comes_again_later_and_ends_at_the_last(db) -> None:
    keep(db)
    one = take(db)
    with db.write() as conn:
        assert workitems.failed(conn, one, "no connection", NOW, RETRY)
    assert take(db, NOW + timedelta(seconds=9)) is None
    again = take(db, NOW + timedelta(seconds=10))
    assert (again.attempts, again.problem) == (1, "no connection")
    with db.write() as conn:
        assert not workitems.failed(conn, again, "no connection", NOW, RETRY)
        workitems.go_on(conn, again, workitems.DEAD, NOW, stopped_in=again.state)
    assert take(db, NOW + timedelta(days=1)) is None
    with db.write() as conn:
        assert workitems.waiting(conn) == {("ai", workitems.DEAD): 1}
        assert workitems.retry_dead(conn, "2.25.404", NOW) == 0
        assert workitems.retry_dead(conn, None, NOW) == 1
    assert (take(db).state, take(db)) == (workitems.WANTED, None)


@pytest.mark.parametrize(("objects", "here"), [((), True), (("1.9",), True), (("1.9", "1.10"), False)])
def test_an_input_is_here_when_all_that_is_named_is(db, objects, here) -> None:
    row = ReceivedInstance("1.9", "1.2", "1.2", "1.7", "1.8", "DX", PatientKey("h", "P1"), "a" * 64, 1, "X", "C")
    keep(db)
    studies = [InputStudy("1.7", "PACS", objects)]
    with db.write() as conn:
        assert not workitems.held(conn, studies[0])
        record_instance(conn, row, NOW)
        one = workitems.every(conn)[0]
        assert workitems.begin(conn, one, studies, NOW, patient_system=None, patient_value="P1")
        (known,) = workitems.studies_of(conn, one)
        assert (known, workitems.held(conn, known)) == (studies[0], here)
        assert workitems.asks_for(conn, "1.7")
        assert not workitems.asks_for(conn, "1.6")
        (found,) = workitems.of_study(conn, "1.7")
        assert (found.state, found.patient_value) == (workitems.FETCHING, "P1")
        assert "P1" not in repr(found)
        workitems.go_on(conn, found, workitems.COMPLETED, NOW)
        assert not workitems.asks_for(conn, "1.7")


def test_a_request_to_cancel_makes_a_step_due_and_ends_the_lease_of_who_has_it_in_hand(db) -> None:
    keep(db)
    with db.write() as conn:
        assert workitems.ask_to_cancel(conn, "ai", "2.25.1", NOW)
        assert not workitems.ask_to_cancel(conn, "other", "2.25.1", NOW)
    one = take(db)
    assert one.cancel_asked_at == NOW
    with db.write() as conn:
        assert workitems.ask_to_cancel(conn, "ai", "2.25.1", NOW + timedelta(seconds=1))  # the first one counts
        assert not workitems.renew(conn, one, "worker-1", NOW + timedelta(hours=1))
        workitems.give_back(conn, one, "worker-2", NOW)
    assert take(db) is None
    with db.write() as conn:
        workitems.give_back(conn, one, "worker-1", NOW)
    assert take(db).cancel_asked_at == NOW


def test_of_a_source_that_is_busy_no_step_is_taken(db) -> None:
    for number, source in enumerate(("slow", "quick", None)):
        keep(db, f"2.25.{number}")
        with db.write() as conn:
            one = next(row for row in workitems.every(conn) if row.workitem_uid == f"2.25.{number}")
            workitems.go_on(conn, one, workitems.FETCHING, NOW, source=source)
    fetching = (workitems.FETCHING,)
    taken = [workitems.claim(db, fetching, NOW, 60, "worker-1", busy=("slow",)) for _ in range(3)]
    assert {one.source for one in taken if one is not None} == {"quick", None}
    assert workitems.claim(db, fetching, NOW, 60, "worker-1").source == "slow"
