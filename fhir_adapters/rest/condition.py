"""Conditional interactions (R4 3.1.0.8.1, 3.1.0.4.3, 3.1.0.7.1): which resource a condition means, without a race.

Whoever looks and then writes under a condition holds a lock of that condition until the transaction ends, so that
of many clients that say the same at once one creates, and the others find.
"""

from collections.abc import Callable
from urllib.parse import parse_qsl

from sqlalchemy import Connection

from clinical.errors import IncorrectInput, PreconditionMissing
from fhir_adapters.outcome import SeveralMatches
from fhir_adapters.rest.fhir import allowed, visible
from fhir_adapters.search.parse import parse
from fhir_adapters.search.results import Answering
from record_store.criteria import Criterion, restricted
from record_store.resource_history import Version, latest
from record_store.resource_search import SearchQuery, search
from record_store.resources import condition_key, lock_key


def meant(
    conn: Connection, resource_type: str, condition: str, base_url: str, *, hold: bool = True
) -> Version | None:
    """Return the one resource that the caller may find and the condition matches, None when there is none.

    hold: take the condition's lock, for whoever writes depending on the answer.
    condition: search parameters, as in a query string. Raises SeveralMatches, PreconditionMissing when nothing in
    it selects, and what `parse` raises.
    """
    within = allowed(resource_type, "s")
    return match(conn, resource_type, condition, base_url, hold=hold, narrowed=visible, within=within)


def match(
    conn: Connection,
    resource_type: str,
    condition: str,
    base_url: str,
    *,
    hold: bool = True,
    narrowed: Callable[[str], Criterion | None] = lambda _type: None,
    within: Criterion | None = None,
) -> Version | None:
    """Return what `meant` does, of all that there is unless narrowed: for the operator, who is no caller."""
    pairs = parse_qsl(condition.removeprefix("?"), keep_blank_values=True)
    wanted = parse(resource_type, pairs, base_url=base_url)
    if wanted.answering != Answering():
        raise IncorrectInput("a condition takes parameters that select, and none that say how to answer")
    if not wanted.criteria:
        raise PreconditionMissing("the condition selects nothing: it needs a search parameter")
    if hold:
        lock_key(conn, condition_key(resource_type, wanted.used))
    criteria = restricted(wanted.criteria, resource_type, narrowed)
    found = search(conn, SearchQuery(resource_type, (*criteria, *((within,) if within else ())), limit=2))
    if len(found) > 1:
        raise SeveralMatches(f"the condition matches more than one {resource_type}")
    return latest(conn, resource_type, found[0].resource.id) if found else None
