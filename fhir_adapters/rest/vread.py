"""vread: GET [base]/[type]/[id]/_history/[vid] (R4 3.1.0.3)."""

from flask import Response

from clinical.errors import NotFound
from fhir_adapters.outcome import Gone
from fhir_adapters.rest.fhir import Fhir, Interaction, allowed, conditional, require_type, served
from fhir_adapters.rest.reach import reaches, read_within
from fhir_adapters.search.index import ID
from record_store.resource_history import version

MAX_VERSION = 2**31 - 1  # the column's


def answer(fhir: Fhir, resource_type: str, resource_id: str, version_id: str) -> Response:
    """Return one version as it was stored; 410 when that version says that it was deleted."""
    require_type(resource_type)
    number = int(version_id) if version_id.isascii() and version_id.isdigit() and len(version_id) <= 10 else 0
    found = None
    if ID.fullmatch(resource_id) and 1 <= number <= MAX_VERSION:
        within = allowed(resource_type, "r")
        with fhir.db.read() as conn:
            # Who may not read what it is now may not read what it was, and what it was is judged by itself.
            if within is None or read_within(fhir, conn, resource_type, resource_id) is not None:
                found = version(conn, resource_type, resource_id, number)
        if found is not None and not found.deleted and not reaches(fhir, found, within):
            found = None
    if found is None:
        raise NotFound(f"there is no such version of a {resource_type} with that id")
    if found.deleted:
        raise Gone(f"that {resource_type} was deleted in this version")
    return conditional(served(found.stored))


INTERACTION = Interaction("vread", "GET", "/<resource_type>/<resource_id>/_history/<version_id>", answer)
