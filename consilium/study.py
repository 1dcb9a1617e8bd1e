"""A study to its results: the one place where images, models and FHIR meet (DESIGN section 5).

Four steps, each recorded by the job engine, so that a crash repeats at most the one it interrupted. A step
takes what the step before returned and returns JSON. Everything that leaves is named after the image's bytes
and the model that read it, so a repeated step writes the same identities again, and an image that arrives late
does not make the archive keep what was found in the others twice.
"""

import hashlib
import io
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Protocol

import numpy as np
import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlalchemy import Connection

from clinical.clock import Clock
from clinical.errors import Category, Fault, PreconditionMissing, Unsupported
from clinical.finding import Reading, ReadingMask
from clinical.identity import IssuerTable, PatientKey
from consilium import work_orders
from consilium.comparing import Comparing
from consilium.decoding import decode
from consilium.encoding import USUAL_RESULTS, Encoding
from consilium.holding import merged
from consilium.publishing import HEADER_TAGS, Publishing
from consilium.readers import READERS, Look, Reader, Resource, choose
from consilium.rules import NO_RULES, Rules
from consilium.selection import LATE, Selecting
from dicom_node.anatomy import BodyPartRule
from dicom_node.pixels import Decoder
from fhir_adapters.records import record_of
from fhir_adapters.resources.model_card import ai_model_of
from model_runtime.drift import DriftObserver, NoDrift
from model_runtime.engine import Engine
from model_runtime.manifest import Manifest
from record_store import readings
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.instances import hold_study, study_row
from record_store.reading_json import to_json
from record_store.readings import JobRow
from record_store.study_history import objects_to_read

log = structlog.get_logger()
Json = dict[str, Any]
Step = Callable[[str, Json], Json]


class Observer(Protocol):
    """Who counts (metrics)."""

    def step_ended(self, step: str, seconds: float) -> None:
        """A step was carried out."""

    def job_ended(self, model: str, state: str, seconds: float | None) -> None:
        """A job is done or failed; seconds since its study was closed, when its results became visible."""


