"""Prefetch: what a service asks for, what came, and fetching the rest (CDS Hooks 3.0, "Prefetch Template").

Five things may stand under a key: nothing, null, an empty Bundle, an OperationOutcome, a Bundle with more pages.
They mean different things and stay apart (`sent`). A template (`template`, `query`, `tokens`, `restrictions`) is
filled from the call and from other keys (`fill`, `paths`, `scope`), in an order checked at the start (`plan`).
What is absent is fetched under one deadline (`fetch`, `lookups`); what is required and cannot be had is a 412 that
names keys, templates and reasons (`demand`), never an empty card list. `gather` does one call; docs/prefetch.md
has the language.
"""

from cds.prefetch.fill import Filled, fill
from cds.prefetch.gather import Observe, gather, resolve
from cds.prefetch.plan import ordered, waves
from cds.prefetch.query import Query, canonical, parse_query
from cds.prefetch.reader import FhirReader
from cds.prefetch.scope import Scope
from cds.prefetch.sent import Prefetched, Source, State
from cds.prefetch.template import Policy, PrefetchTemplate, foreign_templates

__all__ = [
    "FhirReader",
    "Filled",
    "Observe",
    "Policy",
    "PrefetchTemplate",
    "Prefetched",
    "Query",
    "Scope",
    "Source",
    "State",
    "canonical",
    "fill",
    "foreign_templates",
    "gather",
    "ordered",
    "parse_query",
    "resolve",
    "waves",
]
