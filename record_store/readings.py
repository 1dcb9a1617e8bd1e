"""Study jobs and what they made: readings, and the DICOM objects encoded from them.

Every write is keyed by an id derived from the job, so that a step which is run again changes nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, and_, exists, func, or_, select, update

from clinical.finding import Reading
from clinical.identity import PatientKey
from record_store.reading_json import from_json, to_json
from record_store.sql import insert_once
from record_store.tables import instance as instance_table
from record_store.tables import reading as reading_table
from record_store.tables import result_object as result_table
from record_store.tables import study_job as job_table
from record_store.times import from_text, to_text

QUEUED, DONE, FAILED = "queued", "done", "failed"
# How the reason of a done job begins that read no image: images meant for the model were there, or none was.
NO_IMAGE_READ, NOT_MEANT = "no image was read", "no image was meant for this model"


@dataclass(frozen=True, slots=True)
class JobRow:
    """One model on one content of a study. state: queued, done or failed.

    reason: why it failed, or why it is done without having read an image.
    """

    job_key: str
    study_uid: str
    revision: int
    content_digest: str
    model: str
    model_version: str
    created_at: datetime
    state: str = QUEUED
    reason: str | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredReading:
    """A reading with what belongs to it. mask_sha256: its label image among the blobs. recalled: its model was."""

    reading_id: str
    job_key: str
    reading: Reading
    patient: PatientKey | None
    mask_sha256: str
    created_at: datetime
    recalled: bool = False


@dataclass(frozen=True, slots=True)
class ResultObject:
    """A DICOM object that we made. kind: a name of `dicom_node.results.ENCODERS`; sha256: of its blob."""

    sop_instance_uid: str
    job_key: str
    kind: str
    sop_class_uid: str
    study_uid: str
    sha256: str
    created_at: datetime


def job_key_of(study_uid: str, content_digest: str, model: str, model_version: str) -> str:
    """Return the name of a job: the same study content, model and version is the same job, for ever."""
    return hashlib.sha256("\n".join((study_uid, content_digest, model, model_version)).encode()).hexdigest()


def add_job(conn: Connection, row: JobRow) -> bool:
    """Add a job; False when it is known already, which changes nothing."""
    times = {"created_at": to_text(row.created_at), "finished_at": _optional_text(row.finished_at)}
    return insert_once(conn, job_table, asdict(row) | times, ["job_key"])


def adopt_job(conn: Connection, job_key: str, revision: int) -> str:
    """Make a job that is known already the job of this revision, whose content is the same; return its state."""
    conn.execute(update(job_table).where(job_table.c.job_key == job_key).values(revision=revision))
    return str(conn.execute(select(job_table.c.state).where(job_table.c.job_key == job_key)).scalar_one())


def last_job(conn: Connection, study_uid: str) -> JobRow | None:
    """Return a job of the last revision of a study that was given to a model, or None."""
    query = select(job_table).where(job_table.c.study_uid == study_uid).order_by(job_table.c.revision.desc())
    row = conn.execute(query.limit(1)).first()
    return None if row is None else _job_row(row)


def objects_after(conn: Connection, job: JobRow) -> int:
    """Return how many objects of a job's study came after it was made."""
    later = (instance_table.c.study_uid == job.study_uid, instance_table.c.received_at > to_text(job.created_at))
    return int(conn.execute(select(func.count()).where(*later)).scalar_one())


def finish_job(conn: Connection, job_key: str, state: str, reason: str | None, now: datetime) -> None:
    """Set a job to done or failed. A done job stays done, whoever says otherwise later.

    reason: one sentence without patient data, None for done.
    """
    conn.execute(
        update(job_table)
        .where(job_table.c.job_key == job_key, job_table.c.state != DONE)
        .values(state=state, reason=reason, finished_at=to_text(now))
    )


def requeue_job(conn: Connection, job_key: str) -> bool:
    """Set a failed job to queued again (after `JobClient.retry`); False when it is not failed."""
    statement = (
        update(job_table)
        .where(job_table.c.job_key == job_key, job_table.c.state == FAILED)
        .values(state=QUEUED, reason=None, finished_at=None)
    )
    return conn.execute(statement).rowcount == 1


