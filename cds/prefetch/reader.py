"""Who fetches, seen from here."""

from collections.abc import Mapping
from typing import Any, Protocol

from fhir_adapters.client import Fetched, FetchFailed, Grant

Answer = Fetched | FetchFailed
Order = str | Mapping[str, Any]  # a relative URL to fetch, or a Bundle whose pages to follow


class FhirReader(Protocol):
    """`fhir_adapters.client.FhirClient`, or a stand-in."""

    def allows(self, base: str) -> bool:
        """True when the server may be called."""
        ...

    def fetch_all(self, grant: Grant, wanted: Mapping[str, Order], *, ends_at: float) -> dict[str, Answer]:
        """Return each key's result or failure."""
        ...
