"""What we hold of a study: the objects that were received and the results that we made, as archives list them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from record_store.tables import instance, result_object

PAGE = 100  # objects looked at with one query
_MADE_IN = "1.2.840.10008.1.2.1"  # results are written in explicit VR little endian


@dataclass(frozen=True, slots=True)
class HeldObject:
    """One stored object. series_uid, modality: "" for a result of ours, whose own header says them."""

    sop_instance_uid: str
    sop_class_uid: str
    study_uid: str
    series_uid: str
    modality: str
    sha256: str


def objects_of(conn: Connection, study_uid: str, series_uid: str = "") -> list[HeldObject]:
    """Return what we hold of a study, by series and UID; of a series: its received ones, all results."""
    table = instance.c
    wanted = [table.study_uid == study_uid, *([table.series_uid == series_uid] if series_uid else [])]
    query = select(*_RECEIVED).where(*wanted).order_by(table.series_uid, table.sop_instance_uid)
    found = [HeldObject(*row) for row in conn.execute(query)]
    known = {one.sop_instance_uid for one in found}
    return found + [one for one in _made(conn, [study_uid]) if one.sop_instance_uid not in known]


def object_by_uid(conn: Connection, sop_instance_uid: str) -> HeldObject | None:
    """Return an object, or None: the received one where an archive has sent a result of ours back to us."""
    row = conn.execute(select(*_RECEIVED).where(instance.c.sop_instance_uid == sop_instance_uid)).first()
    if row is None:
        row = conn.execute(select(*_MADE).where(result_object.c.sop_instance_uid == sop_instance_uid)).first()
        return None if row is None else _made_object(tuple(row))
    return HeldObject(*row)


def stored_objects(conn: Connection, uids: Sequence[str]) -> list[tuple[str, str, str, str, str]]:
    """Return (SOP instance UID, class, study, transfer syntax, sha256) of objects in the order of their UIDs."""
    found: dict[str, tuple[str, str, str, str, str]] = {}
    ours, theirs = result_object.c, instance.c
    for start in range(0, len(uids), PAGE):
        some = uids[start : start + PAGE]
        made = select(ours.sop_instance_uid, ours.sop_class_uid, ours.study_uid, ours.sha256)
        for uid, sop_class, study_uid, sha256 in conn.execute(made.where(ours.sop_instance_uid.in_(some))):
            found[uid] = (uid, sop_class, study_uid, _MADE_IN, sha256)
        received = select(
            theirs.sop_instance_uid,
            theirs.sop_class_uid,
            theirs.study_uid,
            theirs.transfer_syntax_uid,
            theirs.sha256,
        )
        for row in conn.execute(received.where(theirs.sop_instance_uid.in_(some))):
            found[row[0]] = (row[0], row[1], row[2], row[3], row[4])
    return [found[uid] for uid in uids if uid in found]


def _made(conn: Connection, study_uids: Sequence[str]) -> list[HeldObject]:
    query = (
        select(*_MADE).where(result_object.c.study_uid.in_(study_uids)).order_by(result_object.c.sop_instance_uid)
    )
    return [_made_object(tuple(row)) for row in conn.execute(query)]


def _made_object(row: tuple[str, ...]) -> HeldObject:
    uid, sop_class, study_uid, sha256 = row
    return HeldObject(uid, sop_class, study_uid, "", "", sha256)


_RECEIVED = tuple(
    instance.c[name]
    for name in ("sop_instance_uid", "sop_class_uid", "study_uid", "series_uid", "modality", "sha256")
)
_MADE = tuple(result_object.c[name] for name in ("sop_instance_uid", "sop_class_uid", "study_uid", "sha256"))
