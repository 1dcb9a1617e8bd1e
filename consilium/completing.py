"""Which open studies are complete now: reads what is known of them, asks `rules.completion`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Connection, func, select

from consilium.rules.completion import Arrived, CompleteRule, Count, Then, Waits, completeness
from record_store.announcements import Announced, announced_to
from record_store.audit import digest
from record_store.evidence import NONE, Evidence, evidence_of
from record_store.instances import OPEN, due_studies
from record_store.tables import announcement, audit, instance, study, study_job
from record_store.times import from_text, to_text

FORCE_LASTS = timedelta(days=1)
INSTANT = timedelta(microseconds=1)
# What an operator does that ends the waiting, and how the closing says it.
SAID_COMPLETE = "study-forced"
_ENDS_WAITING = {
    SAID_COMPLETE: "an operator said that it is complete",
    "study-released": "an operator released it",
}


@dataclass(frozen=True, slots=True)
class Due:
    """A study to close. received_before: it stays open when an object came at that time or later.

    forced: what an operator did, who wants no more waiting for whatever reason; "" for nothing.
    """

    study_uid: str
    received_before: datetime
    why: str
    then: Then = Then.READ
    forced: str = ""


@dataclass(frozen=True, slots=True)
class Completing:
    """Looks for complete studies. counted: whether an archive is asked how many objects they have.

    It never asks the archive itself: the closing loop looks many times a second, in a transaction.
    """

    waits: Waits
    rules: tuple[CompleteRule, ...] = ()
    counted: bool = False

    def due(self, conn: Connection, now: datetime) -> list[Due]:
        """Return the complete studies, longest quiet first."""
        if nothing_open(conn):
            return []
        forced = said_by_operators(conn, now)
        if not (self.rules or self.counted or forced or _announced(conn)):
            # Nothing but time decides: the index over it finds them without a look at the others.
            before = now - timedelta(seconds=self.waits.quiet_s)
            found = due_studies(conn, before)
            ends = evidence_of(conn, found) if found else {}
            why = f"nothing came for {self.waits.quiet_s:g} s"
            return [Due(uid, before, why + _broken(ends.get(uid))) for uid in found]
        table = study.c
        query = select(table.study_uid, table.revision, table.instances, table.last_received_at)
        rows = conn.execute(query.where(table.state == OPEN).order_by(table.last_received_at)).all()
        uids = [row.study_uid for row in rows]
        known, said = evidence_of(conn, uids), announced_to(conn, uids)
        due = []
        for row in rows:
            uid = row.study_uid
            operator = forced.get((digest(uid), row.revision), "")
            arrived = self._arrived(conn, row, now, known.get(uid, NONE), said.get(uid, ()), operator)
            complete = completeness(arrived, self.rules, self.waits)
            if complete is not None:
                received = from_text(row.last_received_at)
                due.append(Due(uid, received + INSTANT, complete.why, complete.then, operator))
        return due

    def _arrived(
        self,
        conn: Connection,
        row: Any,  # noqa: ANN401 - a row of the query in `due`
        now: datetime,
        known: Evidence,
        said: tuple[Announced, ...],
        forced: str,
    ) -> Arrived:
        uid, received = row.study_uid, from_text(row.last_received_at)
        released = known.released_at if known.released_at and known.released_at >= received else None
        series, modalities, senders = _of_objects(conn, uid) if self.rules else (0, frozenset(), frozenset())
        return Arrived(
            row.instances,
            series,
            (now - received).total_seconds(),
            modalities,
            senders,
            forced=_ENDS_WAITING.get(forced),
            released_s=None if released is None else (now - released).total_seconds(),
            broken=bool(_broken(known, received)),
            announced=said,
            count=_count(known, released) if self.counted else Count(),
            late=any(one.ignore_late for one in self.rules) and _was_read(conn, uid, row.revision),
        )


def nothing_open(conn: Connection) -> bool:
    """Tell whether no study is open, as it mostly is: one look at an index."""
    return conn.execute(select(study.c.study_uid).where(study.c.state == OPEN).limit(1)).first() is None


def _of_objects(conn: Connection, uid: str) -> tuple[int, frozenset[str], frozenset[str]]:
    """Return how many series a study has, its modalities and its senders."""
    of_study = instance.c.study_uid == uid
    series = conn.execute(select(func.count(instance.c.series_uid.distinct())).where(of_study)).scalar_one()
    senders = conn.execute(select(instance.c.modality, instance.c.calling_ae).where(of_study).distinct()).all()
    return series, frozenset(modality for modality, _ in senders), frozenset(sender for _, sender in senders)


def _count(known: Evidence, released: datetime | None) -> Count:
    fresh = released is not None and known.counted_at is not None and known.counted_at >= released
    return Count(known.objects, fresh, known.count_problem)


def _broken(known: Evidence | None, since: datetime | None = None) -> str:
    at = known.broken_at if known else None
    return "" if at is None or (since and at < since) else "; a sender broke its association off"


def _was_read(conn: Connection, uid: str, revision: int) -> bool:
    earlier = select(study_job.c.job_key).where(study_job.c.study_uid == uid, study_job.c.revision < revision)
    return conn.execute(earlier.limit(1)).first() is not None


def _announced(conn: Connection) -> bool:
    of_open = announcement.c.study_uid == study.c.study_uid
    query = select(study.c.study_uid).join(announcement, of_open).where(study.c.state == OPEN).limit(1)
    return conn.execute(query).first() is not None


def said_by_operators(conn: Connection, now: datetime) -> Mapping[tuple[str, int], str]:
    """Return (digest of study, revision) -> what an operator did to it. The audit is the record of it."""
    query = select(audit.c.action, audit.c.subject, audit.c.detail).where(
        audit.c.action.in_(_ENDS_WAITING), audit.c.at > to_text(now - FORCE_LASTS)
    )
    return {
        (subject, int(orjson.loads(detail).get("revision", 0))): action
        for action, subject, detail in conn.execute(query.order_by(audit.c.row))
    }
