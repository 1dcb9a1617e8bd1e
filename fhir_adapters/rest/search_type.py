"""search-type: GET [base]/[type]?... and POST [base]/[type]/_search (R4 3.1.0.11, 3.1.1)."""

from flask import Response, request

from clinical.errors import IncorrectInput
from fhir_adapters.rest.fhir import CONTENT_TYPE, Fhir, Interaction, allowed, require_type, visible
from fhir_adapters.rest.negotiate import preferences, require_form_body, require_json_answer
from fhir_adapters.rest.operation import Pairs, asked_by_get
from fhir_adapters.rest.searchset import SEARCH_LIMIT_S, entry, included, searchset, told, words_of
from fhir_adapters.rest.subset import Cut, cut_of
from fhir_adapters.search import page
from fhir_adapters.search.parse import SearchRequest, parse
from fhir_adapters.search.places import place_of
from record_store.criteria import UPDATED, Criterion, DateIn, restricted
from record_store.page_snapshot import search_page, taken
from record_store.resource_search import Place, SearchQuery, SortBy, SortKey, count, search
from record_store.time_limit import within

MAX_FORM_BYTES = 256 * 1024


def answer(fhir: Fhir, resource_type: str) -> Response:
    """Return a page of the search in the query string."""
    require_type(resource_type)
    return search_of(fhir, resource_type, asked_by_get())


def answer_form(fhir: Fhir, resource_type: str) -> Response:
    """Return a page of the search in the form and the query string together."""
    require_type(resource_type)
    return search_of(fhir, resource_type, asked_by_form())


def asked_by_form() -> Pairs:
    """Return the parameters of the form and of the query string."""
    require_form_body(request)
    request.max_content_length = request.max_form_memory_size = MAX_FORM_BYTES
    pairs = [*asked_by_get(), *request.form.items(multi=True)]
    require_json_answer(request, [value for name, value in pairs if name == "_format"])
    return pairs


def search_of(
    fhir: Fhir, resource_type: str, pairs: Pairs, *, inside: tuple[Criterion, ...] = (), path: str = ""
) -> Response:
    """Return a page of a search.

    inside: what the address says beside the parameters (a compartment). path: of the address, when it is not the
    type's own.
    """
    own = allowed(resource_type, "s")
    lenient = preferences(request).get("handling") == "lenient"
    wanted = parse(resource_type, pairs, base_url=fhir.base_url, lenient=lenient, now=fhir.now())
    answering, path = wanted.answering, path or resource_type
    cut = cut_of(answering.summary, answering.elements, (resource_type,))
    criteria = restricted((*inside, *wanted.criteria), resource_type, visible)
    if own is not None and own not in criteria:
        criteria = (*criteria, own)
    snapshot, after = "", None
    if answering.page_token is not None:
        snapshot, *place = page.place_in(fhir.page_key, path, wanted.used, answering.page_token)
        after = tuple(place)
        if len(after) != len(_order(wanted)) + 1:
            raise IncorrectInput(
                "the page link is of an earlier release: search again", expression=[page.PARAMETER]
            )
    shown_count = 0 if answering.summary == "count" else answering.count
    query = SearchQuery(resource_type, criteria, _order(wanted), after, shown_count + 1)
    return Response(_page(fhir, wanted, query, snapshot, path, cut), content_type=CONTENT_TYPE)


def _order(wanted: SearchRequest) -> tuple[SortKey, ...]:
    """Return the order; who asks for what is new and names none gets it in time: so an index lists it."""
    since = any(isinstance(one, DateIn) and one.param == UPDATED for one in wanted.criteria)
    return wanted.answering.sort or ((SortKey(SortBy.UPDATED),) if since else ())


def _page(
    fhir: Fhir, wanted: SearchRequest, query: SearchQuery, snapshot: str, path: str, cut: Cut | None
) -> bytes:
    shown_count = query.limit - 1
    with fhir.db.read() as conn, within(conn, SEARCH_LIMIT_S):
        total = count(conn, query) if wanted.answering.total or not shown_count else None
        if not shown_count:
            matches = []
        elif snapshot:
            matches = search_page(conn, query, snapshot, place_of(query.sort, fhir.base_url))
        else:
            matches = search(conn, query)
        shown = matches[:shown_count]
        # Without a sort the order is that of the ids, which no write changes.
        if len(matches) > len(shown) and query.sort and not snapshot:
            snapshot = taken(conn, query.type)
        beside = included(conn, wanted.answering.includes, [match.resource for match in shown], visible)
    entries = [entry(fhir.base_url, match.resource, "match", cut) for match in shown]
    entries += [entry(fhir.base_url, one, "include", cut) for one in beside.resources]
    words = words_of(wanted.ignored, cut_includes=beside.cut)
    following = (snapshot, shown[-1].place) if shown and len(matches) > len(shown) else None
    return searchset(_links(fhir, wanted, path, following), [*entries, *([told(*words)] if words else [])], total)


def _links(
    fhir: Fhir, wanted: SearchRequest, path: str, following: tuple[str, Place] | None
) -> list[tuple[str, str]]:
    """Return the way here, as it was understood, and the way on."""

    def link(token: str | None) -> str:
        pairs = [*wanted.used, *([(page.PARAMETER, token)] if token is not None else [])]
        return page.link(fhir.base_url, path, pairs)

    links = [("self", link(wanted.answering.page_token))]
    if following is not None:
        snapshot, place = following
        links.append(("next", link(page.sign(fhir.page_key, path, wanted.used, (snapshot, *place)))))
    return links


INTERACTION = Interaction("search-type", "GET", "/<resource_type>", answer)
BY_FORM = Interaction("search-type", "POST", "/<resource_type>/_search", answer_form)
