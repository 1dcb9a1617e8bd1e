"""Everything the store knows of one study, in one read: what `explain` tells from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, func, select

from record_store.announcements import Announced, announced_to
from record_store.audit import digest
from record_store.evidence import NONE as NO_EVIDENCE
from record_store.evidence import Evidence, evidence_of
from record_store.instances import DIFFERS, InstanceRow, StudyRow, instances_of, study_row
from record_store.priors import PriorRow, priors_of
from record_store.readings import JobRow, jobs_of_study, last_job
from record_store.shadows import ShadowStudy, shadows_of
from record_store.study_orders import StudyOrder, order_of
from record_store.tables import audit, delivery, reading, result_object, study
from record_store.times import from_text
from record_store.workitems import WorkitemRow, of_study

# The acts upon a study as a whole; their subject is the digest of its UID.
UNCLOSED = "study-unclosed"
STUDY_ACTS = ("study-closed", "study-forced", "study-held", "study-released", UNCLOSED)

PUBLISHED = ("results-published",)
REFUSED = ("result-refused",)  # a kind of result that could not be made of an image


@dataclass(frozen=True, slots=True)
class Act:
    """One audit row about the study."""

    at: datetime
    action: str
    outcome: str
    actor: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Made:
    """An object that a job made. findings of its reading are in `StudyHistory.findings`."""

    sop_instance_uid: str
    job_key: str
    kind: str


@dataclass(frozen=True, slots=True)
class Sent:
    """An object's way to one destination; fields as `record_store.deliveries.Delivery`.

    updated_at: when its state was last written; None where nobody asks.
    """

    sop_instance_uid: str
    kind: str
    destination: str
    state: str
    attempts: int
    next_attempt_at: datetime
    last_status: int | None
    last_problem: str | None
    commitment: str | None = None
    commitment_asks: int = 0
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StudyHistory:
    """findings: job key -> (images read by it for the first time, findings in them).

    evidence, announced: what else than its objects says whether the study is complete. priors: which earlier
    studies were asked for. workitems: steps of worklists elsewhere that it is the input of.
    refused: kinds of results that could not be made. shadows: models that read it and whose findings nobody sees.
    published: what jobs published, and compared with priors. differing: objects that came again with other bytes.
    """

    study: StudyRow
    instances: tuple[InstanceRow, ...]
    acts: tuple[Act, ...]
    jobs: tuple[JobRow, ...]
    findings: Mapping[str, tuple[int, int]]
    made: tuple[Made, ...]
    sent: tuple[Sent, ...]
    evidence: Evidence = NO_EVIDENCE
    announced: tuple[Announced, ...] = ()
    refused: tuple[Act, ...] = ()
    published: tuple[Act, ...] = ()
    differing: tuple[Act, ...] = ()
    priors: tuple[PriorRow, ...] = ()
    order: StudyOrder | None = None
    workitems: tuple[WorkitemRow, ...] = ()
    shadows: tuple[ShadowStudy, ...] = ()


def find_study(conn: Connection, named: str) -> str | None:
    """Return the UID of the study that a UID or the digest of one names (the lists and logs show digests)."""
    if study_row(conn, named) is not None:
        return named
    return next((uid for uid in conn.execute(select(study.c.study_uid)).scalars() if digest(uid) == named), None)


def history_of(conn: Connection, study_uid: str) -> StudyHistory | None:
    """Return what is known of a study, or None when it is unknown."""
    row = study_row(conn, study_uid)
    if row is None:
        return None
    jobs = tuple(jobs_of_study(conn, study_uid))
    keys = [job.job_key for job in jobs]
    counted = conn.execute(
        select(reading.c.job_key, func.count(), func.sum(reading.c.findings))
        .where(reading.c.job_key.in_(keys))
        .group_by(reading.c.job_key)
    )
    objects = conn.execute(
        select(result_object.c.sop_instance_uid, result_object.c.job_key, result_object.c.kind)
        .where(result_object.c.job_key.in_(keys))
        .order_by(result_object.c.kind, result_object.c.sop_instance_uid)
    )
    return StudyHistory(
        study=row,
        instances=tuple(instances_of(conn, study_uid)),
        acts=_acts(conn, study_uid),
        jobs=jobs,
        findings={str(key): (int(images), int(found or 0)) for key, images, found in counted},
        made=tuple(Made(*one) for one in objects),
        sent=_sent(conn, keys),
        evidence=evidence_of(conn, [study_uid]).get(study_uid, NO_EVIDENCE),
        announced=announced_to(conn, [study_uid]).get(study_uid, ()),
        priors=tuple(priors_of(conn, study_uid)),
        order=order_of(conn, study_uid),
        workitems=tuple(of_study(conn, study_uid)),
        refused=_acts(conn, study_uid, REFUSED),
        shadows=tuple(shadows_of(conn, study_uid)),
        published=_acts(conn, study_uid, PUBLISHED),
        differing=differing_of(conn, study_uid),
    )


def differing_of(conn: Connection, named: str) -> tuple[Act, ...]:
    """Return which objects of a study came with other bytes under a UID that was here. named: UID or digest."""
    return _about(conn, (DIFFERS,), (digest(named), named))


def late_ignored(conn: Connection, study_uid: str) -> bool:
    """Tell whether objects that came after a study was closed have been left unread by rule."""
    closed = [act for act in _acts(conn, study_uid) if act.action == "study-closed"]
    return bool(closed) and "ignored" in closed[-1].detail


def objects_to_read(conn: Connection, study_uid: str) -> tuple[list[InstanceRow], int]:
    """Return a study's objects without those that came late and are ignored by rule, and how many these are."""
    rows, read = instances_of(conn, study_uid), last_job(conn, study_uid)
    late = [row for row in rows if read is not None and row.received_at > read.created_at]
    if not late or not late_ignored(conn, study_uid):
        return rows, 0
    return [row for row in rows if row not in late], len(late)


def _acts(conn: Connection, study_uid: str, actions: Sequence[str] = STUDY_ACTS) -> tuple[Act, ...]:
    return _about(conn, actions, (digest(study_uid),))


def _about(conn: Connection, actions: Sequence[str], subjects: Sequence[str]) -> tuple[Act, ...]:
    rows = conn.execute(
        select(audit.c.at, audit.c.action, audit.c.outcome, audit.c.actor, audit.c.detail)
        .where(audit.c.action.in_(actions), audit.c.subject.in_(subjects))
        .order_by(audit.c.row)
    )
    return tuple(
        Act(from_text(at), action, said, actor, orjson.loads(detail)) for at, action, said, actor, detail in rows
    )


def _sent(conn: Connection, job_keys: list[str]) -> tuple[Sent, ...]:
    rows = conn.execute(
        select(
            delivery.c.sop_instance_uid,
            result_object.c.kind,
            delivery.c.destination,
            delivery.c.state,
            delivery.c.attempts,
            delivery.c.next_attempt_at,
            delivery.c.last_status,
            delivery.c.last_problem,
            delivery.c.commitment,
            delivery.c.commitment_asks,
            delivery.c.updated_at,
        )
        .join(result_object, result_object.c.sop_instance_uid == delivery.c.sop_instance_uid)
        .where(result_object.c.job_key.in_(job_keys))
        .order_by(delivery.c.delivery_id)
    )
    times = ("next_attempt_at", "updated_at")
    return tuple(Sent(**dict(row) | {one: from_text(row[one]) for one in times}) for row in rows.mappings())
