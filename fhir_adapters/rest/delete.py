"""delete: DELETE [base]/[type]/[id] (R4 3.1.0.7), or DELETE [base]/[type]?condition for one match (3.1.0.7.1).

What was deleted is no longer found or read (410); its versions stay in its history.
"""

from contextlib import suppress

from flask import Response, request
from sqlalchemy import Connection

from clinical.errors import NotFound
from fhir_adapters.rest.accessed import note_written
from fhir_adapters.rest.condition import meant
from fhir_adapters.rest.fhir import Fhir, Interaction, require_writable
from fhir_adapters.rest.reach import demand_writable
from fhir_adapters.rest.versions import demand_match, removal
from record_store.resource_history import Version, latest
from record_store.resources import lock_key, put


def answer(fhir: Fhir, resource_type: str, resource_id: str) -> Response:
    """Delete and return 204; 204 too for what is not there (R4 3.1.0.7)."""
    require_writable(resource_type)
    with fhir.db.write() as conn:
        lock_key(conn, f"{resource_type}/{resource_id}")
        before = latest(conn, resource_type, resource_id)
        with suppress(NotFound):  # what the caller may not know of is not there
            demand_writable(fhir, conn, resource_type, "d", before)
            demand_match(before, request.headers.get("If-Match"))
            return _deleted(_remove(fhir, conn, before))
        demand_match(None, request.headers.get("If-Match"))
    return _deleted(None)


def answer_conditional(fhir: Fhir, resource_type: str) -> Response:
    """Delete the one match; nothing when there is none."""
    require_writable(resource_type)
    with fhir.db.write() as conn:
        found: Version | None = meant(conn, resource_type, request.query_string.decode(), fhir.base_url)
        if found is not None:
            lock_key(conn, f"{resource_type}/{found.stored.id}")
            found = latest(conn, resource_type, found.stored.id)
            demand_writable(fhir, conn, resource_type, "d", found)
        gone = _remove(fhir, conn, found)
    return _deleted(gone)


def _remove(fhir: Fhir, conn: Connection, found: Version | None) -> int | None:
    """Return the version that says so; None when there was nothing to delete."""
    if found is None or found.deleted:
        return None
    new = removal(fhir, found)
    put(conn, new)
    note_written(fhir, conn, [new])
    return new.version


def _deleted(version: int | None) -> Response:
    response = Response(status=204)
    if version is not None:
        response.set_etag(str(version), weak=True)
    return response


INTERACTION = Interaction("delete", "DELETE", "/<resource_type>/<resource_id>", answer)
CONDITIONAL = Interaction("delete", "DELETE", "/<resource_type>", answer_conditional)
