"""Alert hygiene: a card that somebody has seen, has answered, or sees too many of, is held back.

Off until a site switches it on; `cds.hygiene_rules` decides. Each card held back is a row of the audit before the
answer leaves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from cds.call import HookCall
from cds.feedback.sent import finding_digest
from cds.feedback.who import owner_of, user_of
from cds.guidance import Guidance
from cds.hygiene_rules import HOUR_S, Held, HygieneRules, Situation, screen
from clinical.clock import Clock
from clinical.pseudonym import Pseudonyms
from record_store import seen_cards
from record_store.audit import append as append_audit
from record_store.database import Database


@dataclass(frozen=True, slots=True)
class CardHygiene:
    """The stage `cds.stages.Hygiene`. observe: told (service, reason) of each card held back."""

    db: Database
    now: Clock
    pseudonyms: Pseudonyms
    rules: HygieneRules
    observe: Callable[[str, str], None]

    def sift(self, call: HookCall, guidance: Guidance) -> Guidance:
        """Return the guidance without what is held back, each of which stands in the audit by then.

        Raises Busy or Fault when the store cannot be asked: what may be held back is not known then.
        """
        if not guidance.cards or not self.rules.looks_back_s:
            return guidance
        held = screen(guidance, self._situation(call), self.rules)
        if not held:
            return guidance
        self._audit(call, held)
        gone = {one.card.uuid for one in held}
        for one in held:
            self.observe(call.service_id, one.reason)
        return guidance.keep([card for card in guidance.cards if card.uuid not in gone])

    def _situation(self, call: HookCall) -> Situation:
        owner, now = owner_of(call.caller), self.now()
        patient_key = self.pseudonyms.of_patient(owner, call.request.patient_id)
        user = user_of(call)
        user_key = None if user is None else self.pseudonyms.of_user(owner, user)
        hour = now - timedelta(seconds=HOUR_S)
        with self.db.read() as conn:
            since = now - timedelta(seconds=self.rules.looks_back_s)
            seen = seen_cards.seen_cards(conn, owner, patient_key, since)
            to_user = about_patient = 0
            if self.rules.user_cards_per_hour and user_key is not None:
                to_user = seen_cards.shown_to(conn, owner, user_key, hour)
            if self.rules.patient_cards_per_hour:
                about_patient = seen_cards.shown_about(conn, owner, patient_key, hour)
        return Situation(
            service=call.service_id,
            hook=call.request.hook.name,
            hook_instance=call.request.hook_instance,
            user_key=user_key,
            seen=seen,
            to_user=to_user,
            about_patient=about_patient,
            now=now,
        )

    def _audit(self, call: HookCall, held: Sequence[Held]) -> None:
        with self.db.write() as conn:
            for one in held:
                append_audit(
                    conn,
                    at=self.now(),
                    action="card-suppressed",
                    outcome=one.reason,
                    actor=f"service:{call.service_id}",
                    subject=one.card.uuid,
                    detail={
                        "because": one.because,
                        "hook": call.request.hook.name,
                        "hook_instance": call.request.hook_instance,
                        "client": call.caller.name,
                        "indicator": one.card.indicator.value,
                        "finding": finding_digest(one.card.about.finding_key),
                    },
                )
