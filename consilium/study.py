"""A study to its results: the one place where images, models and FHIR meet (DESIGN section 5).

Four steps, each recorded by the job engine, so that a crash repeats at most the one it interrupted. A step
takes what the step before returned and returns JSON. Everything that leaves is named after the job key, so
a repeated step writes the same identities again.
"""

import hashlib
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlalchemy import Connection

from clinical.clock import Clock
from clinical.errors import Category, Fault, PreconditionMissing
from clinical.finding import Reading, ReadingMask
from clinical.identity import PatientKey
from clinical.measure import findings_from_probability
from dicom_node.pixels import DecodedImage, Decoder
from dicom_node.results import ENCODERS, ResultContext
from dicom_node.series import choose_images
from dicom_node.uids import derived_uid
from fhir_adapters.publish import find_or_add_patient, publish
from fhir_adapters.resources.reading import results_of
from model_runtime.engine import Engine
from model_runtime.manifest import Manifest
from model_runtime.transforms import prepare, restore
from record_store import deliveries, readings
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.instances import instances_of, study_row
from record_store.reading_json import from_json, to_json
from record_store.readings import JobRow, ResultObject

log = structlog.get_logger()
Json = dict[str, Any]
Step = Callable[[str, Json], Json]


@dataclass(frozen=True, slots=True)
class StudySteps:
    """The steps of a study job over their collaborators.

    destinations: names of the archives that results go back to.
    patient_id: derives the FHIR id of a patient that we add.
    observe: told (step, seconds) of every step carried out.
    """

    db: Database
    blobs: Blobs
    engine: Engine
    decoder: Decoder
    now: Clock
    destinations: tuple[str, ...]
    patient_id: Callable[[PatientKey], str]
    software_version: str
    observe: Callable[[str, float], None]
    model_timeout_s: float = 120.0

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
        with self.db.read() as conn:
            job = _job(conn, job_key)
            rows = instances_of(conn, job.study_uid)
        chosen, skipped = choose_images(rows, self._manifest(job).require_segmentation().image.modalities)
        for reason in skipped.values():
            log.info("image left out", job=job_key[:12], reason=reason)
        return {"images": [row.sha256 for row in chosen], "skipped": len(skipped)}

    def infer(self, job_key: str, before: Json) -> Json:
        """Decode each image, run the model, measure what it saw; the label images go to the blobs."""
        with self.db.read() as conn:
            manifest = self._manifest(_job(conn, job_key))
        return {"readings": [self._read_image(job_key, manifest, sha256) for sha256 in before["images"]]}

    def encode(self, job_key: str, before: Json) -> Json:
        """Write each reading as DICOM objects."""
        with self.db.read() as conn:
            job = _job(conn, job_key)
        objects = [found for item in before["readings"] for found in self._encode(job, item)]
        return before | {"objects": objects}

    def publish(self, job_key: str, before: Json) -> Json:
        """Make everything visible in one transaction: readings, objects, FHIR, deliveries, the job's end."""
        now = self.now()
        with self.db.write() as conn:
            job = _job(conn, job_key)
            row = study_row(conn, job.study_uid)
            if row is None or row.patient is None:
                raise PreconditionMissing("the study no longer names its patient")
            patient = find_or_add_patient(conn, row.patient, self.patient_id(row.patient), now)
            for item in before["readings"]:
                self._publish_reading(conn, job, item, before["objects"], row.patient, patient)
            for item in before["objects"]:
                self._publish_object(conn, job, item)
            readings.finish_job(conn, job_key, readings.DONE, None, now)
            append_audit(
                conn,
                at=now,
                action="results-published",
                outcome="done",
                actor=f"model:{job.model}/{job.model_version}",
                subject=digest(job.study_uid),
                detail={"readings": len(before["readings"]), "objects": len(before["objects"])},
            )
        count = sum(len(from_json(item["reading"].encode()).findings) for item in before["readings"])
        log.info("results published", job=job_key[:12], study=digest(job.study_uid), findings=count)
        return {"findings": count}

    def failed(self, job_key: str, category: Category, message: str) -> None:
        """Write down why a job failed, so that silence never looks like a clean study."""
        now = self.now()
        with self.db.write() as conn:
            readings.finish_job(conn, job_key, readings.FAILED, message, now)
            append_audit(
                conn,
                at=now,
                action="job-failed",
                outcome=category,
                actor="worker",
                subject=job_key[:12],
                detail={"reason": message},
            )
        log.error("job failed", job=job_key[:12], category=category, reason=message)

    def _timed(self, name: str, step: Step) -> Step:
        def timed(job_key: str, before: Json) -> Json:
            began = time.perf_counter()
            after = step(job_key, before)
            self.observe(name, time.perf_counter() - began)
            return after

        return timed

    def _manifest(self, job: JobRow) -> Manifest:
        manifest = self.engine.manifest(job.model)
        if manifest.version != job.model_version:
            raise PreconditionMissing(f"model {job.model} {job.model_version} is no longer here")
        return manifest

    def _read_image(self, job_key: str, manifest: Manifest, sha256: str) -> Json:
        with self.blobs.local_path(sha256) as path:
            decoded = self.decoder.read(path)
        reading, mask = self._infer(manifest, decoded)
        stored = self.blobs.put(_packed(mask))
        return {
            "reading_id": _derived("reading", job_key, reading.image.sop_instance_uid),
            "reading": to_json(reading).decode(),
            "mask": stored.sha256,
            "image": sha256,
        }

    def _infer(self, manifest: Manifest, decoded: DecodedImage) -> tuple[Reading, ReadingMask]:
        part = manifest.require_segmentation()
        tensor, placement = prepare(decoded.image, part.image)
        outputs = self.engine.run(
            manifest.name, {manifest.inputs[0].name: tensor}, timeout_s=self.model_timeout_s
        )
        probability = restore(outputs[manifest.outputs[0].name][0, :, :, 0], placement)
        findings, mask = findings_from_probability(
            probability,
            mask_threshold=part.thresholds.mask,
            report_threshold=part.thresholds.report,
            min_area_px=part.thresholds.min_area_px,
            spacing=decoded.image.spacing,
        )
        reading = Reading(decoded.ref, manifest.ref, part.terms, part.thresholds.report, findings)
        return reading, mask

    def _encode(self, job: JobRow, item: Json) -> list[Json]:
        reading = from_json(item["reading"].encode())
        mask = _unpacked(self.blobs.get(item["mask"]))
        with self.blobs.local_path(item["image"]) as path:
            source = dcmread(path)
        objects = []
        for kind, encode in ENCODERS.items():
            encoded = encode(reading, mask, source, self._context(job, reading, kind))
            if encoded is None:
                continue
            stored = self.blobs.put(_part10(encoded))
            objects.append(
                {
                    "kind": kind,
                    "reading_id": item["reading_id"],
                    "sop": str(encoded.SOPInstanceUID),
                    "sop_class": str(encoded.SOPClassUID),
                    "series": str(encoded.SeriesInstanceUID),
                    "sha256": stored.sha256,
                }
            )
        return objects

    def _context(self, job: JobRow, reading: Reading, kind: str) -> ResultContext:
        raise NotImplementedError

    def _publish_reading(
        self, conn: Connection, job: JobRow, item: Json, objects: Sequence[Json], patient: PatientKey, patient_id: str
    ) -> None:
        reading = from_json(item["reading"].encode())
        reading_id = item["reading_id"]
        readings.put_reading(
            conn,
            reading,
            reading_id=reading_id,
            job_key=job.job_key,
            patient=patient,
            mask_sha256=item["mask"],
            now=job.created_at,
        )
        evidence = [
            Instance(made["sop"], made["sop_class"], made["series"], made["kind"])
            for made in objects
            if made["reading_id"] == reading_id
        ]
        resources = results_of(
            reading,
            ids=result_ids(reading, reading_id=reading_id),
            tracking_uids=[tracking_uid(reading_id, finding.number) for finding in reading.findings],
            patient_id=patient_id,
            issued=job.created_at,
            study=StudyFacts(started=item["started"], description=None),
            evidence=evidence,
        )
        publish(conn, resources, self.now())

    def _publish_object(self, conn: Connection, job: JobRow, item: Json) -> None:
        row = ResultObject(
            sop_instance_uid=item["sop"],
            job_key=job.job_key,
            kind=item["kind"],
            sop_class_uid=item["sop_class"],
            study_uid=job.study_uid,
            sha256=item["sha256"],
            created_at=job.created_at,
        )
        readings.add_result_object(conn, row)
        for destination in self.destinations:
            deliveries.enqueue(conn, item["sop"], destination, self.now())


def tracking_uid(reading_id: str, number: int) -> str:
    """Return the Tracking UID of a finding: in the SEG, the SR and the Observation alike."""
    return derived_uid("tracking", reading_id, str(number))


def _job(conn: Connection, job_key: str) -> JobRow:
    job = readings.job(conn, job_key)
    if job is None:
        raise Fault("the job has no row in the record store")
    return job


def _derived(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def _packed(mask: ReadingMask) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, labels=mask.labels)
    return buffer.getvalue()


def _unpacked(data: bytes) -> ReadingMask:
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return ReadingMask(stored["labels"])


def _part10(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
