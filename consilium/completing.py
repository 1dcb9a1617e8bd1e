"""Which open studies are complete now: reads what arrived, asks `rules.completion`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
from sqlalchemy import Connection, func, select

from consilium.rules.completion import Arrived, CompleteRule, why_complete
from record_store.audit import digest
from record_store.instances import OPEN, due_studies
from record_store.tables import audit, instance, study
from record_store.times import from_text, to_text

FORCE_LASTS = timedelta(days=1)
INSTANT = timedelta(microseconds=1)

# study UID -> how many objects it has by the archive's word (0020,1208), None when unknown. It answers at once,
# from what was asked before: it is called in a transaction, ten times a second.
Expected = Callable[[str], int | None]


@dataclass(frozen=True, slots=True)
class Due:
    """A study to close. received_before: it stays open when an object came at that time or later."""

    study_uid: str
    received_before: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Completing:
    """Looks for complete studies. quiet_s: the usual quiet time. expected: None when nobody knows counts."""

    quiet_s: float
    rules: tuple[CompleteRule, ...] = ()
    expected: Expected | None = None

    def due(self, conn: Connection, now: datetime) -> list[Due]:
        """Return the complete studies, longest quiet first."""
        forced = _forced(conn, now)
        if not self.rules and self.expected is None and not forced:
            # Nothing but time decides: the index over it finds them without a look at the others.
            before, quiet = now - timedelta(seconds=self.quiet_s), f"nothing came for {self.quiet_s:g} s"
            return [Due(uid, before, quiet) for uid in due_studies(conn, before)]
        table = study.c
        query = select(table.study_uid, table.revision, table.instances, table.last_received_at)
        found = []
        for uid, revision, instances, last in conn.execute(
            query.where(table.state == OPEN).order_by(table.last_received_at)
        ):
            received = from_text(last)
            arrived = self._arrived(conn, uid, instances, (now - received).total_seconds())
            arrived = _with_force(arrived, forced.get(digest(uid)) == revision)
            why = why_complete(arrived, self.rules, self.quiet_s)
            if why is not None:
                found.append(Due(uid, received + INSTANT, why))
        return found

    def _arrived(self, conn: Connection, uid: str, instances: int, quiet_s: float) -> Arrived:
        expected = self.expected(uid) if self.expected is not None else None
        if not self.rules:
            return Arrived(instances, 0, quiet_s, expected=expected)
        of_study = instance.c.study_uid == uid
        series = conn.execute(select(func.count(instance.c.series_uid.distinct())).where(of_study)).scalar_one()
        senders = conn.execute(select(instance.c.modality, instance.c.calling_ae).where(of_study).distinct()).all()
        return Arrived(
            instances,
            series,
            quiet_s,
            frozenset(modality for modality, _ in senders),
            frozenset(sender for _, sender in senders),
            expected=expected,
        )


def _with_force(arrived: Arrived, forced: bool) -> Arrived:
    return arrived if not forced else Arrived(arrived.instances, arrived.series, arrived.quiet_s, forced=True)


def _forced(conn: Connection, now: datetime) -> Mapping[str, int]:
    """Return digest of study -> the revision that an operator said is complete. The audit is the record of it."""
    query = select(audit.c.subject, audit.c.detail).where(
        audit.c.action == "study-forced", audit.c.at > to_text(now - FORCE_LASTS)
    )
    return {
        subject: int(orjson.loads(detail)["revision"])
        for subject, detail in conn.execute(query.order_by(audit.c.row))
    }
