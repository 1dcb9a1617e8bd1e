"""history: GET [base]/[type]/[id]/_history and GET [base]/[type]/_history (R4 3.1.0.10), newest first."""

import re
import time
from collections.abc import Sequence

import orjson
from flask import Response, request

from clinical.errors import IncorrectInput, NotFound
from fhir_adapters.rest.fhir import CONTENT_TYPE, Fhir, Interaction, allowed, require_type
from fhir_adapters.rest.reach import reaches, read_within
from fhir_adapters.rest.searchset import SEARCH_LIMIT_S
from fhir_adapters.search import page
from fhir_adapters.search.dates import range_of
from fhir_adapters.search.parse import DEFAULT_COUNT, MAX_COUNT
from record_store import time_limit
from record_store.criteria import Criterion
from record_store.resource_history import Version, history

Pairs = Sequence[tuple[str, str]]

_PARAMETERS = ("_count", "_since", "_format", "_pretty", page.PARAMETER)
_STATUS = {"POST": "201", "DELETE": "204"}


def answer(fhir: Fhir, resource_type: str, resource_id: str) -> Response:
    """Return the versions of one resource, those of a deleted one as well."""
    require_type(resource_type)
    with fhir.db.read() as conn:
        if read_within(fhir, conn, resource_type, resource_id) is None:
            raise NotFound(f"there is no {resource_type} with that id")
    return _page(fhir, resource_type, resource_id, allowed(resource_type, "r"))


def answer_type(fhir: Fhir, resource_type: str) -> Response:
    """Return the versions of every resource of a type."""
    require_type(resource_type)
    return _page(fhir, resource_type, None, allowed(resource_type, "s"))


def _page(fhir: Fhir, resource_type: str, resource_id: str | None, within: Criterion | None) -> Response:
    path = f"{resource_type}/{resource_id}/_history" if resource_id else f"{resource_type}/_history"
    asked = list(request.args.items(multi=True))
    pairs = [pair for pair in asked if pair[0] != page.PARAMETER]
    count, since = _limit(asked)
    token = dict(asked).get(page.PARAMETER)
    before = page.place_in(fhir.page_key, path, pairs, token) if token else None
    found: list[Version] = []
    # Of a narrowed caller each version is judged by itself, and of a whole type perhaps none is his.
    until = time.monotonic() + SEARCH_LIMIT_S
    with fhir.db.read() as conn, time_limit.within(conn, SEARCH_LIMIT_S):
        while True:
            some = history(
                conn, resource_type, resource_id, since=since, before=before, limit=count + 1, within=within
            )
            # That one was deleted may be known: it says nothing.
            found += [one for one in some if one.deleted or reaches(fhir, one, within)]
            if len(some) <= count or len(found) > count:
                break
            before = some[-1].place
            if time.monotonic() >= until:
                raise time_limit.too_long(SEARCH_LIMIT_S)
    shown = found[:count]
    links = [{"relation": "self", "url": page.link(fhir.base_url, path, asked)}]
    if len(found) > count and shown:
        following = page.sign(fhir.page_key, path, pairs, shown[-1].place)
        url = page.link(fhir.base_url, path, [*pairs, (page.PARAMETER, following)])
        links.append({"relation": "next", "url": url})
    head = orjson.dumps({"resourceType": "Bundle", "type": "history", "link": links})
    entries = b",".join(_entry(fhir.base_url.rstrip("/"), one) for one in shown)
    body = head[:-1] + b',"entry":[' + entries + b"]}" if entries else head
    return Response(body, content_type=CONTENT_TYPE)


def _limit(asked: Pairs) -> tuple[int, str | None]:
    given = dict(asked)
    for name in given:
        if name not in _PARAMETERS:
            raise IncorrectInput(f"a history takes {', '.join(_PARAMETERS[:2])}", expression=["_history"])
    count = given.get("_count", str(DEFAULT_COUNT))
    if not re.fullmatch("[0-9]{1,9}", count) or not int(count):
        raise IncorrectInput("_count takes a whole number above 0", expression=["_count"])
    since = given.get("_since")
    bounds = range_of(since.replace(" ", "+")) if since is not None else None
    if since is not None and bounds is None:
        raise IncorrectInput("_since takes an instant", expression=["_since"])
    return min(int(count), MAX_COUNT), bounds[0] if bounds else None


def _entry(base: str, version: Version) -> bytes:
    """Return one version; its bytes stand between ours as they are."""
    stored = version.stored
    own = f"{stored.type}/{stored.id}"
    status = _STATUS.get(version.method, "201" if stored.version == 1 else "200")
    about = {
        "request": {"method": version.method, "url": stored.type if version.method == "POST" else own},
        "response": {"status": status, "etag": f'W/"{stored.version}"', "lastModified": stored.updated},
    }
    tail = orjson.dumps(about)[1:]
    resource = b"" if version.deleted else b'"resource":' + stored.body + b","
    return b'{"fullUrl":' + orjson.dumps(f"{base}/{own}") + b"," + resource + tail


INTERACTION = Interaction("history-instance", "GET", "/<resource_type>/<resource_id>/_history", answer)
OF_TYPE = Interaction("history-type", "GET", "/<resource_type>/_history", answer_type)
