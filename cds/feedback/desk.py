"""Where feedback goes: the stage `cds.stages.FeedbackDesk`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection

from cds.caller import Caller
from cds.feedback.request import Reported, parse_feedback, wrong
from cds.feedback.who import owner_of
from clinical.clock import Clock
from record_store import feedback, sent_cards
from record_store.audit import append as append_audit
from record_store.database import Database
from record_store.feedback import Report

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Desk:
    """Takes feedback. observe: told (service, outcome) of each report that was new."""

    db: Database
    now: Clock
    observe: Callable[[str, str], None]

    def take(self, service_id: str, caller: Caller, body: Mapping[str, Any]) -> None:
        """Store a feedback body, all of it or nothing; what is known already changes nothing.

        It is on disk when this returns. Raises IncorrectInput with the JSON path of what is wrong, Busy or Fault
        when the store cannot take it.
        """
        reported = parse_feedback(body)
        if not reported:
            return
        with self.db.write() as conn:
            _demand_sent(conn, owner_of(caller), service_id, reported)
            new = feedback.add(conn, tuple(one.report for one in reported), self.now())
            self._audit(conn, service_id, caller, len(reported), new)
        for report in new:
            self.observe(service_id, report.outcome)
        log.info("feedback taken", service=service_id, client=caller.name, reports=len(reported), new=len(new))

    def _audit(
        self, conn: Connection, service_id: str, caller: Caller, reports: int, new: Sequence[Report]
    ) -> None:
        append_audit(
            conn,
            at=self.now(),
            action="feedback-received",
            outcome="new" if new else "known",
            actor=f"client:{caller.name}",
            subject=f"service:{service_id}",
            detail={"reports": reports, "new": len(new)},
        )


def _demand_sent(conn: Connection, owner: str, service_id: str, reported: Sequence[Reported]) -> None:
    """Raise IncorrectInput unless every card was sent to this client by this service, with those suggestions.

    A card of somebody else and one that never was are the same answer: nobody can try out UUIDs here.
    """
    sent = sent_cards.suggestions_of(conn, owner, service_id, {one.report.card for one in reported})
    for one in reported:
        suggestions = sent.get(one.report.card)
        if suggestions is None:
            raise wrong(f"{one.path}.card", "expected a card that this service has sent to this client")
        for n, suggestion in enumerate(one.report.accepted):
            if suggestion not in suggestions:
                raise wrong(f"{one.path}.acceptedSuggestions[{n}].id", "expected a suggestion of this card")
