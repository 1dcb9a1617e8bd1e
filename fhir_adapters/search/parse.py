"""A query string becomes a search (R4 3.1.1): every parameter is understood, or the request is refused.

A parameter that is silently dropped answers another question than the one asked, so an unknown one is 400
unless the client says `Prefer: handling=lenient`; then the self link shows what was used.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from clinical.errors import IncorrectInput
from fhir_adapters.search import asked, page, results
from fhir_adapters.search.asked import Asking, UnknownParameter, criterion_of
from fhir_adapters.search.results import DEFAULT_COUNT, MAX_COUNT, Answering
from record_store.criteria import Criterion, weight

__all__ = ["DEFAULT_COUNT", "MAX_COUNT", "MAX_WEIGHT", "SearchRequest", "names_for", "parse"]

MAX_WEIGHT = 500  # of `record_store.criteria.weight` in one request

Pairs = Sequence[tuple[str, str]]
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A search as asked for.

    used: the parameters that were understood, without the page token. ignored: names that were not.
    """

    type: str
    criteria: tuple[Criterion, ...] = ()
    answering: Answering = Answering()  # noqa: RUF009 - frozen
    used: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()


def parse(
    resource_type: str,
    pairs: Pairs,
    *,
    base_url: str,
    lenient: bool = False,
    now: datetime | None = None,
    among: tuple[str, ...] = (),
) -> SearchRequest:
    """Return the search that (name, value) pairs ask for, in the order they came.

    resource_type: one of `parameters.TYPES`. base_url: ours, for absolute references. now: what `ap` of a date is
    measured from; without it that prefix is refused. among: all types that the same search asks, if several.

    Raises IncorrectInput, naming the parameter and never its value: an unknown parameter (unless lenient),
    an unsupported modifier (always: R4 3.1.1.4.2), a value that cannot be read, a search that is too large.
    """
    found, seen, asking = SearchRequest(resource_type), set[str](), Asking(base_url, now)
    for name, value in pairs:
        if _CONTROLS.search(name) or _CONTROLS.search(value):
            raise IncorrectInput("a search parameter holds control characters")
        if results.is_result(name):
            if name in seen and not results.may_repeat(name):
                raise IncorrectInput(f"{name} stands twice", expression=[name])
            seen.add(name)
            found = replace(found, answering=results.read(found.answering, among or (resource_type,), name, value))
        else:
            try:
                criterion = criterion_of(resource_type, name, value, asking)
            except UnknownParameter:
                if not lenient:
                    raise
                found = replace(found, ignored=(*found.ignored, name))
                continue
            found = replace(found, criteria=(*found.criteria, criterion))
        if name != page.PARAMETER:
            found = replace(found, used=(*found.used, (name, value)))
    if sum(map(weight, found.criteria)) > MAX_WEIGHT:
        raise IncorrectInput(f"the search is too large: {MAX_WEIGHT} values, or some twenty chains, are the most")
    if found.answering.includes and found.answering.summary == "text":
        raise IncorrectInput("_summary=text takes no _include (R4 3.1.1.5.8)", expression=["_summary"])
    return found


def names_for(resource_type: str) -> tuple[str, ...]:
    """Return the parameters that a search of this type takes, in the order people look for them."""
    return (*asked.names_for(resource_type), *results.NAMES)
