"""What passed between this server and its peers: associations, queries, transfers, refusals (PS3.15 A.5.3).

An object that is received has its audit row in the transaction that stores it. The rows here say who the peers
were and what passed in all: one for an association or a request and a study, never one for an instance. They are
written behind the act, many at once, so that nobody on the wire waits for them.
"""

import atexit
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

import structlog
from sqlalchemy import insert

from clinical.clock import Clock
from clinical.errors import ClinicalError
from record_store.audit import digest, row_of
from record_store.database import Database
from record_store.tables import audit

ACTION = "exchange:"  # before the kind, in the column `action`
COLLECT_S = 0.5
MOST_WAITING = 20_000
CLOSE_WITHIN_S = 3.0

log = structlog.get_logger()


class Kind(StrEnum):
    """What happened; `fhir_adapters.resources.audit_event` has the DICOM event of each (PS3.16 CID 400)."""

    ACTIVITY = "activity"  # this process started or stopped
    ASSOCIATION = "association"  # one ended, however it did
    REFUSED = "refused"  # a peer that may not: association, certificate, request
    QUERY = "query"  # C-FIND, QIDO-RS
    TRANSFER_BEGUN = "transfer-begun"  # C-MOVE or C-GET asked for, a delivery begun
    TRANSFERRED = "transferred"  # C-STORE, STOW-RS, in or out; WADO-RS of whole instances
    ACCESSED = "accessed"  # frames, metadata, rendered: looked at and not handed over


class Outcome(StrEnum):
    """How it ended (R4 AuditEvent.outcome: 0, 4, 8, 12)."""

    SUCCESS = "success"
    MINOR = "minor"  # in part: some instances were not taken
    SERIOUS = "serious"  # refused, failed
    MAJOR = "major"  # nothing works until somebody acts


