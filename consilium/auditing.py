"""Behind the writers: the audit is sealed, and exchanges with peers become AuditEvents in the FHIR API."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, select

from clinical.clock import Clock
from consilium.access_events import publish_accesses
from dicom_node.destinations import Destination
from dicom_node.scu import SendOutcome
from fhir_adapters.charts import surviving
from fhir_adapters.publish import publish
from fhir_adapters.resources.audit_event import ExchangeFacts, audit_event
from record_store import audit_chain, readings
from record_store.audit_chain import AuditRow
from record_store.database import Database
from record_store.exchanges import ACTION, Exchange, Kind, Note, Outcome, Party
from record_store.instances import study_row
from record_store.tables import instance
from record_store.tables import resource as resource_table

AUDIT_KEY = "audit-chain"  # the purpose of the key that seals
# In one transaction: everybody else who writes to SQLite waits for it.
BATCH = 200
_SIDE = ("", "_address", "_certificate")
_TOLD = (*(f"{side}{part}" for side in ("source", "destination") for part in _SIDE), "asked_by_destination")
Send = Callable[[Sequence[Path], Destination, str], Iterable[SendOutcome]]


@dataclass(frozen=True, slots=True)
class Auditing:
    """key: seals the audit. observer: our AE title, which AuditEvents of DICOM name as who has seen it.

    base_url: of the FHIR API, which AuditEvents of accesses to it name.
    """

    db: Database
    key: bytes
    now: Clock
    observer: str
    base_url: str = ""

    def once(self) -> int:
        """Seal what is new and publish what is to be read of it; return how many rows."""
        total = count = self._seal()
        while count == BATCH:
            total += (count := self._seal())
        return total

    def _seal(self) -> int:
        return audit_chain.seal(self.db, self.key, self.now, self._publish, most=BATCH)

    def _publish(self, conn: Connection, rows: list[AuditRow]) -> None:
        patients: dict[str, str | None] = {}
        events = [self._event(conn, row, patients) for row in rows if row["action"].startswith(ACTION)]
        publish(conn, [event for event in events if event is not None], self.now())
        publish_accesses(conn, rows, self.base_url, self.now())

    def _event(self, conn: Connection, row: AuditRow, patients: dict[str, str | None]) -> dict[str, Any] | None:
        facts = facts_of(row)
        if facts.study_uid not in patients:
            patients[facts.study_uid] = _patient(conn, facts.study_uid)
        known = patients[facts.study_uid]
        return audit_event(facts, resource_id=f"audit-{row['row']}", observer=self.observer, patient_id=known)


def facts_of(row: AuditRow) -> ExchangeFacts:
    """Return what a row of `record_store.exchanges` says."""
    told: Mapping[str, Any] = orjson.loads(row["detail"])
    return ExchangeFacts(
        kind=row["action"].removeprefix(ACTION),
        outcome=row["outcome"],
        at=row["at"],
        study_uid=told["study_uid"],
        instances=told["instances"],
        what=told["what"],
        note=told["note"],
        times=told["times"],
        **{name: told[name] for name in _TOLD},
    )


def _patient(conn: Connection, study_uid: str) -> str | None:
    study = study_row(conn, study_uid) if study_uid else None
    if study is None or study.patient is None:
        return None
    return next(iter(surviving(conn, study.patient)), None)


def exported(conn: Connection, since: str) -> Iterator[bytes]:
    """Yield the AuditEvents of that time and later as JSON, oldest first. since: as `times.to_text`."""
    table = resource_table.c
    query = select(table.body).where(table.type == "AuditEvent", table.updated >= since, table.deleted == 0)
    for row in conn.execute(query.order_by(table.updated, table.id)):
        yield row[0]


@dataclass(frozen=True, slots=True)
class NotedSend:
    """A way to send that has noted what was sent to whom, a row for each study."""

    send: Send
    db: Database
    note: Note

    def __call__(
        self, objects: Sequence[Path], destination: Destination, calling_ae: str
    ) -> Iterator[SendOutcome]:
        """Send, yield each outcome, and note the whole when it is over or given up."""
        us = Party(calling_ae)
        them = Party(destination.ae_title or destination.name, destination.host or destination.stow_url or "")
        what = "STOW-RS" if destination.stow_url else "C-STORE"
        self.note(Exchange(kind=Kind.TRANSFER_BEGUN, source=us, destination=them, what=what))
        taken: dict[str, int] = {}
        failed = 0
        try:
            for outcome in self.send(objects, destination, calling_ae):
                if outcome.taken:
                    study = self._study_of(outcome.sop_instance_uid)
                    taken[study] = taken.get(study, 0) + 1
                else:
                    failed += 1
                yield outcome
        finally:
            result = Outcome.SERIOUS if not taken else Outcome.MINOR if failed else Outcome.SUCCESS
            self.note(
                Exchange(
                    kind=Kind.TRANSFERRED,
                    source=us,
                    destination=them,
                    outcome=result,
                    studies={uid: count for uid, count in taken.items() if uid},
                    what=what,
                    note=f"{failed} instances not taken" if failed else "",
                )
            )

    def _study_of(self, sop_instance_uid: str) -> str:
        with self.db.read() as conn:
            ours = readings.result_object(conn, sop_instance_uid)
            if ours is not None:
                return ours.study_uid
            query = select(instance.c.study_uid).where(instance.c.sop_instance_uid == sop_instance_uid)
            return str(conn.execute(query).scalar() or "")