def job(conn: Connection, job_key: str) -> JobRow | None:
    """Return a job, or None."""
    row = conn.execute(select(job_table).where(job_table.c.job_key == job_key)).first()
    return None if row is None else _job_row(row)


def queued_jobs(conn: Connection) -> list[JobRow]:
    """Return the jobs that are not finished, oldest first: the ones to enqueue again after a crash."""
    query = (
        select(job_table).where(job_table.c.state == QUEUED).order_by(job_table.c.created_at, job_table.c.job_key)
    )
    return [_job_row(row) for row in conn.execute(query)]


def jobs_of_study(conn: Connection, study_uid: str) -> list[JobRow]:
    """Return a study's jobs, oldest first."""
    query = select(job_table).where(job_table.c.study_uid == study_uid).order_by(job_table.c.created_at)
    return [_job_row(row) for row in conn.execute(query)]


def put_reading(
    conn: Connection,
    reading: Reading,
    *,
    reading_id: str,
    job_key: str,
    patient: PatientKey | None,
    mask_sha256: str,
    now: datetime,
) -> bool:
    """Store a reading; False when `reading_id` is there already: the first one is kept, it may have been sent."""
    values = {
        "reading_id": reading_id,
        "job_key": job_key,
        "study_uid": reading.image.study_uid,
        "sop_instance_uid": reading.image.sop_instance_uid,
        "patient_system": patient.system if patient else None,
        "patient_value": patient.value if patient else None,
        "model": reading.model.name,
        "model_version": reading.model.version,
        "findings": len(reading.findings),
        "body": to_json(reading),
        "mask_sha256": mask_sha256,
        "created_at": to_text(now),
    }
    return insert_once(conn, reading_table, values, ["reading_id"])


def reading_by_id(conn: Connection, reading_id: str) -> StoredReading | None:
    """Return a reading, or None."""
    row = conn.execute(select(reading_table).where(reading_table.c.reading_id == reading_id)).first()
    return None if row is None else stored_reading(row)


def readings_of_job(conn: Connection, job_key: str) -> list[StoredReading]:
    """Return a job's readings in the order of their ids."""
    query = select(reading_table).where(reading_table.c.job_key == job_key).order_by(reading_table.c.reading_id)
    return [stored_reading(row) for row in conn.execute(query)]


def readings_of_image(
    conn: Connection, patient: PatientKey, sop_instance_uid: str, model: str
) -> list[StoredReading]:
    """Return what a model has said of a patient's image, in any version and of any bytes, oldest first."""
    table = reading_table.c
    query = (
        select(reading_table)
        .where(table.patient_system == patient.system, table.patient_value == patient.value)  # has an index
        .where(table.sop_instance_uid == sop_instance_uid, table.model == model)
        .order_by(table.created_at, table.reading_id)
    )
    return [stored_reading(row) for row in conn.execute(query)]


def readings_of_patient(conn: Connection, keys: Sequence[PatientKey], limit: int) -> list[StoredReading]:
    """Return the newest readings of the patient that all these keys name, newest first; of each image the last.

    A model that has read an image again, in another version, speaks once. Matches issuer and value together; no
    key, no reading.
    """
    table = reading_table.c
    same = [and_(table.patient_system == key.system, table.patient_value == key.value) for key in keys]
    if not same:
        return []
    again = reading_table.alias().c
    later = or_(
        again.created_at > table.created_at,
        and_(again.created_at == table.created_at, again.reading_id > table.reading_id),
    )
    replaced = exists().where(
        again.patient_system == table.patient_system,
        again.patient_value == table.patient_value,
        again.sop_instance_uid == table.sop_instance_uid,
        again.model == table.model,
        later,
    )
    newest = (table.created_at.desc(), table.reading_id)
    query = select(reading_table).where(or_(*same), ~replaced).order_by(*newest).limit(limit)
    return [stored_reading(row) for row in conn.execute(query)]


