"""The memory of cards that were really sent: only they can take feedback."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cds.call import HookCall
from cds.card import Card
from cds.feedback.who import owner_of, user_of
from cds.guidance import Guidance
from clinical.clock import Clock
from clinical.pseudonym import Pseudonyms
from record_store import seen_cards, sent_cards
from record_store.database import Database
from record_store.ledger import Row
from record_store.sent_cards import SentCard

REPLACES_WITHIN = timedelta(hours=1)
_DIGITS = 32
# At these something is decided: that a card stood in the chart before does not mean that it is remembered now.
DECIDING_HOOKS = frozenset(
    {
        "order-select",
        "order-sign",
        "order-dispatch",
        "appointment-book",
        "encounter-discharge",
        "medication-prescribe",
        "medication-refill",
        "medication-verify",
        "order-review",
    }
)


def finding_digest(finding_key: str | None) -> str | None:
    """Return a finding's name as it is stored: a digest, for a key may hold the UID of a study."""
    return None if finding_key is None else hashlib.sha256(finding_key.encode()).hexdigest()[:_DIGITS]


def sent_card_of(card: Card, call: HookCall, pseudonyms: Pseudonyms, at: datetime, *, shadow: bool) -> SentCard:
    """Return the row of one card of a call."""
    about, owner = card.about, owner_of(call.caller)
    user = user_of(call)
    return SentCard(
        card=card.uuid,
        sent_at=at,
        service=call.service_id,
        hook=call.request.hook.name,
        hook_instance=call.request.hook_instance,
        issuer=owner,
        client=call.caller.name,
        patient_key=pseudonyms.of_patient(owner, call.request.patient_id),
        user_key=None if user is None else pseudonyms.of_user(owner, user),
        indicator=card.indicator.value,
        model=about.model.name if about.model else None,
        model_version=about.model.version if about.model else None,
        model_digest=about.model.digest if about.model else None,
        threshold=about.threshold,
        probability=about.probability,
        outcome_code=f"{about.outcome.system}|{about.outcome.code}" if about.outcome else None,
        finding_key=finding_digest(about.finding_key),
        input_hash=about.input_hash,
        suggestions=tuple(suggestion.uuid for suggestion in card.suggestions),
        shadow=shadow,
    )


@dataclass(frozen=True, slots=True)
class SentCardLog:
    """The stage `cds.stages.SentCards`."""

    now: Clock
    pseudonyms: Pseudonyms

    def rows(self, db: Database, call: HookCall, guidance: Guidance) -> list[Row]:
        """Return the rows of the cards. Raises Busy or Fault: then nothing may be sent."""
        cards = [sent_card_of(card, call, self.pseudonyms, self.now(), shadow=False) for card in guidance.cards]
        return sent_cards.rows_of(_replacing(db, cards))


def _replacing(db: Database, cards: list[SentCard]) -> list[SentCard]:
    """Return cards of one call, each with the card of an earlier hook that it stands for now, if there is one.

    At order-sign the clinician sees the card of patient-view again, and the first one was not ignored.
    """
    first = cards[0]
    if first.hook not in DECIDING_HOOKS or first.user_key is None or not any(card.finding_key for card in cards):
        return cards
    with db.read() as conn:
        earlier = seen_cards.of_other_hooks(
            conn,
            issuer=first.issuer,
            service=first.service,
            hook=first.hook,
            patient_key=first.patient_key,
            user_key=first.user_key,
            since=first.sent_at - REPLACES_WITHIN,
        )
    return [replace(card, replaces=earlier.get(card.finding_key or "")) for card in cards]
