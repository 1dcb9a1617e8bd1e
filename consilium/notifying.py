"""Sends what is due to subscriptions' endpoints: one lane each, each answer written down before the next message.

An endpoint that is away, or refuses all there is, is left alone for longer each time; one that refuses a resource
holds back that resource only. After the last try the subscription is in error with the reason, and everything
waits until somebody asks for it again: nothing that was due is dropped.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from clinical.clock import Clock
from fhir_adapters.subscriptions.asked import Asked
from fhir_adapters.subscriptions.messages import message_about
from fhir_adapters.subscriptions.rest_hook import GONE, Answer, Message
from fhir_adapters.subscriptions.status import hold, tell
from record_store import notifications, subscriptions
from record_store.database import Database
from record_store.deliveries import RetryPolicy
from record_store.notifications import Notification
from record_store.resource_history import Version, version
from record_store.subscriptions import Held

LEASE_S = 90.0
GO_ON_S = 45.0  # nothing is begun later in a lease: an answer may take LONGEST_TIMEOUT_S
HEADS = 50
log = structlog.get_logger()

Send = Callable[[Message, float], Answer]
MaySee = Callable[[str, Version], bool]


@dataclass(frozen=True, slots=True)
class Notifying:
    """Sends notifications. worker: this worker's stable name. may_see: (owner, version) -> may it be told?"""

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

    def due(self) -> list[str]:
        """Return the subscriptions that something is due to, the longest waiting first."""
        return subscriptions.due(self.db, self.now(), self.worker)

    def deliver(self, own: str) -> bool:
        """Send what is due to one subscription, for as long as a lease allows. Always True: pauses are rows."""
        held = subscriptions.lease(self.db, own, self.worker, self.now(), LEASE_S)
        if held is None:
            return True
        until = self.seconds() + GO_ON_S
        try:
            _Lane(self, held, Asked.from_json(held.asked), until).run()
        finally:
            subscriptions.give_back(self.db, own, self.worker)
        return True


@dataclass(slots=True)
class _Lane:
    """The sending to one subscription under one lease."""

    house: Notifying
    held: Held
    asked: Asked
    until: float
    failures: int = field(init=False)

    def __post_init__(self) -> None:
        self.failures = self.held.failures

    def run(self) -> None:
        while self._may_go_on():
            with self.house.db.read() as conn:
                heads = notifications.due(conn, self.held.id, self.house.now(), HEADS)
            if not heads or not self._heads(heads):
                return

    def _may_go_on(self) -> bool:
        return not self.house.stopping() and self.house.seconds() < self.until

    def _heads(self, heads: Sequence[Notification]) -> bool:
        """Send one message a resource; False when this lane has to end."""
        return all(self._may_go_on() and self._one(one) for one in heads)

    def _one(self, one: Notification) -> bool:
        event = one.event
        with self.house.db.read() as conn:
            found = version(conn, event.type, event.id, event.version)
        if found is None or not self.house.may_see(self.asked.owner, found):
            self._withhold([one.number])
            return True
        answer = self.house.send(message_about(self.held, self.asked, found), self.asked.timeout_s)
        return self._settle([one], answer)

    def _withhold(self, numbers: Sequence[int]) -> None:
        with self.house.db.write() as conn:
            notifications.settle(conn, self.held.id, numbers, notifications.WITHHELD, self.house.now())
        self.house.observe("withheld")

    def _settle(self, told: Sequence[Notification], answer: Answer) -> bool:
        """Write down what came of a message; False when the endpoint is to be left alone."""
        if answer.problem is None:
            self._taken(told, answer)
            return True
        return self._failed(told, answer, answer.problem)

    def _taken(self, told: Sequence[Notification], answer: Answer) -> None:
        now = self.house.now()
        with self.house.db.write() as conn:
            numbers = [one.number for one in told]
            notifications.settle(conn, self.held.id, numbers, notifications.SENT, now, answer.status)
            if self.failures:
                subscriptions.reached(conn, self.held.id, None)
        self.failures = 0
        self._say("sent", answer, told)

    def _failed(self, told: Sequence[Notification], answer: Answer, problem: str) -> bool:
        house, own, now = self.house, self.held.id, self.house.now()
        tries = max(one.attempts for one in told) + 1 if answer.of_the_resource else self.failures + 1
        pause = max(house.retry.delay_s(tries), min(answer.retry_after_s or 0.0, house.retry.ceiling_s))
        again = now + timedelta(seconds=pause)
        gone, last = answer.status == GONE, tries >= house.retry.max_attempts
        with house.db.write() as conn:
            if gone or last:
                hold(conn, own)
            due = again if answer.of_the_resource else now
            notifications.failed(conn, own, [one.number for one in told], answer.status, problem, due)
            if not answer.of_the_resource:
                subscriptions.failed(conn, own, problem, again)
            if gone or last:
                status = subscriptions.OFF if gone else subscriptions.ERROR
                tell(conn, own, status, problem, now=house.now, base_url=house.base_url)
        self.failures += 0 if answer.of_the_resource else 1
        self._say("off" if gone else "error" if last else "failed", answer, told)
        return answer.of_the_resource and not last

    def _say(self, result: str, answer: Answer, told: Sequence[Notification]) -> None:
        self.house.observe(result)
        log.info(
            "notification",
            subscription=self.held.id,
            result=result,
            events=len(told),
            attempt=max((one.attempts for one in told), default=0) + 1,
            http_status=answer.status,
            problem=answer.problem,
        )
