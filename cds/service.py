"""What a service is: a frozen description, and a function from a call to cards.

Adding a service is one module with a `SERVICE` and one line in `cds/services/__init__.py`.
"""

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cds.call import HookCall
from cds.caller import Caller
from cds.card import Card
from cds.guidance import Guidance
from cds.hooks import HOOKS, Hook
from cds.links import LinkSigner
from cds.prefetch import FhirReader, PrefetchTemplate, ordered
from cds.stages import (
    Adapt,
    AlwaysClosed,
    Budget,
    Bulkhead,
    CallAudit,
    CallTape,
    Circuits,
    CrossOrigin,
    Doorkeeper,
    EverybodyIn,
    EverythingSaid,
    FeedbackDesk,
    Hygiene,
    NoBulkhead,
    NoOrigin,
    NoShadow,
    NothingKept,
    ObservePrefetch,
    ReaderOf,
    ResultRows,
    Results,
    SentCards,
    Shadow,
    as_it_is,
    observe_no_prefetch,
)
from clinical.clock import Clock
from clinical.errors import Fault
from model_runtime.drift import DriftObserver, NoDrift
from model_runtime.engine import Engine
from record_store.database import Database
from record_store.ledger import Ledger

__all__ = ["CdsContext", "HookCall", "Service", "by_id"]

SPECIFICATION_VERSION = "3.0.0"
_SERVICE_ID = re.compile(r"[a-z0-9][a-z0-9\-]{0,63}")


def observe_nothing(_service: str, _outcome: str, _seconds: float) -> None:
    """Do nothing with a measurement."""


@dataclass(frozen=True, slots=True)
class CdsContext:
    """The collaborators of every service and of the pipeline, built in one place (`consilium/web_parts.py`).

    new_uuid: makes the UUIDs of cards. base_url: what callers put before /cds-services, without a trailing slash.
    fhir: who fetches what was not sent, for every caller; reader_for: by caller, and then it decides alone.
    budget_s: how long one call may take; budget: by hook and service, and then it alone decides.
    observe: told (service id, outcome, seconds) after each call, for metrics; outcome is "cards", "no-cards",
        "shadow" or an error's category. observe_prefetch: see `cds.stages`.
    drift: told what a model was asked and what it said, case by case.
    sent, feedback, audit: None keeps nothing, and feedback is a 404. tape: None records no calls.
    result_rows: None keeps no results of models, only cards.
    The other fields are the stages of `cds.stages`.
    """

    engine: Engine
    db: Database
    now: Clock
    links: LinkSigner
    new_uuid: Callable[[], str]
    base_url: str = ""
    fhir: FhirReader | None = None
    reader_for: ReaderOf | None = None
    budget_s: float = 5.0
    budget: Budget | None = None
    observe: Callable[[str, str, float], None] = observe_nothing
    observe_prefetch: ObservePrefetch = observe_no_prefetch
    drift: DriftObserver = field(default_factory=NoDrift)
    door: Doorkeeper = field(default_factory=EverybodyIn)
    cors: CrossOrigin = field(default_factory=NoOrigin)
    bulkhead: Bulkhead = field(default_factory=NoBulkhead)
    circuits: Circuits = field(default_factory=AlwaysClosed)
    results: Results = field(default_factory=NothingKept)
    hygiene: Hygiene = field(default_factory=EverythingSaid)
    shadow: Shadow = field(default_factory=NoShadow)
    adapt: Adapt = as_it_is
    sent: SentCards | None = None
    result_rows: ResultRows | None = None
    feedback: FeedbackDesk | None = None
    audit: CallAudit | None = None
    tape: CallTape | None = None
    ledger: Ledger = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ledger", Ledger(self.db))

    def budget_of(self, hook: str, service_id: str) -> float:
        """Return the seconds that a call of this service on this hook may take."""
        return self.budget_s if self.budget is None else self.budget(hook, service_id)

    def read_by(self, reader_for: ReaderOf) -> "CdsContext":
        """Return this context with another who fetches; everything else is shared, the ledger too."""
        changed = copy.copy(self)
        object.__setattr__(changed, "reader_for", reader_for)
        return changed

    def reader_of(self, caller: Caller) -> FhirReader | None:
        """Return who fetches for this caller."""
        return self.fhir if self.reader_for is None else self.reader_for(caller)


@dataclass(frozen=True, slots=True)
class Service:
    """One service on one hook; the same id may serve other hooks (D4).

    answer: returns the cards, or Guidance; () means that it looked and there is nothing to say. Anything else is
        an error raised as a ClinicalError, never an empty answer.
    reuse_model: the one model that the answer depends on, beside the prefetch, the patient and the day: then it
        may be used again on another hook. None: it is worked out every time.
    """

    id: str
    hook: Hook
    title: str
    description: str
    prefetch: tuple[PrefetchTemplate, ...]
    answer: Callable[[HookCall, CdsContext], Sequence[Card] | Guidance]
    usage_requirements: str | None = None
    reuse_model: str | None = None

    def __post_init__(self) -> None:
        if not _SERVICE_ID.fullmatch(self.id):
            raise Fault(f"the service {self.id} has an id that is no URL segment")
        published = HOOKS.get(self.hook.name)
        if published is not None and published is not self.hook:
            raise Fault(
                f"the service {self.id} has a definition of {self.hook.name} that is not the published one"
            )
        ordered(self.prefetch)  # raises for a key twice, and for keys that depend on themselves

    def describe(self) -> dict[str, object]:
        """Return the service as discovery announces it (D2, D3), without empties."""
        entry: dict[str, object] = {
            "hook": self.hook.name,
            "hookVersion": self.hook.version,
            "title": self.title,
            "description": self.description,
            "id": self.id,
            "version": SPECIFICATION_VERSION,
        }
        if self.prefetch:
            entry["prefetch"] = {template.key: template.query for template in ordered(self.prefetch)}
        if self.usage_requirements:
            entry["usageRequirements"] = self.usage_requirements
        return entry


def by_id(services: Sequence[Service]) -> dict[str, dict[str, Service]]:
    """Return services by id and hook name. Raises Fault for a duplicate: none replaces its neighbour."""
    table: dict[str, dict[str, Service]] = {}
    for service in services:
        hooks = table.setdefault(service.id, {})
        if service.hook.name in hooks:
            raise Fault(f"two services have the id {service.id} on the hook {service.hook.name}")
        hooks[service.hook.name] = service
    return table
