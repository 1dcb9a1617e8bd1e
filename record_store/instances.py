"""DICOM objects received, and when their study is complete.

C-STORE's Success means "durable and queued": the SCP commits `record_instance` before it answers, and the
study row is the queue: the worker closes studies that have been quiet and enqueues their jobs.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from clinical.identity import PatientKey
from record_store import audit
from record_store.also_sent import reopen_unread, take_over
from record_store.sql import Run, inserting_once, run_on
from record_store.tables import audit as audit_table
from record_store.tables import instance as instance_table
from record_store.tables import study as study_table
from record_store.times import from_text, to_text

OPEN, CLOSED, HELD = "open", "closed", "held"
DIFFERS = "instance-differs"  # an object came again with other bytes
TWO_PATIENTS = "its images name different patients"

# Built once: for every received object this costs more than running them.
_FIRST_BYTES = select(instance_table.c.sha256, instance_table.c.study_uid).where(
    instance_table.c.sop_instance_uid == bindparam("uid")
)
# FOR UPDATE (SQLite has its write lock already): two associations may bring one study.
_LOCKED_STUDY = select(study_table).where(study_table.c.study_uid == bindparam("uid")).with_for_update()
_UPDATE_STUDY = update(study_table).where(study_table.c.study_uid == bindparam("uid"))
_ADD_AUDIT = insert(audit_table)


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """One object as it arrived. patient: None when it names none. sha256, size: of its blob.

    fetched: a retrieve of ours has brought it.
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_uid: str
    series_uid: str
    modality: str
    patient: PatientKey | None
    sha256: str
    size: int
    calling_ae: str
    called_ae: str
    fetched: bool = False


