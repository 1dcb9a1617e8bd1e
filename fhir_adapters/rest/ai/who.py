"""Who asks for an operation, as its Provenance and audit name them."""

from flask import g

from fhir_adapters.rest.ai.changes import Who

ANONYMOUS = "anonymous"


def asking() -> Who:
    """Return the caller whom the door has let in; nobody known where no door is."""
    grant = g.get("grant")
    return Who(ANONYMOUS) if grant is None else Who(grant.who, grant.client_id)
