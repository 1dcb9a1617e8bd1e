"""A search over several types: a compartment's, the whole system's (R4 3.1.1.1).

Resources come type by type, each type's in the order of their ids, which no write changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flask import Response
from sqlalchemy import Connection

from clinical.errors import IncorrectInput
from fhir_adapters.rest.fhir import CONTENT_TYPE, Fhir, visible
from fhir_adapters.rest.searchset import SEARCH_LIMIT_S, entry, included, searchset, told, words_of
from fhir_adapters.rest.subset import cut_of
from fhir_adapters.search import page
from fhir_adapters.search.includes import Include
from fhir_adapters.search.parse import SearchRequest
from record_store.criteria import Criterion, restricted
from record_store.resource_search import SearchQuery, count, search
from record_store.resources import StoredResource
from record_store.time_limit import within

Start = tuple[str, str]  # type and id of the last that was shown
Criteria = Mapping[str, tuple[Criterion, ...]]


@dataclass(frozen=True, slots=True)
class Several:
    """A search of several types. criteria: by type. path: its address, behind the base.

    request: the same for every type, but for its criteria. beside: references to follow besides what it includes.
    letters: SMART's, of which a caller needs one for a type to be searched.
    """

    path: str
    criteria: Criteria
    request: SearchRequest
    beside: tuple[Include, ...] = ()
    letters: str = "s"


def answer_several(fhir: Fhir, asked: Several) -> Response:
    """Return a page of it."""
    answering, used = asked.request.answering, asked.request.used
    if answering.sort:
        raise IncorrectInput("a search of several types takes no _sort", expression=["_sort"])
    size = 0 if answering.summary == "count" else answering.count
    start = _start_in(fhir, asked.path, used, answering.page_token)
    cut = cut_of(answering.summary, answering.elements, asked.criteria)
    with fhir.db.read() as conn, within(conn, SEARCH_LIMIT_S):
        total = _count(conn, asked) if answering.total or not size else None
        found = list(_found(conn, asked, start, size + 1)) if size else []
        shown = found[:size]
        besides = included(conn, (*answering.includes, *asked.beside), shown, visible)
    entries = [entry(fhir.base_url, one, "match", cut) for one in shown]
    entries += [entry(fhir.base_url, one, "include", cut) for one in besides.resources]
    if words := words_of(asked.request.ignored, cut_includes=besides.cut):
        entries.append(told(*words))
    links = [("self", _link(fhir, asked, answering.page_token))]
    if len(found) > len(shown) and shown:
        token = page.sign(fhir.page_key, asked.path, used, (shown[-1].type, shown[-1].id))
        links.append(("next", _link(fhir, asked, token)))
    return Response(searchset(links, entries, total), content_type=CONTENT_TYPE)


def _found(conn: Connection, asked: Several, start: Start | None, limit: int) -> Iterator[StoredResource]:
    first, after = start if start is not None else ("", "")
    for resource_type in sorted(asked.criteria):
        if resource_type < first:
            continue
        place = (after,) if resource_type == first else None
        for match in search(conn, _query(asked, resource_type, place, limit)):
            limit -= 1
            yield match.resource
        if not limit:
            return


def _count(conn: Connection, asked: Several) -> int:
    return sum(count(conn, _query(asked, kind, None, 0)) for kind in asked.criteria)


def _query(asked: Several, resource_type: str, after: tuple[str] | None, limit: int) -> SearchQuery:
    criteria = restricted(asked.criteria[resource_type], resource_type, lambda name: visible(name, asked.letters))
    return SearchQuery(resource_type, criteria, (), after, limit)


def _start_in(fhir: Fhir, path: str, used: Sequence[tuple[str, str]], token: str | None) -> Start | None:
    if token is None:
        return None
    resource_type, resource_id = page.place_in(fhir.page_key, path, used, token)
    return resource_type, resource_id


def _link(fhir: Fhir, asked: Several, token: str | None) -> str:
    pairs = [*asked.request.used, *([(page.PARAMETER, token)] if token is not None else [])]
    return page.link(fhir.base_url, asked.path, pairs)


def types_in(pairs: Sequence[tuple[str, str]], known: Sequence[str]) -> list[str]:
    """Return the types that `_type` names, those that are known without it; in order.

    Raises IncorrectInput when it names another.
    """
    named = [name for key, value in pairs if key == "_type" for name in value.split(",")]
    if not all(name in known for name in named):
        raise IncorrectInput(
            "_type names a type that is not searched here",
            expression=["_type"],
            diagnostics=f"it is one of: {', '.join(known)}",
        )
    return sorted(set(named or known))
