"""One lane: what is sent to one subscription under one lease, and what is written down of each answer."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from clinical.clock import Clock
from fhir_adapters.subscriptions.asked import Asked
from fhir_adapters.subscriptions.rest_hook import GONE, Answer, Message
from fhir_adapters.subscriptions.status import hold, tell
from record_store import notifications, subscriptions
from record_store.audit import append as append_audit
from record_store.database import Database
from record_store.deliveries import RetryPolicy
from record_store.notifications import Notification
from record_store.resource_history import Version, latest, version
from record_store.subscriptions import Held

log = structlog.get_logger()

Send = Callable[[Message, float], Answer]
MaySee = Callable[[str, Version], bool]


@dataclass(frozen=True, slots=True)
class Sending:
    """What sending works with.

    worker: this worker's stable name. observe: told what came of each message. may_see: (owner, version) -> may it
    be told? stopping: asked before each message.
    """

    db: Database
    send: Send
    now: Clock
    worker: str
    retry: RetryPolicy
    base_url: str
    observe: Callable[[str], None] = lambda _result: None
    may_see: MaySee = lambda _owner, _version: True
    stopping: Callable[[], bool] = lambda: False
    seconds: Callable[[], float] = field(default=time.monotonic)


@dataclass(slots=True)
class Lane:
    """The sending to one subscription, until `until` of `Sending.seconds`."""

    sending: Sending
    held: Held
    asked: Asked
    until: float
    failures: int = field(init=False)

    def __post_init__(self) -> None:
        """Begin where the endpoint was left."""
        self.failures = self.held.failures

    def may_go_on(self) -> bool:
        """Return whether there is time for one more message."""
        return not self.sending.stopping() and self.sending.seconds() < self.until

    def seen_by_owner(self, one: Notification) -> Version | None:
        """Return the version of an event, None when it is not there or its owner may not see it (any more)."""
        event = one.event
        with self.sending.db.read() as conn:
            found = version(conn, event.type, event.id, event.version)
            current = latest(conn, event.type, event.id)
            earlier = version(conn, event.type, event.id, event.version - 1) if event.deleted else found
        # Who may not read what it is now is not told what it was: it may have been taken out of a wrong chart.
        judged = {one for one in (earlier, current) if one is not None and not one.deleted}
        seen = bool(judged) and all(self.sending.may_see(self.asked.owner, one) for one in judged)
        return found if seen else None

    def withhold(self, hidden: Sequence[Notification]) -> None:
        """Write down that events are not told."""
        if hidden:
            self._settle_as(hidden, notifications.WITHHELD, None)
            self.sending.observe("withheld")

    def pass_on(self, told: Sequence[Notification], message: Message) -> bool:
        """Send a message and write down what came of it; False when the endpoint is to be left alone."""
        answer = self.sending.send(message, self.asked.timeout_s)
        if answer.problem is None:
            self._taken(told, answer)
            return True
        return self._failed(told, answer, answer.problem)

    def heartbeat_after(self, now: datetime) -> datetime | None:
        """Return when a subscriber that has heard from us now is to hear again."""
        seconds = self.asked.heartbeat_s
        return now + timedelta(seconds=seconds) if self.asked.topic is not None and seconds else None

    def _taken(self, told: Sequence[Notification], answer: Answer) -> None:
        if told:
            self._settle_as(told, notifications.SENT, answer.status)
        heartbeat_at = self.heartbeat_after(self.sending.now())
        if self.failures or heartbeat_at is not None:
            with self.sending.db.write(durable=False) as conn:
                subscriptions.reached(conn, self.held.id, heartbeat_at)
        self.failures = 0
        self.say("sent", answer, told)

    def _settle_as(self, told: Sequence[Notification], state: str, status: int | None) -> None:
        numbers = [one.number for one in told]
        with self.sending.db.write() as conn:
            notifications.settle(conn, self.held.id, numbers, state, self.sending.now(), status)
            if state == notifications.SENT:
                self._note(conn, told)

    def _note(self, conn: Connection, told: Sequence[Notification]) -> None:
        """Write into the audit what was handed over, and where to."""
        for one in told:
            event = one.event
            append_audit(
                conn,
                at=self.sending.now(),
                action="notification",
                outcome=notifications.SENT,
                actor=f"subscription:{self.held.id}",
                subject=f"{event.type}/{event.id}",
                detail={
                    "version": event.version,
                    "event": one.number,
                    "endpoint": self.asked.endpoint,
                    "content": self.asked.content or ("resource" if self.asked.payload else "empty"),
                    "client": self.asked.client,
                },
            )

    def _failed(self, told: Sequence[Notification], answer: Answer, problem: str) -> bool:
        house, own, now = self.sending, self.held.id, self.sending.now()
        of_the_resource = answer.of_the_resource and self.asked.topic is None
        tries = max(one.attempts for one in told) + 1 if of_the_resource else self.failures + 1
        pause = max(house.retry.delay_s(tries), min(answer.retry_after_s or 0.0, house.retry.ceiling_s))
        again = now + timedelta(seconds=pause)
        gone, last = answer.status == GONE, tries >= house.retry.max_attempts
        with house.db.write() as conn:
            if gone or last:
                hold(conn, own)
            due = again if of_the_resource else now
            notifications.failed(conn, own, [one.number for one in told], answer.status, problem, due)
            if not of_the_resource:
                subscriptions.failed(conn, own, problem, again)
            if gone or last:
                status = subscriptions.OFF if gone else subscriptions.ERROR
                tell(conn, own, status, problem, now=house.now, base_url=house.base_url)
        self.failures += 0 if of_the_resource else 1
        self.say("off" if gone else "error" if last else "failed", answer, told)
        return of_the_resource and not last

    def say(self, result: str, answer: Answer, told: Sequence[Notification]) -> None:
        """Count and log what came of a message."""
        self.sending.observe(result)
        log.info(
            "notification",
            subscription=self.held.id,
            result=result,
            events=len(told),
            attempt=max((one.attempts for one in told), default=0) + 1,
            http_status=answer.status,
            problem=answer.problem,
        )
