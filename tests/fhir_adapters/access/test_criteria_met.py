"""A criterion says of a version in memory what it says of the same version in the store."""

import itertools
import json

import pytest

from fhir_adapters.access.restriction import problem_of
from fhir_adapters.access.scopes import parse as scope
from fhir_adapters.rest import INTERACTIONS
from fhir_adapters.rest.door import NEEDED
from fhir_adapters.search.index import index_of
from fhir_adapters.search.parse import parse
from record_store.criteria import AllOf, AnyOf, Not
from record_store.criteria_met import can_be_met, met
from record_store.resource_search import SearchQuery, search
from record_store.resources import NewResource, put_all

BASE = "https://cds.example/fhir"
UPDATED = "2026-11-27T09:00:00.000000Z"

QUERIES = [
    *("_id=o1", "_id=o1,o3", "_lastUpdated=2026-11-27", "_lastUpdated=gt2026-11-28", "_security=R"),
    *("status=final", "status=final,amended", "status:not=final", "code=a", "code=http://loinc.org|a", "code=|a"),
    *("code=http://loinc.org|", "code:text=heart", "code:missing=true", "identifier=urn:x|1", "identifier=1"),
    *("category=laboratory", "category:missing=true", "category:missing=false"),
    *(
        "subject=Patient/p1",
        "patient=p1",
        "patient=p1,p2",
        "subject=p1",
        "subject:Group=p1",
        "performer=Patient/p1",
    ),
    *("subject:missing=true", "device=d1", "derived-from=Observation/o1"),
    *(
        "date=2026",
        "date=2026-01-02",
        "date=ge2026-01-02",
        "date=lt2026-01-02",
        "date=sa2026-01",
        "date=ne2026-01-02",
    ),
    *("value-string=Ar", "value-string:contains=ROS", "value-string:exact=Äros", "_profile=http://p.example/x"),
    *("_profile:below=http://p.example", "combo-code=b", "component-code=b"),
]


def observations():
    """Observations that differ in what the queries ask about."""
    codes = ({"coding": [{"system": "http://loinc.org", "code": "a", "display": "Heart rate"}]}, {"text": "heart"})
    subjects = ({"reference": "Patient/p1"}, {"reference": "Group/p1"}, None)
    dates = ("2026-01-02", "2026", "2025-12-31T23:00:00-05:00", None)
    for number, (code, subject, date) in enumerate(itertools.product(codes, subjects, dates), 1):
        made = {
            "resourceType": "Observation",
            "id": f"o{number}",
            "status": "final" if number % 3 else "amended",
            "code": code,
            "subject": subject,
            "effectiveDateTime": date,
            "category": [{"coding": [{"code": "laboratory"}]}] if number % 2 else None,
            "identifier": [{"system": "urn:x", "value": str(number)}],
            "valueString": "Äros" if number % 5 else None,
            "performer": [{"reference": "Patient/p1"}] if number % 4 == 0 else None,
            "component": [{"code": {"coding": [{"code": "b"}]}}] if number % 7 == 0 else None,
            "meta": {"profile": ["http://p.example/x"], "security": [{"code": "R"}]} if number % 6 == 0 else None,
        }
        yield {name: value for name, value in made.items() if value is not None}


def stored(resource):
    indexed = index_of(resource, BASE)
    return NewResource(
        type="Observation",
        id=resource["id"],
        version=1,
        updated=UPDATED,
        body=json.dumps(resource).encode(),
        index=indexed.rows,
        patient=indexed.patient,
        code=indexed.code,
        date_lo=indexed.date_lo,
        method="POST",
    )


def test_what_is_met_in_memory_is_found_in_the_store(db):
    every = [stored(one) for one in observations()]
    with db.write() as conn:
        put_all(conn, every)
    asked = [
        criterion
        for text in QUERIES
        for criterion in parse("Observation", [text.split("=", 1)], base_url=BASE).criteria
    ]
    assert len(asked) == len(QUERIES)
    pairs = list(itertools.islice(itertools.combinations(asked, 2), 0, None, 40))
    asked += [Not(one) for one in asked] + [AllOf(pair) for pair in pairs] + [AnyOf(pair) for pair in pairs]
    asked += [AnyOf(()), AllOf(())]
    some = 0
    with db.read() as conn:
        for criterion in asked:
            assert can_be_met(criterion), criterion
            found = search(conn, SearchQuery("Observation", (criterion,), limit=100))
            expected = {one.id for one in every if met(criterion, one)}
            assert {match.resource.id for match in found} == expected, criterion
            some += 0 < len(expected) < len(every)
    assert some > len(QUERIES)


@pytest.mark.parametrize(
    "text",
    [
        "system/Observation.rs?subject:Patient.name=x",
        "system/Observation.rs?_has:Observation:derived-from:code=x",
        "system/Observation.rs?value-quantity=5",
        "system/Observation.rs?code-value-string=a$b",
        "system/Observation.rs?_sort=date",
        "system/Observation.rs?_include=Observation:subject",
    ],
)
def test_what_cannot_be_asked_of_one_version_cannot_stand_in_a_scope(text):
    assert problem_of(scope(text)) is not None


def test_every_interaction_says_what_a_caller_needs():
    missing = {each.code for each in INTERACTIONS} - set(NEEDED)
    assert not missing, "an interaction that is not in door.NEEDED is for the operator alone: say what it needs"
