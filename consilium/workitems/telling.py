"""Tells subscribers what became of the steps that were pushed to us, each on an association that we open to it."""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

import structlog
from pydicom.dataset import Dataset
from sqlalchemy import Connection

from clinical.clock import Clock
from dicom_node.destinations import Destination
from dicom_node.ups.events import STATUS_CHANGE, Event, report_each, restarted
from record_store import ups_events, ups_subscriptions
from record_store.database import Database
from record_store.deliveries import RetryPolicy
from record_store.ups_events import UpsEvent

LEASE_S = 600.0
TURN_S = 60.0  # of one subscriber: a slow one delays the others no longer, and ends within its lease
UNKNOWN = "CONSILIUM_NODES and CONSILIUM_PACS have no address of this AE"
Report = Callable[[Destination, str, Sequence[Event]], Generator[str | None, None, None]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Telling:
    """nodes: where AEs are reached, by title. retry: how often an AE is called before what waits is dropped."""

    db: Database
    nodes: Mapping[str, Destination]
    ae_title: str
    retry: RetryPolicy
    now: Clock
    report: Report = report_each

    def once(self) -> int:
        """Tell one subscriber what waits for it; return how many events that were."""
        events = ups_events.claim(self.db, self.now(), LEASE_S)
        if not events:
            return 0
        receiver = events[0].receiving_ae
        node = self.nodes.get(receiver)
        taken, problem = self._tell(node, events) if node else (0, UNKNOWN)
        with self.db.write() as conn:
            ups_events.told(conn, events[:taken], self.now())
            lost = ups_events.failed(conn, events[taken], self.now(), self.retry) if problem is not None else 0
        log.info("events told", calling_ae=receiver, count=taken)
        if problem is not None:
            log.warning("events not told", calling_ae=receiver, problem=problem, failed=lost)
        return taken

    def _tell(self, node: Destination, events: Sequence[UpsEvent]) -> tuple[int, str | None]:
        """Return how many were taken, and why the next one was not."""
        taken, ends_at = 0, self.now() + timedelta(seconds=TURN_S)
        with closing(self.report(node, self.ae_title, [_event(one) for one in events])) as outcomes:
            for problem in outcomes:
                if problem is not None:
                    return taken, problem
                taken += 1
                if self.now() > ends_at:
                    break
        return taken, None

    def begun(self) -> None:
        """Have subscribers told that we have begun again."""
        with self.db.write() as conn:
            for receiver in ups_subscriptions.everybody(conn):
                tell(conn, receiver, [(ups_subscriptions.GLOBAL, STATUS_CHANGE, restarted())], self.now)


def tell(conn: Connection, receiver: str, events: Sequence[Event], now: Clock) -> None:
    """Have an AE told of events, as soon as the caller's transaction is committed."""
    written = [(uid, kind, information.to_json()) for uid, kind, information in events]
    dropped = ups_events.add(conn, receiver, written, now())
    if dropped:
        log.warning("events dropped", calling_ae=receiver, failed=dropped, reason="too many wait for this AE")


def _event(one: UpsEvent) -> Event:
    return one.workitem_uid, one.kind, Dataset.from_json(json.loads(one.body))
