"""What somebody has seen before: read while a call waits, so each question is one statement that is made once."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, and_, bindparam, func, select

from record_store.tables import feedback, sent_card
from record_store.times import from_text, to_text

MOST = 500  # cards about one patient that are looked at, the newest


@dataclass(frozen=True, slots=True)
class SeenCard:
    """What is known of a card that somebody saw. reason_*, overridden_at: of its last report, if an override."""

    card: str
    sent_at: datetime
    service: str
    hook: str
    hook_instance: str
    user_key: str | None = field(repr=False)
    indicator: str
    model: str | None
    model_version: str | None
    probability: float | None
    finding_key: str | None
    reason_system: str | None = None
    reason_code: str | None = None
    overridden_at: datetime | None = None


_NAMES = [name for name in SeenCard.__slots__ if name in sent_card.c]
_SHOWN = and_(
    sent_card.c.sent_at >= bindparam("since"), sent_card.c.issuer == bindparam("issuer"), sent_card.c.shadow == 0
)
_OF_PATIENT = (
    select(*(sent_card.c[name] for name in _NAMES))
    .where(sent_card.c.patient_key == bindparam("patient_key"), _SHOWN)
    .order_by(sent_card.c.sent_at.desc(), sent_card.c.card)
    .limit(MOST)
)
_REPORTS = (
    select(feedback.c.card, feedback.c.outcome, feedback.c.reason_system, feedback.c.reason_code)
    .add_columns(feedback.c.received_at)
    .where(feedback.c.card.in_(bindparam("cards", expanding=True)))
    .order_by(feedback.c.outcome_at, feedback.c.row)
)
_COUNT_OF = {
    name: select(func.count()).where(sent_card.c[name] == bindparam("key"), _SHOWN)
    for name in ("patient_key", "user_key")
}
_OF_OTHER_HOOKS = (
    select(sent_card.c.finding_key, sent_card.c.card)
    .where(
        sent_card.c.patient_key == bindparam("patient_key"),
        sent_card.c.service == bindparam("service"),
        sent_card.c.hook != bindparam("hook"),
        sent_card.c.user_key == bindparam("user_key"),
        sent_card.c.finding_key.is_not(None),
        _SHOWN,
    )
    .order_by(sent_card.c.sent_at, sent_card.c.card)
)


def seen_cards(conn: Connection, issuer: str, patient_key: str, since: datetime) -> list[SeenCard]:
    """Return the cards about a patient that were shown to users of an issuer since a time, newest first."""
    asked = {"patient_key": patient_key, "issuer": issuer, "since": to_text(since)}
    rows = [dict(row) for row in conn.execute(_OF_PATIENT, asked).mappings()]
    overrides = _overrides(conn, [row["card"] for row in rows])
    return [
        SeenCard(**row | {"sent_at": from_text(row["sent_at"])} | overrides.get(row["card"], {})) for row in rows
    ]


def _overrides(conn: Connection, cards: list[str]) -> dict[str, dict[str, object]]:
    """Return the last report of each card whose last one is an override; it counts from when we received it."""
    if not cards:
        return {}
    last = {row["card"]: row for row in conn.execute(_REPORTS, {"cards": cards}).mappings()}
    return {
        card: {
            "reason_system": row["reason_system"],
            "reason_code": row["reason_code"],
            "overridden_at": from_text(row["received_at"]),
        }
        for card, row in last.items()
        if row["outcome"] == "overridden"
    }


def shown_about(conn: Connection, issuer: str, patient_key: str, since: datetime) -> int:
    """Return how many cards about a patient were shown since a time."""
    asked = {"key": patient_key, "issuer": issuer, "since": to_text(since)}
    return int(conn.execute(_COUNT_OF["patient_key"], asked).scalar_one())


def shown_to(conn: Connection, issuer: str, user_key: str, since: datetime) -> int:
    """Return how many cards were shown to a user since a time."""
    asked = {"key": user_key, "issuer": issuer, "since": to_text(since)}
    return int(conn.execute(_COUNT_OF["user_key"], asked).scalar_one())


def of_other_hooks(
    conn: Connection, *, issuer: str, service: str, hook: str, patient_key: str, user_key: str, since: datetime
) -> dict[str, str]:
    """Return finding -> its newest card that this service showed this user about this patient by another hook."""
    asked = {"issuer": issuer, "service": service, "hook": hook, "patient_key": patient_key, "user_key": user_key}
    found = conn.execute(_OF_OTHER_HOOKS, asked | {"since": to_text(since)}).all()
    return {row.finding_key: row.card for row in found}
