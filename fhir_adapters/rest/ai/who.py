"""Who asks for an operation, as its Provenance and audit name them."""

from fhir_adapters.rest.ai.changes import Who
from fhir_adapters.rest.fhir import caller


def asking() -> Who:
    """Return the caller whom the door has let in."""
    grant = caller()
    return Who(grant.who, grant.client_id)
