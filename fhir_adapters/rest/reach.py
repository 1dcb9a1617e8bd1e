"""Whether a version lies within what the caller may read or write: of reads by id, histories and every write.

A search asks the index rows. Here versions are judged in memory: one that is not written yet and one that was
superseded have no rows. Where the caller may reach all of a type, nothing is done.
"""

from sqlalchemy import Connection

from clinical.errors import Denied, NotFound
from fhir_adapters.rest.fhir import Fhir, Permission, allowed, caller, consented
from fhir_adapters.search.indexed_version import indexed
from record_store.criteria import Criterion
from record_store.criteria_met import met
from record_store.resource_history import Version, current, latest, version
from record_store.resources import NewResource

OUTSIDE = "what is to be written lies outside of what the access token may write"


def read_within(fhir: Fhir, conn: Connection, resource_type: str, resource_id: str) -> Version | None:
    """Return the current version of a resource that the caller may read; None when there is none for it.

    What was deleted is nothing to a caller who may not read all of the type: nobody can say whose it was.
    """
    within = allowed(resource_type, "r")
    found = latest(conn, resource_type, resource_id)
    return found if found is None or reaches(fhir, found, within) else None


def read_now(fhir: Fhir, resource_type: str, resource_id: str) -> Version | None:
    """Return what `read_within` does, to who asks nothing else of the same snapshot."""
    within = allowed(resource_type, "r")
    found = current(fhir.db, resource_type, resource_id)
    return found if found is None or reaches(fhir, found, within) else None


def reaches(fhir: Fhir, found: Version, within: Criterion | None) -> bool:
    """Tell whether a version meets what the caller is narrowed down to."""
    if within is None:
        return True
    return not found.deleted and met(within, indexed(found, fhir.base_url))


def demand_writable(
    fhir: Fhir, conn: Connection, resource_type: str, permission: Permission, before: Version | None
) -> None:
    """Raise unless the caller may write (update, delete) the version that it would follow.

    Denied when the caller may read it, NotFound when it may not know of it. Of a deleted one, what it was counts.
    """
    within = allowed(resource_type, permission)
    if within is None or before is None:
        return
    living = _before_deletion(conn, before)
    if living is None or reaches(fhir, living, within):
        return
    if caller().may(resource_type, "r") and reaches(fhir, living, allowed(resource_type, "r")):
        raise Denied("that resource lies outside of what the access token may write")
    raise NotFound(f"there is no {resource_type} with that id")


def demand_consented(fhir: Fhir, before: Version | None) -> None:
    """Raise NotFound for a version that consents keep from the caller.

    Who changes a part of it is shown the rest in the answer, and whether that can be done tells what it says.
    """
    if before is not None and not reaches(fhir, before, consented(before.stored.type)):
        raise NotFound(f"there is no {before.stored.type} with that id")


def demand_within(new: NewResource, permission: Permission) -> None:
    """Raise Denied unless the caller may write this version."""
    within = allowed(new.type, permission)
    if within is not None and not met(within, new):
        raise Denied(OUTSIDE)


def _before_deletion(conn: Connection, before: Version) -> Version | None:
    if not before.deleted:
        return before
    earlier = version(conn, before.stored.type, before.stored.id, before.stored.version - 1)
    return None if earlier is None or earlier.deleted else earlier
