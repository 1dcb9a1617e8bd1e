"""What our FHIR store says of the person whom images name: charts that carry the identifier, and merges.

A merge (HL7 v2 ADT^A40) stands in FHIR as Patient.link: `replaced-by` in the chart that is no longer used, or
`replaces` in the one that is (R4 8.1.6). Either is believed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection

from clinical.identity import PatientKey
from fhir_adapters.resources.labels import uri
from record_store.criteria import ReferenceIn, TokenIn
from record_store.resource_search import SearchQuery, search
from record_store.resources import StoredResource, read
from record_store.times import from_text

MOST = 100
_LONGEST_CHAIN = 8  # merges of merges
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Charts:
    """The charts with one identifier. merged: one of them has been merged into another, or is not in use.

    birth_dates: as FHIR writes them, perhaps only a year. genders: codes. changed_at: when one of them was
    written last, or a chart that replaces one; None without charts.
    """

    merged: bool = False
    birth_dates: frozenset[str] = frozenset()
    genders: frozenset[str] = frozenset()
    changed_at: datetime | None = None


def charts_of(conn: Connection, key: PatientKey) -> Charts:
    """Return what the charts with this identifier (system and value) say."""
    found = _with_identifier(conn, key)
    bodies = [orjson.loads(one.body) for one in found]
    replacing = [other for one in found for other in _replacing(conn, one.id)]
    times = [from_text(one.updated) for one in (*found, *replacing)]
    return Charts(
        merged=bool(replacing) or any(_is_retired(body) for body in bodies),
        birth_dates=frozenset(str(body["birthDate"]) for body in bodies if body.get("birthDate")),
        genders=frozenset(str(body["gender"]) for body in bodies if body.get("gender")),
        changed_at=max(times, default=None),
    )


def surviving(conn: Connection, key: PatientKey) -> list[str]:
    """Return the ids of the charts that are in use of the person with this identifier, merges followed; sorted.

    Empty when there is no chart, or none that is here and in use.
    """
    ids: set[str] = set()
    for one in _with_identifier(conn, key):
        chart: StoredResource | None = one
        for _ in range(_LONGEST_CHAIN):
            if chart is None:
                break
            after = _survivor(conn, chart)
            if after is None:
                ids |= set() if _is_retired(orjson.loads(chart.body)) else {chart.id}
                break
            chart = read(conn, "Patient", after)
    return sorted(ids)


def ids_of(conn: Connection, key: PatientKey) -> list[str]:
    """Return the ids of all charts with this identifier and of the others of the person; sorted.

    Others are those that are in use after merges, and those that were merged into one of them: what was written
    into such a chart before the merge, as an order, still names it.
    """
    found = {one.id for one in _with_identifier(conn, key)} | set(surviving(conn, key))
    last = found
    for _ in range(_LONGEST_CHAIN):
        last = {gone for ident in last for gone in _merged_into(conn, ident)} - found
        if not last:
            break
        found = found | last
    return sorted(found)


def _merged_into(conn: Connection, patient_id: str) -> set[str]:
    """Return the ids of the charts that say of themselves, or of which this one says, that it replaces them."""
    chart = read(conn, "Patient", patient_id)
    said = [] if chart is None else [to for kind, to in _links(orjson.loads(chart.body)) if kind == "replaces"]
    links = {one.id: set(_links(orjson.loads(one.body))) for one in _linking(conn, patient_id)}
    return {*said, *(ident for ident, its in links.items() if ("replaced-by", patient_id) in its)}


def _with_identifier(conn: Connection, key: PatientKey) -> list[StoredResource]:
    wanted = TokenIn("identifier", ((uri(key.system), key.value),))
    return [match.resource for match in search(conn, SearchQuery("Patient", (wanted,), limit=MOST))]


def _replacing(conn: Connection, patient_id: str) -> list[StoredResource]:
    linking = _linking(conn, patient_id)
    return [one for one in linking if ("replaces", patient_id) in set(_links(orjson.loads(one.body)))]


def _linking(conn: Connection, patient_id: str) -> list[StoredResource]:
    wanted = ReferenceIn("link", (("Patient", patient_id),))
    return [match.resource for match in search(conn, SearchQuery("Patient", (wanted,), limit=MOST))]


def _survivor(conn: Connection, chart: StoredResource) -> str | None:
    after = [to for kind, to in _links(orjson.loads(chart.body)) if kind == "replaced-by"]
    return next(iter(after), None) or next((one.id for one in _replacing(conn, chart.id)), None)


def _is_retired(body: Json) -> bool:
    return body.get("active") is False or any(kind == "replaced-by" for kind, _ in _links(body))


def _links(body: Json) -> Iterator[tuple[str, str]]:
    """Yield the type and the target's id of each link; the target may be named by a URL or relatively."""
    for link in body.get("link") or ():
        reference = str((link.get("other") or {}).get("reference", ""))
        yield str(link.get("type", "")), reference.partition("/_history/")[0].rpartition("Patient/")[2]


def in_use(conn: Connection, patient_id: str) -> str | None:
    """Return the id of the chart that is in use of the person of this one, merges followed; None when none is."""
    chart = read(conn, "Patient", patient_id)
    for _ in range(_LONGEST_CHAIN):
        if chart is None:
            return None
        after = _survivor(conn, chart)
        if after is None:
            return None if _is_retired(orjson.loads(chart.body)) else chart.id
        chart = read(conn, "Patient", after)
    return None