def recall(conn: Connection, reading_ids: Sequence[str], now: datetime) -> None:
    """Say that these readings were recalled: nobody is shown them as what a model says of the image."""
    open_ = (reading_table.c.reading_id.in_(reading_ids), reading_table.c.recalled_at.is_(None))
    conn.execute(update(reading_table).where(*open_).values(recalled_at=to_text(now)))


def recalled_models(conn: Connection, jobs: Sequence[JobRow]) -> frozenset[tuple[str, str]]:
    """Return the (model, version) of those of a study's jobs whose readings were recalled.

    A job of a study that has grown makes no reading of an image that was read before: so not the job is named.
    """
    table = reading_table.c
    mine = (table.job_key.in_([one.job_key for one in jobs]), table.recalled_at.is_not(None))
    found = conn.execute(select(table.model, table.model_version).where(*mine).distinct())
    return frozenset((row.model, row.model_version) for row in found)


def objects_of(conn: Connection, reading_ids: Sequence[str]) -> list[ResultObject]:
    """Return the DICOM objects of the jobs that made these readings: all of one model and version."""
    found: dict[str, ResultObject] = {}
    for start in range(0, len(reading_ids), 500):
        some = reading_table.c.reading_id.in_(reading_ids[start : start + 500])
        jobs = select(reading_table.c.job_key).where(some)
        rows = conn.execute(select(result_table).where(result_table.c.job_key.in_(jobs)))
        found |= {row.sop_instance_uid: _result_object(row) for row in rows}
    return list(found.values())


def add_result_object(conn: Connection, result: ResultObject) -> bool:
    """Store what was encoded; False when the UID is there already, which changes nothing."""
    values = asdict(result) | {"created_at": to_text(result.created_at)}
    return insert_once(conn, result_table, values, ["sop_instance_uid"])


def result_objects(conn: Connection, job_key: str) -> list[ResultObject]:
    """Return a job's DICOM objects, by kind and UID."""
    query = (
        select(result_table)
        .where(result_table.c.job_key == job_key)
        .order_by(result_table.c.kind, result_table.c.sop_instance_uid)
    )
    return [_result_object(row) for row in conn.execute(query)]


def result_object(conn: Connection, sop_instance_uid: str) -> ResultObject | None:
    """Return one DICOM object that we made, or None (then the UID is not one of ours)."""
    row = conn.execute(select(result_table).where(result_table.c.sop_instance_uid == sop_instance_uid)).first()
    return None if row is None else _result_object(row)


def kinds_of(conn: Connection, sop_instance_uids: Sequence[str]) -> dict[str, str]:
    """Return the kinds of these objects; what we did not make is not there."""
    found: dict[str, str] = {}
    for start in range(0, len(sop_instance_uids), 500):
        some = result_table.c.sop_instance_uid.in_(sop_instance_uids[start : start + 500])
        rows = conn.execute(select(result_table.c.sop_instance_uid, result_table.c.kind).where(some))
        found |= {row.sop_instance_uid: row.kind for row in rows}
    return found


def _optional_text(at: datetime | None) -> str | None:
    return None if at is None else to_text(at)


def _job_row(row: Row[tuple[object, ...]]) -> JobRow:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
    finished = values["finished_at"]
    values["created_at"] = from_text(values["created_at"])
    values["finished_at"] = from_text(finished) if finished else None
    return JobRow(**values)


def stored_reading(row: Row[tuple[object, ...]]) -> StoredReading:
    """Return a row of the table of readings as a value."""
    values = row._mapping  # noqa: SLF001
    system, value = values["patient_system"], values["patient_value"]
    return StoredReading(
        reading_id=values["reading_id"],
        job_key=values["job_key"],
        reading=from_json(bytes(values["body"])),
        patient=PatientKey(system, value) if system and value else None,
        mask_sha256=values["mask_sha256"],
        created_at=from_text(values["created_at"]),
        recalled=values["recalled_at"] is not None,
    )


def _result_object(row: Row[tuple[object, ...]]) -> ResultObject:
    values = dict(row._mapping)  # noqa: SLF001
    return ResultObject(**values | {"created_at": from_text(values["created_at"])})
