"""One result that an operation is about, as far as its caller reaches."""

from sqlalchemy import Connection

from clinical.errors import NotFound, Unsupported
from fhir_adapters.outcome import Gone
from fhir_adapters.rest.fhir import Fhir, Permission, allowed
from fhir_adapters.rest.reach import demand_consented, reaches
from fhir_adapters.search.index import ID
from fhir_adapters.search.parameters import RESULTS
from record_store.resource_history import Version, latest


def result_within(
    fhir: Fhir, conn: Connection, resource_type: str, resource_id: str, permission: Permission
) -> Version:
    """Return the current version of a result.

    Raises NotFound for what is not here or not for the caller, Gone for what was deleted, Denied when the caller
    may do nothing of the type, Unsupported for a type that is no AI result.
    """
    if resource_type not in RESULTS:
        raise Unsupported(f"results of models are: {', '.join(RESULTS)}")
    within = allowed(resource_type, permission)
    found = latest(conn, resource_type, resource_id) if ID.fullmatch(resource_id) else None
    if found is None or not reaches(fhir, found, within):
        raise NotFound(f"there is no {resource_type} with that id")
    demand_consented(fhir, found)
    if found.deleted:
        raise Gone(f"that {resource_type} was deleted")
    return found
