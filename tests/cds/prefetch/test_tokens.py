"""What a template may say, what its tokens give, and what cannot be asked."""

import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from cds.prefetch import PrefetchTemplate, Scope, canonical, fill, parse_query, resolve
from cds.prefetch.fill import NO_ID, NO_VALUE, SEVERAL, TOO_LONG
from cds.request import parse_request
from cds.testing import hook_body
from clinical.errors import IncorrectInput

BASE = "https://ehr.example/fhir"


def order(number, **more):
    return {"resourceType": "ServiceRequest", "id": f"o{number}", **more}


def bundle(*resources):
    return {"resourceType": "Bundle", "entry": [{"resource": resource} for resource in resources]}


SCOPE = Scope(
    {
        "userId": "PractitionerRole/r9",
        "patientId": "p1",
        "encounterId": "..",
        "selections": ["ServiceRequest/o1", "ServiceRequest/o2", "ServiceRequest/o1"],
        "performer": f"{BASE}/Practitioner/d7",
        "foreign": "https://other.example/fhir/Practitioner/d8",
        "draftOrders": bundle(
            order(
                1,
                subject={"reference": "Patient/p1"},
                reasonReference=[{"reference": "Condition/c1/_history/4"}, {"reference": "Observation/b1"}],
                requester={"reference": "#asker"},
                contained=[
                    {
                        "resourceType": "PractitionerRole",
                        "id": "asker",
                        "practitioner": {"reference": "Practitioner/d1"},
                    }
                ],
                priority="routine",
                doNotPerform=False,
                quantityQuantity={"value": 2.5},
            ),
            order(2, basedOn=[{"reference": "ServiceRequest/o1"}], priority="urgent"),
            {"resourceType": "MedicationRequest", "medicationReference": {"reference": "Medication/m1"}},
        ),
    },
    date(2026, 11, 26),
    BASE,
)


def filled(template, **changes):
    return fill(parse_query(template), replace(SCOPE, **changes))


@pytest.mark.parametrize(
    ("token", "value"),
    [
        ("context.patientId", "p1"),
        (" context . patientId ", "p1"),
        ("userPractitionerRoleId", "r9"),
        ("today()", "2026-11-26"),
        ("today() - 90 days", "2026-08-28"),
        ("today() + 365 days - 1 day", "2027-11-25"),
        ("context.selections", "ServiceRequest%2Fo1,ServiceRequest%2Fo2"),
        ("context.selections.resolve().priority", "routine,urgent"),
        ("context.performer.resolve().id", "d7"),
        ("context.draftOrders.entry.resource.id", "o1,o2"),
        ("context.draftOrders.entry.resource.ofType(ServiceRequest).priority", "routine,urgent"),
        ("context.draftOrders.entry.resource.doNotPerform", "false"),
        ("context.draftOrders.entry.resource.quantity.value", "2.5"),
        ("context.draftOrders.entry.resource.subject", "Patient%2Fp1"),
        ("context.draftOrders.entry.resource.reasonReference.resolve().id", "c1,b1"),
        ("context.draftOrders.entry.resource.reasonReference.resolve().ofType(Condition).id", "c1"),
        ("context.draftOrders.entry.resource.medication.resolve().id", "m1"),
        ("context.draftOrders.entry.resource.requester.resolve().practitioner.resolve().id", "d1"),
        ("context.draftOrders.entry.resource.basedOn.resolve().priority", "routine"),
        ("context.patientId | context.selections.resolve().ofType(ServiceRequest).id", "p1,o1,o2"),
        ("%roles.entry.resource.practitioner.resolve().id", "d2"),
        ("%a-role.practitioner.resolve().id|%`a-role`.id", "d3,r3"),
    ],
)
def test_a_token_gives(token, value):
    known = {
        "roles": bundle({"resourceType": "PractitionerRole", "practitioner": {"reference": "Practitioner/d2"}}),
        "a-role": {
            "resourceType": "PractitionerRole",
            "id": "r3",
            "practitioner": {"reference": "Practitioner/d3"},
        },
    }
    assert filled(f"X?a={{{{{token}}}}}", known=known).query == f"X?a={value}"


@pytest.mark.parametrize(
    "token",
    [
        "userPractitionerId",
        "context.nothing",
        "context.foreign.resolve().id",
        "context.patientId.resolve().id",
        "context.user",
        "context.draftOrders",
        "context.draftOrders.entry.resource.absent",
        "context.draftOrders.entry.resource.requester",
        "context.draftOrders.entry.resource.requester.resolve().id",
        "%roles.entry.resource.id",
    ],
)
def test_a_token_without_a_value_gives_no_query(token):
    assert filled(f"X?b=1&a={{{{{token}}}}}").query is None
    assert filled(f"X?b=1&a={{{{{token}}}}}").reason == NO_VALUE


