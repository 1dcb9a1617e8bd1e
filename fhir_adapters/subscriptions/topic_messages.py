"""Notifications of a topic: a history Bundle whose first entry says where a subscription stands (backport 1.1.0).

The status is a Parameters (R4 has no SubscriptionStatus), and the same message sent again has the same ids, so
that a receiver can tell.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from fhir_adapters.resources.labels import instant
from fhir_adapters.subscriptions import backport
from fhir_adapters.subscriptions.asked import Asked
from fhir_adapters.subscriptions.messages import JSON_CONTENT
from fhir_adapters.subscriptions.rest_hook import Message
from record_store.notifications import Notification
from record_store.resource_history import Version
from record_store.subscriptions import Held
from record_store.times import from_text

Json = dict[str, Any]


class Kind(StrEnum):
    """Why a status is told (R5 subscription-notification-type)."""

    HANDSHAKE = "handshake"
    HEARTBEAT = "heartbeat"
    EVENT = "event-notification"
    STATUS = "query-status"
    EVENTS = "query-event"


_ASKED_FOR = (Kind.STATUS, Kind.EVENTS)


@dataclass(frozen=True, slots=True)
class Told:
    """An event with the version that it is about."""

    notification: Notification
    version: Version


def message_of(held: Held, kind: Kind, told: Sequence[Told], *, base_url: str, now: datetime) -> Message:
    """Return the message to a topic's subscriber; `told` is empty but for events."""
    asked = Asked.from_json(held.asked)
    body = bundle(held, kind, told, content=asked.content, base_url=base_url, now=now)
    return Message("POST", asked.endpoint, body, (*held.headers, JSON_CONTENT))


def bundle(held: Held, kind: Kind, told: Sequence[Told], *, content: str, base_url: str, now: datetime) -> bytes:
    """Return the notification Bundle; the bytes of resources stand in it as they are stored."""
    base = base_url.rstrip("/")
    status = status_of(held, kind, told, content=content, base_url=base)
    own = f"{base}/Subscription/{held.id}"
    first = orjson.dumps(
        {
            "fullUrl": f"urn:uuid:{status['id']}",
            "resource": status,
            "request": {"method": "GET", "url": f"{own}/$status"},
            "response": {"status": "200"},
        }
    )
    rest = [_entry(one, base) for one in told] if content == backport.FULL_RESOURCE else []
    head = orjson.dumps(
        {
            "resourceType": "Bundle",
            "meta": {"profile": [backport.NOTIFICATION_PROFILE]},
            "type": "history",
            "timestamp": instant(now),
        }
    )
    return head[:-1] + b',"entry":[' + b",".join([first, *rest]) + b"]}"


def status_of(
    held: Held, kind: Kind, told: Sequence[Told], *, content: str, base_url: str, more: Sequence[Json] = ()
) -> Json:
    """Return the Parameters that say where a subscription stands and what of. more: further parameters."""
    asked = Asked.from_json(held.asked)
    numbers = [one.notification.number for one in told]
    named = f"{base_url}/{held.id}/{held.version}/{held.status}/{kind}/{held.events}/{numbers}/{held.heartbeat_at}"
    topic = {"name": "topic", "valueCanonical": asked.topic}
    error = {"name": "error", "valueCodeableConcept": {"text": held.problem}}
    return {
        "resourceType": "Parameters",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, named)),
        "meta": {"profile": [backport.STATUS_PROFILE]},
        "parameter": [
            {
                "name": "subscription",
                "valueReference": {"reference": f"{base_url.rstrip('/')}/Subscription/{held.id}"},
            },
            # It says what is told of, which an empty notification does not (backport, comment on topic).
            *([topic] if asked.topic is not None and content != backport.EMPTY else []),
            {"name": "status", "valueCode": "requested" if held.status == "new" else held.status},
            {"name": "type", "valueCode": kind.value},
            {"name": "events-since-subscription-start", "valueString": str(held.events)},
            *(_event(one, content, base_url.rstrip("/")) for one in told),
            *([error] if held.problem and kind in _ASKED_FOR else []),
            *more,
        ],
    }


def _event(one: Told, content: str, base: str) -> Json:
    event = one.notification.event
    part: list[Json] = [
        {"name": "event-number", "valueString": str(one.notification.number)},
        {"name": "timestamp", "valueInstant": instant(from_text(event.at))},
    ]
    if content != backport.EMPTY:
        part.append({"name": "focus", "valueReference": {"reference": f"{base}/{event.type}/{event.id}"}})
    return {"name": "notification-event", "part": part}


def _entry(one: Told, base: str) -> bytes:
    """Return the entry of a resource, with the request that made this version (R4 bdl-3, bdl-4)."""
    stored, method = one.version.stored, one.version.method
    own = f"{stored.type}/{stored.id}"
    about: Mapping[str, object] = {
        "request": {"method": method, "url": stored.type if method == "POST" else own},
        "response": {"status": "201" if stored.version == 1 else "204" if one.version.deleted else "200"},
    }
    resource = b"" if one.version.deleted else b'"resource":' + stored.body + b","
    return b'{"fullUrl":' + orjson.dumps(f"{base}/{own}") + b"," + resource + orjson.dumps(about)[1:]
