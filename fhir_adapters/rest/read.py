"""read: GET [base]/[type]/[id] (R4 3.1.0.2)."""

from flask import Response

from clinical.errors import NotFound
from fhir_adapters.rest.fhir import Fhir, Interaction, conditional, require_type, served
from fhir_adapters.search.index import ID
from record_store import resources


def answer(fhir: Fhir, resource_type: str, resource_id: str) -> Response:
    """Return the current version as it was stored."""
    require_type(resource_type)
    with fhir.db.read() as conn:
        stored = resources.read(conn, resource_type, resource_id) if ID.fullmatch(resource_id) else None
    if stored is None:
        raise NotFound(f"there is no {resource_type} with that id")
    return conditional(served(stored))


INTERACTION = Interaction("read", "GET", "/<resource_type>/<resource_id>", answer)
