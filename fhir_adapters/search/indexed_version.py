"""A stored version with what can be found of it, for criteria in memory (`record_store.criteria_met`)."""

from fhir_adapters.search.index import index_of
from fhir_adapters.strict_json import load_object
from record_store.resource_history import Version
from record_store.resources import NewResource


def indexed(found: Version, base_url: str) -> NewResource:
    """Return a version as it would be written today. base_url: ours, as of `index_of`."""
    stored, made = found.stored, index_of(load_object(found.stored.body), base_url)
    return NewResource(
        type=stored.type,
        id=stored.id,
        version=stored.version,
        updated=stored.updated,
        body=stored.body,
        index=made.rows,
        patient=made.patient,
        code=made.code,
        date_lo=made.date_lo,
        method=found.method,
    )
