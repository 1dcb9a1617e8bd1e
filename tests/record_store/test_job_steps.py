"""A step's outcome, and which failures are worth another attempt."""

import math
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import make_url

from clinical.errors import (
    Busy,
    Category,
    Denied,
    Fault,
    IncorrectInput,
    NotFound,
    PreconditionMissing,
    Unsupported,
)
from record_store.executors import alive, beat, count_start, forget_starts, leave, lock_take_over, starts
from record_store.job_steps import Failure, StepRetry, failure_in, run_step

PATIENT = "Zzcanary"


class Steps:
    """A step that fails so often, and remembers the pauses between its attempts."""

    def __init__(self, error, times):
        self.error, self.left, self.calls, self.pauses = error, times, 0, []

    def __call__(self, job_key, previous):
        self.calls += 1
        if self.left > 0:
            self.left -= 1
            raise self.error
        return {"job": job_key, **previous}

    def run(self, **limits):
        return run_step(self, "job", {"n": 1}, retry=StepRetry(**limits), sleep=self.pauses.append)


def test_a_result_goes_on_to_the_next_step():
    outcome = Steps(None, 0).run()
    assert outcome == {"ok": {"job": "job", "n": 1}}
    assert failure_in(outcome) is None


@pytest.mark.parametrize(("error", "attempts"), [(Busy("full"), 8), (Fault("broken"), 3), (KeyError(PATIENT), 3)])
def test_what_may_pass_is_tried_again_with_growing_pauses(error, attempts):
    step = Steps(error, attempts - 1)
    assert failure_in(step.run()) is None
    assert step.pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0][: attempts - 1]


@pytest.mark.parametrize(("error", "attempts"), [(Busy("full"), 8), (Fault("broken"), 3)])
def test_and_is_given_up_in_the_end(error, attempts):
    step = Steps(error, 100)
    assert failure_in(step.run()) == Failure(error.category, error.message)
    assert step.calls == attempts


@pytest.mark.parametrize("kind", [IncorrectInput, PreconditionMissing, NotFound, Unsupported, Denied])
def test_what_will_not_pass_fails_at_once(kind):
    step = Steps(kind("no"), 100)
    assert failure_in(step.run()) == Failure(kind.category, "no")
    assert step.calls == 1


def test_an_unexpected_exception_is_a_fault_whose_text_stays_inside(caplog, capsys):
    outcome = Steps(KeyError(PATIENT), 100).run()
    assert failure_in(outcome).category is Category.FAULT
    assert PATIENT not in repr(outcome)
    printed = capsys.readouterr()
    said = repr([vars(record) for record in caplog.records]) + printed.out + printed.err
    assert "KeyError" in said
    assert PATIENT not in said


@pytest.mark.parametrize("value", [object(), {1, 2}, math])
def test_a_result_that_cannot_be_recorded_is_a_fault(value):
    outcome = run_step(lambda *_: {"x": value}, "job", {}, retry=StepRetry(fault_attempts=1), sleep=lambda _: None)
    assert failure_in(outcome).category is Category.FAULT


def test_workers_are_alive_while_they_are_heard(db):
    with db.write() as conn:
        beat(conn, "a")
        beat(conn, "a")
        beat(conn, "b")
        conn.exec_driver_sql("UPDATE executor SET beat_at = beat_at - 100 WHERE executor_id = 'b'")
        assert alive(conn, 50) == {"a"}
        assert alive(conn, 150) == {"a", "b"}
        leave(conn, "a")
        assert alive(conn, 150) == {"b"}
        beat(conn, "b")
        assert alive(conn, 50) == {"b"}


def test_starts_are_counted_for_the_present_step_only(db):
    def begun(conn, job_key, step):
        count_start(conn, job_key, step)
        return starts(conn, job_key, step)

    with db.write() as conn:
        assert starts(conn, "job", "read") == 0
        assert [begun(conn, "job", step) for step in ("read", "read", "infer", "infer", "infer")] == [
            1,
            2,
            1,
            2,
            3,
        ]
        assert starts(conn, "job", "read") == 0
        assert begun(conn, "other", "infer") == 1
        forget_starts(conn, "job")
        assert begun(conn, "job", "infer") == 1


def test_one_supervisor_at_a_time(db):
    with db.write() as one:
        assert lock_take_over(one)
        if db.dialect == "postgresql":
            with db.write() as two:
                assert not lock_take_over(two)
        else:  # nobody else writes meanwhile
            check_locked(db)
    with db.write() as two:
        assert lock_take_over(two)


def check_locked(db):
    other = sqlite3.connect(make_url(db.url).database, timeout=0, isolation_level=None)
    with closing(other), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
