"""Lists of a study's objects by somebody's word, and which of them are not here yet."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update

from record_store.sql import insert_once
from record_store.tables import announced_instance, announcement, instance
from record_store.times import to_text

IN_PROGRESS, COMPLETED, DISCONTINUED = "in progress", "completed", "discontinued"


@dataclass(frozen=True, slots=True)
class Announcement:
    """What somebody says. uid: SOP Instance UID of the notification or step. kind: IAN or MPPS.

    studies: Study Instance UIDs that it speaks of. objects: SOP Instance UIDs that it lists.
    """

    uid: str
    kind: str
    state: str
    said_by: str
    studies: frozenset[str]
    objects: frozenset[str]


@dataclass(frozen=True, slots=True)
class Announced:
    """What an announcement means for one study. listed: its objects; missing: those that are not here."""

    kind: str
    state: str
    said_by: str
    listed: int
    missing: int


def announce(conn: Connection, said: Announcement, now: datetime) -> bool:
    """Write an announcement down; False when there is one of this UID already, which changes nothing."""
    new = False
    for study_uid in sorted(said.studies):
        row = {"kind": said.kind, "state": said.state, "said_by": said.said_by, "at": to_text(now)}
        key = {"announcement_uid": said.uid, "study_uid": study_uid}
        new |= insert_once(conn, announcement, key | row, list(key))
    if new:
        _add(conn, said.uid, said.objects)
    return new


def state_of(conn: Connection, uid: str) -> str | None:
    """Return where an announcement stands, None when there is none of this UID."""
    query = select(announcement.c.state).where(announcement.c.announcement_uid == uid)
    return conn.execute(query).scalars().first()


def amend(conn: Connection, uid: str, state: str, objects: Collection[str] | None, now: datetime) -> bool:
    """Change where an announcement stands, and what it lists; False when it is no longer in progress.

    objects: None leaves the list as it is.
    """
    statement = (
        update(announcement)
        .where(announcement.c.announcement_uid == uid, announcement.c.state == IN_PROGRESS)
        .values(state=state, at=to_text(now))
    )
    if conn.execute(statement).rowcount == 0:
        return False
    if objects is not None:
        conn.execute(delete(announced_instance).where(announced_instance.c.announcement_uid == uid))
        _add(conn, uid, objects)
    return True


def announced_to(conn: Connection, study_uids: Collection[str]) -> Mapping[str, tuple[Announced, ...]]:
    """Return what is announced of those studies of which something is, oldest first."""
    listed, here = announced_instance.c, instance.c
    counts = (
        func.count(listed.sop_instance_uid).label("listed"),
        func.count(here.sop_instance_uid).label("present"),
    )
    query = (
        select(announcement, *counts)
        .join(announced_instance, listed.announcement_uid == announcement.c.announcement_uid, isouter=True)
        .join(instance, here.sop_instance_uid == listed.sop_instance_uid, isouter=True)
        .where(announcement.c.study_uid.in_(study_uids))
        .group_by(*announcement.c)
        .order_by(announcement.c.at, announcement.c.announcement_uid)
    )
    found: dict[str, list[Announced]] = {}
    for row in conn.execute(query):
        found.setdefault(row.study_uid, []).append(_announced(row))
    return {uid: tuple(said) for uid, said in found.items()}


def _announced(row: Row[Any]) -> Announced:
    return Announced(row.kind, row.state, row.said_by, int(row.listed), int(row.listed) - int(row.present))


def _add(conn: Connection, uid: str, objects: Collection[str]) -> None:
    rows = [{"announcement_uid": uid, "sop_instance_uid": one} for one in sorted(objects)]
    if rows:
        conn.execute(announced_instance.insert(), rows)  # executemany: no statement with a variable for each
