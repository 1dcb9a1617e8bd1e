"""What our FHIR store says was ordered: the ServiceRequests of a study, for whom, and the side that they name."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection

from clinical.codes import SNOMED_CT
from clinical.identity import PatientKey
from clinical.laterality import side_of
from fhir_adapters.charts import ids_of, in_use
from fhir_adapters.resources.labels import uri
from fhir_adapters.resources.service_request import FROM_WORKLIST
from record_store.criteria import PatientIn, ReferenceIn, TokenIn
from record_store.resource_search import SearchQuery, search
from record_store.resources import read

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


def orders_of(conn: Connection, patient: PatientKey, accession_number: str, system: str = "") -> list[Json]:
    """Return the ServiceRequests of this patient with this accession number that are orders; [] without one.

    What a worklist told of is left out where an EHR has said the same order itself. In place of one that was
    revoked because another replaces it (R4 ServiceRequest.replaces) that one is returned, whatever its number.
    system: of the number's issuer, where it is known: the same number of another issuer is another order.
    """
    meant = {"identifier": [{"system": uri(system) if system else "", "value": accession_number}]}
    named = requests_of(conn, patient, accession_number)
    found = [body for body in named if not system or is_same(body, meant, accession_number)]
    said = [body for body in found if not _is_of_worklist(body)]
    stand = [
        body
        for body in found
        if body.get("status") not in _NO_ORDERS
        and not (_is_of_worklist(body) and any(is_same(one, body, accession_number) for one in said))
    ]
    return stand or _replacing(conn, patient, [body for body in found if body.get("status") in _NO_ORDERS])


def _replacing(conn: Connection, patient: PatientKey, gone: Sequence[Json]) -> list[Json]:
    """Return the orders that replace those that are gone, and the orders that replace these in turn."""
    theirs = tuple(ids_of(conn, patient)) if gone else ()
    seen = {str(one["id"]) for one in gone}
    found: list[Json] = []
    last = seen
    while last and len(seen) < _MOST:
        replaced = ReferenceIn("replaces", tuple(("ServiceRequest", ident) for ident in sorted(last)))
        matches = search(conn, SearchQuery("ServiceRequest", (PatientIn(theirs), replaced), limit=_MOST))
        bodies = [body for one in matches if (body := orjson.loads(one.resource.body))["id"] not in seen]
        found += [body for body in bodies if body.get("status") not in _NO_ORDERS]
        last = {str(body["id"]) for body in bodies if body.get("status") in _NO_ORDERS}
        seen |= {str(body["id"]) for body in bodies}
    return found


def requests_of(conn: Connection, patient: PatientKey, accession_number: str) -> list[Json]:
    """Return all ServiceRequests of this patient with this number, whatever their status; [] without one."""
    theirs = ids_of(conn, patient) if accession_number else []
    if not theirs:
        return []
    wanted = (PatientIn(tuple(theirs)), TokenIn("identifier", ((None, accession_number),)))
    found = search(conn, SearchQuery("ServiceRequest", wanted, limit=_MOST))
    return [orjson.loads(match.resource.body) for match in found]


def is_same(one: Json, other: Json, accession_number: str) -> bool:
    """Tell whether two ServiceRequests of a patient that carry a number mean one order by it. Pure.

    A number without a system, as HL7 v2 writes it, may be of any issuer; one that is called something else than an
    accession number (a placer's, say) is not it.
    """
    own, others = (list(_systems(body, accession_number)) for body in (one, other))
    return any(a == b or not a or not b for a in own for b in others)


def ordered_for_another(conn: Connection, patient: PatientKey, accession_number: str, system: str) -> bool:
    """Tell whether an order with this number of this issuer is for somebody whose chart has another identifier.

    system: of the number's issuer; without one (""), the number may be anybody's and nobody is told from another.
    """
    if not (system and accession_number):
        return False
    wanted = TokenIn("identifier", ((uri(system), accession_number),))
    found = search(conn, SearchQuery("ServiceRequest", (wanted,), limit=_MOST))
    bodies = [orjson.loads(match.resource.body) for match in found]
    subjects = {
        str((body.get("subject") or {}).get("reference", ""))
        for body in bodies
        if body.get("status") not in _NO_ORDERS
    }
    own = set(ids_of(conn, patient))
    return any(_is_another(conn, patient, own, one.rpartition("Patient/")[2]) for one in subjects)


def _is_another(conn: Connection, patient: PatientKey, own: set[str], chart_id: str) -> bool:
    chart = read(conn, "Patient", chart_id)
    if chart is None or not own.isdisjoint((chart_id, in_use(conn, chart_id))):
        return False
    said = orjson.loads(chart.body).get("identifier") or ()
    values = {one.get("value") for one in said if one.get("system") == uri(patient.system)}
    return bool(values) and patient.value not in values


def _is_of_worklist(body: Json) -> bool:
    return (body.get("meta") or {}).get("source") == FROM_WORKLIST


def _systems(body: Json, accession_number: str) -> Iterator[str]:
    """Yield the systems of the identifiers with this value that are accession numbers, or may be."""
    for one in body.get("identifier") or ():
        codes = {coding.get("code") for coding in (one.get("type") or {}).get("coding") or ()}
        if one.get("value") == accession_number and (not codes or "ACSN" in codes):
            yield str(one.get("system", ""))


def _side(order: Json) -> str:
    concepts = [*(order.get("bodySite") or ()), *(order.get("orderDetail") or ()), order.get("code") or {}]
    codings = [coding for concept in concepts for coding in concept.get("coding") or ()]
    codes = (str(coding.get("code", "")) for coding in codings if coding.get("system") == SNOMED_CT)
    return side_of(codes, (*_texts(concepts), *(str(coding.get("display", "")) for coding in codings)))


def _texts(concepts: list[Json]) -> Iterator[str]:
    return (str(concept.get("text", "")) for concept in concepts)
