"""Which stored objects are not yet in the index of headers, and how their headers get there.

The index is written after the objects and not with them: a C-STORE waits for its own row only. Nothing is lost by
that: the rows of `study` say how many objects there are, so what is missing is found whenever somebody looks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, func, select, update

from record_store.instances import CLOSED, HELD, OPEN
from record_store.sql import insert_missing
from record_store.tables import instance, instance_header, result_object, series_header, study, study_header
from record_store.times import to_text

STATES = (OPEN, CLOSED, HELD)


@dataclass(frozen=True, slots=True)
class Unindexed:
    """A stored object without a header row. modality: "" for a result of ours, whose own header says it."""

    sop_instance_uid: str
    sop_class_uid: str
    study_uid: str
    series_uid: str
    modality: str
    sha256: str


@dataclass(frozen=True, slots=True)
class HeaderRows:
    """What one object's header says, by the columns of the three tables; what is absent there is ""."""

    study: Mapping[str, str]
    series: Mapping[str, str]
    instance: Mapping[str, str]


def unindexed_studies(conn: Connection, since: datetime | None = None) -> list[str]:
    """Return the studies of which objects are missing. since: only those that got or gave an object after it."""
    received = (
        select(study.c.study_uid)
        .outerjoin(study_header, study_header.c.study_uid == study.c.study_uid)
        .where(func.coalesce(study_header.c.received, 0) < study.c.instances)
    )
    made = (
        select(result_object.c.study_uid)
        .outerjoin(instance_header, instance_header.c.sop_instance_uid == result_object.c.sop_instance_uid)
        .where(instance_header.c.sop_instance_uid.is_(None))
    )
    if since is not None:
        # With the states, so that the index over state and time is used; there are no others.
        received = received.where(study.c.state.in_(STATES), study.c.last_received_at >= to_text(since))
        made = made.where(result_object.c.created_at >= to_text(since))
    return list(dict.fromkeys([*conn.execute(received).scalars(), *conn.execute(made).scalars()]))


def unindexed_objects(conn: Connection, study_uids: Sequence[str], limit: int) -> list[Unindexed]:
    """Return objects of these studies that have no header row, at most `limit`; received ones first."""
    table, known = instance.c, instance_header.c.sop_instance_uid
    received = (
        select(
            table.sop_instance_uid,
            table.sop_class_uid,
            table.study_uid,
            table.series_uid,
            table.modality,
            table.sha256,
        )
        .outerjoin(instance_header, known == table.sop_instance_uid)
        .where(table.study_uid.in_(study_uids), known.is_(None))
        .order_by(table.study_uid, table.series_uid, table.sop_instance_uid)
        .limit(limit)
    )
    found = [Unindexed(*row) for row in conn.execute(received)]
    ours = result_object.c
    made = (
        select(ours.sop_instance_uid, ours.sop_class_uid, ours.study_uid, ours.sha256)
        .outerjoin(instance_header, known == ours.sop_instance_uid)
        .where(ours.study_uid.in_(study_uids), known.is_(None))
        .limit(limit - len(found))
    )
    if len(found) < limit:
        taken = {one.sop_instance_uid for one in found}  # an archive may have sent a result of ours back to us
        found += [
            Unindexed(uid, sop_class, study_uid, "", "", sha256)
            for uid, sop_class, study_uid, sha256 in conn.execute(made)
            if uid not in taken
        ]
    return found


def add_headers(conn: Connection, rows: Sequence[HeaderRows]) -> None:
    """Write the headers of objects and count them into their studies, in the caller's transaction.

    A study is spoken for by the object that came into the index first. Repeats change nothing.
    """
    studies: dict[str, Mapping[str, str]] = {}
    series: dict[tuple[str, str], Mapping[str, str]] = {}
    for row in rows:
        studies.setdefault(row.study["study_uid"], row.study)
        series.setdefault((row.study["study_uid"], row.series["series_uid"]), row.series)
    insert_missing(conn, study_header, [_full(study_header, one) for one in studies.values()], ["study_uid"])
    keys = ["study_uid", "series_uid"]
    insert_missing(conn, series_header, [_full(series_header, one) for one in series.values()], keys)
    insert_missing(
        conn, instance_header, [_full(instance_header, row.instance) for row in rows], ["sop_instance_uid"]
    )
    _count(conn, sorted({row.instance["study_uid"] for row in rows}))


