"""Study jobs survive the death of their workers, and no completed step is run again."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from clinical.errors import Busy, Category, IncorrectInput, NotFound
from record_store.changes import changes_of
from record_store.database import open_database
from record_store.job_steps import Failure, StepRetry
from record_store.jobs import QUEUE, JobClient, JobEngine, jobs_url

pytestmark = pytest.mark.slow

STEPS = ("read", "infer", "encode", "publish")
SILENCE_S = 1.5
WAIT_S = 60
QUEUE_THREAD = f"queue-worker-{QUEUE}"  # DBOS's name
WORKER = (sys.executable, "-W", "error", str(Path(__file__).with_name("job_worker.py")))


@pytest.fixture
def client(own_db):
    client = JobClient(own_db)
    yield client
    client.close()


@pytest.fixture(scope="session")
def nursery():
    """A process that has imported the engine and forks workers: starting one anew takes a second of imports."""
    with subprocess.Popen([*WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


@pytest.fixture
def workers(own_db, nursery, tmp_path):
    workers = Workers(own_db, nursery, tmp_path)
    yield workers
    for name in workers.living():
        os.kill(workers.pids[name], signal.SIGKILL)
    # Only then can the database go.
    while workers.living():
        time.sleep(0.01)


class Workers:
    """Worker processes (job_worker.py) and the log of what they did."""

    def __init__(self, db, nursery, folder):
        self.db, self.nursery, self.folder, self.pids = db, nursery, folder, {}
        self.kill_at()

    def kill_at(self, *points):
        (self.folder / "kills").write_text("\n".join(points))

    def words(self, executor_id):
        return [self.db.url, executor_id, str(self.folder), str(SILENCE_S)]

    def start(self, executor_id):
        self.nursery.stdin.write(" ".join(self.words(executor_id)) + "\n")
        self.nursery.stdin.flush()
        self.pids[executor_id] = int(self.nursery.stdout.readline())

    def living(self):
        return [name for name, pid in self.pids.items() if Path(f"/proc/{pid}").exists()]

    def dead(self):
        return [name for name in self.pids if name not in self.living()]

    def lines(self):
        log = self.folder / "log"
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []

    def count(self, word):
        return Counter((line[0], line[1]) for line in self.lines() if line[2] == word)


def until(client, job_key, state, meanwhile=lambda: None):
    deadline = time.monotonic() + WAIT_S
    while (status := client.status(job_key)) is None or status.state != state:
        assert time.monotonic() < deadline, f"{job_key} is {status}"
        meanwhile()
        time.sleep(0.02)
    return status


EVERY_POINT = [f"{step} {place}" for step in STEPS for place in ("enter", "inside")]


def test_a_worker_killed_at_every_point_and_started_again_finishes_the_job(client, workers):
    workers.kill_at(*EVERY_POINT)
    client.enqueue("job", {"path": []})
    workers.start("w1")

    def restart():
        for name in workers.dead():
            workers.start(name)

    until(client, "job", "done", restart)
    kills = [line[1] for line in workers.lines() if line[0] == "kill"]
    assert kills == [point.replace(" ", "-") for point in EVERY_POINT]
    assert workers.count("end") == {("job", step): 1 for step in STEPS}
    assert workers.count("begin") == {("job", step): 2 for step in STEPS}


def test_another_worker_takes_over_from_one_killed_at_any_point(client, workers):
    workers.kill_at(*EVERY_POINT)
    client.enqueue("job", {"path": []})
    names = iter(f"w{number}" for number in range(100))
    workers.start(next(names))
    workers.start(next(names))

    def replace():
        # A new worker with a new name: nobody ever comes back under the dead one's.
        for name in workers.dead():
            del workers.pids[name]
            workers.start(next(names))

    until(client, "job", "done", replace)
    assert len([line for line in workers.lines() if line[0] == "kill"]) == len(EVERY_POINT)
    assert workers.count("end") == {("job", step): 1 for step in STEPS}


@pytest.mark.timed
def test_a_killed_workers_job_goes_on_elsewhere_within_the_silence_and_five_seconds(
    client, workers, record_property
):
    workers.start("w1")
    workers.start("w2")
    until_started(workers, 2)
    time.sleep(2 * SILENCE_S)  # both have been heard steadily, as in operation
    workers.kill_at("infer inside")
    client.enqueue("job", {"path": []})
    until(client, "job", "done")
    times = {
        (line[0], line[2]): float(line[-1]) for line in workers.lines() if line[1] in {"infer", "infer-inside"}
    }
    took_s = times["job", "begin"] - times["kill", "-"]
    record_property("redelivery_s", round(took_s, 2))
    assert took_s <= SILENCE_S + 5
    assert workers.count("end")["job", "read"] == 1
    # Not on DBOS's internal queue, where the limit of jobs per worker would not hold.
    (row,) = client._client().list_workflows(workflow_ids=["job"])
    assert row.queue_name == QUEUE


def until_started(workers, number):
    deadline = time.monotonic() + WAIT_S
    while workers.count("0")["worker", "started"] < number:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_healthy_job_of_three_times_the_silence_is_started_once(client, workers):
    workers.start("w1")
    workers.start("w2")
    client.enqueue("long", {"path": []})
    until(client, "long", "done")
    assert workers.count("begin") == {("long", step): 1 for step in STEPS}


def test_a_job_that_kills_its_workers_is_parked_and_the_next_ones_run(client, workers):
    for key in ("poison", "second", "third"):
        client.enqueue(key, {"path": []})
    workers.start("w1")

    def restart():
        for name in workers.dead():
            workers.start(name)

    until(client, "third", "done", restart)
    until(client, "second", "done", restart)
    status = until(client, "poison", "parked", restart)
    assert client.dead_letters() == [status]
    assert status.failure.category is Category.FAULT
    assert workers.count("begin")["poison", "infer"] == 3
    assert workers.count("fault") == {("poison", "failed"): 1}


def test_the_worker_listens_on_no_port_and_says_nothing_by_itself(client, workers):
    client.enqueue("job", {"path": []})
    with subprocess.Popen(
        [*WORKER, *workers.words("w1")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        until(client, "job", "done")
        (workers.folder / "stop").touch()
        assert process.communicate(timeout=WAIT_S) == (b"", None)
    assert process.returncode == 0
    assert workers.count("0") == {("worker", "started"): 1}


# ---------------------------------------------------------------- one process


class Bench:
    """An engine in this process, with steps that tests steer."""

    def __init__(self, db, **given):
        self.seen, self.told, self.errors, self.gate = [], [], {}, threading.Event()
        self.gate.set()
        steps = [(name, self.step(name)) for name in STEPS]
        retry = StepRetry(busy_attempts=2, fault_attempts=2, first_s=0.01)
        self.engine = JobEngine(
            db,
            "w1",
            steps,
            lambda *words: self.told.append(words),
            poll_s=0.02,
            silence_s=SILENCE_S,
            retry=retry,
            **given,
        )

    def step(self, name):
        def run(job_key, previous):
            self.seen.append((job_key, name))
            self.gate.wait(WAIT_S)
            if error := self.errors.get((job_key, name)):
                raise error
            return {"path": [*previous.get("path", []), name]}

        return run


@pytest.fixture
def bench(own_db):
    bench = Bench(own_db)
    bench.engine.start()
    yield bench
    bench.engine.stop(drain_s=1)


def test_steps_run_in_order_and_a_known_key_is_never_run_again(client, bench):
    client.enqueue("job", {"path": ["payload"]})
    until(client, "job", "done")
    client.enqueue("job", {"path": ["other"]})
    client.enqueue("next", {})
    until(client, "next", "done")
    assert bench.seen == [("job", step) for step in STEPS] + [("next", step) for step in STEPS]
    assert client.stats() == {"queued": 0, "running": 0, "parked": 0}
    assert client.status("never") is None
    assert bench.engine.silent_for_s() < WAIT_S


def test_a_worker_that_took_long_to_make_its_tables_is_heard_before_it_takes_a_job(own_db):
    beats = []
    bench = Bench(own_db, beaten=beats.append)
    bench.engine.start()
    heard = len(beats)
    bench.engine.stop(drain_s=0)
    assert heard >= 2, "when it began, and when it had made them"


class Polls:
    """Sees an engine's changes for it, and notes at each poll of its queue what was seen and then asked for."""

    def __init__(self, db):
        self.changed, self.noted, self.of_the_queue = changes_of(jobs_url(db)), [], []
        self.close = self.changed.close

    def __call__(self):
        seen = self.changed()
        if threading.current_thread().name == QUEUE_THREAD:
            self.noted.append((seen, []))
        return seen

    def ask(self, _conn, _cursor, statement, *_more):
        if threading.current_thread().name == QUEUE_THREAD and self.noted:
            # A look reads the application's version as well, and each poll may read the queue's own row before.
            (self.of_the_queue if ".queues" in statement else self.noted[-1][1]).append(statement)

    def first(self, number):
        deadline = time.monotonic() + WAIT_S
        while len(self.noted) <= number:  # the last one may not have asked yet
            assert time.monotonic() < deadline, "the queue is not polled"
            time.sleep(0.01)
        return self.noted[:number]


