"""What really happened, from a CSV file of the site: one row a card, or one row a patient and service.

    card,issuer,patient,service,happened,observed_at
    9368d37b-283f-44a0-93ea-547cebab93ed,,,,yes,2026-11-22
    ,https://ehr.example,4711,diabetes-risk,no,2026-11-22T09:00:00+01:00

A patient's id is made a digest here and stored nowhere. What is wrong is named by line and column, never by value.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from typing import NoReturn

from clinical.clock import Clock
from clinical.errors import IncorrectInput
from clinical.pseudonym import Pseudonyms
from record_store import card_outcomes
from record_store.audit import append as append_audit
from record_store.card_outcomes import CardOutcome
from record_store.database import Database

COLUMNS = ("card", "issuer", "patient", "service", "happened", "observed_at")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HAPPENED = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_STEP = 500


def read_outcomes(lines: Iterable[str], pseudonyms: Pseudonyms) -> list[CardOutcome]:
    """Return the outcomes in CSV text. Raises IncorrectInput for the first line that cannot be understood."""
    rows = csv.DictReader(lines, strict=True)
    try:
        if rows.fieldnames is None or not {"happened", "observed_at"} <= set(rows.fieldnames) <= set(COLUMNS):
            raise IncorrectInput(f"the first line names the columns: {','.join(COLUMNS)}")
        return [_outcome(row, rows.line_num, pseudonyms) for row in rows]
    except csv.Error:
        raise IncorrectInput(f"line {rows.line_num + 1}: not CSV") from None


def import_outcomes(db: Database, outcomes: list[CardOutcome], now: Clock) -> None:
    """Store outcomes, all or none; the last one about a card, or a patient and service, counts.

    Raises IncorrectInput when one is about a card that was never made here.
    """
    cards = [one.card for one in outcomes if one.card]
    with db.write() as conn:
        known: set[str] = set()
        for start in range(0, len(cards), _STEP):
            known |= card_outcomes.known_cards(conn, cards[start : start + _STEP])
        if strangers := len(set(cards) - known):
            raise IncorrectInput(f"{strangers} of the cards are not of this server, or were removed by age")
        card_outcomes.put(conn, outcomes, now())
        append_audit(
            conn,
            at=now(),
            action="outcomes-imported",
            outcome="done",
            actor="operator",
            subject="outcomes",
            detail={"outcomes": len(outcomes)},
        )


def _outcome(row: Mapping[str | None, str | None], line: int, pseudonyms: Pseudonyms) -> CardOutcome:
    if None in row or None in row.values():
        _refuse(line, "row", "as many fields as the first line names")
    said = {name: (row.get(name) or "").strip() for name in COLUMNS}
    happened = _HAPPENED.get(said["happened"].lower())
    if happened is None:
        _refuse(line, "happened", "yes, no, true, false, 1 or 0")
    observed_at = _time(said["observed_at"], line)
    whose = (said["issuer"], said["patient"], said["service"])
    if said["card"]:
        if any(whose) or not _UUID.fullmatch(said["card"].lower()):
            _refuse(line, "card", "the UUID of a card, and then no issuer, patient and service")
        return CardOutcome(happened, observed_at, card=said["card"].lower())
    if not all(whose):
        _refuse(line, "patient", "a card, or all of issuer, patient and service")
    patient_key = pseudonyms.of_patient(said["issuer"], said["patient"].removeprefix("Patient/"))
    return CardOutcome(happened, observed_at, patient_key=patient_key, service=said["service"])


def _time(text: str, line: int) -> datetime:
    try:
        if len(text) == len("2026-11-22"):
            # Of a day only the day is known: what was sent on it was sent before.
            return datetime.combine(date.fromisoformat(text), time.max, UTC)
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        _refuse(line, "observed_at", "a day, or a time with its zone")
    return at


def _refuse(line: int, column: str, expected: str) -> NoReturn:
    raise IncorrectInput(f"line {line}, {column}: expected {expected}")
