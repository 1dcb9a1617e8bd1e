"""Cards that were sent, and calls in shadow mode: what feedback, hygiene and reports are held against.

Patients and users are digests under a key of ours (`clinical.pseudonym`), never ids.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson
from sqlalchemy import Connection, delete, insert, select

from record_store.database import Database
from record_store.ledger import Row
from record_store.tables import card_outcome, sent_card, shadow_call
from record_store.times import to_text

BINS = 20  # of the probability, for what-if curves
PURGE_STEP = 1000  # rows a transaction, so that no purge keeps a hook call waiting


@dataclass(frozen=True, slots=True)
class SentCard:
    """One card as it was sent.

    card, suggestions: UUIDs that feedback names. client: the issuer's short name. outcome_code: `system|code` of
    what the probability is of. finding_key: a digest. shadow: recorded, and shown to nobody. replaces: the card
    of an earlier hook.
    """

    card: str
    sent_at: datetime
    service: str
    hook: str
    hook_instance: str
    issuer: str
    client: str
    patient_key: str = field(repr=False)
    user_key: str | None = field(repr=False)
    indicator: str
    model: str | None = None
    model_version: str | None = None
    model_digest: str | None = None
    threshold: float | None = None
    probability: float | None = None
    outcome_code: str | None = None
    finding_key: str | None = None
    input_hash: str | None = None
    suggestions: tuple[str, ...] = ()
    shadow: bool = False
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class ShadowCall:
    """One call of a service in shadow mode. problem: an error's category, None when the service answered."""

    at: datetime
    service: str
    hook: str
    hook_instance: str
    issuer: str
    patient_key: str = field(repr=False)
    cards: int
    problem: str | None = None


def bin_of(probability: float | None) -> int | None:
    """Return the twentieth that a probability falls into, 0 to 19; 1.0 belongs to the last one."""
    return None if probability is None else min(int(probability * BINS), BINS - 1)


def add(conn: Connection, cards: Sequence[SentCard]) -> None:
    """Add cards in the caller's transaction. Raises Fault when a card's UUID is there already."""
    if cards:
        conn.execute(insert(sent_card), [_row(card) for card in cards])


def rows_of(cards: Sequence[SentCard]) -> list[Row]:
    """Return the rows of cards for `record_store.ledger`."""
    return [(sent_card, _row(card)) for card in cards]


def _row(card: SentCard) -> dict[str, object]:
    row = {name: getattr(card, name) for name in SentCard.__slots__}
    return row | {
        "sent_at": to_text(card.sent_at),
        "suggestions": orjson.dumps(card.suggestions).decode(),
        "shadow": int(card.shadow),
        "score_bin": bin_of(card.probability),
    }


def add_shadow_call(conn: Connection, call: ShadowCall) -> None:
    """Add a call of a service in shadow mode, in the caller's transaction."""
    row = {name: getattr(call, name) for name in ShadowCall.__slots__}
    conn.execute(insert(shadow_call), row | {"at": to_text(call.at)})


def suggestions_of(conn: Connection, issuer: str, service: str, cards: Collection[str]) -> dict[str, set[str]]:
    """Return the suggestions' UUIDs of those of `cards` that this service has sent to this issuer.

    Cards of shadow mode were not sent. The rows are held until the transaction ends, so that no purge takes a card
    between the question and its feedback.
    """
    query = select(sent_card.c.card, sent_card.c.suggestions).where(
        sent_card.c.card.in_(list(cards)),
        sent_card.c.issuer == issuer,
        sent_card.c.service == service,
        sent_card.c.shadow == 0,
    )
    found = conn.execute(query.order_by(sent_card.c.card).with_for_update(read=True))
    return {card: set(orjson.loads(suggestions)) for card, suggestions in found}


def purge(db: Database, before: datetime) -> int:
    """Remove what is older than `before`: cards with their feedback, shadow calls, outcomes. Return the rows."""
    tables = (
        (sent_card, sent_card.c.card, sent_card.c.sent_at),
        (shadow_call, shadow_call.c.row, shadow_call.c.at),
        (card_outcome, card_outcome.c.key, card_outcome.c.recorded_at),
    )
    removed = 0
    for table, key, time in tables:
        while True:
            with db.write() as conn:
                old = select(key).where(time < to_text(before)).order_by(time, key).limit(PURGE_STEP)
                count = conn.execute(delete(table).where(key.in_(old))).rowcount
            removed += count
            if count < PURGE_STEP:
                break
    return removed
