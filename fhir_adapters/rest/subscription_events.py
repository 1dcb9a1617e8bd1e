"""$events of a Subscription: what it was told, and what it is still to be told (backport 1.1.0, $events).

GET or POST [base]/Subscription/[id]/$events, with `eventsSinceNumber`, `eventsUntilNumber` and `content`.
"""

import re

from flask import Response
from sqlalchemy import Connection

from clinical.errors import IncorrectInput
from fhir_adapters.rest.fhir import CONTENT_TYPE, Fhir, Interaction, visible
from fhir_adapters.rest.reach import reaches
from fhir_adapters.rest.subscription_status import held_by, parameters
from fhir_adapters.subscriptions import backport
from fhir_adapters.subscriptions.asked import Asked
from fhir_adapters.subscriptions.topic_messages import Kind, Told, bundle
from record_store import notifications
from record_store.notifications import Event
from record_store.resource_history import Version, latest, version

MOST_EVENTS = 100  # in one answer; who wants more asks for what comes after its last number


def answer(fhir: Fhir, resource_id: str) -> Response:
    """Return a notification Bundle of events by their numbers, the first ones when there are too many."""
    given = dict(parameters(("eventsSinceNumber", "eventsUntilNumber", "content")))
    first, last = _number(given, "eventsSinceNumber"), _number(given, "eventsUntilNumber")
    content = given.get("content")
    if content not in {None, *backport.CONTENTS}:
        raise IncorrectInput(f"content is one of {', '.join(backport.CONTENTS)}", expression=["content"])
    with fhir.db.read() as conn:
        held = held_by(fhir, conn, resource_id)
        usual = Asked.from_json(held.asked).content
        found = notifications.between(conn, held.id, first or 1, last, MOST_EVENTS)
        versions = [(one, _seen(fhir, conn, one.event)) for one in found]
    told = [Told(one, about) for one, about in versions if about is not None]
    body = bundle(
        held,
        Kind.EVENTS,
        told,
        content=content or usual or backport.ID_ONLY,
        base_url=fhir.base_url,
        now=fhir.now(),
    )
    return Response(body, content_type=CONTENT_TYPE)


def _seen(fhir: Fhir, conn: Connection, event: Event) -> Version | None:
    """Return the version of an event when the caller may read it and what it is now; None when it may not."""
    within = visible(event.type, "r")
    found = version(conn, event.type, event.id, event.version)
    if within is None or found is None:
        return found
    current = latest(conn, event.type, event.id)
    return found if current is not None and all(reaches(fhir, one, within) for one in (found, current)) else None


def _number(given: dict[str, str], name: str) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,15}", text):
        raise IncorrectInput(f"{name} takes an event's number", expression=[name])
    return int(text)


INTERACTIONS = (
    Interaction("$events", "GET", "/Subscription/<resource_id>/$events", answer),
    Interaction("$events", "POST", "/Subscription/<resource_id>/$events", answer),
)
