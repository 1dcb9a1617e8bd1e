"""What one recording holds, as JSON: the call without whom it is about, what was fetched for it, and the answer.

    {"format": 1, "service": "...", "at": "...", "request": {...}, "failed": {"key": "reason"},
     "answer": {"status": "cards", "cards": [{"indicator": "...", "summary": "digest", ...}]}}

`at` is moved with the patient's dates, so a service that is asked again at that time sees the same ages.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cds.recording.deidentify import Disguise
from clinical.errors import ClinicalError

FORMAT = 1
JsonObject = dict[str, Any]


@dataclass(slots=True)
class Heard:
    """What was heard of one call while it was answered. fetched, failed: by prefetch key."""

    service_id: str
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    fetched: JsonObject = field(default_factory=dict, repr=False)
    failed: dict[str, str] = field(default_factory=dict)


def tape(heard: Heard, answer: JsonObject, keys: Sequence[str], at: datetime, disguise: Disguise) -> JsonObject:
    """Return the recording. answer: see `said` and `refused`. keys: those that the service asks for."""
    sent = heard.body.get("prefetch")
    known = (sent if isinstance(sent, dict) else {}) | heard.fetched
    prefetch = {key: known[key] and disguise.resource(known[key]) for key in keys if key in known}
    instance = uuid.UUID(
        bytes=bytes.fromhex(disguise.name(str(heard.body.get("hookInstance")))[1:]).ljust(16, b"\0")
    )
    context = heard.body.get("context")
    return {
        "format": FORMAT,
        "service": heard.service_id,
        "at": (at + disguise.shift).isoformat(),
        "request": {
            "hook": heard.body.get("hook"),
            "hookInstance": str(instance),
            "context": disguise.resource(context) if isinstance(context, dict) else {},
            "prefetch": prefetch,
        },
        "failed": {key: reason for key, reason in heard.failed.items() if key in keys},
        "answer": answer,
    }


def said(body: Mapping[str, Any], disguise: Disguise) -> JsonObject:
    """Return what is kept of an answer 200: enough to tell whether another is the same, and no text."""
    return {"status": "cards", "cards": [_card(card, disguise) for card in body.get("cards", [])]}


def refused(error: ClinicalError) -> JsonObject:
    """Return what is kept of an error: its category, and the JSON paths as far as they are of our making."""
    return {"status": error.category.value, "expression": [path.split("[")[0] for path in error.expression]}


def _card(card: Mapping[str, Any], disguise: Disguise) -> JsonObject:
    topic = card.get("source", {}).get("topic", {})
    actions = [action for one in card.get("suggestions", []) for action in one.get("actions", [])]
    return {
        "indicator": card.get("indicator"),
        "summary": disguise.name(str(card.get("summary"))),
        "topic": [topic.get("system"), topic.get("code")],
        "suggestions": len(card.get("suggestions", [])),
        "actions": [[one.get("type"), (one.get("resource") or {}).get("resourceType")] for one in actions],
        "links": len(card.get("links", [])),
        "overrideReasons": [reason.get("code") for reason in card.get("overrideReasons", [])],
    }
