"""Asks the archives whether they keep the results that they took, and writes down what they say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from clinical.clock import Clock
from consilium.wiring import House
from dicom_node.commitment import WHY_NOT_KEPT, CommitmentAnswer, Take
from dicom_node.destinations import Destination
from record_store import commitments
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.database import Database
from record_store.deliveries import RetryPolicy

log = structlog.get_logger()


class Ask(Protocol):
    """dicom_node.commitment.ask"""

    def __call__(
        self,
        destination: Destination,
        calling_ae: str,
        transaction_uid: str,
        objects: Sequence[tuple[str, str]],
        take: Take,
    ) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Answers:
    """Takes the archives' answers, on whichever association they come. retry: of sending what is not kept."""

    db: Database
    destinations: Mapping[str, Destination]
    retry: RetryPolicy
    now: Clock
    observe: Callable[[str, str], None]

    def take(self, ae_title: str, answer: CommitmentAnswer) -> None:
        """Write down an answer; one from an AE that is no destination, or to no question of ours, changes nothing.

        Raises Busy when the database is away.
        """
        names = [one.name for one in self.destinations.values() if one.ae_title == ae_title]
        why = {uid: WHY_NOT_KEPT.get(code, f"reason 0x{code:04X}") for uid, code in answer.failed.items()}
        with self.db.write() as conn:
            settled = commitments.settle(
                conn, answer.transaction_uid, names, answer.committed, why, self.now(), self.retry
            )
            for one in settled:
                append_audit(
                    conn,
                    at=self.now(),
                    action="result-commitment",
                    outcome=one.state,
                    actor=f"ae:{ae_title}",
                    subject=digest(one.sop_instance_uid),
                    detail={"destination": one.destination},
                )
        for one in settled:
            self.observe(one.destination, one.state)
        states = sorted({one.state for one in settled})
        log.info("commitment answered", destination=names, count=len(settled), result=states)


def answers_of(house: House, observe: Callable[[str, str], None]) -> Answers:
    """Return who writes down the answers in this process. observe: counts them, by destination and state."""
    return Answers(house.db, house.destinations, house.delivery_retry, house.now, observe)


@dataclass(frozen=True, slots=True)
class Committing:
    """Asks about results that were taken. retry: pauses between questions that are not answered."""

    db: Database
    destinations: Mapping[str, Destination]
    calling_ae: str
    retry: RetryPolicy
    now: Clock
    new_uid: Callable[[], str]
    ask: Ask
    take: Take

    def due(self) -> list[str]:
        """Return the destinations for which a question is due."""
        return commitments.due_destinations(self.db, self.now())

    def ask_about(self, name: str) -> bool:
        """Ask a destination what is due; False when the question did not reach it."""
        one = commitments.claim_question(self.db, self.now(), name, self.retry, self.new_uid)
        if one is None:
            return True
        destination = self.destinations.get(name)
        problem: str | None = "this destination is no longer configured"
        if destination is not None:
            problem = self.ask(destination, self.calling_ae, one.transaction_uid, one.objects, self.take)
        log.info("commitment asked", destination=name, count=len(one.objects), problem=problem)
        if problem is not None:
            with self.db.write() as conn:
                commitments.put_off(conn, one.transaction_uid, problem)
        return problem is None
