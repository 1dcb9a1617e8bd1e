"""The job port: durable study jobs on DBOS, in a SQLite file or in PostgreSQL.

A completed step is not run again, whoever is killed when. DBOS alone does not move a dead worker's jobs to
a living one, so every worker beats in `executor`, and each also takes over the jobs of silent ones.

Only the worker launches DBOS (a process that launches also executes); everybody else is a `JobClient`.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from clinical.errors import Category, ClinicalError, NotFound
from record_store import executors
from record_store.changes import Changes, changes_of
from record_store.database import Database
from record_store.dbos_port import (
    APPLICATION,
    LOOK_S,
    WORKFLOW_VERSION,
    JobFailed,
    engine_config,
    jobs_url,
    json_serializer,
    load_dbos,
    look_after_changes,
    our_errors,
    prepare_jobs,
    quiet_logger,
)
from record_store.job_steps import Failure, StepFunction, StepRetry, failure_in, run_step

if TYPE_CHECKING:
    from dbos import DBOSClient, WorkflowStatus

WORKFLOW = "study-job"
QUEUE = "imaging"
SILENCE_S = 15.0
# A step that ended its worker so often is parked. Not fewer: an operator or the machine's memory may end a worker
# several times while a step is innocently under way.
MAX_STARTS = 8
UNSUSPICIOUS_STARTS = 2
FAILED_STEP = "on-failure"
DEFAULT_RETRY = StepRetry()

_STATES = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "done",
    "ERROR": "parked",
    "CANCELLED": "parked",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "parked",
}
_PARKED = [name for name, state in _STATES.items() if state == "parked"]
_UNFINISHED = [name for name, state in _STATES.items() if state in {"queued", "running"}]

Step = tuple[str, StepFunction]
OnFailure = Callable[[str, Category, str], None]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class JobStatus:
    """Where a job stands. state: queued, running, done or parked; failure: why it is parked."""

    job_key: str
    state: str
    executor_id: str | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Own:
    """A worker and the keys of the jobs that it runs right now.

    A job that the tables give to this worker and that it does not run was claimed by an earlier process of
    the same id, after this one had recovered the others: it is lost as well.
    """

    executor_id: str
    running: Set[str]


class JobClient:
    """Enqueues and looks; never runs anything. Lazy, and for one process (make it after a fork).

    Every method raises Busy when the database is away.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._opened: DBOSClient | None = None
        self._lock = threading.Lock()

    def enqueue(self, job_key: str, payload: dict[str, Any]) -> None:
        """Queue a job; nothing happens when this key is known, whatever became of it.

        payload: JSON, what the first step gets; without patient data.
        """
        options = {
            "queue_name": QUEUE,
            "workflow_name": WORKFLOW,
            "workflow_id": job_key,
            "app_version": WORKFLOW_VERSION,
        }
        with our_errors():
            self._client().enqueue(options, job_key, payload)  # type: ignore[arg-type]

    def status(self, job_key: str) -> JobStatus | None:
        """Return where a job stands, or None when it was never enqueued."""
        with our_errors():
            found = self._client().list_workflows(workflow_ids=[job_key], load_input=False)
        return _status(found[0]) if found else None

    def dead_letters(self) -> list[JobStatus]:
        """Return the parked jobs, oldest first."""
        with our_errors():
            found = self._client().list_workflows(name=WORKFLOW, status=_PARKED, load_input=False)
        return [_status(item) for item in found]

    def stats(self) -> dict[str, int]:
        """Return how many jobs are queued, running and parked; finished ones are not counted."""
        with our_errors():
            found = self._client().list_workflows(
                name=WORKFLOW, status=_UNFINISHED + _PARKED, load_input=False, load_output=False
            )
        counts = dict.fromkeys(("queued", "running", "parked"), 0)
        for item in found:
            counts[_STATES[item.status]] += 1
        return counts

    def retry(self, job_key: str) -> None:
        """Queue a parked job again from the step that failed; the steps before it are not run again.

        Raises NotFound when there is no such parked job.
        """
        with our_errors():
            status = self.status(job_key)
            if status is None or status.state != "parked":
                raise NotFound("no such parked job")
            with self._db.write() as conn:
                executors.forget_starts(conn, job_key)
            steps = self._client().list_workflow_steps(job_key)
            failed = [item["function_id"] for item in steps if _failed(item["output"])]
            self._client().rewind_workflow(
                job_key, start_step=min(failed, default=1), queue_name=QUEUE, application_version=WORKFLOW_VERSION
            )

    def take_over(self, silence_s: float, *, own: "Own | None" = None) -> list[str]:
        """Queue the running jobs of executors not heard for `silence_s` seconds; return their keys.

        One caller at a time: `resume_workflow` does not ask who owns a job, so two of them could start it
        twice. `queue_name` is given, because otherwise the job would run beside the queue's limit.
        own: who asks, when it is a worker; see `Own`.
        """
        with our_errors():
            with self._db.read() as conn:
                living = executors.alive(conn, silence_s)
            if not self._orphans(living, silence_s, own):
                return []
            with self._db.write() as conn:
                if not executors.lock_take_over(conn):
                    return []
                orphans = self._orphans(executors.alive(conn, silence_s), silence_s, own)
                for job_key in orphans:
                    self._client().resume_workflow(job_key, queue_name=QUEUE)
        if orphans:
            log.warning("jobs of silent executors taken over", jobs=orphans)
        return orphans

    def register_queue(self, slots: int, poll_s: float) -> None:
        """Set how many jobs a worker runs at once and how often it looks for more."""
        with our_errors():
            self._client().register_queue(QUEUE, worker_concurrency=slots, polling_interval_sec=poll_s)

    def running_on(self) -> set[str | None]:
        """Return the ids of the executors that have running jobs."""
        with our_errors():
            return {item.executor_id for item in self._running()}

    def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            self._opened.destroy()
            self._opened = None

    def _running(self) -> "list[WorkflowStatus]":
        return self._client().list_workflows(name=WORKFLOW, status="PENDING", load_input=False, load_output=False)

    def _orphans(self, living: set[str], silence_s: float, own: "Own | None") -> list[str]:
        claimed_before_ms = (time.time() - silence_s) * 1000
        orphans = []
        for item in self._running():
            if own is None or item.executor_id != own.executor_id:
                lost = item.executor_id not in living
            else:
                lost = item.workflow_id not in own.running and (item.dequeued_at or 0) < claimed_before_ms
            if lost:
                orphans.append(item.workflow_id)
        return orphans

    def _client(self) -> "DBOSClient":
        with self._lock:
            if self._opened is None:
                prepare_jobs(self._db)
                self._opened = load_dbos().DBOSClient(
                    system_database_url=jobs_url(self._db),
                    system_database_engine=self._db.pooled(),
                    serializer=json_serializer(),
                    application_name=APPLICATION,
                    lazy=True,
                    # An absent database is told as Busy and not waited for.
                    retry_connection_errors=False,
                )
            return self._opened