def forget_headers(conn: Connection) -> None:
    """Empty the index, to make it anew."""
    for table in (instance_header, series_header, study_header):
        conn.execute(delete(table))


@cache
def _zeros(table: Table) -> Mapping[str, object]:
    # The columns without a default of their own are texts.
    return {one.name: "" if one.server_default is None else 0 for one in table.columns if one.name != "row"}


def _full(table: Table, given: Mapping[str, str]) -> dict[str, object]:
    return {**_zeros(table), **given}


def _count(conn: Connection, study_uids: Sequence[str]) -> None:
    # Locked first: a count that another process makes meanwhile must not be overwritten by an older one.
    locked = select(study_header.c.study_uid).where(study_header.c.study_uid.in_(study_uids))
    conn.execute(locked.order_by(study_header.c.study_uid).with_for_update()).all()
    of_instance = instance_header.c
    counted: dict[str, list[tuple[str, str, int]]] = {uid: [] for uid in study_uids}
    groups = select(of_instance.study_uid, of_instance.series_uid, of_instance.sop_class_uid, func.count())
    for uid, series_uid, sop_class, count in conn.execute(
        groups.where(of_instance.study_uid.in_(study_uids)).group_by(
            of_instance.study_uid, of_instance.series_uid, of_instance.sop_class_uid
        )
    ):
        counted[uid].append((series_uid, sop_class, count))
    modalities = _texts(conn, series_header.c.study_uid, series_header.c.modality, study_uids)
    senders = _texts(conn, instance.c.study_uid, instance.c.calling_ae, study_uids)
    received = _received(conn, study_uids)
    per_series: dict[tuple[str, str], int] = {}
    for uid, groups_of in counted.items():
        for series_uid, _, count in groups_of:
            per_series[uid, series_uid] = per_series.get((uid, series_uid), 0) + count
    conn.execute(
        _COUNT_SERIES, [{"study": uid, "series": one, "count": n} for (uid, one), n in per_series.items()]
    )
    conn.execute(
        _COUNT_STUDY,
        [
            {
                "study": uid,
                "series": len({one for one, _, _ in counted[uid]}),
                "instances": sum(count for _, _, count in counted[uid]),
                "received": received.get(uid, 0),
                "modalities": modalities.get(uid, ""),
                "classes": "\\".join(sorted({sop_class for _, sop_class, _ in counted[uid]})),
                "senders": senders.get(uid, ""),
            }
            for uid in study_uids
        ],
    )


def _received(conn: Connection, study_uids: Sequence[str]) -> dict[str, int]:
    query = (
        select(instance.c.study_uid, func.count())
        .join(instance_header, instance_header.c.sop_instance_uid == instance.c.sop_instance_uid)
        .where(instance.c.study_uid.in_(study_uids))
        .group_by(instance.c.study_uid)
    )
    return {uid: int(count) for uid, count in conn.execute(query)}


def _texts(conn: Connection, owner: Any, column: Any, study_uids: Sequence[str]) -> dict[str, str]:  # noqa: ANN401
    found: dict[str, set[str]] = {}
    for uid, text in conn.execute(select(owner, column).where(owner.in_(study_uids)).distinct()):
        if text:
            found.setdefault(uid, set()).add(text)
    return {uid: "\\".join(sorted(texts)) for uid, texts in found.items()}


_COUNT_SERIES = (
    update(series_header)
    .where(series_header.c.study_uid == bindparam("study"), series_header.c.series_uid == bindparam("series"))
    .values(number_of_instances=bindparam("count"))
)
_COUNT_STUDY = (
    update(study_header)
    .where(study_header.c.study_uid == bindparam("study"))
    .values(
        number_of_series=bindparam("series"),
        number_of_instances=bindparam("instances"),
        received=bindparam("received"),
        modalities_in_study=bindparam("modalities"),
        sop_classes_in_study=bindparam("classes"),
        senders=bindparam("senders"),
    )
)