def test_a_reference_is_followed_no_further_than_needed():
    lazy = filled("X?_id={{context.draftOrders.entry.resource.reasonReference.resolve().ofType(Condition).id}}")
    assert (lazy.query, lazy.wanted) == ("X?_id=c1", frozenset())
    path = "context.draftOrders.entry.resource.reasonReference.resolve().ofType(Condition).asserter.resolve().id"
    beyond = f"X?a={{{{{path}}}}}"
    assert (filled(beyond).query, filled(beyond).wanted) == (None, {("Condition", "c1")})
    there = {"resourceType": "Condition", "id": "c1", "asserter": {"reference": "Practitioner/d5"}}
    assert filled(beyond, looked_up={("Condition", "c1"): there}).query == "X?a=d5"
    gone = filled(beyond, looked_up={("Condition", "c1"): None})
    assert (gone.query, gone.wanted) == (None, frozenset())


def test_a_draft_without_an_id_is_found_by_its_full_url():
    drafts = bundle({"resourceType": "Task", "focus": {"reference": "urn:uuid:7"}}, order(4))
    drafts["entry"][1]["fullUrl"] = "urn:uuid:7"
    token = "{{context.drafts.entry.resource.ofType(Task).focus.resolve().id}}"
    assert filled(f"X?a={token}", context={"drafts": drafts}).query == "X?a=o4"


@pytest.mark.parametrize("contained", [7, {}, [7, "x", {"id": "a"}, {"resourceType": "Task", "id": 7}]])
def test_what_contains_nothing_that_can_be_read_leads_nowhere(contained):
    outer = {"resourceType": "Task", "contained": contained, "owner": {"reference": "#a"}}
    assert filled("X?a={{context.task.owner.resolve().status}}", context={"task": outer}).reason == NO_VALUE


@pytest.mark.parametrize(
    ("template", "query"),
    [
        ("Patient/{{context.patientId}}", "Patient/p1"),
        ("Patient/x-{{context.patientId}}", "Patient/x-p1"),
        ("{{context.userId}}", "PractitionerRole/r9"),
        ("{{context.performer}}", "Practitioner/d7"),
    ],
)
def test_one_instance_is_read(template, query):
    assert filled(template).query == query


@pytest.mark.parametrize(
    "template",
    [
        "Encounter/{{context.encounterId}}",
        "ServiceRequest/{{context.selections}}",
        "Practitioner/{{context.performer}}",
        "{{context.selections}}",
        "{{context.patientId}}",
        "{{context.foreign}}",
    ],
)
def test_what_is_not_one_id_is_not_read(template):
    assert (filled(template).query, filled(template).reason) == (None, NO_ID)


def test_a_value_cannot_become_two_nor_a_code_with_its_system():
    assert filled("X?a={{context.x}}", context={"x": "p1,p2"}).query == "X?a=p1%5C%2Cp2"
    assert filled("X?a={{context.x}}", context={"x": "s|c$d\\"}).query == "X?a=s%5C%7Cc%5C%24d%5C%5C"


def test_several_values_stand_only_where_a_list_may():
    several = "{{context.draftOrders.entry.resource.id}}"
    assert filled(f"X?a=b,{several},c").query == "X?a=b,o1,o2,c"
    for value in (f"gt{several}", f"{several}x", f"b,s|{several}", f"{several}{{{{context.patientId}}}}"):
        assert filled(f"X?a={value}").reason == SEVERAL


def test_a_query_that_no_server_would_take_is_not_made():
    assert len(filled("X?a={{context.x}}", context={"x": "y" * 5996}).query) == 6000
    assert filled("X?a={{context.x}}", context={"x": "y" * 5997}).reason == TOO_LONG


def test_a_template_a_token_and_a_way_through_time_have_a_greatest_length():
    assert parse_query("X?a=" + "b" * 3996).kind == "X"
    assert parse_query("X?a={{context." + "x." * 495 + "y}}").kind == "X"
    for far in ("X?a=" + "b" * 3997, "X?a={{context." + "x." * 496 + "y}}"):
        with pytest.raises(IncorrectInput):
            parse_query(far)
    assert filled("X?a={{today() - 36525 days}}").query == "X?a=1926-11-26"


