"""What was ordered, by the worklist's word: asked once a study, kept without words about the patient."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, or_, select, update

from record_store.instances import OPEN
from record_store.sql import insert_once
from record_store.tables import study, study_header, study_order
from record_store.times import from_text, to_text

ASKING, ASKED, FAILED = "asking", "asked", "failed"
ASK_AGAIN = timedelta(seconds=15)
LEASE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Unordered:
    """An open study whose order nobody has asked for; what its index row says ("" where nothing)."""

    study_uid: str
    accession_number: str
    patient_id: str
    patient_birth_date: str


@dataclass(frozen=True, slots=True)
class StudyOrder:
    """The answer. side: L, R, B or "". stranger: the order is for another patient. orders: how many there are."""

    study_uid: str
    state: str
    problem: str | None
    orders: int
    side: str
    stranger: bool
    at: datetime


def unordered(conn: Connection, now: datetime, limit: int) -> list[Unordered]:
    """Return open studies with an accession number whose order is not known, longest open first."""
    header, known = study_header.c, study_order.c
    stale = or_(
        known.state.is_(None),
        and_(known.state == FAILED, known.at < to_text(now - ASK_AGAIN)),
        and_(known.state == ASKING, known.at < to_text(now - LEASE)),
    )
    query = (
        select(header.study_uid, header.accession_number, header.patient_id, header.patient_birth_date)
        .join(study, study.c.study_uid == header.study_uid)
        .outerjoin(study_order, known.study_uid == header.study_uid)
        .where(study.c.state == OPEN, header.accession_number != "", stale)
        .order_by(study.c.last_received_at)
        .limit(limit)
    )
    return [Unordered(*row) for row in conn.execute(query)]


def claim(conn: Connection, study_uid: str, now: datetime) -> bool:
    """Write that the worklist is being asked; False when another worker does it."""
    values = {"study_uid": study_uid, "state": ASKING, "side": "", "at": to_text(now)}
    if insert_once(conn, study_order, values, ["study_uid"]):
        return True
    table = study_order.c
    stale = or_(
        and_(table.state == FAILED, table.at < to_text(now - ASK_AGAIN)),
        and_(table.state == ASKING, table.at < to_text(now - LEASE)),
    )
    again = update(study_order).where(table.study_uid == study_uid, stale).values(state=ASKING, at=to_text(now))
    return conn.execute(again).rowcount == 1


def answer(
    conn: Connection,
    study_uid: str,
    now: datetime,
    *,
    orders: int = 0,
    side: str = "",
    stranger: bool = False,
    problem: str | None = None,
) -> None:
    """Write what the worklist said, or why it did not."""
    state = ASKED if problem is None else FAILED
    values = {"orders": orders, "side": side, "stranger": int(stranger), "problem": problem, "state": state}
    conn.execute(update(study_order).where(study_order.c.study_uid == study_uid).values(**values, at=to_text(now)))


def order_of(conn: Connection, study_uid: str) -> StudyOrder | None:
    """Return what is known of a study's order, None when nobody asked."""
    row = conn.execute(select(study_order).where(study_order.c.study_uid == study_uid)).mappings().first()
    if row is None:
        return None
    return StudyOrder(**dict(row) | {"at": from_text(row["at"]), "stranger": bool(row["stranger"])})
