"""search-system: GET [base]?_type=...&..., POST [base]/_search (R4 3.1.1.1): several types at once."""

from collections.abc import Mapping, Sequence

from flask import Response, request

from clinical.errors import IncorrectInput
from fhir_adapters.rest.fhir import Fhir, Interaction, allowed
from fhir_adapters.rest.negotiate import preferences
from fhir_adapters.rest.operation import Pairs, asked_by_get
from fhir_adapters.rest.search_type import asked_by_form
from fhir_adapters.rest.several_types import Several, answer_several, types_in
from fhir_adapters.search.parameters import TYPES
from fhir_adapters.search.parse import SearchRequest, parse
from record_store.criteria import Criterion


def answer(fhir: Fhir) -> Response:
    """Return a page of the search in the query string."""
    return _found(fhir, asked_by_get())


def answer_form(fhir: Fhir) -> Response:
    """Return a page of the search in the form and the query string together."""
    return _found(fhir, asked_by_form())


def _found(fhir: Fhir, pairs: Pairs) -> Response:
    if not any(name == "_type" for name, _ in pairs):
        raise IncorrectInput(
            "a search of the system names its types: _type=Patient,Observation", expression=["_type"]
        )
    types = types_in(pairs, tuple(TYPES))
    for name in types:
        allowed(name, "s")
    return answer_several(fhir, several(fhir, "", dict.fromkeys(types, ()), pairs))


def several(
    fhir: Fhir, path: str, within: Mapping[str, tuple[Criterion, ...]], pairs: Sequence[tuple[str, str]]
) -> Several:
    """Return the search of these types, each within what the address says of it."""
    types = tuple(within)
    lenient = preferences(request).get("handling") == "lenient"
    others = [pair for pair in pairs if pair[0] != "_type"]
    parsed = {
        name: parse(name, others, base_url=fhir.base_url, lenient=lenient, now=fhir.now(), among=types)
        for name in types or ("Patient",)
    }
    first = next(iter(parsed.values()))
    used = tuple(pair for pair in pairs if pair[0] == "_type" or pair in first.used)
    request_of_all = SearchRequest(first.type, (), first.answering, used, first.ignored)
    return Several(path, {name: (*within[name], *parsed[name].criteria) for name in types}, request_of_all)


INTERACTION = Interaction("search-system", "GET", "", answer)
WITH_SLASH = Interaction("search-system", "GET", "/", answer)
BY_FORM = Interaction("search-system", "POST", "/_search", answer_form)
