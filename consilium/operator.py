"""What an operator asks of the store: which studies, jobs and deliveries, and to try again."""

import re
from typing import Any

from sqlalchemy import Connection, select

from clinical.errors import IncorrectInput, NotFound, PreconditionMissing
from consilium.delivery_words import why
from consilium.settings import Settings
from consilium.wiring import House
from record_store import commitment_requests, deliveries, exports, readings
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.instances import HELD, OPEN, instances_of, release_study, reopen_study, study_row
from record_store.jobs import JobClient
from record_store.priors import is_prior
from record_store.study_history import find_study, late_ignored
from record_store.tables import study, study_job
from record_store.times import to_text

Row = dict[str, Any]
LONGEST_WHY = 200
_WHO = re.compile(r"[A-Za-z0-9._@-]{1,64}")


def list_studies(settings: Settings) -> list[Row]:
    """Return the studies, newest first, by digest: a study's UID belongs to a patient."""
    with House(settings).db.read() as conn:
        rows = conn.execute(select(study).order_by(study.c.last_received_at.desc()).limit(200)).mappings().all()
    return [
        {
            "study": digest(row["study_uid"]),
            "state": row["state"],
            "revision": row["revision"],
            "instances": row["instances"],
            "last received": row["last_received_at"],
            "held because": row["hold_reason"],
        }
        for row in rows
    ]


def list_exports(settings: Settings) -> list[Row]:
    """Return the bulk exports that are kept, oldest first, and why one failed."""
    with House(settings).db.read() as conn:
        found = exports.every(conn)
    return [
        {
            "export": one.id,
            "client": one.client,
            "state": one.state,
            "resources": one.resources,
            "of": one.at,
            "since": to_text(one.settled_at),
            "problem": one.problem,
        }
        for one in found
    ]


def cancel_export(settings: Settings, named: str) -> None:
    """Stop an export, or give its files up; a worker removes them. Raises NotFound when there is none."""
    house = House(settings)
    with house.db.write() as conn:
        owners = [one.client for one in exports.every(conn) if one.id == named]
        if not owners or not exports.cancel(conn, named, owners[0], house.now()):
            raise NotFound("no export has this id; 'consilium exports' lists them")


def release_held_study(settings: Settings, named: str, *, by: str, why: str) -> None:
    """Let a held study go on after a person has looked at it. named: its UID or digest; by, why: for the audit.

    Raises NotFound when no held study has this name, IncorrectInput when nobody or nothing is named.
    """
    house = House(settings)
    with house.db.write() as conn:
        uid = find_study(conn, named)
        if uid is None or not release_study(conn, uid):
            raise NotFound("no held study has this UID or digest; 'consilium studies' lists them")
        _audit_act(conn, house, uid, "study-released", by, why)


def force_study(settings: Settings, named: str, *, by: str, why: str) -> None:
    """Say that a study is complete as it is: a worker closes it at once. named: its UID or digest.

    It is open, or closed with late objects ignored: then these are read with it. Or a prior, which no model reads
    else. Raises NotFound when it is unknown, PreconditionMissing when there is nothing to wait for, IncorrectInput
    as release_held_study.
    """
    house = House(settings)
    with house.db.write() as conn:
        uid = find_study(conn, named)
        row = None if uid is None else study_row(conn, uid, to_change=True)
        if uid is None or row is None:
            raise NotFound("no study has this UID or digest; 'consilium studies' lists the digests")
        unread = late_ignored(conn, uid) or (is_prior(conn, uid) and not readings.jobs_of_study(conn, uid))
        if row.state != OPEN and not (unread and reopen_study(conn, uid)):
            raise PreconditionMissing(f"the study is {row.state}, so there is nothing to wait for")
        _audit_act(conn, house, uid, "study-forced", by, why)


def _audit_act(conn: Connection, house: House, uid: str, action: str, by: str, why: str) -> None:
    """Write down who did what to a study, and why, with the revision that it concerns."""
    actor = checked_operator(by)
    if not 3 <= len(why.strip()) <= LONGEST_WHY:
        raise IncorrectInput(f"expected why, in 3 to {LONGEST_WHY} characters that do not name the patient")
    row = study_row(conn, uid)
    append_audit(
        conn,
        at=house.now(),
        action=action,
        outcome="open",
        actor=actor,
        subject=digest(uid),
        detail={"revision": row.revision if row else 0, "why": why.strip()},
    )


