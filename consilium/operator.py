"""What an operator asks of the store: which studies, jobs and deliveries, and to try again."""

from typing import Any

from sqlalchemy import select

from clinical.errors import NotFound, PreconditionMissing
from consilium.settings import Settings
from consilium.wiring import House
from dicom_node.status import in_words
from record_store import commitment_requests, deliveries, quarantine, readings
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.instances import HELD, OPEN, release_study, study_row
from record_store.jobs import JobClient
from record_store.study_history import find_study
from record_store.tables import study, study_job

Row = dict[str, Any]


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


def release_held_study(settings: Settings, study_digest: str) -> None:
    """Let a held study go on after a person has looked at it. Raises NotFound when none has this digest."""
    house = House(settings)
    with house.db.write() as conn:
        held = conn.execute(select(study.c.study_uid).where(study.c.state == HELD)).scalars()
        found = next((uid for uid in held if digest(uid) == study_digest), None)
        if found is None or not release_study(conn, found):
            raise NotFound("no held study has this digest; 'consilium studies' lists them")
        append_audit(
            conn, at=house.now(), action="study-released", outcome="open", actor="operator", subject=study_digest
        )


def force_study(settings: Settings, named: str) -> None:
    """Say that an open study is complete as it is: a worker closes it at once. named: its UID or digest.

    Raises NotFound when it is unknown, PreconditionMissing when it is not open.
    """
    house = House(settings)
    with house.db.write() as conn:
        uid = find_study(conn, named)
        row = None if uid is None else study_row(conn, uid)
        if row is None:
            raise NotFound("no study has this UID or digest; 'consilium studies' lists the digests")
        if row.state != OPEN:
            raise PreconditionMissing(f"the study is {row.state}, so there is nothing to wait for")
        append_audit(
            conn,
            at=house.now(),
            action="study-forced",
            outcome="open",
            actor="operator",
            subject=digest(row.study_uid),
            detail={"revision": row.revision},
        )


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


def list_deliveries(settings: Settings, state: str | None) -> list[Row]:
    """Return deliveries of one state, or all."""
    with House(settings).db.read() as conn:
        found = deliveries.deliveries(conn, state)
    return [
        {
            "object": digest(one.sop_instance_uid),
            "destination": one.destination,
            "state": one.state,
            "commitment": one.commitment,
            "attempts": one.attempts,
            "status": None if one.last_status is None else f"0x{one.last_status:04X} {in_words(one.last_status)}",
            "problem": one.last_problem,
        }
        for one in found
    ]


def resend_dead(settings: Settings) -> int:
    """Make every dead delivery due again; return how many."""
    house = House(settings)
    with house.db.write() as conn:
        dead = deliveries.deliveries(conn, deliveries.DEAD)
        for one in dead:
            deliveries.resend(conn, one.sop_instance_uid, one.destination, house.now())
    return len(dead)


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


def list_quarantined(settings: Settings) -> list[Row]:
    """Return the digests of the images that are set aside because they ended their decoder."""
    with House(settings).db.read() as conn:
        return [{"image": one} for one in quarantine.quarantined(conn)]


def release_quarantined(settings: Settings, image_digest: str) -> None:
    """Let an image that is set aside be tried again. Raises NotFound when none has this digest."""
    house = House(settings)
    with house.db.write() as conn:
        if not quarantine.release(conn, image_digest, house.now()):
            raise NotFound("no image that is set aside has this digest; 'consilium quarantine' lists them")
