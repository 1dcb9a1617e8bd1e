"""What was ordered, by the worklist's word: asked once a study, kept without words about the patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, or_, select, update

from clinical.identity import PatientKey
from record_store.instances import OPEN
from record_store.sql import insert_once
from record_store.tables import series_header, study, study_header, study_order
from record_store.times import from_text, to_text

ASKING, ASKED, FAILED = "asking", "asked", "failed"
ASK_AGAIN = timedelta(seconds=15)
LEASE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Unordered:
    """An open study whose order nobody has asked for; what its index row says ("" where nothing).

    patient: number and issuer, None while nobody knows. shows: what says which part of the body it shows.
    """

    study_uid: str
    accession_number: str
    patient_id: str
    patient_birth_date: str
    patient: PatientKey | None = None
    study_id: str = ""
    study_date: str = ""
    modalities: frozenset[str] = frozenset()
    shows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StudyOrder:
    """The answer.

    problem: why there is none, or what is in doubt of it. side: L, R, B or "". stranger: the order is for another
    patient. orders: how many there are. several: orders under one number are for different patients. found_by:
    what named the order. accession_number: of the order, with the identifier system of its issuer. kept: what
    became of it in the FHIR store, in words.
    """

    study_uid: str
    state: str
    problem: str | None
    orders: int
    side: str
    stranger: bool
    at: datetime
    several: bool = False
    found_by: str = ""
    accession_number: str = ""
    accession_system: str = ""
    kept: str = ""


def unordered(conn: Connection, now: datetime, limit: int) -> list[Unordered]:
    """Return open studies whose order is not known, longest open first."""
    header, known = study_header.c, study_order.c
    stale = or_(
        known.state.is_(None),
        and_(known.state == FAILED, known.at < to_text(now - ASK_AGAIN)),
        and_(known.state == ASKING, known.at < to_text(now - LEASE)),
    )
    query = (
        select(
            header.study_uid,
            header.accession_number,
            header.patient_id,
            header.patient_birth_date,
            study.c.patient_system,
            study.c.patient_value,
            header.study_id,
            header.study_date,
            header.modalities_in_study,
            header.study_description,
        )
        .join(study, study.c.study_uid == header.study_uid)
        .outerjoin(study_order, known.study_uid == header.study_uid)
        .where(study.c.state == OPEN, stale)
        .order_by(study.c.last_received_at)
        .limit(limit)
    )
    rows = conn.execute(query).all()
    parts = _body_parts(conn, [row.study_uid for row in rows])
    return [
        Unordered(
            *row[:4],
            PatientKey(row[4], row[5]) if row[4] and row[5] else None,
            *row[6:8],
            frozenset(filter(None, row[8].split("\\"))),
            (row.study_description, *parts.get(row.study_uid, ())),
        )
        for row in rows
    ]


def _body_parts(conn: Connection, study_uids: Sequence[str]) -> dict[str, list[str]]:
    """Return Body Part Examined (0018,0015) of the series of each study."""
    said = select(series_header.c.study_uid, series_header.c.body_part_examined).distinct()
    found: dict[str, list[str]] = {}
    for uid, part in conn.execute(said.where(series_header.c.study_uid.in_(study_uids))):
        found.setdefault(uid, []).append(part)
    return found


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
    several: bool = False,
    found_by: str = "",
    accession: tuple[str, str] = ("", ""),
    kept: str = "",
    doubt: str = "",
    problem: str | None = None,
) -> None:
    """Write what the worklist said, or why it did not. accession: system and number. As `StudyOrder` otherwise."""
    values = {
        "state": ASKED if problem is None else FAILED,
        "orders": orders,
        "side": side,
        "stranger": int(stranger),
        "several": int(several),
        "found_by": found_by,
        "accession_system": accession[0],
        "accession_number": accession[1],
        "kept": kept,
        "problem": problem or doubt or None,
    }
    conn.execute(update(study_order).where(study_order.c.study_uid == study_uid).values(**values, at=to_text(now)))


def order_of(conn: Connection, study_uid: str) -> StudyOrder | None:
    """Return what is known of a study's order, None when nobody asked."""
    row = conn.execute(select(study_order).where(study_order.c.study_uid == study_uid)).mappings().first()
    if row is None:
        return None
    flags = {name: bool(row[name]) for name in ("stranger", "several")}
    return StudyOrder(**dict(row) | {"at": from_text(row["at"])} | flags)
