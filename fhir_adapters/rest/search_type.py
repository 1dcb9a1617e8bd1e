"""search-type: GET [base]/[type]?... and POST [base]/[type]/_search (R4 3.1.0.11, 3.1.1)."""

import orjson
from flask import Response, request

from fhir_adapters.outcome import outcome
from fhir_adapters.rest.fhir import CONTENT_TYPE, Fhir, Interaction, require_type
from fhir_adapters.rest.negotiate import preferences, require_form_body, require_json_answer
from fhir_adapters.search import page
from fhir_adapters.search.parse import SearchRequest, parse
from record_store.resource_search import Match, SearchQuery, count, search

MAX_FORM_BYTES = 256 * 1024


def answer(fhir: Fhir, resource_type: str) -> Response:
    """Return the first page of the search in the query string."""
    require_type(resource_type)
    return _found(fhir, resource_type, list(request.args.items(multi=True)))


def answer_form(fhir: Fhir, resource_type: str) -> Response:
    """Return the first page of the search in the form and the query string together."""
    require_type(resource_type)
    require_form_body(request)
    request.max_content_length = request.max_form_memory_size = MAX_FORM_BYTES
    pairs = [*request.args.items(multi=True), *request.form.items(multi=True)]
    require_json_answer(request, [value for name, value in pairs if name == "_format"])
    return _found(fhir, resource_type, pairs)


def _found(fhir: Fhir, resource_type: str, pairs: list[tuple[str, str]]) -> Response:
    lenient = preferences(request).get("handling") == "lenient"
    wanted = parse(resource_type, pairs, base_url=fhir.base_url, lenient=lenient)
    after = None
    if wanted.page_token is not None:
        after = page.place_in(fhir.page_key, resource_type, wanted.used, wanted.page_token)
    query = SearchQuery(resource_type, wanted.criteria, wanted.sort, after, wanted.count + 1)
    total = None
    matches: list[Match] = []
    with fhir.db.read() as conn:
        if wanted.total or not wanted.count:
            total = count(conn, query)
        if wanted.count:
            matches = search(conn, query)
    return Response(_bundle(fhir, wanted, matches, total), content_type=CONTENT_TYPE)


def _bundle(fhir: Fhir, wanted: SearchRequest, matches: list[Match], total: int | None) -> bytes:
    shown = matches[: wanted.count]
    links = [{"relation": "self", "url": _link(fhir, wanted, wanted.page_token)}]
    if len(matches) > len(shown):
        token = page.sign(fhir.page_key, wanted.type, wanted.used, shown[-1].place)
        links.append({"relation": "next", "url": _link(fhir, wanted, token)})
    head: dict[str, object] = {"resourceType": "Bundle", "type": "searchset", "link": links}
    if total is not None:
        head["total"] = total
    entries = [_entry(fhir, match) for match in shown]
    if wanted.ignored:
        entries.append(_ignored_entry(wanted))
    if not entries:
        return orjson.dumps(head)
    # The stored bytes are put between ours as they are: nothing is parsed on the way out.
    return orjson.dumps(head)[:-1] + b',"entry":[' + b",".join(entries) + b"]}"


def _entry(fhir: Fhir, match: Match) -> bytes:
    found = match.resource
    url = orjson.dumps(f"{fhir.base_url.rstrip('/')}/{found.type}/{found.id}")
    return b'{"fullUrl":' + url + b',"resource":' + found.body + b',"search":{"mode":"match"}}'


def _ignored_entry(wanted: SearchRequest) -> bytes:
    text = f"{len(wanted.ignored)} unknown search parameter(s) were not used; the self link shows what was"
    said = outcome("not-supported", text, severity="warning")
    return orjson.dumps({"resource": said, "search": {"mode": "outcome"}})


def _link(fhir: Fhir, wanted: SearchRequest, token: str | None) -> str:
    pairs = [*wanted.used, (page.PARAMETER, token)] if token is not None else wanted.used
    return page.link(fhir.base_url, wanted.type, [(name, value) for name, value in pairs])


INTERACTION = Interaction("search-type", "GET", "/<resource_type>", answer)
BY_FORM = Interaction("search-type", "POST", "/<resource_type>/_search", answer_form)
