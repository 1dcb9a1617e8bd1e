"""The body of a feedback call, checked as CDS Hooks 3.0 ("Feedback") says, as frozen values.

What is wrong is named by its JSON path and by what was expected; a value that was sent is never repeated. Unknown
fields and extensions are let through. Invariants cds-fb-1, -2 and -3 of the specification's logical model hold.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from clinical.errors import IncorrectInput
from record_store.feedback import ACCEPTED, OVERRIDDEN, Report

MOST_REPORTS = 1000
LONGEST_COMMENT = 10_000
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# RFC 3339 5.6, in UTC as the specification demands; "-00:00" is UTC too (RFC 3339 4.3).
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}):([0-9]{2})(\.[0-9]+)?([Zz]|[+-]00:00)", re.ASCII
)
_LEAP_MINUTE = "23:59"


@dataclass(frozen=True, slots=True)
class Reported:
    """A report and where it stood in the body, for what is found out only against the store."""

    report: Report
    path: str = field(default="feedback")


def parse_feedback(body: Mapping[str, Any]) -> tuple[Reported, ...]:
    """Return the reports in a decoded body; `feedback: []` is legal and says nothing.

    Raises IncorrectInput with the JSON path of the first thing that is wrong (HTTP 400).
    """
    items = body.get("feedback")
    if not isinstance(items, list):
        raise wrong("feedback", "required, an array")
    if len(items) > MOST_REPORTS:
        raise wrong("feedback", f"expected at most {MOST_REPORTS} reports in one call")
    return tuple(Reported(_report(item, f"feedback[{n}]"), f"feedback[{n}]") for n, item in enumerate(items))


def wrong(path: str, expected: str) -> IncorrectInput:
    """Return the error for what is at `path`."""
    return IncorrectInput(f"{path}: {expected}", expression=[path])


def _report(item: object, path: str) -> Report:
    if not isinstance(item, dict):
        raise wrong(path, "expected a JSON object")
    card = _uuid(item, "card", path)
    outcome = item.get("outcome")
    if outcome not in (ACCEPTED, OVERRIDDEN):
        raise wrong(f"{path}.outcome", "required, accepted or overridden")
    system, code, comment = _override(item, path)
    accepted = _accepted(item, path)
    if outcome == ACCEPTED and not accepted:
        raise wrong(f"{path}.acceptedSuggestions", "required when the outcome is accepted")
    if outcome == OVERRIDDEN and accepted:
        raise wrong(f"{path}.acceptedSuggestions", "expected none when the outcome is overridden")
    at = _instant(item, path)
    return Report(card, outcome, at, accepted, system, code, comment)


def _uuid(parent: Mapping[str, Any], key: str, path: str) -> str:
    value = parent.get(key)
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise wrong(f"{path}.{key}", "required, a UUID")
    return value.lower()


def _accepted(item: Mapping[str, Any], path: str) -> tuple[str, ...]:
    if "acceptedSuggestions" not in item:
        return ()
    path = f"{path}.acceptedSuggestions"
    values = item["acceptedSuggestions"]
    if not isinstance(values, list) or len(values) > MOST_REPORTS:
        raise wrong(path, f"expected an array of at most {MOST_REPORTS} objects")
    ids = []
    for n, value in enumerate(values):
        if not isinstance(value, dict):
            raise wrong(f"{path}[{n}]", "expected a JSON object")
        ids.append(_uuid(value, "id", f"{path}[{n}]"))
    return tuple(dict.fromkeys(ids))


def _override(item: Mapping[str, Any], path: str) -> tuple[str | None, str | None, str | None]:
    """Return the system and code of the reason, and the comment; at least one of the two is there (cds-fb-3)."""
    if "overrideReason" not in item:
        return None, None, None
    path = f"{path}.overrideReason"
    said = item["overrideReason"]
    if not isinstance(said, dict):
        raise wrong(path, "expected a JSON object")
    system = code = comment = None
    if "reason" in said:
        if not isinstance(said["reason"], dict):
            raise wrong(f"{path}.reason", "expected a Coding")
        code = _text(said["reason"], "code", f"{path}.reason", 256)
        system = _text(said["reason"], "system", f"{path}.reason", 512) if "system" in said["reason"] else None
    if "userComment" in said:
        comment = _text(said, "userComment", path, LONGEST_COMMENT)
    if code is None and comment is None:
        raise wrong(path, "expected reason, userComment or both")
    return system, code, comment


def _text(parent: Mapping[str, Any], key: str, path: str, longest: int) -> str:
    value = parent.get(key)
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        raise wrong(f"{path}.{key}", f"expected text of 1 to {longest} characters")
    return value


def _instant(item: Mapping[str, Any], path: str) -> datetime:
    path = f"{path}.outcomeTimestamp"
    value = item.get("outcomeTimestamp")
    match = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise wrong(path, "required, a time of RFC 3339 in UTC such as 2026-01-31T09:30:00Z")
    day, minute, second, fraction, _zone = match.groups()
    micros = (fraction or ".")[1:7].ljust(6, "0")
    if minute == _LEAP_MINUTE and second == "60":
        second, micros = "59", "999999"  # a leap second is real; no datetime holds it
    try:
        return datetime.fromisoformat(f"{day}T{minute}:{second}.{micros}").replace(tzinfo=UTC)
    except ValueError:
        raise wrong(path, "expected a day and time that exist") from None
