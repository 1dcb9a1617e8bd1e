"""Shadow mode: a service runs and is recorded, and nobody sees its cards until a site promotes it.

The clinic is not disturbed: a call of a shadowed service is answered with no cards, also when the service failed.
Its failures stand in the audit and are counted, which is what a site watches before it promotes the service.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from cds.call import HookCall
from cds.feedback.sent import sent_card_of
from cds.feedback.who import owner_of
from cds.guidance import Guidance
from clinical.clock import Clock
from clinical.errors import Category, ClinicalError
from clinical.pseudonym import Pseudonyms
from record_store import sent_cards
from record_store.audit import append as append_audit
from record_store.database import Database
from record_store.sent_cards import ShadowCall

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ShadowMode:
    """The stage `cds.stages.Shadow`.

    services: ids of the services in shadow mode. observe: told (service, "cards", "no-cards" or an error's
    category) of each call, also of one that could not be recorded ("unrecorded").
    """

    services: frozenset[str]
    db: Database
    now: Clock
    pseudonyms: Pseudonyms
    observe: Callable[[str, str], None]

    def covers(self, service_id: str) -> bool:
        """True when this service's cards are not to be sent."""
        return service_id in self.services

    def record(self, call: HookCall, result: Guidance | Exception) -> None:
        """Keep what would have been said, or that it failed. Raises Busy or Fault when it cannot be kept."""
        problem = None if isinstance(result, Guidance) else _category(result)
        try:
            with self.db.write(durable=False) as conn:
                if isinstance(result, Guidance):
                    rows = [
                        sent_card_of(card, call, self.pseudonyms, self.now(), shadow=True) for card in result.cards
                    ]
                    sent_cards.add(conn, rows)
                self._add_call(conn, call, len(result.cards) if isinstance(result, Guidance) else 0, problem)
                if problem is not None:
                    self._audit(conn, call, problem)
        except ClinicalError:
            self.observe(call.service_id, "unrecorded")
            raise
        said = problem or ("cards" if isinstance(result, Guidance) and result.cards else "no-cards")
        self.observe(call.service_id, said)
        if problem is not None:
            log.warning("shadowed service failed", service=call.service_id, category=problem)

    def _add_call(self, conn: Connection, call: HookCall, cards: int, problem: str | None) -> None:
        owner = owner_of(call.caller)
        row = ShadowCall(
            at=self.now(),
            service=call.service_id,
            hook=call.request.hook.name,
            hook_instance=call.request.hook_instance,
            issuer=owner,
            patient_key=self.pseudonyms.of_patient(owner, call.request.patient_id),
            cards=cards,
            problem=problem,
        )
        sent_cards.add_shadow_call(conn, row)

    def _audit(self, conn: Connection, call: HookCall, problem: str) -> None:
        append_audit(
            conn,
            at=self.now(),
            action="shadow-failed",
            outcome=problem,
            actor=f"client:{call.caller.name}",
            subject=f"service:{call.service_id}",
            detail={"hook": call.request.hook.name, "hook_instance": call.request.hook_instance},
        )


def _category(error: Exception) -> str:
    return error.category.value if isinstance(error, ClinicalError) else Category.FAULT.value
