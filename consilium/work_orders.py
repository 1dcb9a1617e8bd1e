"""Image jobs as FHIR Tasks: written in the transaction that moves the job on, so that both say the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, select

from clinical.identity import PatientKey
from fhir_adapters.charts import surviving
from fhir_adapters.orders import orders_of
from fhir_adapters.publish import publish
from fhir_adapters.resources.ids import imaging_study_id, task_id
from fhir_adapters.resources.labels import MODEL_IDENTIFIER, instant, reference, uri
from fhir_adapters.resources.task import (
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    REQUESTED,
    WorkOrder,
    study_named,
    task,
)
from record_store.instances import study_row
from record_store.readings import JobRow
from record_store.resources import read
from record_store.study_orders import order_of
from record_store.tables import study_header

Json = dict[str, Any]
_OVER = frozenset((COMPLETED,))


@dataclass(frozen=True, slots=True)
class Done:
    """What a finished job made: (what, Reference or Identifier) each. reason: why no image was read, or None.

    accessions: numbers that its images state.
    """

    outputs: Sequence[tuple[str, Json]]
    reason: str | None = None
    accessions: Sequence[str] = ()


def requested(conn: Connection, job: JobRow, now: datetime) -> None:
    """Say that a job waits, also when it waits again."""
    _write(conn, job, REQUESTED, now)


def begun(conn: Connection, job: JobRow, now: datetime) -> None:
    """Say that a worker has it."""
    _write(conn, job, IN_PROGRESS, now, started=instant(now))


def completed(conn: Connection, job: JobRow, now: datetime, done: Done) -> None:
    """Say that it is done, with what it made."""
    _write(conn, job, COMPLETED, now, ended=instant(now), done=done)


def failed(conn: Connection, job: JobRow, now: datetime, reason: str) -> None:
    """Say that it failed, and why, without patient data."""
    _write(conn, job, FAILED, now, ended=instant(now), done=Done((), reason))


def _write(
    conn: Connection,
    job: JobRow,
    status: str,
    now: datetime,
    *,
    started: str | None = None,
    ended: str | None = None,
    done: Done | None = None,
) -> None:
    ident = task_id(job.job_key)
    stored = read(conn, "Task", ident)
    before: Json = orjson.loads(stored.body) if stored is not None else {}
    if before.get("status") == status or before.get("status") in _OVER:
        return
    study = study_row(conn, job.study_uid)
    patient = study.patient if study is not None else None
    label = f"{job.model} {job.model_version}"
    order = WorkOrder(
        job_key=job.job_key,
        status=status,
        model=label,
        focus=_focus(conn, job.study_uid),
        patient=_patient(conn, patient),
        owner=_owner(job),
        asked_at=job.created_at,
        changed_at=max(now, job.created_at),
        started=started or (before.get("executionPeriod", {}).get("start") if status != REQUESTED else None),
        ended=ended,
        reason=done.reason if done is not None else None,
        based_on=orders_for(
            conn, job.study_uid, patient, done.accessions if done and done.accessions else [_accession(conn, job)]
        ),
        outputs=done.outputs if done is not None else (),
    )
    publish(conn, [task(order, resource_id=ident)], now)


def _owner(job: JobRow) -> Json:
    """Return who does it: the version of the model, whatever its digest, so no Device of ours in particular."""
    named = {"system": MODEL_IDENTIFIER, "value": f"{job.model}@{job.model_version}"}
    return {"type": "Device", "identifier": named, "display": f"{job.model} {job.model_version}"}


def _focus(conn: Connection, study_uid: str) -> Json:
    ident = imaging_study_id(study_uid)
    named = study_named(study_uid)
    return named | reference("ImagingStudy", ident) if read(conn, "ImagingStudy", ident) is not None else named


def _patient(conn: Connection, patient: PatientKey | None) -> Json:
    if patient is None:
        return {"type": "Patient", "display": "not known"}
    charts = surviving(conn, patient)
    if charts:
        return reference("Patient", charts[0])
    return {"type": "Patient", "identifier": {"system": uri(patient.system), "value": patient.value}}


def orders_for(
    conn: Connection, study_uid: str, patient: PatientKey | None, accessions: Sequence[str]
) -> list[Json]:
    """Return References to the orders of a study: by the numbers that its images say, else by the worklist's.

    R4 lets each of ImagingStudy, DiagnosticReport, Observation and Task be `basedOn` a ServiceRequest.
    """
    if patient is None:
        return []
    told = order_of(conn, study_uid)
    by_worklist = told.accession_number if told is not None and not told.stranger else ""
    system = told.accession_system if told is not None else ""
    for numbers in (accessions, [by_worklist]):
        found = {
            str(one["id"]): one
            for number in numbers
            for one in orders_of(conn, patient, number, system if number == by_worklist else "")
        }
        if found:
            return [reference("ServiceRequest", ident) for ident in found]
    return []


def _accession(conn: Connection, job: JobRow) -> str:
    """Return the accession number that the study's headers say, once they are indexed."""
    query = select(study_header.c.accession_number).where(study_header.c.study_uid == job.study_uid)
    return str(conn.execute(query).scalar() or "").strip()
