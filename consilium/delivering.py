"""Sends results to the archives: what is due to one, object by object, each answer written down as it comes."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from sqlalchemy import Connection

from clinical.clock import Clock
from clinical.errors import Fault, NotFound
from consilium.fallback import stand_in
from dicom_node.destinations import Destination
from dicom_node.scu import SendOutcome
from record_store import commitments, deliveries, readings
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.deliveries import Delivery, RetryPolicy
from record_store.instances import instance_sha256

LEASE_S = 120.0
GO_ON_S = 50.0  # no object is begun later in a lease: an answer may take 60 s (SendTimeouts)
BATCH = 16
NO_ANSWER = "the association ended before this object was answered"
log = structlog.get_logger()

Send = Callable[[Sequence[Path], Destination, str], Iterable[SendOutcome]]


@dataclass(frozen=True, slots=True)
class Delivering:
    """Sends results to the archives and writes down what each said of each object.

    withheld: why objects must not leave now, by SOP instance UID. stopping: asked between two objects; what was
    not tried then is due at once, without having cost an attempt.
    """

    db: Database
    blobs: Blobs
    destinations: Mapping[str, Destination]
    calling_ae: str
    retry: RetryPolicy
    now: Clock
    send: Send
    observe: Callable[[str, str], None]
    stopping: Callable[[], bool] = lambda: False
    withheld: Callable[[Sequence[str]], Mapping[str, str]] = lambda _uids: {}
    seconds: Callable[[], float] = field(default=time.monotonic)

    def due(self) -> list[str]:
        """Return the destinations for which something is due, the longest waiting first."""
        return deliveries.due_destinations(self.db, self.now())

    def deliver(self, name: str) -> bool:
        """Send what is due to a destination; False when it is away: nobody there answered about anything."""
        while not self.stopping():
            wanted = deliveries.claim_due(self.db, self.now(), LEASE_S, BATCH, name)
            if not wanted:
                return True
            if not self._batch(name, wanted):
                return False
        return True

    def _batch(self, name: str, wanted: list[Delivery]) -> bool:
        until, left, answered = self.seconds() + GO_ON_S, {one.sop_instance_uid: one for one in wanted}, False
        for outcome in self._outcomes(name, wanted):
            delivery = left.pop(outcome.sop_instance_uid, None)
            if delivery is not None:
                self._record(delivery, outcome)
                answered |= outcome.status is not None or outcome.class_refused
            if left and (self.stopping() or self.seconds() > until):
                with self.db.write() as conn:
                    deliveries.give_back(conn, left.values(), self.now())
                return True
        for delivery in left.values():
            self._record(delivery, SendOutcome(delivery.sop_instance_uid, None, NO_ANSWER))
        return answered

    def _outcomes(self, name: str, wanted: list[Delivery]) -> Iterator[SendOutcome]:
        destination = self.destinations.get(name)
        if destination is None:
            problem = "this destination is no longer configured"
            yield from (SendOutcome(one.sop_instance_uid, None, problem) for one in wanted)
            return
        withheld = self.withheld([one.sop_instance_uid for one in wanted])
        yield from (SendOutcome(uid, None, why) for uid, why in withheld.items())
        with ExitStack() as stack:
            paths = []
            for delivery in wanted:
                if delivery.sop_instance_uid in withheld:
                    continue
                try:
                    paths.append(stack.enter_context(self._file_of(delivery)))
                except (Fault, NotFound) as error:  # one damaged object must not hold the others back
                    yield SendOutcome(delivery.sop_instance_uid, None, error.message)
            if paths:
                yield from self.send(paths, destination, self.calling_ae)

    def _file_of(self, delivery: Delivery) -> AbstractContextManager[Path]:
        with self.db.read() as conn:
            found = readings.result_object(conn, delivery.sop_instance_uid)
            received = instance_sha256(conn, delivery.sop_instance_uid) if found is None else None
        sha256 = found.sha256 if found else received
        if sha256 is None:
            raise NotFound("this object is not here")
        return self.blobs.local_path(sha256)

    def _record(self, delivery: Delivery, outcome: SendOutcome) -> None:
        with self.db.write() as conn:
            problem, state = self._written(conn, delivery, outcome)
        self.observe(delivery.destination, state)
        say = log.warning if state == deliveries.DEAD else log.info
        say(
            "result delivery",
            destination=delivery.destination,
            result=state,
            attempt=delivery.attempts,
            dimse_status=outcome.status,
            problem=problem,
        )

    def _written(self, conn: Connection, delivery: Delivery, outcome: SendOutcome) -> tuple[str | None, str]:
        instead = None
        if outcome.class_refused:
            instead = stand_in(conn, delivery.sop_instance_uid, delivery.destination, self.now())
        problem = outcome.problem if instead is None else f"{outcome.problem}; {instead} is sent in its place"
        state = deliveries.record_outcome(
            conn,
            delivery.delivery_id,
            status=outcome.status,
            problem=problem,
            now=self.now(),
            retry=self.retry,
            final=instead is not None or not outcome.may_pass,
        )
        destination = self.destinations.get(delivery.destination)
        if state == deliveries.SENT and destination is not None and destination.commitment:
            commitments.want(conn, delivery.delivery_id, self.now())
        append_audit(
            conn,
            at=self.now(),
            action="result-delivery",
            outcome=state,
            actor=f"ae:{self.calling_ae}",
            subject=digest(delivery.sop_instance_uid),
            detail={
                "destination": delivery.destination,
                "attempt": delivery.attempts,
                "status": outcome.status,
            },
        )
        return problem, state