@dataclass(frozen=True, slots=True)
class StudySteps:
    """The steps of a study job over their collaborators.

    issuers: joins the images' patients to the study's. destinations: names of the archives that results go
    back to.
    patient_id: derives the FHIR id of a patient that we add. body_parts: what the site knows of its senders.
    rules: of the site (docs/rules.md).
    results: kinds of DICOM objects that are made. kinds_for: of these, the ones that a destination gets; all of
    them where it says nothing. compare: whether a reading is compared with one of an earlier image.
    """

    db: Database
    blobs: Blobs
    engine: Engine
    decoder: Decoder
    now: Clock
    issuers: IssuerTable
    destinations: tuple[str, ...]
    patient_id: Callable[[PatientKey], str]
    software_version: str
    device_serial: str
    observe: Observer
    model_timeout_s: float = 120.0
    drift: DriftObserver = field(default_factory=NoDrift)
    body_parts: tuple[BodyPartRule, ...] = ()
    rules: Rules = NO_RULES
    results: tuple[str, ...] = USUAL_RESULTS
    kinds_for: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    compare: bool = True

    def in_order(self) -> tuple[tuple[str, Step], ...]:
        """Return the steps with the names that the job engine records them by."""
        steps: tuple[tuple[str, Step], ...] = (
            ("read", self.read),
            ("infer", self.infer),
            ("encode", self.encode),
            ("publish", self.publish),
        )
        return tuple((name, self._timed(name, step)) for name, step in steps)

    def read(self, job_key: str, _: Json) -> Json:
        """Choose the images that the model reads; say why each other one is left out."""
        with self.db.write(durable=False) as conn:
            job = _job(conn, job_key)
            study = study_row(conn, job.study_uid)
            rows, ignored = objects_to_read(conn, job.study_uid)  # a job may be run again after others came
            work_orders.begun(conn, job, self.now())
        selecting = Selecting(self.blobs, self.issuers, self.body_parts, self.rules)
        images = [selecting.image(row) for row in rows]
        chosen = selecting.select(study.patient if study else None, images, self._manifest(job))
        log.info("images chosen", job=job_key[:12], count=len(chosen.read), reasons=chosen.reasons)
        return {
            "images": [image.row.sha256 for image in chosen.read],
            "left_out": sorted({*chosen.reasons, *([LATE] if ignored else ())}),
            "meant": chosen.meant,
        }

    def infer(self, job_key: str, before: Json) -> Json:
        """Decode each image, run the model, measure what it saw; the label images go to the blobs.

        An image that this model has read for an earlier revision of the study is not read again.
        """
        with self.db.read() as conn:
            job = _job(conn, job_key)
            manifest = self._manifest(job)
            ids = {sha256: reading_id_for(manifest, sha256) for sha256 in before["images"]}
            known = {one for one in ids.values() if readings.reading_by_id(conn, one) is not None}
        reader = choose(READERS, manifest)
        record = cache(lambda: self._record(job))
        left_out, found = set(before["left_out"]), []
        for sha256, reading_id in ids.items():
            if reading_id not in known:
                try:
                    found.append(self._read_image(reader, manifest, sha256, reading_id, record))
                except Unsupported as reason:
                    if not reader.leaves_out:
                        raise
                    left_out.add(reason.message)
        return before | {"readings": found, "left_out": sorted(left_out), "read_before": len(known)}

    def encode(self, job_key: str, before: Json) -> Json:
        """Write each reading as DICOM objects."""
        with self.db.read() as conn:
            job = _job(conn, job_key)
        encoding = Encoding(
            self.db, self.blobs, self.decoder, self.results, self.software_version, self.device_serial
        )
        encoded = [encoding.run(job, item) for item in before["readings"]]
        objects = [made for one in encoded for made in one.objects]
        return before | {"objects": objects, "refused": [kind for one in encoded for kind in one.refused]}

    def publish(self, job_key: str, before: Json) -> Json:
        """Make everything visible in one transaction: readings, objects, FHIR, deliveries, the job's end.

        Nothing, and the study is held, when its patient has been merged since it was closed.
        """
        headers = {item["image"]: self._header(item["image"]) for item in before["readings"]}
        with self.db.read() as conn:
            job = _job(conn, job_key)
        about = ai_model_of(self.engine, job.model, job.model_version)
        with self.db.write() as conn:
            doubt = merged(conn, job.study_uid)
            if doubt is not None:
                self._hold(conn, job, doubt)
            publishing = Publishing(
                conn, job, self.now(), self.destinations, self.patient_id, about, self.kinds_for, self.rules
            )
            findings = 0 if doubt is not None else publishing.run(before, headers)
        if doubt is not None:
            raise PreconditionMissing(f"the study is held: {doubt}")
        self.observe.job_ended(job.model, readings.DONE, (self.now() - job.created_at).total_seconds())
        log.info("results published", job=job_key[:12], study=digest(job.study_uid), findings=findings)
        return {"findings": findings}

    def _hold(self, conn: Connection, job: JobRow, why: str) -> None:
        hold_study(conn, job.study_uid, why)
        append_audit(
            conn,
            at=self.now(),
            action="study-held",
            outcome="interlock",
            actor="worker",
            subject=digest(job.study_uid),
            detail={"revision": job.revision, "why": why},
        )

    def failed(self, job_key: str, category: Category, message: str) -> None:
        """Write down why a job failed, so that silence never looks like a clean study."""
        now = self.now()
        with self.db.write() as conn:
            job = readings.job(conn, job_key)
            readings.finish_job(conn, job_key, readings.FAILED, message, now)
            if job is not None and job.state != readings.DONE:
                work_orders.failed(conn, job, now, message)
            append_audit(
                conn,
                at=now,
                action="job-failed",
                outcome=category,
                actor="worker",
                subject=job_key[:12],
                detail={"reason": message},
            )
        self.observe.job_ended(job.model if job else "unknown", readings.FAILED, None)
        log.error("job failed", job=job_key[:12], category=category, reason=message)

    def _timed(self, name: str, step: Step) -> Step:
        def timed(job_key: str, before: Json) -> Json:
            began = time.perf_counter()
            after = step(job_key, before)
            self.observe.step_ended(name, time.perf_counter() - began)
            return after

        return timed

    def _manifest(self, job: JobRow) -> Manifest:
        manifest = self.engine.manifest(job.model)
        if manifest.version != job.model_version:
            raise PreconditionMissing(f"model {job.model} {job.model_version} is no longer here")
        return manifest

    def _read_image(
        self,
        reader: Reader,
        manifest: Manifest,
        sha256: str,
        reading_id: str,
        record: Callable[[], list[Resource]],
    ) -> Json:
        with self.blobs.local_path(sha256) as path:
            decoded = decode(self.db, self.decoder, sha256, path, self.now())
        look = Look(manifest, decoded, self.engine, self.model_timeout_s, record, self.now(), self.drift)
        reading, mask = reader.read(look)
        reading = replace(reading, degraded=bool(look.makeshift))
        comparison, why = self._comparing().of(reading, sha256, manifest) if self.compare else (None, "")
        reading = replace(reading, comparison=comparison)
        stored = self.blobs.put(packed(mask))
        return {
            "reading_id": reading_id,
            "reading": to_json(reading).decode(),
            "mask": stored.sha256,
            "image": sha256,
            "not_compared": why,
        }

    def _comparing(self) -> Comparing:
        selecting = Selecting(self.blobs, self.issuers, self.body_parts, self.rules)
        return Comparing(self.db, selecting, self._header, self._read_for_comparison)

    def _read_for_comparison(self, manifest: Manifest, sha256: str) -> Reading:
        """Read an image as `_read_image`, and keep nothing of it."""
        with self.blobs.local_path(sha256) as path:
            decoded = decode(self.db, self.decoder, sha256, path, self.now())
        look = Look(manifest, decoded, self.engine, self.model_timeout_s, list, self.now(), NoDrift())
        return choose(READERS, manifest).read(look)[0]

    def _record(self, job: JobRow) -> list[Resource]:
        with self.db.read() as conn:
            study = study_row(conn, job.study_uid)
            return list(record_of(conn, study.patient)) if study and study.patient else []

    def _header(self, sha256: str, tags: Sequence[str] = HEADER_TAGS) -> Dataset:
        with self.blobs.local_path(sha256) as path:
            return dcmread(path, stop_before_pixels=True, specific_tags=list(tags))


def _job(conn: Connection, job_key: str) -> JobRow:
    job = readings.job(conn, job_key)
    if job is None:
        raise Fault("the job has no row in the record store")
    return job


def reading_id_for(manifest: Manifest, image_sha256: str) -> str:
    """Return the name of what this model says of these bytes, which hold the patient and every UID."""
    parts = ("reading", manifest.name, manifest.version, image_sha256)
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def packed(mask: ReadingMask) -> bytes:
    """Return a label image as the bytes that are stored of it: always the same for the same labels."""
    # Not np.savez: its archive holds the time of day, and the same mask must be the same blob.
    buffer = io.BytesIO()
    np.save(buffer, mask.labels, allow_pickle=False)
    return zlib.compress(buffer.getvalue())
