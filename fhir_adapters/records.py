"""What our own FHIR store holds of one patient, for models that read images beside a record."""

from typing import Any

import orjson
from sqlalchemy import Connection

from clinical.identity import PatientKey
from fhir_adapters.resources.labels import uri
from record_store.criteria import PatientIn, TokenIn
from record_store.resource_search import SearchQuery, SortBy, SortKey, search

MOST_PATIENTS = 100
MOST_OBSERVATIONS = 500


def record_of(conn: Connection, key: PatientKey) -> list[dict[str, Any]]:
    """Return the Patients with this identifier (system and value) and their newest Observations.

    The identifier decides, never an id or a name: a record of another issuer's patient is somebody else's.
    """
    wanted = TokenIn("identifier", ((uri(key.system), key.value),))
    patients = search(conn, SearchQuery("Patient", (wanted,), limit=MOST_PATIENTS))
    if not patients:
        return []
    theirs = PatientIn(tuple(match.resource.id for match in patients))
    newest = (SortKey(SortBy.HOT_DATE, descending=True),)
    observations = search(conn, SearchQuery("Observation", (theirs,), sort=newest, limit=MOST_OBSERVATIONS))
    return [orjson.loads(match.resource.body) for match in (*patients, *observations)]
