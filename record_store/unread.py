"""What no model has read yet, and why: the other half of "the model found nothing"."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, exists, or_, select

from clinical.identity import PatientKey
from record_store.instances import CLOSED, HELD, OPEN
from record_store.readings import DONE, FAILED, NO_IMAGE_READ
from record_store.tables import instance as instance_table
from record_store.tables import study as study_table
from record_store.tables import study_job as job_table
from record_store.times import from_text

WAITING = "waiting"
_ENDED = (FAILED, DONE)


@dataclass(frozen=True, slots=True)
class UnreadStudy:
    """A study with images that a model should have read and has not.

    state: waiting, failed or held. reason: why it failed or is held, without patient data.
    """

    study_uid: str
    modalities: tuple[str, ...]
    received_at: datetime
    state: str
    reason: str | None


def unread_of_patient(
    conn: Connection,
    keys: Sequence[PatientKey],
    modalities: Collection[str] | None,
    limit: int,
    model: str | None = None,
) -> list[UnreadStudy]:
    """Return the studies of the patient that all these keys name and that are not read, newest first.

    A closed study is unread when a job of its last revision is not done; one without a job is meant for no
    model. An open or held one is unread when it has an image of these modalities (None: of any).

    model: only what this model should have read, and with it what it was given and could not read an image of.
    """
    study, job = study_table.c, job_table.c
    same = [and_(study.patient_system == key.system, study.patient_value == key.value) for key in keys]
    if not same:
        return []
    meant = [instance_table.c.study_uid == study.study_uid]
    if modalities is not None:
        meant.append(instance_table.c.modality.in_(modalities))
    wanted = job.state != DONE
    if model is not None:
        # What was left out for its kind stays unread; what was meant for another part of the body does not.
        wanted = and_(job.model == model, or_(wanted, job.reason.startswith(NO_IMAGE_READ, autoescape=True)))
    last = and_(job.study_uid == study.study_uid, job.revision == study.revision, wanted)
    query = (
        select(study_table, job.state.label("job_state"), job.reason)
        .join(job_table, and_(last, study.state == CLOSED), isouter=True)
        .where(
            or_(*same), or_(job.state.is_not(None), and_(study.state.in_((OPEN, HELD)), exists().where(*meant)))
        )
        .order_by(study.last_received_at.desc(), study.study_uid, job.job_key)
        .limit(limit)
    )
    rows = conn.execute(query).mappings().all()
    shown = _modalities(conn, [row["study_uid"] for row in rows])
    return [
        UnreadStudy(
            study_uid=row["study_uid"],
            modalities=tuple(sorted(shown[row["study_uid"]])),
            received_at=from_text(row["last_received_at"]),
            state=row["state"] if row["state"] == HELD else FAILED if row["job_state"] in _ENDED else WAITING,
            reason=row["hold_reason"] if row["state"] == HELD else row["reason"],
        )
        for row in rows
    ]


def _modalities(conn: Connection, studies: Sequence[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {uid: set() for uid in studies}
    table = instance_table.c
    query = select(table.study_uid, table.modality).where(table.study_uid.in_(studies)).distinct()
    for study_uid, modality in conn.execute(query) if studies else ():
        if modality:
            found[study_uid].add(modality)
    return found
