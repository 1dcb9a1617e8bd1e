"""What a service is: a frozen description, and a function from a call to cards.

Adding a service is one module with a `SERVICE` and one line in `cds/services/__init__.py`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cds.card import Card
from cds.deadline import Deadline
from cds.hooks import Hook
from cds.links import LinkSigner
from cds.prefetch import FhirReader, Prefetched, PrefetchTemplate
from cds.request import HookRequest
from clinical.clock import Clock
from clinical.errors import Fault
from model_runtime.drift import DriftObserver, NoDrift
from model_runtime.engine import Engine
from record_store.database import Database

SPECIFICATION_VERSION = "3.0.0"
_SERVICE_ID = re.compile(r"[a-z0-9][a-z0-9\-]{0,63}")


def observe_nothing(_service: str, _outcome: str, _seconds: float) -> None:
    """Do nothing with a measurement."""


@dataclass(frozen=True, slots=True)
class CdsContext:
    """The collaborators of every service, built in one place (`consilium/app.py`).

    fhir: who fetches what was not sent; None when no FHIR server is allowed.
    new_uuid: makes the UUIDs of cards. budget_s: how long one call may take, fetches and model together.
    observe: told (service id, outcome, seconds) after each call, for metrics; outcome is "cards", "no-cards"
        or an error's category.
    drift: told what a model was asked and what it said, case by case.
    """

    engine: Engine
    db: Database
    now: Clock
    links: LinkSigner
    new_uuid: Callable[[], str]
    fhir: FhirReader | None = None
    budget_s: float = 5.0
    observe: Callable[[str, str, float], None] = observe_nothing
    drift: DriftObserver = field(default_factory=NoDrift)


@dataclass(frozen=True, slots=True)
class HookCall:
    """One call as a service sees it: checked, and with every prefetch key of its own present."""

    request: HookRequest
    prefetch: Mapping[str, Prefetched] = field(repr=False)
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Service:
    """One service on one hook; the same id may serve other hooks (D4).

    answer: returns the cards; () means that it looked and there is nothing to say. Anything else is an error
        raised as a ClinicalError, never an empty answer.
    """

    id: str
    hook: Hook
    title: str
    description: str
    prefetch: tuple[PrefetchTemplate, ...]
    answer: Callable[[HookCall, CdsContext], Sequence[Card]]
    usage_requirements: str | None = None

    def __post_init__(self) -> None:
        keys = [template.key for template in self.prefetch]
        if not _SERVICE_ID.fullmatch(self.id) or len(set(keys)) != len(keys):
            raise Fault(f"the service {self.id} has an id that is no URL segment, or a prefetch key twice")

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
            entry["prefetch"] = {template.key: template.query for template in self.prefetch}
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