class JobEngine:
    """Runs jobs: one per process, in the worker only.

    executor_id: stable over restarts (the machine's or the unit's name), different for every worker.
    steps: names and functions in order; fn(job_key, result of the step before) -> JSON, without patient
        data. A step may be begun again after a crash, so what it does outside must be idempotent.
    on_failure: told (job_key, category, message) when a job is parked.
    slots: how many jobs run at once here. poll_s: how often the queue is looked at.
    changes: tells when the jobs' database has changed, so that the queue is looked at; the engine closes it.
    look_s: when the queue is looked at without a change.
    beaten: told when this worker said that it is alive, each time, by the database's clock.
    """

    def __init__(
        self,
        db: Database,
        executor_id: str,
        steps: Sequence[Step],
        on_failure: OnFailure,
        *,
        slots: int = 1,
        poll_s: float = 0.05,
        silence_s: float = SILENCE_S,
        retry: StepRetry = DEFAULT_RETRY,
        max_starts: int = MAX_STARTS,
        changes: Changes | None = None,
        look_s: float = LOOK_S,
        beaten: Callable[[float], None] = lambda _beat_at: None,
    ) -> None:
        self._db = db
        self._executor_id = executor_id
        self._steps = tuple(steps)
        self._on_failure = on_failure
        self._slots = slots
        self._poll_s = poll_s
        self._silence_s = silence_s
        self._retry = retry
        self._max_starts, self._beaten = max_starts, beaten
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._client = JobClient(db)
        self._changes = changes or changes_of(jobs_url(db))
        self._look_s = look_s
        self._running: set[str] = set()
        self._heard_since = self._heard_at = -math.inf

    def start(self) -> None:
        """Beat, launch DBOS (which first recovers what this executor left running), and watch the others.

        Raises Busy when the database is away.
        """
        dbos = load_dbos()
        self._beat()
        prepare_jobs(self._db)
        launched = dbos.DBOS(config=engine_config(self._db, self._executor_id, self._slots))
        quiet_logger()

        @dbos.DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)  # type: ignore[untyped-decorator, unused-ignore]
        def study_job(job_key: str, payload: dict[str, Any]) -> dict[str, Any]:
            self._running.add(job_key)
            try:
                return self._workflow(job_key, payload)
            finally:
                self._running.discard(job_key)

        with our_errors():
            # Before the launch: DBOS looks for queues at once and then only every second.
            self._client.register_queue(self._slots, self._poll_s)
            self._beat()  # making the tables may have taken longer than the silence, and now jobs are claimed
            dbos.DBOS.launch()
            look_after_changes(launched, self._changes, self._look_s)
        for name, work, period_s in (
            ("beat", self._beat, self._silence_s / 5),
            ("take-over", self._watch, self._silence_s / 3),
        ):
            thread = threading.Thread(target=self._every, args=(period_s, work), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, drain_s: int = 20) -> None:
        """Take no more jobs and wait up to `drain_s` seconds for the running ones.

        What still runs then is left to this executor's next start, or to the others after the silence.
        """
        load_dbos().DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=drain_s)
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        if self._executor_id not in self._client.running_on():
            with self._db.write() as conn:
                executors.leave(conn, self._executor_id)
        self._client.close()
        self._changes.close()

    def take_over(self, silence_s: float) -> list[str]:
        """Take over the jobs of executors not heard for `silence_s` seconds (see `JobClient.take_over`)."""
        return self._client.take_over(silence_s, own=Own(self._executor_id, frozenset(self._running)))

    def silent_for_s(self) -> float:
        """Return how long ago this worker's last heartbeat was written, in seconds; for its health check."""
        return time.monotonic() - self._heard_at

    def _workflow(self, job_key: str, payload: dict[str, Any]) -> dict[str, Any]:
        record = load_dbos().DBOS.run_step
        result = payload
        for name, function in self._steps:
            outcome = record({"name": name}, self._run, name, function, job_key, result)
            failure = failure_in(outcome)
            if failure is not None:
                record({"name": FAILED_STEP}, self._tell, job_key, failure.category.value, failure.message)
                raise JobFailed(failure)
            result = outcome["ok"]
        return result

    def _run(self, name: str, function: StepFunction, job_key: str, previous: dict[str, Any]) -> dict[str, Any]:
        counted = self._try(lambda key, _: {"starts": self._earlier_starts(key, name)}, job_key, {})
        if failure_in(counted):
            return counted
        earlier = counted["ok"]["starts"]
        if earlier >= self._max_starts:
            return Failure(Category.FAULT, f"the worker ended {earlier} times in this step").as_json()
        if earlier >= UNSUSPICIOUS_STARTS:
            # It may be what kills the workers: let the other jobs go first.
            time.sleep(self._retry.delay_s(earlier - UNSUSPICIOUS_STARTS + 1))
        counted = self._try(lambda key, _: self._count(key, name), job_key, {})
        return counted if failure_in(counted) else self._try(function, job_key, previous)

    def _try(self, function: StepFunction, job_key: str, previous: dict[str, Any]) -> dict[str, Any]:
        return run_step(function, job_key, previous, retry=self._retry, sleep=time.sleep)

    def _earlier_starts(self, job_key: str, step: str) -> int:
        with self._db.read() as conn:
            return executors.starts(conn, job_key, step)

    def _count(self, job_key: str, step: str) -> dict[str, Any]:
        with self._db.write() as conn:
            executors.count_start(conn, job_key, step)
        return {}

    def _tell(self, job_key: str, category: str, message: str) -> dict[str, Any]:
        def tell(key: str, _previous: dict[str, Any]) -> dict[str, Any]:
            self._on_failure(key, Category(category), message)
            return {}

        log.error("job parked", job=job_key, category=category, problem=message)
        return self._try(tell, job_key, {})

    def _beat(self) -> None:
        with self._db.write() as conn:
            beat_at = executors.beat(conn, self._executor_id)
        self._beaten(beat_at)
        now = time.monotonic()
        if now - self._heard_at > self._silence_s / 2:
            self._heard_since = now
        self._heard_at = now

    def _watch(self) -> None:
        # After the database was away everybody seems silent, so the others get the time to be heard again.
        if time.monotonic() - self._heard_since >= self._silence_s:
            self.take_over(self._silence_s)

    def _every(self, period_s: float, work: Callable[[], object]) -> None:
        while not self._stopping.wait(period_s):
            try:
                work()
            except ClinicalError as exc:
                log.warning("worker upkeep failed", category=exc.category.value, problem=exc.message)


def _status(item: "WorkflowStatus") -> JobStatus:
    failure = item.error.failure if isinstance(item.error, JobFailed) else None
    return JobStatus(item.workflow_id, _STATES[item.status], item.executor_id, failure)


def _failed(output: object) -> bool:
    return isinstance(output, dict) and failure_in(output) is not None