@pytest.mark.parametrize(
    "template",
    [
        "",
        "patient/{{context.patientId}}",
        "Patient",
        "Patient/",
        "Patient/a/b",
        "Patient/{{context.patientId}}/$everything",
        "Patient/a?b=c",
        "Patient?a=b&",
        "Patient?a=",
        "Patient?=b",
        "Patient?a=b#c",
        "Patient?a=b c",
        "Patient?a={{context.x}",
        "Patient?a=b\0",
        "Patient?{{context.x}}=b",
        "{{context.patientId}}{{context.x}}",
        "Patient?a={{}}",
        "Patient?a={{context}}",
        "Patient?a={{context.}}",
        "Patient?a={{contexts.x}}",
        "Patient?a={{patientId}}",
        "Patient?a={{%}}",
        "Patient?a={{%x}}",
        "Patient?a={{context.x.first()}}",
        "Patient?a={{context.x[0]}}",
        "Patient?a={{context.x.where(a = 1).id}}",
        "Patient?a={{context.x.resolve()}}",
        "Patient?a={{context.x.ofType(Patient)}}",
        "Patient?a={{context.x.ofType(patient).id}}",
        "Patient?a={{context.x + 3 days}}",
        "Patient?a={{today() - 3 months}}",
        "Patient?a={{today() 3 days}}",
        "Patient?a={{today() - 36526 days}}",
        "Patient?a={{today().x}}",
        "Patient?a={{userPractitionerId | context.x}}",
        "Patient?a={{context.x | }}",
        "Patient?a={{" + "context.x|" * 120 + "context.x}}",
        "Patient?a=" + "b" * 4000,
    ],
)
def test_what_is_outside_the_language_is_refused(template):
    if template == "Patient":
        # Readable, and refused by the restrictions: it asks for everything.
        assert filled(template).query == "Patient"
        return
    with pytest.raises(IncorrectInput):
        parse_query(template)


def test_the_old_way_to_sort_is_read_and_said_anew():
    for old in ("sort:desc=date", "_sort:desc=date", "_sort=-date"):
        assert (
            filled(f"Observation?patient={{{{context.patientId}}}}&{old}").query
            == "Observation?patient=p1&_sort=-date"
        )
    assert (
        filled("Observation?sort:asc=date").query
        == filled("Observation?sort=date").query
        == "Observation?_sort=date"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Observation?patient=p1&code=x&sort:desc=date", "Observation?code=x&_sort=-date&patient=p1"),
        ("Observation?code=http://loinc.org|1-2", "Observation?code=http%3A%2F%2Floinc.org%7C1-2"),
        ("Patient/p%31", "Patient/p1"),
    ],
)
def test_queries_that_ask_the_same_are_known_to(one, other):
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Observation?code=x", "Observation?code=y"),
        ("Observation?code=x", "Condition?code=x"),
        ("Observation?code=x&code=y", "Observation?code=x,y"),
        ("Observation?a=b%26c=d", "Observation?a=b&c=d"),
        ("Observation?_sort=date", "Observation?_sort=-date"),
        ("Patient/p1", "Patient?_id=p1"),
        ("Patient/p1", "Patient/p2"),
    ],
)
def test_queries_that_ask_something_else_are_known_to(one, other):
    assert canonical(one) != canonical(other)


def test_today_is_the_day_in_utc():
    request = parse_request(hook_body())
    template = PrefetchTemplate("x", "Observation?patient={{context.patientId}}&date=ge{{today()}}")
    late_in_new_york = datetime(2026, 11, 25, 22, 0, tzinfo=timezone(timedelta(hours=-5)))
    assert resolve(template, request, now=lambda: late_in_new_york).endswith("date=ge2026-11-26")
    before = datetime.now(UTC).date().isoformat()
    assert resolve(template, request)[-10:] in {before, datetime.now(UTC).date().isoformat()}


def test_a_thousand_drafts_that_refer_to_each_other_are_followed_in_no_time():
    drafts = bundle(*({"resourceType": "Task", "focus": {"reference": f"urn:uuid:{n}"}} for n in range(5000)))
    for number, entry in enumerate(drafts["entry"]):
        entry["fullUrl"] = f"urn:uuid:{number}"
        entry["resource"]["contained"] = [{"resourceType": "Task", "id": "a", "status": "draft"}]
    drafts["entry"].append({"resource": _crowded()})
    started = time.thread_time()
    token = "context.drafts.entry.resource.focus.resolve().focus.resolve().contained.status"
    token += " | context.drafts.entry.resource.owner.resolve().status"
    assert filled(f"X?a={{{{{token}}}}}", context={"drafts": drafts}).query == "X?a=draft"
    assert time.thread_time() - started < 2  # 25 million looks at entries would be many times that


def _crowded():
    inner = [{"resourceType": "Task", "id": f"c{n}", "status": "draft"} for n in range(5000)]
    return {"resourceType": "Task", "contained": inner, "owner": [{"reference": f"#c{n}"} for n in range(5000)]}