@pytest.fixture
def polls(own_db):
    """The polls of an engine that looks at its queue after a change alone."""
    polls = Polls(own_db)
    bench = Bench(own_db, changes=polls, look_s=math.inf)
    event.listen(Engine, "before_cursor_execute", polls.ask)
    bench.engine.start()
    yield polls
    bench.engine.stop(drain_s=1)
    event.remove(Engine, "before_cursor_execute", polls.ask)


def test_an_engine_at_rest_looks_for_jobs_when_something_has_changed_and_not_before(client, polls):
    # PostgreSQL's changes are those of the whole server: how many there are is for whoever uses it to say.
    noted = polls.first(50)
    for (before, _), (seen, asked) in pairwise(noted):
        assert bool(asked) == (seen != before)
    assert len(polls.of_the_queue) <= 1, "the queue's own row is read once"
    client.enqueue("job", {})
    until(client, "job", "done")


def test_a_failed_job_is_parked_told_and_continued_from_its_failed_step_when_asked(client, bench):
    bench.errors["bad", "infer"] = IncorrectInput("the pixels cannot be decoded")
    bench.errors["away", "publish"] = Busy("the database is away")
    for key in ("bad", "away", "good"):
        client.enqueue(key, {})
    until(client, "good", "done")
    bad, away = client.dead_letters()
    assert (bad.job_key, bad.failure) == ("bad", Failure(Category.INCORRECT, "the pixels cannot be decoded"))
    assert (away.job_key, away.failure) == ("away", Failure(Category.BUSY, "the database is away"))
    assert bench.told == [
        ("bad", Category.INCORRECT, "the pixels cannot be decoded"),
        ("away", Category.BUSY, "the database is away"),
    ]
    assert client.stats()["parked"] == 2
    tried = Counter(bench.seen)
    assert (tried["bad", "infer"], tried["away", "publish"]) == (1, 2)

    bench.errors.clear()
    bench.seen.clear()
    client.retry("bad")
    until(client, "bad", "done")
    assert bench.seen == [("bad", step) for step in STEPS[1:]]
    with pytest.raises(NotFound):
        client.retry("bad")
    with pytest.raises(NotFound):
        client.retry("never")


