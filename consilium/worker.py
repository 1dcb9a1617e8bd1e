"""The worker: closes quiet studies, runs their jobs, sends the results back.

Loops beside the job engine, each over rows that any worker may take. Whatever a loop meets, it says so,
waits and goes on: the rows are still there.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from clinical.clock import Clock
from clinical.errors import Fault
from consilium.attempts import Attempts
from consilium.completing import Completing, Expected
from consilium.rules.completion import CompleteRule
from model_runtime.engine import Engine, State
from model_runtime.manifest import Manifest
from record_store import readings
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.database import Database
from record_store.instances import ClosedStudy, close_study, hold_study, modalities_of
from record_store.jobs import JobClient

log = structlog.get_logger()

CLOSER_POLL_S = 0.1
DELIVERY_POLL_S = 0.1
RECONCILE_S = 5.0
AFTER_ERROR_S = 1.0
NO_PATIENT = "its images name no patient, so no result could be filed"


@dataclass(frozen=True, slots=True)
class ImageModels:
    """The models that read images. broken: modality -> why its studies must stay open (its model is broken)."""

    ready: tuple[Manifest, ...]
    broken: Mapping[str, str]


def image_models(engine: Engine, required: Collection[str]) -> ImageModels:
    """Return the models that read images, and what keeps studies of some modalities open.

    Raises Fault naming what is wrong when it may concern any study: a manifest cannot be read, or a required model
    is absent. A study that was closed without its model would look like one that was read.
    """
    ready: list[Manifest] = []
    broken: dict[str, str] = {}
    unknown = _absent(engine, required)
    for state in engine.ready():
        problem = state.problem or f"model {state.name} is broken"
        if state.version is None:
            unknown.append(problem)
            continue
        manifest = engine.manifest(state.name)
        if state.state is State.BROKEN:
            broken |= dict.fromkeys(manifest.modalities, problem)
        elif manifest.modalities:
            ready.append(manifest)
    if unknown:
        raise Fault("; ".join(unknown))
    return ImageModels(tuple(ready), broken)


def _absent(engine: Engine, required: Collection[str]) -> list[str]:
    there = {state.name for state in engine.ready()}
    return [f"model {name} is not in the models folder" for name in required if name not in there]


def models_problem(engine: Engine, required: Collection[str]) -> str | None:
    """Return why images cannot be read, or None. A broken manifest may be that of an image model."""
    states = engine.ready()
    problems = [
        state.problem or f"model {state.name} is broken"
        for state in states
        if state.state is State.BROKEN and (state.version is None or engine.manifest(state.name).modalities)
    ]
    problems += _absent(engine, required)
    return "; ".join(problems) or None


@dataclass(frozen=True, slots=True)
class Closing:
    """When a study is complete and which models read it. models: raises while all studies must stay open.

    hold: why a study must wait for a person, given its UID and the modalities that models read; None when not.
    rules, expected: what else than quiet time makes a study complete, see `consilium.completing`.
    """

    db: Database
    jobs: JobClient
    models: Callable[[], ImageModels]
    quiet_s: float
    now: Clock
    hold: Callable[[str, Collection[str]], str | None] = lambda _study_uid, _modalities: None
    rules: tuple[CompleteRule, ...] = ()
    expected: Expected | None = None

    def once(self) -> int:
        """Close what is complete, add its jobs in the same transaction, then enqueue; return how many.

        Raises Fault when studies stay open because a model of their modality is broken, after closing the others.
        """
        completing = Completing(self.quiet_s, self.rules, self.expected)
        with self.db.read() as conn:
            due = [(one, modalities_of(conn, one.study_uid)) for one in completing.due(conn, self.now())]
        models = self.models() if due else ImageModels((), {})
        waiting: set[str] = set()
        for study, modalities in due:
            problems = {models.broken[modality] for modality in modalities & models.broken.keys()}
            if problems:
                waiting |= problems
                continue
            read = {one for manifest in models.ready for one in manifest.modalities} & modalities
            # Asked before the transaction, as headers take time: an image that comes meanwhile keeps it open.
            held = self.hold(study.study_uid, read) if read else None
            with self.db.write() as conn:
                closed = close_study(conn, study.study_uid, study.received_before)
                keys = [] if closed is None else self._add_jobs(conn, closed, models.ready, held, study.why)
            for key in keys:
                self.jobs.enqueue(key, {})
        if waiting:
            raise Fault("; ".join(sorted(waiting)))
        return len(due)

    def reconcile(self) -> int:
        """Enqueue jobs whose row was committed and whose enqueueing a crash prevented; repeats are no-ops."""
        with self.db.read() as conn:
            queued = [job.job_key for job in readings.queued_jobs(conn)]
        for key in queued:
            self.jobs.enqueue(key, {})
        return len(queued)

    def _add_jobs(
        self, conn: Connection, closed: ClosedStudy, manifests: Sequence[Manifest], held: str | None, why: str
    ) -> list[str]:
        now = self.now()
        if closed.patient is None:
            hold_study(conn, closed.study_uid, NO_PATIENT)
            self._audit(conn, closed, "study-held", "no-patient", 0, NO_PATIENT)
            return []
        if held is not None:
            hold_study(conn, closed.study_uid, held)
            self._audit(conn, closed, "study-held", "interlock", 0, held)
            log.warning("study held", study=digest(closed.study_uid), reason=held)
            return []
        modalities = modalities_of(conn, closed.study_uid)
        keys = []
        for manifest in manifests:
            if not modalities & set(manifest.modalities):
                continue
            key = readings.job_key_of(closed.study_uid, closed.content_digest, manifest.name, manifest.version)
            row = readings.JobRow(
                job_key=key,
                study_uid=closed.study_uid,
                revision=closed.revision,
                content_digest=closed.content_digest,
                model=manifest.name,
                model_version=manifest.version,
                created_at=now,
            )
            if readings.add_job(conn, row):
                keys.append(key)
        self._audit(conn, closed, "study-closed", "queued" if keys else "nothing-to-do", len(keys), why)
        log.info("study closed", study=digest(closed.study_uid), revision=closed.revision, count=len(keys))
        return keys

    def _audit(
        self, conn: Connection, closed: ClosedStudy, action: str, outcome: str, jobs: int, why: str
    ) -> None:
        append_audit(
            conn,
            at=self.now(),
            action=action,
            outcome=outcome,
            actor="worker",
            subject=digest(closed.study_uid),
            detail={"revision": closed.revision, "jobs": jobs, "why": why},
        )


class Loop:
    """Calls `work` again and again in a thread. An error is logged and the work is tried later."""

    def __init__(
        self, name: str, work: Callable[[], int], poll_s: float, *, after_error_s: float = AFTER_ERROR_S
    ) -> None:
        self._work = work
        self._poll_s = poll_s
        self._after_error_s = after_error_s
        self._attempts = Attempts(name)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Begin nothing new."""
        self._stop.set()

    def stop(self, timeout_s: float) -> None:
        """Ask to end and wait for the work in hand."""
        self.ask_to_stop()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._stop.wait(self._poll_s if self._attempts(self._work) else self._after_error_s)
