"""What a model version has said of a patient's earlier images, by the day of the study and not of the reading."""

from datetime import date

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, or_, select

from clinical.finding import Reading
from clinical.identity import PatientKey
from record_store.readings import StoredReading, stored_reading
from record_store.tables import instance, study_header
from record_store.tables import reading as table


def has_others(conn: Connection, patient: PatientKey, now: Reading) -> bool:
    """Tell whether a model version has said anything of other studies of a patient."""
    return conn.execute(select(table.c.reading_id).where(_of_others(patient, now)).limit(1)).first() is not None


def earlier_readings(
    conn: Connection, patient: PatientKey, now: Reading, before: date, limit: int
) -> list[StoredReading]:
    """Return what the model version of a reading said of images of its modality of earlier days, newest day first.

    Of each image what was said last, recalled or not. A study whose day is not in the index of headers yet may be
    an earlier one and comes first.
    """
    query = _newest_day_first(_of_others(patient, now), f"{before:%Y%m%d}", now.image.modality)
    return [stored_reading(row) for row in conn.execute(query.limit(limit))]


def _of_others(patient: PatientKey, now: Reading) -> ColumnElement[bool]:
    its = table.c
    return and_(
        its.patient_system == patient.system,
        its.patient_value == patient.value,
        its.model == now.model.name,
        its.model_version == now.model.version,
        its.study_uid != now.image.study_uid,
    )


def _newest_day_first(mine: ColumnElement[bool], before: str, modality: str) -> Select[tuple[object, ...]]:
    header, again = study_header.c, table.alias().c
    not_indexed = header.study_uid.is_(None)
    later = or_(
        again.created_at > table.c.created_at,
        and_(again.created_at == table.c.created_at, again.reading_id > table.c.reading_id),
    )
    replaced = exists().where(
        again.patient_system == table.c.patient_system,
        again.patient_value == table.c.patient_value,
        again.sop_instance_uid == table.c.sop_instance_uid,
        again.model == table.c.model,
        later,
    )
    return (
        select(table)
        .join(instance, instance.c.sop_instance_uid == table.c.sop_instance_uid)
        .outerjoin(study_header, header.study_uid == table.c.study_uid)
        .where(mine, ~replaced, instance.c.modality == modality)
        .where(or_(not_indexed, and_(header.study_date != "", header.study_date < before)))
        .order_by(not_indexed.desc(), header.study_date.desc(), table.c.reading_id)
    )
