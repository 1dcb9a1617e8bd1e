"""Two workers of one name would run each other's jobs: the second one does not start."""

import os

import pytest

from clinical.errors import Busy, IncorrectInput
from consilium.worker_name import WorkerName
from record_store import executors


@pytest.fixture
def named(tmp_path):
    held = []

    def make(folder, rest=lambda: pytest.fail("it need not wait")):
        (tmp_path / folder).mkdir(exist_ok=True)
        held.append(WorkerName(tmp_path / folder, "w1", rest))
        return held[-1]

    yield make
    for one in held:
        one.close()


def beat(db, name="w1"):
    with db.write() as conn:
        return executors.beat(conn, name)


def test_a_second_worker_of_a_name_does_not_start_on_the_same_folder(named, tmp_path):
    named("one")
    with pytest.raises(Busy, match=rf"a worker named w1 runs in this data folder \(process {os.getpid()}\)"):
        named("one")
    WorkerName(tmp_path / "one", "w2").close()


def test_the_name_is_free_when_the_worker_has_ended(named, tmp_path, db):
    first = WorkerName(tmp_path, "w1")
    first.beaten(beat(db))
    first.close()
    named(".").await_silence(db, 3600.0)  # its last beat is a moment old, and nobody waits for another


def test_a_name_that_somebody_beats_under_elsewhere_is_refused(named, db):
    beat(db)
    second = named("another machine", rest=lambda: beat(db))
    with pytest.raises(Busy, match="a worker named w1 beats in the database, from another machine or data folder"):
        second.await_silence(db, 3600.0)


def test_beats_elsewhere_are_not_this_folder_s_although_it_had_the_name_before(named, tmp_path, db):
    first = WorkerName(tmp_path, "w1")
    first.beaten(beat(db))
    first.close()
    beat(db)
    with pytest.raises(Busy):
        named(".", rest=lambda: beat(db)).await_silence(db, 3600.0)


def test_a_name_that_falls_silent_elsewhere_is_taken(named, db):
    rests = []
    beat(db)
    beat(db, "w2")

    def until_later():
        rests.append(1)
        with db.write() as conn:  # time passes: the beat is as old as that
            conn.exec_driver_sql("UPDATE executor SET beat_at = beat_at - 3600")

    named("another machine", rest=until_later).await_silence(db, 3600.0)
    assert rests == [1]


def test_a_name_is_taken_after_the_silence_also_where_the_database_s_clock_was_set_back(tmp_path, db):
    beat(db)
    with db.write() as conn:
        conn.exec_driver_sql("UPDATE executor SET beat_at = beat_at + 86400")
    passed = iter(range(0, 3600, 5))  # each look takes five seconds
    rests = iter(range(9))
    worker = WorkerName(tmp_path, "w1", rest=lambda: next(rests), monotonic=lambda: next(passed))
    worker.await_silence(db, 15.0)
    worker.close()
    assert next(passed) == 20


def test_a_lock_s_file_that_is_another_account_s_is_told_in_words(tmp_path):
    (tmp_path / "worker-w1.lock").mkdir()  # root, as which tests may run, can open all others
    with pytest.raises(IncorrectInput, match=r"its file worker-w1\.lock cannot be opened .*has to own it"):
        WorkerName(tmp_path, "w1")


def test_a_name_that_nobody_has_used_is_taken_at_once(named, db):
    beat(db, "w2")
    named("one").await_silence(db, 3600.0)
