"""What is known of a study's completeness besides its objects: how its associations ended, what an archive counts.

Rows are hints: they let a study be closed sooner or later than its quiet time and never decide what is in it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from record_store.deliveries import SENT
from record_store.instances import OPEN
from record_store.sql import insert_once
from record_store.tables import delivery, result_object, study
from record_store.tables import study_evidence as table
from record_store.times import from_text, to_text


@dataclass(frozen=True, slots=True)
class Evidence:
    """Times are None when nothing of the kind happened.

    released_at: the last association that brought objects was released properly. broken_at: one was not.
    objects: how many the archive has, None when it did not say; counted_at: when it was asked for that, and
    count_problem why it did not say.
    """

    released_at: datetime | None = None
    broken_at: datetime | None = None
    objects: int | None = None
    counted_at: datetime | None = None
    count_problem: str | None = None


NONE = Evidence()


@dataclass(frozen=True, slots=True)
class ToAsk:
    """A study whose number of objects the archive is to be asked for. asked_at: None when it never was."""

    study_uid: str
    asked_at: datetime | None


def association_ended(conn: Connection, study_uids: Collection[str], now: datetime, *, released: bool) -> None:
    """Write down that an association is over that brought objects of these studies, and whether properly."""
    column = "released_at" if released else "broken_at"
    for uid in sorted(study_uids):  # in one order everywhere, so that two writers cannot wait for each other
        _put(conn, uid, {column: to_text(now)})


def evidence_of(conn: Connection, study_uids: Collection[str]) -> Mapping[str, Evidence]:
    """Return the evidence of those studies that have any."""
    rows = conn.execute(select(table).where(table.c.study_uid.in_(study_uids)))
    return {
        row.study_uid: Evidence(
            _time(row.released_at), _time(row.broken_at), row.objects, _time(row.counted_at), row.count_problem
        )
        for row in rows
    }


def to_count(conn: Connection, now: datetime, quiet: timedelta, again: timedelta) -> list[ToAsk]:
    """Return the open studies of which an archive should be asked now, longest quiet first.

    That is: the sender has released since it was asked; or half of the quiet time is over without a question since
    the last object; or the archive said another number than is here, or nothing, and that was `again` ago.
    """
    asked = table.c.asked_at
    released = and_(table.c.released_at >= study.c.last_received_at, _before(asked, table.c.released_at))
    half = and_(study.c.last_received_at < to_text(now - quiet / 2), _before(asked, study.c.last_received_at))
    differs = or_(table.c.objects.is_(None), table.c.objects != study.c.instances)
    once_more = and_(asked.is_not(None), differs, asked < to_text(now - again))
    query = (
        select(study.c.study_uid, asked)
        .join(table, table.c.study_uid == study.c.study_uid, isouter=True)
        .where(study.c.state == OPEN, or_(released, half, once_more))
        .order_by(study.c.last_received_at)
    )
    return [ToAsk(uid, _time(at)) for uid, at in conn.execute(query)]


def claim_count(conn: Connection, wanted: ToAsk, now: datetime) -> bool:
    """Take a question for oneself; False when somebody else has asked meanwhile."""
    if insert_once(conn, table, {"study_uid": wanted.study_uid, "asked_at": to_text(now)}, ["study_uid"]):
        return True
    before = (
        table.c.asked_at.is_(None) if wanted.asked_at is None else table.c.asked_at == to_text(wanted.asked_at)
    )
    statement = update(table).where(table.c.study_uid == wanted.study_uid, before).values(asked_at=to_text(now))
    return conn.execute(statement).rowcount == 1


def record_count(
    conn: Connection, study_uid: str, archive: str, objects: int | None, problem: str | None, asked_at: datetime
) -> None:
    """Write down what an archive said. Results of ours that it has taken are no objects to wait for.

    objects: as it counts, None when it did not say. problem: then why, without patient data.
    """
    if objects is not None:
        objects -= _ours(conn, study_uid, archive)
    values = {"objects": objects, "counted_at": to_text(asked_at), "count_problem": problem}
    conn.execute(update(table).where(table.c.study_uid == study_uid).values(values))


def _ours(conn: Connection, study_uid: str, archive: str) -> int:
    query = (
        select(func.count())
        .select_from(delivery)
        .join(result_object, result_object.c.sop_instance_uid == delivery.c.sop_instance_uid)
        .where(result_object.c.study_uid == study_uid, delivery.c.destination == archive, delivery.c.state == SENT)
    )
    return int(conn.execute(query).scalar_one())


def _put(conn: Connection, study_uid: str, values: dict[str, str]) -> None:
    if not insert_once(conn, table, {"study_uid": study_uid} | values, ["study_uid"]):
        conn.execute(update(table).where(table.c.study_uid == study_uid).values(values))


def _before(column: ColumnElement[str | None], other: ColumnElement[str | None]) -> ColumnElement[bool]:
    return or_(column.is_(None), column <= other)


def _time(text: str | None) -> datetime | None:
    return None if text is None else from_text(text)
