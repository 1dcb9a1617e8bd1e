"""Asks a FHIR door random searches and tells where it answers otherwise than the oracle."""

import random
from datetime import UTC, datetime
from urllib.parse import urlencode

from benchmarks.search_oracle.asking import Asking
from benchmarks.search_oracle.records import make_records, written

FHIR_JSON = "application/fhir+json"
FORM = "application/x-www-form-urlencoded"


def fill(client, seed=11):
    """Send random resources through the door; return them by "Type/id"."""
    stored = make_records(random.Random(seed))
    for name, resource in stored.items():
        reply = client.put(f"/fhir/{name}", data=written(resource), content_type=FHIR_JSON)
        assert reply.status_code == 201, (resource, reply.data)
    return stored


def differences(client, stored, seed, count, now):
    """Yield (number, query, what was found and should not, what was not) of `count` random searches."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    asking = Asking(random.Random(seed), stored, today)
    for number in range(count):
        kind, asks = asking.query()
        query = f"{kind}?{urlencode([(ask.name, ask.value) for ask in asks])}"
        expected = {
            key
            for key, one in stored.items()
            if one["resourceType"] == kind and all(ask.holds(one) for ask in asks)
        }
        for found in _answers(client, kind, asks, by_form=number % 10 == 0):
            if found != expected:
                shown = found if isinstance(found, str) else sorted(found - expected)
                yield number, query, shown, [] if isinstance(found, str) else sorted(expected - found)


def _answers(client, kind, asks, *, by_form):
    pairs = [*((ask.name, ask.value) for ask in asks), ("_count", "500")]
    yield _found(client.get(f"/fhir/{kind}?{urlencode(pairs)}"))
    if by_form:
        yield _found(client.post(f"/fhir/{kind}/_search", data=urlencode(pairs), content_type=FORM))


def _found(reply):
    bundle = reply.get_json(force=True)
    if bundle["resourceType"] != "Bundle":
        return str(bundle["issue"][0])
    return {f"{one['resource']['resourceType']}/{one['resource']['id']}" for one in bundle.get("entry", [])}


def now():
    """The clock of a run of its own."""
    return datetime.now(UTC)
