"""Closes complete studies, adds their jobs in the same transaction, and then enqueues them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from sqlalchemy import Connection

from clinical.clock import Clock
from clinical.errors import ClinicalError, Fault
from consilium import work_orders
from consilium.attempts import problem_of
from consilium.completing import SAID_COMPLETE, Completing, Due, nothing_open, said_by_operators
from consilium.rules.completion import Then
from consilium.worker import ImageModels
from model_runtime.manifest import Manifest
from record_store import readings
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.database import Database
from record_store.instances import ClosedStudy, close_study, hold_study, modalities_of, set_revision
from record_store.jobs import JobClient
from record_store.priors import only_fetched
from record_store.study_history import UNCLOSED
from record_store.workitems import asks_for, comes

PRIOR = "it was fetched as a prior, which no model reads"
NO_PATIENT = "its images name no patient, so no result could be filed"
INCOMPLETE = "it is incomplete"
FETCHED_WITHIN = timedelta(hours=2)  # a study that comes for a step is not complete when nothing came for a while
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Closing:
    """Which models read a study that is complete. models: raises while all studies must stay open.

    hold: why a study must wait for a person, given its UID and the modalities that models read; None when not.
    archives: the AE titles of those that priors come from, by name. unclosed: why those studies cannot be closed
    that could not be, as has been told.
    """

    db: Database
    jobs: JobClient
    models: Callable[[], ImageModels]
    completing: Completing
    now: Clock
    hold: Callable[[str, Collection[str]], str | None] = lambda _study_uid, _modalities: None
    archives: Mapping[str, str] = field(default_factory=dict)
    unclosed: dict[str, str] = field(default_factory=dict)

    def once(self) -> int:
        """Close what is complete and return how many studies were.

        Raises Fault, after closing the others, with all that went wrong, and with each model that is broken of the
        modality of one.
        """
        due = self._due()
        models = self.models() if due else ImageModels((), {})
        problems: set[str] = set()
        for study, modalities in due:
            if broken := {models.broken[modality] for modality in modalities & models.broken.keys()}:
                problems |= broken
                continue
            read = {one for manifest in models.ready for one in manifest.modalities} & modalities
            try:
                self._close(study, models.ready, read)
                self.unclosed.pop(study.study_uid, None)
            except Exception as error:  # noqa: BLE001 - told, and raised below: others are due behind this study
                problems.add(self._tell(study.study_uid, error))
        if problems:
            raise Fault("; ".join(sorted(problems)))
        return len(due)

    def _tell(self, study_uid: str, error: Exception) -> str:
        """Tell of a study that cannot be closed, once for each reason, and return the reason."""
        category, why = problem_of(error)
        if self.unclosed.get(study_uid) != why:
            self.unclosed[study_uid] = why
            log.warning("study cannot be closed", study=digest(study_uid), category=category, problem=why)
            with suppress(ClinicalError), self.db.write() as conn:  # it may be the database that is away
                append_audit(
                    conn,
                    at=self.now(),
                    action=UNCLOSED,
                    outcome=category,
                    actor="worker",
                    subject=digest(study_uid),
                    detail={"why": why},
                )
        return why

    def _due(self) -> list[tuple[Due, set[str]]]:
        """Return the studies to close, each with its modalities."""
        with self.db.read() as conn:
            return [
                (one, modalities_of(conn, one.study_uid))
                for one in self.completing.due(conn, self.now())
                if one.forced or not comes(conn, one.study_uid, self.now() - FETCHED_WITHIN)
            ]

    def rests(self) -> bool:
        """Tell whether no study is open, so that none can become complete with time."""
        with self.db.read() as conn:
            return nothing_open(conn)

    def reconcile(self) -> int:
        """Enqueue jobs whose row was committed and whose enqueueing a crash prevented; repeats are no-ops."""
        with self.db.read() as conn:
            queued = [job.job_key for job in readings.queued_jobs(conn)]
        for key in queued:
            self.jobs.enqueue(key, {})
        return len(queued)

    def _close(self, study: Due, manifests: Sequence[Manifest], read: Collection[str]) -> None:
        # Asked before the transaction, as headers take time: an image that comes meanwhile keeps it open.
        held = self.hold(study.study_uid, read) if read else None
        if held is None and read and study.then is Then.HOLD:
            held = f"{INCOMPLETE}: {study.why}"
        keys: list[str] = []
        failed: list[str] = []
        with self.db.write() as conn:
            closed = close_study(conn, study.study_uid, study.received_before)
            if closed is None:
                return
            if closed.patient is None:
                self._hold(conn, closed, NO_PATIENT, "no-patient")
            elif self._is_prior(conn, closed):
                keys, failed = self._add_jobs(conn, closed, (), PRIOR)
            elif held is not None:
                self._hold(conn, closed, held, "interlock")
            elif study.then is Then.IGNORE:
                self._ignore(conn, closed, study.why)
            else:
                keys, failed = self._add_jobs(conn, closed, manifests, study.why)
        for key in keys:
            self.jobs.enqueue(key, {})
        for key in failed:  # in this order: a worker may be done with it before its row says that it is queued
            self.jobs.retry(key)
            with self.db.write() as conn:
                job = readings.job(conn, key)
                if readings.requeue_job(conn, key) and job is not None:
                    work_orders.requested(conn, job, self.now())

    def _is_prior(self, conn: Connection, closed: ClosedStudy) -> bool:
        """Tell whether nobody wants a study read: it was fetched for a model of another study to look at."""
        uid = closed.study_uid
        if not only_fetched(conn, uid, self.archives) or asks_for(conn, uid):
            return False
        # Asked anew: an operator who said it since this study was due has been told that it will be read.
        return said_by_operators(conn, self.now()).get((digest(uid), closed.revision)) != SAID_COMPLETE

    def _hold(self, conn: Connection, closed: ClosedStudy, reason: str, outcome: str) -> None:
        hold_study(conn, closed.study_uid, reason)
        self._audit(conn, closed, "study-held", outcome, {"why": reason})
        log.warning("study held", study=digest(closed.study_uid), reason=reason)

    def _ignore(self, conn: Connection, closed: ClosedStudy, why: str) -> None:
        """Leave the study at the revision that was read: what became of that one is still what is shown."""
        last = readings.last_job(conn, closed.study_uid)
        if last is not None:
            set_revision(conn, closed.study_uid, last.revision)
        late = readings.objects_after(conn, last) if last is not None else 0
        self._audit(conn, closed, "study-closed", "late-ignored", {"why": why, "ignored": late})
        log.warning("late objects ignored", study=digest(closed.study_uid), revision=closed.revision, count=late)

    def _add_jobs(
        self, conn: Connection, closed: ClosedStudy, manifests: Sequence[Manifest], why: str
    ) -> tuple[list[str], list[str]]:
        """Return the keys of the jobs that are new, and of those that had failed and are wanted again."""
        modalities = modalities_of(conn, closed.study_uid)
        new, failed = [], []
        for manifest in manifests:
            if not modalities & set(manifest.modalities):
                continue
            row = self._job(closed, manifest)
            if readings.add_job(conn, row):
                new.append(row.job_key)
                work_orders.requested(conn, row, self.now())
            elif readings.adopt_job(conn, row.job_key, closed.revision) == readings.FAILED:
                failed.append(row.job_key)
        jobs = len(new) + len(failed)
        outcome = "queued" if jobs else "nothing-to-do"
        self._audit(conn, closed, "study-closed", outcome, {"jobs": jobs, "why": why})
        log.info("study closed", study=digest(closed.study_uid), revision=closed.revision, count=jobs)
        return new, failed

    def _job(self, closed: ClosedStudy, manifest: Manifest) -> readings.JobRow:
        key = readings.job_key_of(closed.study_uid, closed.content_digest, manifest.name, manifest.version)
        return readings.JobRow(
            job_key=key,
            study_uid=closed.study_uid,
            revision=closed.revision,
            content_digest=closed.content_digest,
            model=manifest.name,
            model_version=manifest.version,
            created_at=self.now(),
        )

    def _audit(
        self, conn: Connection, closed: ClosedStudy, action: str, outcome: str, detail: Mapping[str, str | int]
    ) -> None:
        append_audit(
            conn,
            at=self.now(),
            action=action,
            outcome=outcome,
            actor="worker",
            subject=digest(closed.study_uid),
            detail={"revision": closed.revision, **detail},
        )