@dataclass(frozen=True, slots=True)
class Party:
    """One side. name: AE title, or who is logged in. certificate: sha256 of the one that it showed.

    application: True for an AE or a process, False for a person's or client's account.
    """

    name: str
    address: str = ""
    certificate: str = ""
    application: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One thing that passed, without patient data.

    source: who asked, or who sent the objects. destination: who answered, or who took them. asked_by_destination:
    a retrieval, where who takes the objects has asked for them. studies: Study Instance UID -> instances.
    what: the service in the standard's words ("C-STORE", "QIDO-RS"). note: the reason of a refusal, the names of
    the keys of a query; never a value.
    """

    kind: Kind
    source: Party
    destination: Party
    outcome: Outcome = Outcome.SUCCESS
    studies: Mapping[str, int] = field(default_factory=dict)
    what: str = ""
    note: str = ""
    asked_by_destination: bool = False


Note = Callable[[Exchange], None]


def unnoted(_exchange: Exchange) -> None:
    """Take note of nothing: the collaborator of those whose peers are of no interest."""


def rows_of(exchange: Exchange, at: datetime, times: int = 1) -> list[Mapping[str, object]]:
    """Return the audit rows of an exchange: one for each study, or one when it concerns none. Pure."""
    source, destination = exchange.source, exchange.destination
    told: dict[str, str | int | bool] = {
        "source": source.name,
        "source_address": source.address,
        "source_certificate": source.certificate,
        "source_application": source.application,
        "destination": destination.name,
        "destination_address": destination.address,
        "destination_certificate": destination.certificate,
        "destination_application": destination.application,
        "asked_by_destination": exchange.asked_by_destination,
        "what": exchange.what,
        "note": exchange.note[:256],
        "times": times,
    }
    studies: list[tuple[str, int | None]] = list(exchange.studies.items()) or [("", None)]
    asked = destination if exchange.asked_by_destination else source
    return [
        row_of(
            at=at,
            action=f"{ACTION}{exchange.kind}",
            outcome=exchange.outcome,
            actor=f"{'ae' if asked.application else 'user'}:{asked.name}",
            subject=digest(uid) if uid else "",
            detail={**told, "study_uid": uid, "instances": count},
        )[1]
        for uid, count in studies
    ]


@dataclass(slots=True)
class _Waiting:
    """An exchange that is to be written, and how often it has happened since."""

    exchange: Exchange
    at: datetime
    times: int = 0
    studies: dict[str, int] = field(default_factory=dict)

    def again(self, exchange: Exchange, times: int = 1) -> None:
        self.times += times
        for uid, count in exchange.studies.items():
            self.studies[uid] = self.studies.get(uid, 0) + count

    def told(self) -> Exchange:
        return replace(self.exchange, studies=self.studies)


def _likeness(one: Exchange) -> tuple[object, ...]:
    """What two exchanges have in common when one row tells both: all but the studies."""
    return one.kind, one.source, one.destination, one.outcome, one.what, one.note, one.asked_by_destination


_Batch = dict[tuple[object, ...], _Waiting]


class Trail:
    """Collects exchanges and writes them from a thread of its own, begun at the first one (so after a fork).

    The same thing again within COLLECT_S is counted and not repeated: neither a viewer that reads a study frame by
    frame nor a flood of refusals fills the table. Beyond MOST_WAITING different ones (the database has been away
    for long) the newest are lost, which is said.
    """

    def __init__(self, db: Database, now: Clock) -> None:
        self._db, self._now = db, now
        self._changed = threading.Condition()
        self._waiting: _Batch = {}
        self._rows: list[Mapping[str, object]] = []
        self._lost = 0
        self._closing = False
        self._thread: threading.Thread | None = None

    def note(self, exchange: Exchange) -> None:
        """Take note. Never waits for the database, never raises."""
        key = _likeness(exchange)
        with self._changed:
            if key not in self._waiting and len(self._waiting) >= MOST_WAITING:
                self._lost += 1
                return
            self._waiting.setdefault(key, _Waiting(exchange, self._now())).again(exchange)
            self._begin()

    def keep(self, row: Mapping[str, object]) -> None:
        """Write an audit row later, as it is. Never waits for the database, never raises."""
        with self._changed:
            if len(self._rows) >= MOST_WAITING:
                self._lost += 1
                return
            self._rows.append(row)
            self._begin()

    def _begin(self) -> None:
        if self._thread is None and not self._closing:
            self._thread = threading.Thread(target=self._run, name="audit-trail", daemon=True)
            self._thread.start()
            atexit.register(self.close)

    def close(self, within_s: float = CLOSE_WITHIN_S) -> None:
        """Write what waits, for as long as that may take, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(within_s)
            atexit.unregister(self.close)

    def _run(self) -> None:
        give_up_at = math.inf
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing, COLLECT_S)
                batch, self._waiting = self._waiting, {}
                rows, self._rows = self._rows, []
                lost, self._lost = self._lost, 0
                closing = self._closing
            if closing:
                give_up_at = min(give_up_at, time.monotonic() + CLOSE_WITHIN_S)
            if lost:
                log.error("audit events lost: the database has been away for too long", count=lost)
            if (batch or rows) and not self._written(batch, rows) and time.monotonic() < give_up_at:
                self._put_back(batch, rows)
                time.sleep(COLLECT_S)
            elif closing:
                return

    def _written(self, batch: _Batch, kept: list[Mapping[str, object]]) -> bool:
        rows = [*kept, *(row for one in batch.values() for row in rows_of(one.told(), one.at, one.times))]
        try:
            with self._db.write() as conn:
                conn.execute(insert(audit), rows)
        except ClinicalError as error:
            log.warning("audit events wait", count=len(rows), problem=error.message)
            return False
        return True

    def _put_back(self, batch: _Batch, rows: list[Mapping[str, object]]) -> None:
        with self._changed:
            self._rows = [*rows, *self._rows]
            newer, self._waiting = self._waiting, batch
            for key, one in newer.items():
                self._waiting.setdefault(key, _Waiting(one.exchange, one.at)).again(one.told(), one.times)
