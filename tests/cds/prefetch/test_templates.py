"""What stops the start: a template that clients need not know (D6), and keys that wait for each other (D5)."""

import random

import pytest

from cds.hooks import PATIENT_VIEW
from cds.prefetch import Policy, PrefetchTemplate, foreign_templates, ordered, waves
from cds.service import Service
from cds.services import SERVICES
from clinical.errors import Fault


@pytest.mark.parametrize(
    "query",
    [
        "Patient/{{context.patientId}}",
        "{{context.userId}}",
        "PractitionerRole?_id={{userPractitionerRoleId}}",
        "Observation?patient={{context.patientId}}&code=http://loinc.org|4548-4&_count=1&_sort=-date",
        "Observation?patient={{context.patientId}}&code:in=http://example.org/vs&_maxresults=5",
        "Observation?patient={{context.patientId}}&date=gt{{today() - 90 days}}&date=le2026-01-01",
        "Observation?patient={{context.patientId}}&date={{today()}}&_sort=-date,code",
        "Condition?patient={{context.patientId}}&_lastUpdated=ge2026&code=ne,ap",
    ],
)
def test_what_every_client_should_know_is_taken(query):
    assert PrefetchTemplate("x", query).query == query


@pytest.mark.parametrize(
    "query",
    [
        "Patient",
        "Observation?patient={{context.patientId}}&sort:desc=date",
        "Observation?sort=date&patient={{context.patientId}}",
        "Observation?_sort:desc=date&patient={{context.patientId}}",
        "Observation?patient={{context.patientId}}&_include=Observation:performer",
        "Observation?patient={{context.patientId}}&_revinclude=Provenance:target",
        "Observation?patient={{context.patientId}}&_summary=true",
        "Observation?_has:Provenance:target:agent=x",
        "Observation?patient.name=x",
        "Observation?patient:Patient.name=x",
        "Observation?code:not=x",
        "Observation?code:in:not=x",
        "Observation?_id:in=x",
        "Observation?date=ne2026",
        "Observation?date=2026,sa2026-01-01",
        "Observation?date=ap{{today()}}",
        "Observation?date=xx{{today()}}",
        "Observation?date=gt{{today()}}{{today()}}x&_count=0",
        "Observation?_count=0",
        "Observation?_count={{context.x}}",
        "Observation?_maxresults=many",
        "Observation?_sort=--date",
        "Observation?_sort={{context.x}}",
        "Observation?patient={{context.patientId}}&_sort=date:asc",
    ],
)
def test_what_a_client_need_not_know_stops_the_start(query):
    with pytest.raises(Fault, match="the prefetch template x"):
        PrefetchTemplate("x", query)


def test_a_key_is_letters_digits_and_hyphens():
    for key in ("", "1a", "a b", "a.b", "a%b"):
        with pytest.raises(Fault):
            PrefetchTemplate(key, "Patient/{{context.patientId}}")


def test_templates_of_another_server_are_read_as_far_as_they_can_be():
    found = foreign_templates(
        {
            "hemoglobin-a1c": "Observation?patient={{context.patientId}}&code=4548-4&_count=1&sort:desc=date",
            "snake_case": "Patient?_id={{context.patientId}}&_revinclude=Provenance:target",
            "after": "X?a={{%snake_case.entry.resource.id}}",
            "unknown": "Patient/{{patientId}}",
            "a key": "Patient/1",
            "number": 7,
        }
    )
    assert [template.key for template in ordered(found)] == ["hemoglobin-a1c", "snake_case", "after"]


def test_required_is_a_policy_by_another_name():
    assert PrefetchTemplate("x", "Patient/a", required=True).policy is Policy.REQUIRED
    assert PrefetchTemplate("x", "Patient/a", policy=Policy.REQUIRED).required
    assert not PrefetchTemplate("x", "Patient/a", policy=Policy.NEVER).required
    with pytest.raises(Fault):
        PrefetchTemplate("x", "Patient/a", required=True, policy=Policy.NEVER)


def template(key, *depends_on):
    values = ",".join(f"{{{{%{other}.id}}}}" for other in depends_on) or "fixed"
    return PrefetchTemplate(key, f"X?_id={values}")


def test_a_key_stands_after_those_it_depends_on_and_else_where_it_stood():
    templates = (template("d", "c"), template("a"), template("c", "b", "a"), template("b"))
    assert [t.key for t in ordered(templates)] == ["a", "b", "c", "d"]
    assert [[t.key for t in wave] for wave in waves(templates)] == [["a", "b"], ["c"], ["d"]]


def test_any_order_of_any_plan_is_put_right():
    rng = random.Random(5)
    for _ in range(300):
        keys = [f"k{n}" for n in range(rng.randrange(1, 9))]
        templates = [template(key, *rng.sample(keys[:n], rng.randrange(n + 1))) for n, key in enumerate(keys)]
        rng.shuffle(templates)
        found = [t.key for t in ordered(templates)]
        assert sorted(found) == sorted(keys)
        for t in templates:
            assert all(found.index(other) < found.index(t.key) for other in t.parsed.keys)


@pytest.mark.parametrize(
    "templates",
    [
        (template("a", "a"),),
        (template("a", "b"), template("b", "a")),
        (template("x"), template("a", "x", "b"), template("b", "c"), template("c", "a")),
        (template("a", "missing"),),
        (template("a"), template("a")),
    ],
)
def test_a_circle_an_unknown_key_and_a_key_twice_stop_the_start(templates):
    with pytest.raises(Fault):
        ordered(templates)
    with pytest.raises(Fault):
        Service("x", PATIENT_VIEW, "X", "x", templates, lambda call, context: ())


def test_discovery_lists_a_key_after_those_it_depends_on():
    service = Service("x", PATIENT_VIEW, "X", "x", (template("b", "a"), template("a")), lambda call, context: ())
    assert list(service.describe()["prefetch"]) == ["a", "b"]


def test_every_shipped_service_has_a_plan():
    for service in SERVICES:
        assert {t.key for t in ordered(service.prefetch)} == {t.key for t in service.prefetch}
