"""What clinicians did with cards, as their systems report it. Reports are added and never changed."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

import orjson
from sqlalchemy import Connection

from record_store.sql import insert_once
from record_store.tables import feedback
from record_store.times import to_text

ACCEPTED, OVERRIDDEN = "accepted", "overridden"


@dataclass(frozen=True, slots=True)
class Report:
    """One report on one card.

    outcome: ACCEPTED or OVERRIDDEN. outcome_at: when the user acted, by the client's clock. accepted: UUIDs of the
    suggestions taken. user_comment: free text, may hold anything about a patient.
    """

    card: str
    outcome: str
    outcome_at: datetime
    accepted: tuple[str, ...] = ()
    reason_system: str | None = None
    reason_code: str | None = None
    user_comment: str | None = field(default=None, repr=False)

    @property
    def content(self) -> str:
        """A digest of what is said, by which the same report is known again."""
        said = [
            self.outcome,
            to_text(self.outcome_at),
            sorted(self.accepted),
            self.reason_system,
            self.reason_code,
            self.user_comment,
        ]
        return hashlib.sha256(orjson.dumps(said)).hexdigest()


def add(conn: Connection, reports: tuple[Report, ...], now: datetime) -> list[Report]:
    """Add reports in the caller's transaction; return those that were not there yet.

    In the order of their keys: two senders of the same batch wait for one another and do not lock each other out.
    """
    return [
        report for report in sorted(reports, key=lambda one: (one.card, one.content)) if _add(conn, report, now)
    ]


def _add(conn: Connection, report: Report, now: datetime) -> bool:
    values = {
        "card": report.card,
        "content": report.content,
        "outcome": report.outcome,
        "outcome_at": to_text(report.outcome_at),
        "received_at": to_text(now),
        "accepted": orjson.dumps(sorted(report.accepted)).decode(),
        "reason_system": report.reason_system,
        "reason_code": report.reason_code,
        "user_comment": report.user_comment,
    }
    return insert_once(conn, feedback, values, ["card", "content"])
