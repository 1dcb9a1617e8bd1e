"""What really happened to patients about whom cards were sent; supplied later, and again when it changes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from record_store.tables import card_outcome, sent_card
from record_store.times import to_text


@dataclass(frozen=True, slots=True)
class CardOutcome:
    """happened: whether what the card spoke of came true. About one card, or about a patient and a service."""

    happened: bool
    observed_at: datetime
    card: str | None = None
    patient_key: str | None = field(default=None, repr=False)
    service: str | None = None

    @property
    def key(self) -> str:
        """What the outcome is about: the last one given for it counts."""
        return f"card:{self.card}" if self.card else f"patient:{self.patient_key}:{self.service}"


def put(conn: Connection, outcomes: Sequence[CardOutcome], now: datetime) -> None:
    """Add outcomes, or replace those about the same thing, in the caller's transaction."""
    for one in outcomes:
        values = {
            "happened": int(one.happened),
            "observed_at": to_text(one.observed_at),
            "recorded_at": to_text(now),
        }
        changed = conn.execute(update(card_outcome).where(card_outcome.c.key == one.key).values(values))
        if changed.rowcount == 0:
            about = {"key": one.key, "card": one.card, "patient_key": one.patient_key, "service": one.service}
            conn.execute(insert(card_outcome).values(values | about))


def known_cards(conn: Connection, cards: Sequence[str]) -> set[str]:
    """Return those of the UUIDs that are cards of ours."""
    return set(conn.execute(select(sent_card.c.card).where(sent_card.c.card.in_(list(cards)))).scalars())