def checked_operator(by: str) -> str:
    """Return a person as actor of the audit. Raises IncorrectInput."""
    if _WHO.fullmatch(by) is None:
        raise IncorrectInput("expected who does it: letters, digits and . _ @ -, at most 64")
    return f"operator:{by}"


def send_study(settings: Settings, named: str, destination: str) -> int:
    """Have a study's received objects sent to a destination, and return how many that adds.

    named: its UID or digest. Raises NotFound when either is unknown, PreconditionMissing when the study is held.
    """
    house = House(settings)
    if destination not in {one.name for one in settings.pacs}:
        raise NotFound("CONSILIUM_PACS has no destination of this name")
    with house.db.write() as conn:
        uid = find_study(conn, named)
        row = None if uid is None else study_row(conn, uid)
        if row is None:
            raise NotFound("no study has this UID or digest; 'consilium studies' lists the digests")
        if row.state == HELD:
            raise PreconditionMissing("the study is held: its patient is in doubt")
        added = [
            deliveries.enqueue(conn, one.sop_instance_uid, destination, house.now())
            for one in instances_of(conn, row.study_uid)
        ]
        append_audit(
            conn,
            at=house.now(),
            action="study-sent",
            outcome="queued",
            actor="operator",
            subject=digest(row.study_uid),
            detail={"destination": destination, "objects": sum(added)},
        )
    return sum(added)


def list_jobs(settings: Settings) -> list[Row]:
    """Return the study jobs that are not done, oldest first, with the reason why one failed."""
    query = select(study_job).where(study_job.c.state != readings.DONE).order_by(study_job.c.created_at).limit(200)
    with House(settings).db.read() as conn:
        rows = conn.execute(query).mappings().all()
    return [
        {
            "job": row["job_key"][:12],
            "study": digest(row["study_uid"]),
            "model": f"{row['model']} {row['model_version']}",
            "state": row["state"],
            "since": row["created_at"],
            "reason": row["reason"],
        }
        for row in rows
    ]


def retry_failed(settings: Settings) -> int:
    """Queue every failed job again from the step that failed; return how many."""
    house = House(settings)
    client = JobClient(house.db)
    try:
        parked = client.dead_letters()
        for letter in parked:
            # In this order: a worker may be done with it before its row says that it is queued again.
            client.retry(letter.job_key)
            with house.db.write() as conn:
                readings.requeue_job(conn, letter.job_key)
    finally:
        client.close()
    return len(parked)


def list_deliveries(settings: Settings, state: str | None, destination: str | None = None) -> list[Row]:
    """Return deliveries, of one state or destination or all, each with where it stands in words."""
    with House(settings).db.read() as conn:
        found = deliveries.deliveries(conn, state, destination)
        kinds = readings.kinds_of(conn, [one.sop_instance_uid for one in found])
    return [
        {
            "object": digest(one.sop_instance_uid),
            "kind": kinds.get(one.sop_instance_uid),
            "destination": one.destination,
            "state": one.state,
            "commitment": one.commitment,
            "attempts": one.attempts,
            "why": why(one),
        }
        for one in found
    ]


def resend(settings: Settings, destination: str | None = None, object_digest: str | None = None) -> int:
    """Make deliveries due again, with all their attempts; return how many.

    The dead ones, of one destination or all; of an object that is named by its digest, in whatever state. Raises
    NotFound when the object is not there.
    """
    house = House(settings)
    state = deliveries.DEAD if object_digest is None else None
    with house.db.write() as conn:
        found = deliveries.deliveries(conn, state, destination)
        if object_digest is not None:
            found = [one for one in found if digest(one.sop_instance_uid) == object_digest]
            if not found:
                raise NotFound("no object with this digest goes there; 'consilium deliveries' lists them")
        for one in found:
            deliveries.resend(conn, one.sop_instance_uid, one.destination, house.now())
            append_audit(
                conn,
                at=house.now(),
                action="result-resent",
                outcome=one.state,
                actor="operator",
                subject=digest(one.sop_instance_uid),
                detail={"destination": one.destination},
            )
    return len(found)


def list_commitment_requests(settings: Settings) -> list[Row]:
    """Return the questions of senders whether we keep their objects, the longest unchanged first."""
    with House(settings).db.read() as conn:
        found = commitment_requests.requests(conn)
    return [
        {
            "sender": one.calling_ae,
            "objects": one.objects,
            "state": one.state,
            "attempts": one.attempts,
            "problem": one.last_problem,
        }
        for one in found
    ]
