"""read: GET [base]/[type]/[id] (R4 3.1.0.2)."""

from flask import Response

from clinical.errors import NotFound
from fhir_adapters.outcome import Gone
from fhir_adapters.rest.fhir import Fhir, Interaction, conditional, require_type, served
from fhir_adapters.rest.reach import read_now
from fhir_adapters.search.index import ID


def answer(fhir: Fhir, resource_type: str, resource_id: str) -> Response:
    """Return the current version as it was stored; 410 when it was deleted."""
    require_type(resource_type)
    found = read_now(fhir, resource_type, resource_id) if ID.fullmatch(resource_id) else None
    if found is None:
        raise NotFound(f"there is no {resource_type} with that id")
    if found.deleted:
        raise Gone(f"that {resource_type} was deleted")
    return conditional(served(found.stored))


INTERACTION = Interaction("read", "GET", "/<resource_type>/<resource_id>", answer)