def test_a_job_claimed_by_an_earlier_process_of_the_same_worker_is_found_and_run(own_db, client, bench):
    bench.gate.clear()
    client.enqueue("slow", {})
    until(client, "slow", "running")
    client.enqueue("lost", {})
    # What a draining predecessor leaves that claims a job after its successor has looked and is then killed.
    jobs = open_database(jobs_url(own_db))
    with jobs.write() as conn:
        table = "workflow_status" if jobs.dialect == "sqlite" else "dbos.workflow_status"
        conn.exec_driver_sql(
            f"UPDATE {table} SET status = 'PENDING', executor_id = 'w1', started_at_epoch_ms = 1"
            " WHERE workflow_uuid = 'lost'"
        )
    jobs.dispose()
    time.sleep(2 * SILENCE_S)
    bench.gate.set()
    until(client, "lost", "done")
    assert Counter(bench.seen) == {(key, step): 1 for key in ("slow", "lost") for step in STEPS}


def test_the_client_says_busy_when_the_database_is_away(tmp_path):
    db = open_database(f"postgresql+psycopg://127.0.0.1:1/{uuid.uuid4().hex}")
    client = JobClient(db)
    with pytest.raises(Busy):
        client.enqueue("job", {})
    client.close()
    db.dispose()


def test_the_job_engine_is_loaded_only_when_it_is_used():
    look = "import record_store.jobs, record_store.migrate, sys; print({'dbos', 'alembic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", look], check=True, capture_output=True).stdout == b"set()\n"
