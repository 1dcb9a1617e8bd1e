"""The worker: closes quiet studies, runs their jobs, sends the results back.

Loops beside the job engine, each over rows that any worker may take. Whatever a loop meets, it says so,
waits and goes on: the rows are still there.
"""

import threading
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import Connection

from clinical.clock import Clock
from clinical.errors import ClinicalError, Fault, NotFound
from consilium.completing import Completing, Expected
from consilium.fallback import stand_in
from consilium.rules.completion import CompleteRule
from dicom_node.scu import Destination, SendOutcome
from model_runtime.engine import Engine, State
from model_runtime.manifest import Manifest
from record_store import commitments, deliveries, readings
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.deliveries import Delivery, RetryPolicy
from record_store.instances import ClosedStudy, close_study, hold_study, modalities_of
from record_store.jobs import JobClient

log = structlog.get_logger()

CLOSER_POLL_S = 0.1
DELIVERY_POLL_S = 0.1
RECONCILE_S = 5.0
DELIVERY_LEASE_S = 120.0
DELIVERY_BATCH = 16
AFTER_ERROR_S = 1.0
SAY_AGAIN_S = 60.0
NO_PATIENT = "its images name no patient, so no result could be filed"

Send = Callable[[Sequence[Path], Destination, str], list[SendOutcome]]


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


@dataclass(frozen=True, slots=True)
class Delivering:
    """Sends results to the archives and writes down what each said of each object."""

    db: Database
    blobs: Blobs
    destinations: Mapping[str, Destination]
    calling_ae: str
    retry: RetryPolicy
    now: Clock
    send: Send
    observe: Callable[[str, str], None]

    def once(self) -> int:
        """Send what is due; return how many objects were tried."""
        claimed = deliveries.claim_due(self.db, self.now(), DELIVERY_LEASE_S, DELIVERY_BATCH)
        by_destination: dict[str, list[Delivery]] = {}
        for delivery in claimed:
            by_destination.setdefault(delivery.destination, []).append(delivery)
        for name, wanted in by_destination.items():
            self._send(name, wanted)
        return len(claimed)

    def _send(self, name: str, wanted: list[Delivery]) -> None:
        destination = self.destinations.get(name)
        if destination is None:
            outcomes = [
                SendOutcome(d.sop_instance_uid, None, "this destination is no longer configured") for d in wanted
            ]
        else:
            outcomes = self._transfer(destination, wanted)
        said = {outcome.sop_instance_uid: outcome for outcome in outcomes}
        for delivery in wanted:
            outcome = said.get(delivery.sop_instance_uid) or SendOutcome(
                delivery.sop_instance_uid, None, "the association ended before this object was answered"
            )
            self._record(delivery, outcome)

    def _transfer(self, destination: Destination, wanted: list[Delivery]) -> list[SendOutcome]:
        outcomes: list[SendOutcome] = []
        with ExitStack() as stack:
            paths = []
            for delivery in wanted:
                try:
                    paths.append(stack.enter_context(self._file_of(delivery)))
                except (Fault, NotFound) as error:  # one damaged object must not hold the others back
                    outcomes.append(SendOutcome(delivery.sop_instance_uid, None, error.message))
            return outcomes + (self.send(paths, destination, self.calling_ae) if paths else [])

    def _file_of(self, delivery: Delivery) -> AbstractContextManager[Path]:
        with self.db.read() as conn:
            found = readings.result_object(conn, delivery.sop_instance_uid)
        if found is None:
            raise NotFound("this object is not one that we made")
        return self.blobs.local_path(found.sha256)

    def _record(self, delivery: Delivery, outcome: SendOutcome) -> None:
        with self.db.write() as conn:
            instead = None
            if outcome.class_refused:
                instead = stand_in(conn, delivery.sop_instance_uid, delivery.destination, self.now())
            problem = outcome.problem if instead is None else f"{outcome.problem}; {instead} is sent in its place"
            state = deliveries.record_outcome(
                conn,
                delivery.delivery_id,
                status=outcome.status,
                problem=problem,
                now=self.now(),
                retry=self.retry,
                final=instead is not None or not outcome.may_pass,
            )
            destination = self.destinations.get(delivery.destination)
            if state == deliveries.SENT and destination is not None and destination.commitment:
                commitments.want(conn, delivery.delivery_id, self.now())
            append_audit(
                conn,
                at=self.now(),
                action="result-delivery",
                outcome=state,
                actor=f"ae:{self.calling_ae}",
                subject=digest(delivery.sop_instance_uid),
                detail={
                    "destination": delivery.destination,
                    "attempt": delivery.attempts,
                    "status": outcome.status,
                },
            )
        self.observe(delivery.destination, state)
        log.info(
            "result delivery",
            destination=delivery.destination,
            result=state,
            attempt=delivery.attempts,
            dimse_status=outcome.status,
            problem=problem,
        )


class Loop:
    """Calls `work` again and again in a thread. An error is logged and the work is tried later.

    The same problem is said once a minute, not once a second.
    """

    def __init__(
        self, name: str, work: Callable[[], int], poll_s: float, *, after_error_s: float = AFTER_ERROR_S
    ) -> None:
        self._name = name
        self._work = work
        self._poll_s = poll_s
        self._after_error_s = after_error_s
        self._said = ("", 0.0)
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
            self._stop.wait(self._poll_s if self._try() else self._after_error_s)

    def _try(self) -> bool:
        try:
            self._work()
        except ClinicalError as error:
            self._say(error.category, error.message)
            return False
        except Exception as error:  # noqa: BLE001 - the worker's outer edge: a loop that ended would be missed by nobody
            # Its text may quote patient data; its type and place cannot.
            place = traceback.extract_tb(error.__traceback__)[-1]
            self._say("fault", f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}")
            return False
        self._said = ("", 0.0)
        return True

    def _say(self, category: str, problem: str) -> None:
        before, at = self._said
        if problem == before and time.monotonic() - at < SAY_AGAIN_S:
            return
        self._said = (problem, time.monotonic())
        log.warning("work is put off", step=self._name, category=category, problem=problem)
