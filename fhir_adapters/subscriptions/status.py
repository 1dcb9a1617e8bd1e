"""Where a subscription stands, in its resource: the versions of a Subscription that this server writes."""

import json

import orjson
from sqlalchemy import Connection

from clinical.clock import Clock
from fhir_adapters.search.index import index_of
from fhir_adapters.splice import members, with_identity
from fhir_adapters.subscriptions.headers import masked
from record_store import subscriptions
from record_store.resource_history import latest
from record_store.resources import NewResource, lock_key, put
from record_store.times import to_text

TYPE = "Subscription"
LONGEST_PROBLEM = 500


def hold(conn: Connection, own: str) -> None:
    """Let nobody else write this Subscription until the transaction ends; before all other locks."""
    lock_key(conn, f"{TYPE}/{own}")


def tell(conn: Connection, own: str, status: str, problem: str | None, *, now: Clock, base_url: str) -> None:
    """Set where a subscription stands, in its row and as the resource's next version.

    Call `hold` first. status: of R4. problem: why it is in error, in words that name nobody. Nothing is written of
    a resource that was deleted, or that says so already.
    """
    subscriptions.set_status(conn, own, status, problem, now())
    before = latest(conn, TYPE, own)
    if before is None or before.deleted:
        return
    body = with_status(before.stored.body, status, problem)
    if body == before.stored.body:
        return
    number, updated, indexed = before.stored.version + 1, to_text(now()), index_of(orjson.loads(body), base_url)
    put(
        conn,
        NewResource(
            type=TYPE,
            id=own,
            version=number,
            updated=updated,
            body=with_identity(body, resource_id=own, version=number, updated=updated),
            index=indexed.rows,
            patient=indexed.patient,
            code=indexed.code,
            date_lo=indexed.date_lo,
            method="PUT",
        ),
    )


def with_status(data: bytes, status: str, problem: str | None) -> bytes:
    """Return a Subscription's bytes with another status and error (R4 Subscription.error), the rest as it is."""
    text = data.decode("utf-8")
    if "error" in members(text, 0):
        text = _without(text, "error")
    start, end = members(text, 0)["status"]
    said = json.dumps(status) + (f',"error":{json.dumps(problem[:LONGEST_PROBLEM])}' if problem else "")
    return (text[:start] + said + text[end:]).encode("utf-8")


def dormant(data: bytes) -> bytes:
    """Return a Subscription that came from elsewhere: off until a client of ours wants it, and without secrets."""
    return with_status(masked(data), "off", None)


def _without(text: str, name: str) -> str:
    """Return an object's text without one of its members, which is not the only one."""
    found = members(text, 0)
    names = list(found)
    place, end = names.index(name), found[name][1]
    if place:
        return text[: found[names[place - 1]][1]] + text[end:]
    opened = text.index("{") + 1
    return text[:opened] + text[text.index(",", end) + 1 :]
