"""$status of Subscriptions: what each stands at, and why something is not delivered (backport 1.1.0, $status).

GET or POST [base]/Subscription/[id]/$status, and [base]/Subscription/$status with `id` and `status` to choose.
"""

from collections.abc import Sequence
from typing import Any

import orjson
from flask import Response, request
from sqlalchemy import Connection

from clinical.errors import IncorrectInput, NotFound
from fhir_adapters.resources.labels import instant
from fhir_adapters.rest.fhir import CONTENT_TYPE, Fhir, Interaction, allowed
from fhir_adapters.rest.operation import Pairs, asked_by_get, asked_by_parameters
from fhir_adapters.rest.reach import read_within
from fhir_adapters.search.index import ID
from fhir_adapters.subscriptions.asked import Asked
from fhir_adapters.subscriptions.topic_messages import Kind, status_of
from record_store import notifications, subscriptions
from record_store.criteria import IdIn
from record_store.resource_search import SearchQuery, search
from record_store.subscriptions import Held
from record_store.times import from_text

TYPE = "Subscription"


def answer(fhir: Fhir, resource_id: str) -> Response:
    """Return the status of one."""
    parameters(("id", "status"))
    with fhir.db.read() as conn:
        return _bundle(fhir, conn, [held_by(fhir, conn, resource_id)])


def answer_type(fhir: Fhir) -> Response:
    """Return the status of those that `id` and `status` choose, or of all that the caller may read."""
    given = parameters(("id", "status"))
    ids = [value for name, value in given if name == "id"]
    if not all(map(ID.fullmatch, ids)):
        raise IncorrectInput("id takes the id of a Subscription", expression=["id"])
    statuses = {value for name, value in given if name == "status"}
    with fhir.db.read() as conn:
        named = [one for one in subscriptions.every(conn) if not ids or one.id in ids]
        readable = _readable(conn, [one.id for one in named])
        found = [one for one in named if one.id in readable]
        return _bundle(fhir, conn, [one for one in found if not statuses or _status(one) in statuses])


def held_by(fhir: Fhir, conn: Connection, resource_id: str) -> Held:
    """Return a Subscription that the caller may read. Raises NotFound for any other, Denied."""
    found = read_within(fhir, conn, TYPE, resource_id)
    held = None if found is None or found.deleted else subscriptions.get(conn, resource_id)
    if held is None:
        raise NotFound("there is no Subscription with that id")
    return held


def parameters(known: Sequence[str]) -> Pairs:
    """Return the operation's parameters, of the query and of a Parameters that is posted (R4 3.2.0.1).

    Raises IncorrectInput for one that it does not take.
    """
    given = asked_by_parameters() if request.method == "POST" else asked_by_get()
    taken = [(name, value) for name, value in given if name not in {"_format", "_pretty"}]
    if any(name not in known for name, _ in taken):
        raise IncorrectInput(f"this operation takes {', '.join(known)}")
    return taken


def _readable(conn: Connection, ids: Sequence[str]) -> set[str]:
    within = allowed(TYPE, "r")
    criteria = (IdIn(tuple(ids)), *([within] if within is not None else []))
    return {match.resource.id for match in search(conn, SearchQuery(TYPE, criteria, limit=len(ids)))}


def _bundle(fhir: Fhir, conn: Connection, held: Sequence[Held]) -> Response:
    waiting = notifications.pending(conn)
    entries = [_entry(fhir.base_url.rstrip("/"), one, waiting.get(one.id, 0)) for one in held]
    body = {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}
    return Response(
        orjson.dumps({name: value for name, value in body.items() if value != []}), content_type=CONTENT_TYPE
    )


def _entry(base: str, held: Held, waiting: int) -> dict[str, Any]:
    more: list[dict[str, Any]] = [{"name": "events-waiting", "valueUnsignedInt": waiting}]
    if held.failures:
        more.append({"name": "failures", "valueUnsignedInt": held.failures})
        more.append({"name": "next-attempt", "valueInstant": instant(from_text(held.due_at))})
    content = Asked.from_json(held.asked).content
    status = status_of(held, Kind.STATUS, (), content=content, base_url=base, more=more)
    return {"fullUrl": f"urn:uuid:{status['id']}", "resource": status, "search": {"mode": "match"}}


def _status(held: Held) -> str:
    return subscriptions.REQUESTED if held.status == subscriptions.NEW else held.status


INTERACTIONS = (
    Interaction("$status", "GET", "/Subscription/<resource_id>/$status", answer),
    Interaction("$status", "POST", "/Subscription/<resource_id>/$status", answer),
    Interaction("$status", "GET", "/Subscription/$status", answer_type),
    Interaction("$status", "POST", "/Subscription/$status", answer_type),
)
