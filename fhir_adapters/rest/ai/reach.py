"""One result that an operation is about, as far as its caller reaches."""

from sqlalchemy import Connection

from clinical.errors import NotFound, Unsupported
from fhir_adapters.outcome import Gone
from fhir_adapters.rest.fhir import Permission, allowed
from fhir_adapters.search.index import ID
from fhir_adapters.search.parameters import RESULTS
from record_store.resource_history import Version, latest
from record_store.resource_search import IdIn, SearchQuery, search


def result_within(conn: Connection, resource_type: str, resource_id: str, permission: Permission) -> Version:
    """Return the current version of a result.

    Raises NotFound for what is not here or not for the caller, Gone for what was deleted, Denied when the caller
    may do nothing of the type, Unsupported for a type that is no AI result.
    """
    if resource_type not in RESULTS:
        raise Unsupported(f"results of models are: {', '.join(RESULTS)}")
    within = allowed(resource_type, permission)
    found = latest(conn, resource_type, resource_id) if ID.fullmatch(resource_id) else None
    if found is not None and within is not None and not found.deleted:
        query = SearchQuery(resource_type, (IdIn((resource_id,)), within), limit=1)
        found = found if search(conn, query) else None
    if found is None:
        raise NotFound(f"there is no {resource_type} with that id")
    if found.deleted:
        raise Gone(f"that {resource_type} was deleted")
    return found
