"""What a Subscription asks for, read from what a client sends (R4 Subscription, profile backport-subscription).

What cannot be done is refused when it is asked for, with its place and the reason: a subscription that is taken
and never fires looks like a quiet ward.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from clinical.errors import IncorrectInput
from fhir_adapters.access.grant import Grant
from fhir_adapters.allow_list import AllowedServer
from fhir_adapters.media_type import MEDIA_TYPE
from fhir_adapters.search.dates import range_of
from fhir_adapters.search.parameters import TYPES
from fhir_adapters.search.parse import parse
from fhir_adapters.subscriptions import backport, topic
from fhir_adapters.subscriptions.asked import Asked
from fhir_adapters.subscriptions.headers import MASK, headers_in
from fhir_adapters.subscriptions.owner import owned_by
from fhir_adapters.subscriptions.rest_hook import allowed
from record_store.criteria import AllOf, AnyOf, Chained, Criterion, Has, Not
from record_store.resource_search import SearchQuery
from record_store.subscriptions import Wanted

Json = Mapping[str, Any]

__all__ = ["MASK", "query_of", "wanted_by"]

CLIENTS_STATUS = ("requested", "off")
LONGEST_TIMEOUT_S = 30
USUAL_TIMEOUT_S = 10
MOST_EVENTS = 100
USUAL_EVENTS = 20
SHORTEST_HEARTBEAT_S = 5
# Parameters about the resource; the others that begin so (_sort, _include ...) are about the answer to a search.
_OF_RESOURCES = frozenset({"_id", "_lastUpdated", "_tag", "_security", "_profile", "_source"})


def wanted_by(sent: Json, *, base_url: str, endpoints: Sequence[AllowedServer], grant: Grant) -> Wanted:
    """Return what a valid Subscription asks for.

    base_url: ours. endpoints: where notifications may go. grant: of who asks.

    Raises IncorrectInput with the place and what to do when it cannot be done, Denied when it is about what the
    caller may not read.
    """
    if sent.get("status") not in CLIENTS_STATUS:
        raise _refused("status", "a client sends requested or off; the others are this server's to set")
    channel = sent["channel"]
    if channel.get("type") != "rest-hook":
        raise _refused("channel.type", "this server sends by rest-hook only")
    endpoint = channel.get("endpoint", "")
    if not allowed(endpoints, endpoint):
        raise _refused(
            "channel.endpoint", "the endpoint does not lie under one that CONSILIUM_SUBSCRIPTION_ENDPOINTS allows"
        )
    named, searches = _criteria(sent, base_url)
    asked = Asked(
        off=sent["status"] == "off",
        endpoint=endpoint.rstrip("/"),
        searches=searches,
        topic=named,
        payload=_payload(channel),
        content=_content(sent, named),
        end=_end(sent),
        heartbeat_s=_number(channel, backport.HEARTBEAT_PERIOD, "valueUnsignedInt", None, SHORTEST_HEARTBEAT_S),
        timeout_s=_number(channel, backport.TIMEOUT, "valueUnsignedInt", USUAL_TIMEOUT_S, 1, LONGEST_TIMEOUT_S)
        or USUAL_TIMEOUT_S,
        max_count=_number(channel, backport.MAX_COUNT, "valuePositiveInt", USUAL_EVENTS, 1, MOST_EVENTS)
        or USUAL_EVENTS,
        owner=owned_by(grant, {query_of(one, base_url).type for one in searches} or topic.TYPES),
        client=grant.client_id,
    )
    return Wanted(asked.as_json(), headers_in(channel.get("header", ())))


def query_of(text: str, base_url: str, place: str = "criteria") -> SearchQuery:
    """Return the search of a criterion `Type?parameters` (R4 Subscription.criteria: without the base).

    Raises IncorrectInput when it cannot be judged by looking at one version of one resource.
    """
    kind, _, query = text.partition("?")
    if kind not in TYPES or kind == "Subscription":
        raise _refused(place, "expected Type?parameters, of a type that this server keeps")
    pairs = parse_qsl(query, keep_blank_values=True)
    for name, _value in pairs:
        if name.startswith("_") and name.partition(":")[0] not in _OF_RESOURCES:
            raise _refused(place, "a parameter that shapes the answer to a search has no meaning in a criterion")
    try:
        criteria = parse(kind, pairs, base_url=base_url).criteria
    except IncorrectInput as error:
        raise IncorrectInput(
            error.message, expression=[f"Subscription.{place}"], diagnostics=error.diagnostics
        ) from None
    if any(map(_asks_others, criteria)):
        raise _refused(place, "a chained parameter or _has cannot be judged when one resource is written")
    return SearchQuery(kind, criteria)


def _asks_others(criterion: Criterion) -> bool:
    match criterion:
        case Chained() | Has():
            return True
        case AnyOf(parts) | AllOf(parts):
            return any(map(_asks_others, parts))
        case Not(part):
            return _asks_others(part)
        case _:
            return False


def _criteria(sent: Json, base_url: str) -> tuple[str | None, tuple[str, ...]]:
    """Return the topic, if it names one, and the searches."""
    text = sent.get("criteria", "")
    filters = tuple(
        str(one.get("valueString", ""))
        for one in _extensions(sent.get("_criteria"))
        if one.get("url") == backport.FILTER_CRITERIA
    )
    if not re.match(r"[a-z][a-z0-9+.-]*:", text):
        query_of(text, base_url)
        if filters:
            raise _refused("criteria.extension", "filter criteria narrow a topic; a search has its own parameters")
        return None, (text,)
    if text != topic.CANONICAL:
        raise _refused("criteria", f"this server has one topic: {topic.CANONICAL}")
    for one in filters:
        if query_of(one, base_url, "criteria.extension").type not in topic.TYPES:
            raise _refused("criteria.extension", f"the topic is about {', '.join(topic.TYPES)}")
    return text, filters


def _payload(channel: Json) -> bool:
    payload = channel.get("payload")
    if payload not in (None, "", MEDIA_TYPE, "application/json"):
        raise _refused("channel.payload", f"this server sends {MEDIA_TYPE}, or no payload when it is left out")
    return bool(payload)


def _content(sent: Json, named: str | None) -> str:
    """Return how much a topic's notification holds. "" for a search: the resource, or nothing."""
    if named is None:
        return ""
    if not sent["channel"].get("payload"):
        raise _refused("channel.payload", f"a topic's notifications are {MEDIA_TYPE}")
    codes = [
        one.get("valueCode")
        for one in _extensions(sent["channel"].get("_payload"))
        if one.get("url") == backport.PAYLOAD_CONTENT
    ]
    if len(codes) != 1 or codes[0] not in backport.CONTENTS:
        raise _refused(
            "channel.payload.extension", f"expected one backport-payload-content: {', '.join(backport.CONTENTS)}"
        )
    return str(codes[0])


def _end(sent: Json) -> str | None:
    """Return the last microsecond before which it is on, as `times.to_text`."""
    if "end" not in sent:
        return None
    bounds = range_of(sent["end"])
    if bounds is None:
        raise _refused("end", "expected an instant")
    return bounds[0]


def _number(
    channel: Json, url: str, member: str, usual: int | None, least: int, most: int = 31_536_000
) -> int | None:
    found = [one.get(member) for one in _extensions(channel) if one.get("url") == url]
    if not found:
        return usual
    if len(found) > 1 or not isinstance(found[0], int) or not least <= found[0] <= most:
        raise _refused("channel.extension", f"{url.rpartition('/')[2]} is one number from {least} to {most} here")
    return int(found[0])


def _extensions(element: object) -> list[Json]:
    listed = element.get("extension", []) if isinstance(element, Mapping) else []
    return [one for one in listed if isinstance(one, Mapping)]


def _refused(place: str, why: str) -> IncorrectInput:
    return IncorrectInput(why, expression=[f"Subscription.{place}"])
