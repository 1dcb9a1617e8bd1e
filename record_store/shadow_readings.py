"""What models said of images that nobody is shown: apart from the readings that results are made of.

A reading's mask lies in its row and not among the blobs, so that removing a model removes all that it said.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, and_, func, select

from clinical.finding import Reading
from record_store.reading_json import from_json, to_json
from record_store.sql import insert_once
from record_store.tables import reading as live_reading
from record_store.tables import shadow_reading as table
from record_store.times import from_text, to_text

AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Subgroup:
    """What an image says of its machine and its patient; "" where it says nothing. age_band: in years."""

    modality: str = ""
    manufacturer: str = ""
    sex: str = ""
    age_band: str = ""


NOT_SAID = Subgroup()


@dataclass(frozen=True, slots=True)
class ShadowReading:
    """What a model said of an image. mask: its label image, packed. seconds: that it took, decoding left out."""

    reading_id: str
    reading: Reading
    mask: bytes
    seconds: float
    subgroup: Subgroup
    created_at: datetime


def put(conn: Connection, one: ShadowReading) -> bool:
    """Store a reading; False when its id is there already, which changes nothing."""
    reading = one.reading
    values = {
        "reading_id": one.reading_id,
        "model": reading.model.name,
        "version": reading.model.version,
        "study_uid": reading.image.study_uid,
        "sop_instance_uid": reading.image.sop_instance_uid,
        "modality": one.subgroup.modality,
        "manufacturer": one.subgroup.manufacturer,
        "sex": one.subgroup.sex,
        "age_band": one.subgroup.age_band,
        "findings": len(reading.findings),
        "seconds": one.seconds,
        "body": to_json(reading),
        "mask": one.mask,
        "created_at": to_text(one.created_at),
    }
    return insert_once(conn, table, values, ["reading_id"])


def known(conn: Connection, reading_ids: Collection[str]) -> set[str]:
    """Return which of these readings are there."""
    ids = list(reading_ids)
    found: set[str] = set()
    for start in range(0, len(ids), AT_ONCE):
        query = select(table.c.reading_id).where(table.c.reading_id.in_(ids[start : start + AT_ONCE]))
        found |= set(conn.execute(query).scalars())
    return found


def images_in(conn: Connection, study_uid: str, model: str, version: str) -> int:
    """Return how many images of a study a model has read."""
    mine = (table.c.model == model, table.c.version == version, table.c.study_uid == study_uid)
    return int(conn.execute(select(func.count()).select_from(table).where(*mine)).scalar_one())


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model's reading of an image stands, and what can be told of it without opening it.

    seconds, subgroup: as in `ShadowReading`; a live reading keeps neither.
    """

    reading_id: str
    study_uid: str
    findings: int
    seconds: float | None = None
    subgroup: Subgroup = NOT_SAID


def by_image(conn: Connection, model: str, version: str) -> dict[str, Place]:
    """Return SOP Instance UID -> the reading that a model made in shadow; of several the newest."""
    its = table.c
    said = (its.seconds, its.modality, its.manufacturer, its.sex, its.age_band)
    query = select(its.sop_instance_uid, its.reading_id, its.study_uid, its.findings, *said)
    mine = and_(its.model == model, its.version == version)
    rows = conn.execute(query.where(mine).order_by(its.created_at, its.reading_id))
    return {row[0]: Place(row[1], row[2], row[3], row[4], Subgroup(*row[5:])) for row in rows}


def live_by_image(conn: Connection, model: str, version: str) -> dict[str, Place]:
    """Return SOP Instance UID -> the reading that results were made of; of several the newest."""
    its = live_reading.c
    mine = and_(its.model == model, its.model_version == version)
    query = select(its.sop_instance_uid, its.reading_id, its.study_uid, its.findings)
    rows = conn.execute(query.where(mine).order_by(its.created_at, its.reading_id))
    return {uid: Place(*where) for uid, *where in rows}


def by_id(conn: Connection, reading_id: str) -> ShadowReading | None:
    """Return a reading, or None."""
    row = conn.execute(select(table).where(table.c.reading_id == reading_id)).first()
    return None if row is None else _read(row)


def _read(row: Row[tuple[object, ...]]) -> ShadowReading:
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
    return ShadowReading(
        reading_id=values["reading_id"],
        reading=from_json(bytes(values["body"])),
        mask=bytes(values["mask"]),
        seconds=values["seconds"],
        subgroup=Subgroup(values["modality"], values["manufacturer"], values["sex"], values["age_band"]),
        created_at=from_text(values["created_at"]),
    )
