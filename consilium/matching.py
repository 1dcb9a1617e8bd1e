"""From what was written to what is due: the worker's walk through the outbox.

A part of the outbox is judged on a snapshot, keeping no writer waiting; what follows is written down in one short
transaction that also removes that part. Another worker that saw the same part finds it gone and starts again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from sqlalchemy import Connection

from clinical.clock import Clock
from clinical.errors import IncorrectInput
from consilium.forwarding import Offering
from fhir_adapters.subscriptions.asked import Asked
from fhir_adapters.subscriptions.match import Watch, events_of, watch_of
from fhir_adapters.subscriptions.status import TYPE, hold, tell
from record_store import notifications, outbox, subscriptions
from record_store.database import Database
from record_store.notifications import Event
from record_store.outbox import Written
from record_store.resource_history import latest
from record_store.subscriptions import Held
from record_store.times import to_text
from record_store.version_match import VersionMatch

PART = 500
GIVEN_UP_AFTER = timedelta(days=30)  # in error
NO_LONGER = "this server cannot judge the criteria any more: write the subscription anew"
log = structlog.get_logger()


class _Overtaken(Exception):
    """Another worker has done it."""


@dataclass(frozen=True, slots=True)
class Matching:
    """Finds whom each written version concerns. found: called when something has become due."""

    db: Database
    now: Clock
    base_url: str
    found: Callable[[], None] = lambda: None
    stopping: Callable[[], bool] = lambda: False
    offering: Offering = Offering(())  # noqa: RUF009 - frozen
    _match: VersionMatch = field(default_factory=VersionMatch)
    _watches: dict[str, tuple[int, Watch]] = field(default_factory=dict)  # by id, with the version

    def once(self) -> int:
        """Go through what is there; return how many versions that were."""
        count = 0
        while not self.stopping() and outbox.waiting(self.db):
            try:
                count += self._part()
            except _Overtaken:
                break
        return count

    def expire(self) -> int:
        """Turn off what has reached its end (R4 Subscription.end), or is given up; return how many."""
        now = self.now()
        given_up = now - GIVEN_UP_AFTER
        with self.db.read() as conn:
            over = subscriptions.over(conn, now, given_up)
        for own in over:
            with self.db.write() as conn:
                hold(conn, own)
                held = subscriptions.get(conn, own)
                if held is not None and _over(held, to_text(now), to_text(given_up)):
                    tell(conn, own, subscriptions.OFF, held.problem, now=self.now, base_url=self.base_url)
        return len(over)

    def _part(self) -> int:
        with self.db.read() as conn:
            seen = outbox.peek(conn, PART)
            if not seen:
                return 0
            about = self._first_about_a_subscription(conn, seen)
            part = [about] if about is not None else _before_a_subscription(seen)
            broken: list[str] = []
            events = {} if about is not None else self._events(conn, part, broken)
            results = self.offering.concerned(conn, part)
        # Not waited for on the disk: lost with the power, it is found again.
        with self.db.write(durable=False) as conn:
            if not outbox.remove(conn, part):
                raise _Overtaken
            if about is not None:
                self._subscription(conn, about)
            self.offering.offer(conn, results, self.now)
            for own, found in events.items():
                notifications.add(conn, own, found, self.now())
            for own in broken:
                hold(conn, own)
                tell(conn, own, subscriptions.ERROR, NO_LONGER, now=self.now, base_url=self.base_url)
        if events or about is not None:
            self.found()
        return len(part)

    def _first_about_a_subscription(self, conn: Connection, seen: Sequence[Written]) -> Written | None:
        """Return what has to be done before the rest of this part, if anything.

        A new subscription goes first: a writer that began before it and ended after has the lower position.
        """
        if seen[0].type == TYPE:
            return seen[0]
        for one in seen:
            if one.type == TYPE:
                held = subscriptions.get(conn, one.id)
                if held is not None and held.status == subscriptions.NEW:
                    return one
        return None

    def _events(self, conn: Connection, part: Sequence[Written], broken: list[str]) -> dict[str, list[Event]]:
        watches = []
        for held in subscriptions.recorded(conn):
            known = self._watches.get(held.id)
            if known is None or known[0] != held.version:
                try:
                    known = held.version, watch_of(held, self.base_url)
                except IncorrectInput:
                    broken += [held.id] if held.status != subscriptions.ERROR else []
                    continue
                self._watches[held.id] = known
            watches.append(known[1])
        return events_of(conn, part, watches, self._match, self.base_url) if watches else {}

    def _subscription(self, conn: Connection, one: Written) -> None:
        """Do what the write of a Subscription asks for; its own status versions ask for nothing."""
        hold(conn, one.id)
        current = latest(conn, TYPE, one.id)
        if current is None or current.deleted:
            subscriptions.remove(conn, one.id)
            log.info("subscription removed", subscription=one.id)
            return
        held = subscriptions.take_over(conn, one.id, one.version, subscriptions.REQUESTED, self.now())
        if held is None:
            return
        asked = Asked.from_json(held.asked)
        status = subscriptions.REQUESTED if asked.topic is not None else subscriptions.ACTIVE
        if asked.off or _ended(held.asked, to_text(self.now())):
            status = subscriptions.OFF
        # One of a topic stays requested until its endpoint has taken a handshake.
        if status != subscriptions.REQUESTED:
            tell(conn, one.id, status, None, now=self.now, base_url=self.base_url)
        log.info("subscription taken over", subscription=one.id, result=status)


def _before_a_subscription(seen: Sequence[Written]) -> list[Written]:
    end = next((place for place, one in enumerate(seen) if one.type == TYPE), len(seen))
    return list(seen[:end])


def _over(held: Held, now: str, given_up: str) -> bool:
    """Tell whether one is to be turned off: what waits for an endpoint that nobody mends would grow for ever."""
    return _ended(held.asked, now) or (held.status == subscriptions.ERROR and held.updated_at <= given_up)


def _ended(asked: str, now: str) -> bool:
    end = Asked.from_json(asked).end
    return end is not None and end <= now
