"""Stand-ins for tests and benchmarks: a FHIR server from a table, hook bodies, UUIDs that count."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from cds.card import Card, Source
from cds.hooks import PATIENT_VIEW
from cds.service import CdsContext, HookCall, Service
from clinical.codes import Coding
from clinical.risk import Indicator
from fhir_adapters.client import Fetched, FetchFailed, Grant, Reason

HOOK_INSTANCE = "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
FHIR_SERVER = "https://ehr.example/fhir"


class CannedReader:
    """A FhirReader that answers from a table: what a query asks for -> resource, Fetched or failure.

    grants, asked: what was called, for assertions. A query that is not in the table is a 404.
    """

    def __init__(
        self, answers: Mapping[str, dict[str, Any] | Fetched | FetchFailed], base: str = FHIR_SERVER
    ) -> None:
        self._answers = dict(answers)
        self._base = base
        self.grants: list[Grant] = []
        self.asked: list[str | Mapping[str, Any]] = []

    def allows(self, base: str) -> bool:
        """True for the one base URL of this stand-in."""
        return base == self._base

    def fetch_all(
        self, grant: Grant, wanted: Mapping[str, str | Mapping[str, Any]], *, ends_at: float
    ) -> dict[str, Fetched | FetchFailed]:
        """See cds.prefetch.FhirReader; the first table entry that a query begins with answers."""
        del ends_at
        self.grants.append(grant)
        self.asked.extend(wanted.values())
        return {key: self._answer(query) for key, query in wanted.items()}

    def _answer(self, query: str | Mapping[str, Any]) -> Fetched | FetchFailed:
        text = query if isinstance(query, str) else "next"
        found = next((value for start, value in self._answers.items() if text.startswith(start)), None)
        if found is None:
            return FetchFailed(Reason.NOT_FOUND)
        return Fetched(found) if isinstance(found, dict) else found


def hook_body(patient_id: str = "p1", prefetch: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the body of a patient-view call; keyword arguments replace or add top-level fields."""
    body: dict[str, Any] = {
        "hook": "patient-view",
        "hookInstance": HOOK_INSTANCE,
        "context": {"userId": "Practitioner/d1", "patientId": patient_id},
    }
    if prefetch is not None:
        body["prefetch"] = dict(prefetch)
    return body | more


def counting_uuids() -> Callable[[], str]:
    """Return a maker of UUIDs that count from 1."""
    numbers = itertools.count(1)
    return lambda: f"00000000-0000-4000-8000-{next(numbers):012d}"


def one_card_service(service_id: str = "one-card") -> Service:
    """Return a service that asks for nothing and answers with one fixed card."""

    def answer(_call: HookCall, context: CdsContext) -> tuple[Card]:
        topic = Coding("http://example.org/topics", "hello", "Greeting")
        return (Card(context.new_uuid(), "Hello", Indicator.INFO, Source("A service for tests", topic)),)

    return Service(service_id, PATIENT_VIEW, "One card", "Always one card.", (), answer)