class Taken(StrEnum):
    """What became of a received object."""

    NEW = "new"
    SAME = "same"  # these very bytes were here already
    DIFFERENT = "different"  # this UID was here with other bytes: the first is kept


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One stored object, without its patient (that is the study's). fetched: see `record_store.also_sent`."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_uid: str
    series_uid: str
    modality: str
    sha256: str
    size: int
    calling_ae: str
    called_ae: str
    received_at: datetime
    fetched: int = 0


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One study. state: open, closed or held. revision: 1, and one more whenever it is reopened."""

    study_uid: str
    patient: PatientKey | None
    state: str
    revision: int
    instances: int
    last_received_at: datetime
    hold_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ClosedStudy:
    """A study that is complete for now.

    content_digest: sha256 over its sorted (SOP instance UID, sha256): the same objects give the same
        digest in whatever order and however often they arrived.
    """

    study_uid: str
    revision: int
    content_digest: str
    patient: PatientKey | None


def record_instance(conn: Connection, instance: ReceivedInstance, now: datetime) -> Taken:
    """Write one object, as `record_instances`."""
    return record_instances(run_on(conn), conn.dialect.name, [instance], now)[0]


def record_instances(run: Run, dialect: str, instances: Sequence[ReceivedInstance], now: datetime) -> list[Taken]:
    """Write objects, their studies and the audit in the caller's transaction; the blobs are stored before.

    A new object reopens a closed study (revision + 1). One of another patient holds the study until a
    person has looked at it: a result must never go to the wrong chart. A repeated one changes nothing, but that
    a prior is read that somebody sends of his own accord (`record_store.also_sent`).
    """
    taken = [Taken.SAME for _ in instances]
    # In one order everywhere, and the objects before the studies: two nodes that share PostgreSQL would else
    # wait for each other.
    again: set[str] = set()
    for place in sorted(range(len(instances)), key=lambda place: instances[place].sop_instance_uid):
        taken[place] = _take(run, dialect, instances[place], now)
        if taken[place] is Taken.SAME:
            again.update(take_over(run, instances[place]))
    arrived: dict[str, list[ReceivedInstance]] = {}
    for instance, what in zip(instances, taken, strict=True):
        if what is Taken.NEW:
            arrived.setdefault(instance.study_uid, []).append(instance)
    for study_uid in sorted(arrived.keys() | again):
        if study_uid in arrived:
            _count_into_study(run, dialect, arrived[study_uid], now)
        else:
            run(_LOCKED_STUDY, {"uid": study_uid})  # else who is just closing it as a prior would be overlooked
            reopen_unread(run, study_uid, now)
    for instance, what in zip(instances, taken, strict=True):
        _audit(run, instance, what, now)
    return taken


def due_studies(conn: Connection, quiet_before: datetime) -> list[str]:
    """Return the UIDs of open studies whose last object came before `quiet_before`, longest quiet first."""
    query = (
        select(study_table.c.study_uid)
        .where(study_table.c.state == OPEN, study_table.c.last_received_at < to_text(quiet_before))
        .order_by(study_table.c.last_received_at)
    )
    return list(conn.execute(query).scalars())


def close_study(conn: Connection, study_uid: str, quiet_before: datetime) -> ClosedStudy | None:
    """Close a study that is open and quiet; None when it is not, or when somebody else closed it first.

    The conditional update takes the row's lock, which an arriving object needs as well, so the digest
    covers exactly the objects that this revision counts. Call it in a write transaction.
    """
    statement = (
        update(study_table)
        .where(
            study_table.c.study_uid == study_uid,
            study_table.c.state == OPEN,
            study_table.c.last_received_at < to_text(quiet_before),
        )
        .values(state=CLOSED)
    )
    if conn.execute(statement).rowcount != 1:
        return None
    row = study_row(conn, study_uid)
    if row is None:
        return None
    return ClosedStudy(study_uid, row.revision, content_digest(instances_of(conn, study_uid)), row.patient)


def hold_study(conn: Connection, study_uid: str, reason: str) -> None:
    """Set a study aside until a person has looked at it; an unknown one is left alone.

    reason: one sentence without patient data.
    """
    table = study_table.c
    conn.execute(update(study_table).where(table.study_uid == study_uid).values(state=HELD, hold_reason=reason))


def release_study(conn: Connection, study_uid: str) -> bool:
    """Let a held study go on as a new revision, after a person has looked at it; False when it is not held."""
    table = study_table.c
    statement = (
        update(study_table)
        .where(table.study_uid == study_uid, table.state == HELD)
        .values(state=OPEN, hold_reason=None, revision=table.revision + 1)
    )
    return conn.execute(statement).rowcount == 1


def reopen_study(conn: Connection, study_uid: str) -> bool:
    """Open a closed study as a new revision, as a new object does; False when it is not closed."""
    table = study_table.c
    statement = (
        update(study_table)
        .where(table.study_uid == study_uid, table.state == CLOSED)
        .values(state=OPEN, revision=table.revision + 1)
    )
    return conn.execute(statement).rowcount == 1


def set_revision(conn: Connection, study_uid: str, revision: int) -> None:
    """Let a study stand at a revision again: what came after it is ignored."""
    conn.execute(update(study_table).where(study_table.c.study_uid == study_uid).values(revision=revision))


def content_digest(instances: list[InstanceRow]) -> str:
    """Return the sha256 that names a study's content (see `ClosedStudy`)."""
    lines = sorted(f"{row.sop_instance_uid} {row.sha256}\n" for row in instances)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def instances_of(conn: Connection, study_uid: str) -> list[InstanceRow]:
    """Return a study's objects, ordered by series and UID."""
    query = (
        select(instance_table)
        .where(instance_table.c.study_uid == study_uid)
        .order_by(instance_table.c.series_uid, instance_table.c.sop_instance_uid)
    )
    return [_instance_row(row) for row in conn.execute(query)]


def instance_sha256(conn: Connection, sop_instance_uid: str) -> str | None:
    """Return the blob of an object that we received, or None."""
    sha256: str | None = conn.execute(_FIRST_BYTES, {"uid": sop_instance_uid}).scalar()
    return sha256


def modalities_of(conn: Connection, study_uid: str) -> set[str]:
    """Return the modalities of a study's instances."""
    query = select(instance_table.c.modality).where(instance_table.c.study_uid == study_uid).distinct()
    return set(conn.execute(query).scalars())


def study_row(conn: Connection, study_uid: str, *, to_change: bool = False) -> StudyRow | None:
    """Return a study, or None. to_change: in a write transaction, so that nobody changes it meanwhile."""
    query = select(study_table).where(study_table.c.study_uid == study_uid)
    row = conn.execute(query.with_for_update() if to_change else query).first()
    return None if row is None else _study_row(row._asdict())


def after_arrival(study: StudyRow, instance: ReceivedInstance, now: datetime) -> StudyRow:
    """Return the study as a new object leaves it. Pure."""
    arrived = replace(study, instances=study.instances + 1, last_received_at=max(now, study.last_received_at))
    if study.state == HELD:
        return arrived
    if study.patient != instance.patient:
        return replace(arrived, state=HELD, hold_reason=TWO_PATIENTS)
    if study.state == CLOSED:
        return replace(arrived, state=OPEN, revision=study.revision + 1)
    return arrived


def _take(run: Run, dialect: str, instance: ReceivedInstance, now: datetime) -> Taken:
    values = {
        "sop_instance_uid": instance.sop_instance_uid,
        "sop_class_uid": instance.sop_class_uid,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
        "study_uid": instance.study_uid,
        "series_uid": instance.series_uid,
        "modality": instance.modality,
        "sha256": instance.sha256,
        "size": instance.size,
        "calling_ae": instance.calling_ae,
        "called_ae": instance.called_ae,
        "received_at": to_text(now),
        "fetched": int(instance.fetched),
    }
    if run(inserting_once(dialect, instance_table, ("sop_instance_uid",)), values):
        return Taken.NEW
    ((first, _),) = run(_FIRST_BYTES, {"uid": instance.sop_instance_uid})
    return Taken.SAME if first == instance.sha256 else Taken.DIFFERENT


def _audit(run: Run, instance: ReceivedInstance, what: Taken, now: datetime) -> None:
    actor, uid, study = f"ae:{instance.calling_ae}", instance.sop_instance_uid, audit.digest(instance.study_uid)
    _, row = audit.row_of(
        at=now,
        action="instance-received",
        outcome=what,
        actor=actor,
        subject=audit.digest(uid),
        detail={"study": study, "sha256": instance.sha256},
    )
    run(_ADD_AUDIT, row)
    if what is not Taken.DIFFERENT:
        return
    # By study, which is what is asked for: by that of the first bytes, and by the one that came, if it is another.
    ((_, first_uid),) = run(_FIRST_BYTES, {"uid": uid})
    first = audit.digest(first_uid)
    detail = {"instance": audit.digest(uid)} | ({"first_study": first} if first != study else {})
    for subject in dict.fromkeys((first, study)):
        _, row = audit.row_of(
            at=now, action=DIFFERS, outcome="first-kept", actor=actor, subject=subject, detail=detail
        )
        run(_ADD_AUDIT, row)


def _count_into_study(run: Run, dialect: str, arrived: Sequence[ReceivedInstance], now: datetime) -> None:
    uid = arrived[0].study_uid
    before = run(_LOCKED_STUDY, {"uid": uid})
    if not before:
        first = StudyRow(uid, arrived[0].patient, OPEN, 1, 1, now)
        values = _study_values(_after_all(first, arrived[1:], now))
        if run(inserting_once(dialect, study_table, ("study_uid",)), values):
            return
        before = run(_LOCKED_STUDY, {"uid": uid})  # another association was first
    known = dict(zip(study_table.c.keys(), before[0], strict=True))
    after = _study_values(_after_all(_study_row(known), arrived, now))
    # Of what stays an index would be written anew for each object (SQLite), or the whole row's (PostgreSQL).
    run(_UPDATE_STUDY, {"uid": uid} | {name: value for name, value in after.items() if value != known[name]})


def _after_all(study: StudyRow, arrived: Sequence[ReceivedInstance], now: datetime) -> StudyRow:
    for instance in arrived:
        study = after_arrival(study, instance, now)
    return study


def _study_values(row: StudyRow) -> dict[str, object]:
    return {
        "study_uid": row.study_uid,
        "patient_system": row.patient.system if row.patient else None,
        "patient_value": row.patient.value if row.patient else None,
        "state": row.state,
        "revision": row.revision,
        "instances": row.instances,
        "last_received_at": to_text(row.last_received_at),
        "hold_reason": row.hold_reason,
    }


def _study_row(values: Mapping[str, Any]) -> StudyRow:
    system, value = values["patient_system"], values["patient_value"]
    return StudyRow(
        study_uid=values["study_uid"],
        patient=PatientKey(system, value) if system and value else None,
        state=values["state"],
        revision=values["revision"],
        instances=values["instances"],
        last_received_at=from_text(values["last_received_at"]),
        hold_reason=values["hold_reason"],
    )


def _instance_row(row: Row[tuple[object, ...]]) -> InstanceRow:
    values = dict(row._mapping)  # noqa: SLF001
    return InstanceRow(**values | {"received_at": from_text(values["received_at"])})
