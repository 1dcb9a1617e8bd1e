"""What our FHIR store says was ordered: the ServiceRequests of a study, and the side that they name."""

from collections.abc import Iterator
from typing import Any

import orjson
from sqlalchemy import Connection

from clinical.codes import SNOMED_CT
from clinical.identity import PatientKey
from clinical.laterality import side_of
from fhir_adapters.charts import ids_of
from record_store.resource_search import PatientIn, SearchQuery, TokenIn, search

_NO_ORDERS = frozenset(("revoked", "entered-in-error", "draft"))
_MOST = 20
Json = dict[str, Any]


def ordered_side(conn: Connection, patient: PatientKey, accession_number: str) -> str:
    """Return L, R or B when the orders of this patient with this accession number name one side, else "".

    A ServiceRequest has it as an identifier, of whatever system. Its bodySite, orderDetail and code are read, in
    codes and words.
    """
    sides = {side for order in orders_of(conn, patient, accession_number) if (side := _side(order))}
    return sides.pop() if len(sides) == 1 else ""


def orders_of(conn: Connection, patient: PatientKey, accession_number: str) -> list[Json]:
    """Return the ServiceRequests of this patient with this accession number that are orders; [] without one."""
    theirs = ids_of(conn, patient) if accession_number else []
    if not theirs:
        return []
    wanted = (PatientIn(tuple(theirs)), TokenIn("identifier", ((None, accession_number),)))
    found = search(conn, SearchQuery("ServiceRequest", wanted, limit=_MOST))
    bodies = (orjson.loads(match.resource.body) for match in found)
    return [body for body in bodies if body.get("status") not in _NO_ORDERS]


def _side(order: Json) -> str:
    concepts = [*(order.get("bodySite") or ()), *(order.get("orderDetail") or ()), order.get("code") or {}]
    codings = [coding for concept in concepts for coding in concept.get("coding") or ()]
    codes = (str(coding.get("code", "")) for coding in codings if coding.get("system") == SNOMED_CT)
    return side_of(codes, (*_texts(concepts), *(str(coding.get("display", "")) for coding in codings)))


def _texts(concepts: list[Json]) -> Iterator[str]:
    return (str(concept.get("text", "")) for concept in concepts)
