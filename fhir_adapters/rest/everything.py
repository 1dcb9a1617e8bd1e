"""$everything: Patient/[id]/$everything (R4 Patient-everything), by GET or by POST with Parameters.

The Patient, what is in its compartment, and besides what these refer to and what is nobody's: practitioners,
organizations, locations, medications, devices. `start` and `end` are dates of care; what has none is always there.
"""

from collections.abc import Sequence
from dataclasses import replace

from flask import Response

from clinical.errors import IncorrectInput, NotFound
from fhir_adapters.rest.fhir import Fhir, Interaction, allowed, visible
from fhir_adapters.rest.operation import asked_by_get, asked_by_parameters
from fhir_adapters.rest.search_system import several
from fhir_adapters.rest.several_types import answer_several, types_in
from fhir_adapters.search import page
from fhir_adapters.search.compartment import compartment_of
from fhir_adapters.search.dates import END_OF_TIME, START_OF_TIME, range_of
from fhir_adapters.search.includes import Include, references_of
from fhir_adapters.search.parameters import TYPES
from fhir_adapters.search.results import MAX_COUNT
from record_store.criteria import (
    UPDATED,
    AnyOf,
    Compare,
    Criterion,
    DateIn,
    DateRange,
    IdIn,
    Not,
    Present,
    Rows,
    restricted,
)
from record_store.resource_search import SearchQuery, count
from record_store.resource_types import types_present

_TAKEN = ("start", "end", "_since", "_type", "_count", "_page", "_format", "_pretty", "_elements", "_summary")
# What records refer to without it being one patient's.
SUPPORTING = (
    *("Device", "Endpoint", "HealthcareService", "Location", "Medication", "Organization", "Practitioner"),
    *("PractitionerRole", "Substance"),
)

Pairs = Sequence[tuple[str, str]]


def answer(fhir: Fhir, resource_id: str) -> Response:
    """Return a page of what is known of the patient."""
    return _everything(fhir, resource_id, asked_by_get())


def answer_post(fhir: Fhir, resource_id: str) -> Response:
    """Return the same, asked for by a body."""
    return _everything(fhir, resource_id, asked_by_parameters())


def _everything(fhir: Fhir, patient_id: str, pairs: Pairs) -> Response:
    given = dict(pairs)
    if len(given) != len(pairs) or not all(name in _TAKEN for name in given):
        raise IncorrectInput(
            "$everything takes start, end, _since, _type and _count, each once", expression=["$everything"]
        )
    allowed("Patient", "r")
    members = compartment_of(patient_id)
    named = types_in(pairs, sorted({*members, *SUPPORTING}))
    with fhir.db.read() as conn:
        # Asked as any search is, so that a Patient that one may not see is none that is not here.
        own = restricted((IdIn((patient_id,)),), "Patient", visible)
        if not count(conn, SearchQuery("Patient", own)):
            raise NotFound("there is no Patient with that id")
        here = set(types_present(conn))
    within = {
        name: (members[name] if name != "Patient" else IdIn((patient_id,)), *_narrowed(name, given))
        for name in named
        if name in here and name in members
    }
    others = [(name, value) for name, value in pairs if name not in ("start", "end", "_since")]
    if "_count" not in given:
        others.append(("_count", str(MAX_COUNT)))
    asked = several(fhir, f"Patient/{patient_id}/$everything", within, others)
    beside = [name for name in SUPPORTING if name in named and name in here]
    ways = [Include(source, None, target) for source in within for target in beside if _refers(source, target)]
    used = tuple(pair for pair in pairs if pair[0] != page.PARAMETER)
    return answer_several(
        fhir, replace(asked, request=replace(asked.request, used=used), beside=tuple(ways), letters="rs")
    )


def _refers(source: str, target: str) -> bool:
    return any(target in (each.only or each.targets or (target,)) for each in references_of(source))


def _narrowed(resource_type: str, given: dict[str, str]) -> list[Criterion]:
    criteria: list[Criterion] = []
    if (since := _bounds(given, "_since")) is not None:
        criteria.append(DateIn(UPDATED, (DateRange(Compare.GE, *since),)))
    start, end = _bounds(given, "start"), _bounds(given, "end")
    dated = TYPES[resource_type].hot_date
    if (start is None and end is None) or dated is None or resource_type == "Patient":
        return criteria
    param = TYPES[resource_type].parameters[dated].index_name
    cared = DateRange(Compare.AP, start[0] if start else START_OF_TIME, end[1] if end else END_OF_TIME)
    return [*criteria, AnyOf((DateIn(param, (cared,)), Not(Present(param, Rows.DATE))))]


def _bounds(given: dict[str, str], name: str) -> tuple[str, str] | None:
    text = given.get(name)
    if text is None:
        return None
    bounds = range_of(text.replace(" ", "+"))
    if bounds is None:
        raise IncorrectInput(f"{name} takes a date, or with a time an instant", expression=[name])
    return bounds


INTERACTION = Interaction("$everything", "GET", "/Patient/<resource_id>/$everything", answer)
BY_POST = Interaction("$everything", "POST", "/Patient/<resource_id>/$everything", answer_post)
