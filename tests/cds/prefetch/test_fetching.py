"""In which order what is fetched, once, by whom it may be, and what is said of a key that could not be had."""

import time
from dataclasses import replace

import pytest

from cds.deadline import deadline_in
from cds.prefetch import Policy, PrefetchTemplate, Source, State, gather
from cds.prefetch.fill import NO_ID, NO_VALUE
from cds.request import parse_request
from cds.testing import FHIR_SERVER, hook_body
from clinical.errors import Busy, Fault, IncorrectInput, PreconditionMissing
from fhir_adapters.client import Fetched, FetchFailed, Reason

PATIENT = {"resourceType": "Patient", "id": "p1"}
OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
REMARK = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "informational"}]}
NEXT = [{"relation": "next", "url": f"{FHIR_SERVER}?page=2"}]
CONDITIONS = PrefetchTemplate("conditions", "Condition?patient={{context.patientId}}")
ROLES = PrefetchTemplate(
    "roles",
    "PractitionerRole?_id={{%conditions.entry.resource.asserter.resolve().ofType(PractitionerRole).id}}",
)
PEOPLE = PrefetchTemplate(
    "people",
    "Practitioner?_id={{%roles.entry.resource.practitioner.resolve().id"
    "|%conditions.entry.resource.asserter.resolve().ofType(Practitioner).id}}",
)
# The organisation of the role, which nobody asked for as such.
PLACES = PrefetchTemplate(
    "places", "Location?organization={{%conditions.entry.resource.asserter.resolve().organization.resolve().id}}"
)


def bundle(*resources, **more):
    return {"resourceType": "Bundle", "entry": [{"resource": r} for r in resources], **more}


def condition(asserter):
    return {
        "resourceType": "Condition",
        "subject": {"reference": "Patient/p1"},
        "asserter": {"reference": asserter},
    }


def role(ident="r1", **more):
    return {
        "resourceType": "PractitionerRole",
        "id": ident,
        "practitioner": {"reference": "Practitioner/d1"},
        **more,
    }


class Ehr:
    """Answers by query; `rounds` holds what was asked together. slow: each round takes all the time there is."""

    def __init__(self, answers, slow=False):
        self.answers, self.slow, self.rounds = answers, slow, []

    def allows(self, base):
        return base == FHIR_SERVER

    def fetch_all(self, grant, wanted, *, ends_at):
        self.rounds.append([query if isinstance(query, str) else "next" for query in wanted.values()])
        time.sleep(max(0.0, ends_at - time.monotonic()) if self.slow else 0.0)
        return {key: self._answer(query) for key, query in wanted.items()}

    def _answer(self, query):
        found = self.answers.get(query if isinstance(query, str) else "next", FetchFailed(Reason.NOT_FOUND))
        return found if isinstance(found, FetchFailed | Fetched) else Fetched(found)


def gathered(templates, ehr=None, prefetch=(), seconds=5.0, observe=None, **more):
    if ehr is not None:
        more = {"fhirServer": FHIR_SERVER} | more
    request = parse_request(hook_body(prefetch=dict(prefetch), **more))
    said = [] if observe is None else observe
    return gather(request, templates, ehr, deadline_in(seconds), lambda *what: said.append(what))


def test_a_key_is_asked_when_those_it_depends_on_are_answered_and_the_rest_side_by_side():
    ehr = Ehr(
        {
            "Condition?patient=p1": bundle(condition("PractitionerRole/r1"), condition("Practitioner/d2")),
            "Patient/p1": PATIENT,
            "PractitionerRole?_id=r1": bundle(role()),
            "Practitioner?_id=d1,d2": bundle({"resourceType": "Practitioner", "id": "d1"}),
        }
    )
    patient = PrefetchTemplate("patient", "Patient/{{context.patientId}}")
    found = gathered((PEOPLE, ROLES, CONDITIONS, patient), ehr)
    assert ehr.rounds == [
        ["Condition?patient=p1", "Patient/p1"],
        ["PractitionerRole?_id=r1"],
        ["Practitioner?_id=d1,d2"],
    ]
    assert list(found) == ["people", "roles", "conditions", "patient"]
    assert {p.state for p in found.values()} == {State.COMPLETE}


def test_what_was_sent_settles_what_depends_on_it_in_the_first_round():
    ehr = Ehr({"PractitionerRole?_id=r1": bundle(role())})
    found = gathered((CONDITIONS, ROLES), ehr, {"conditions": bundle(condition("PractitionerRole/r1"))})
    assert ehr.rounds == [["PractitionerRole?_id=r1"]]
    assert (found["conditions"].source, found["roles"].source) == (Source.SENT, Source.FETCHED)


def test_a_key_with_nothing_to_ask_for_keeps_no_other_from_being_asked():
    ehr = Ehr({"Practitioner?_id=d2": bundle({"resourceType": "Practitioner", "id": "d2"})})
    found = gathered((CONDITIONS, ROLES, PEOPLE), ehr, {"conditions": bundle(condition("Practitioner/d2"))})
    assert (found["roles"].state, found["people"].state) == (State.ABSENT, State.COMPLETE)
    assert found["roles"].reason == f"it was not sent, and {NO_VALUE}"


@pytest.mark.parametrize("sent", [{}, {"conditions": OUTCOME}])
def test_a_key_that_depends_on_what_is_not_known_is_not_asked(sent):
    ehr = Ehr({})
    found = gathered((CONDITIONS, ROLES), ehr, sent)["roles"]
    assert found.state is State.ABSENT
    assert found.reason == "it was not sent, and it depends on conditions, which is not known"
    assert not any("PractitionerRole" in query for round_ in ehr.rounds for query in round_)


def test_a_key_that_could_not_be_asked_is_not_known_to_those_that_depend_on_it():
    two = {"conditions": bundle(condition("PractitionerRole/r1"), condition("PractitionerRole/r2"))}
    read = PrefetchTemplate("roles", "PractitionerRole/{{%conditions.entry.resource.asserter.resolve().id}}")
    found = gathered((CONDITIONS, read, PEOPLE), Ehr({}), two)
    assert found["roles"].reason == f"it was not sent, and {NO_ID}"
    assert found["people"].reason == "it was not sent, and it depends on roles, which is not known"
    nobody = {"conditions": bundle(condition("Patient/p1"), link=NEXT)}
    found = gathered((CONDITIONS, ROLES, PEOPLE), Ehr({}), nobody)
    assert found["people"].reason == "it was not sent, and it depends on roles, which is not known"


def test_what_is_made_from_a_part_is_a_part():
    sent = {"conditions": bundle(condition("PractitionerRole/r1"), link=NEXT)}
    ehr = Ehr({"PractitionerRole?_id=r1": bundle(role())})
    found = gathered((CONDITIONS, ROLES), ehr, sent)
    assert (found["conditions"].state, found["roles"].state) == (State.PAGED, State.PAGED)
    assert found["roles"].reason == "it depends on conditions, of which only a part is known"
    nobody = {"conditions": bundle(condition("Patient/p1"), link=NEXT)}
    assert "only a part is known" in gathered((CONDITIONS, ROLES), ehr, nobody)["roles"].reason


def test_a_reference_that_a_query_must_follow_is_fetched_by_search_before_it():
    organisation = {"reference": "Organization/h1"}
    ehr = Ehr(
        {
            "PractitionerRole?_id=r1,r2": bundle(role(organization=organisation), role("r2")),
            "Location?organization=h1": bundle({"resourceType": "Location"}),
        }
    )
    sent = {"conditions": bundle(condition("PractitionerRole/r2"), condition("PractitionerRole/r1"))}
    found = gathered((CONDITIONS, PLACES), ehr, sent)["places"]
    assert ehr.rounds == [["PractitionerRole?_id=r1,r2"], ["Location?organization=h1"]]
    assert found.state is State.COMPLETE


def test_references_to_several_types_are_followed_by_one_search_each():
    home = {"organization": {"reference": "Organization/h1"}}
    ehr = Ehr(
        {
            "CareTeam?_id=t1": bundle(
                {"resourceType": "CareTeam", "id": "t1", "subject": {"reference": "Patient/p1"}}
            ),
            "PractitionerRole?_id=r1,r2": bundle(role(**home), role("r2", **home)),
            "Location?organization=h1": bundle({"resourceType": "Location"}),
        }
    )
    askers = ("PractitionerRole/r2", "CareTeam/t1", "PractitionerRole/r1")
    found = gathered((CONDITIONS, PLACES), ehr, {"conditions": bundle(*map(condition, askers))})["places"]
    assert ehr.rounds == [["CareTeam?_id=t1", "PractitionerRole?_id=r1,r2"], ["Location?organization=h1"]]
    assert found.state is State.COMPLETE


def test_a_reference_to_what_another_key_brought_is_not_fetched_again():
    sent = {
        "conditions": bundle(condition("PractitionerRole/r1")),
        "roles": bundle(role(organization={"reference": "Organization/h1"})),
    }
    ehr = Ehr({"Location?organization=h1": bundle({"resourceType": "Location"})})
    assert gathered((CONDITIONS, ROLES, PLACES), ehr, sent)["places"].state is State.COMPLETE
    assert ehr.rounds == [["Location?organization=h1"]]


@pytest.mark.parametrize(
    ("answer", "reason", "late"),
    [
        (FetchFailed(Reason.FORBIDDEN), Reason.FORBIDDEN, False),
        (FetchFailed(Reason.TIMEOUT), Reason.TIMEOUT, True),
        ({"resourceType": 7}, Reason.UNREADABLE, False),
        (Fetched(bundle(), complete=False), Reason.TOO_LARGE, False),
        (OUTCOME, Reason.FAILED, False),
        (bundle(OUTCOME), Reason.FAILED, False),
        (bundle(), None, False),
    ],
)
def test_a_reference_that_leads_nowhere_is_told(answer, reason, late):
    ehr = Ehr({"PractitionerRole?_id=r1": answer})
    sent = {"conditions": bundle(condition("PractitionerRole/r1"))}
    found = gathered((CONDITIONS, PLACES), ehr, sent)["places"]
    said = f"a reference of its query could not be followed: {reason}" if reason else NO_VALUE
    assert (found.state, found.reason, found.late) == (State.ABSENT, f"it was not sent, and {said}", late)


def test_references_are_followed_three_times_and_a_hundred_together():
    def chain(steps):
        return "{{%conditions.entry.resource" + ".evidence.resolve()" * steps + ".code.resolve().id}}"

    def link(n):
        return {**condition("x"), "id": f"c{n}", "evidence": {"reference": f"Condition/c{n + 1}"}}

    answers = {f"Condition?_id=c{n}": bundle(link(n) | {"code": {"reference": "X/y"}}) for n in range(9)}
    answers["X?_id=y"] = bundle()
    sent = {"conditions": bundle(link(0) | {"id": "start", "evidence": {"reference": "Condition/c1"}})}
    near, far = (PrefetchTemplate("x", "X?_id=" + chain(steps)) for steps in (3, 4))
    ehr = Ehr(answers)
    assert gathered((CONDITIONS, near), ehr, sent)["x"].state is State.EMPTY
    assert len(ehr.rounds) == 4
    assert "too many references" in gathered((CONDITIONS, far), ehr, sent)["x"].reason
    many = {"conditions": bundle(*(condition(f"PractitionerRole/r{n}") for n in range(101)))}
    ehr = Ehr({})
    assert "too many references" in gathered((CONDITIONS, PLACES), ehr, many)["places"].reason
    assert ehr.rounds == []
    many["conditions"]["entry"].pop()
    gathered((CONDITIONS, PLACES), ehr, many)
    assert len(ehr.rounds) == 1


def test_equal_queries_are_asked_once_in_one_round_and_in_a_later_one():
    one = PrefetchTemplate("one", "Condition?patient={{context.patientId}}&code=x")
    same = PrefetchTemplate("same", "Condition?code=x&patient={{context.patientId}}")
    later = PrefetchTemplate("later", "Condition?patient={{%one.entry.resource.subject.resolve().id}}&code=x")
    ehr = Ehr({"Condition?patient=p1&code=x": bundle(condition("Practitioner/d1"))})
    found = gathered((later, one, same), ehr)
    assert ehr.rounds == [["Condition?patient=p1&code=x"]]
    assert [p.state for p in found.values()] == [State.COMPLETE] * 3


def test_a_key_that_is_never_fetched_is_taken_when_it_is_sent():
    never = PrefetchTemplate("conditions", CONDITIONS.query, policy=Policy.NEVER)
    ehr = Ehr({"Condition?patient=p1": bundle(condition("x"))})
    found = gathered((never,), ehr)["conditions"]
    assert (found.state, found.reason) == (State.ABSENT, "it was not sent, and this service does not fetch it")
    part = gathered((never,), ehr, {"conditions": bundle(condition("x"), link=NEXT)})["conditions"]
    assert part.reason == "only a part of it was sent, and this service does not fetch it"
    assert gathered((never,), ehr, {"conditions": bundle(condition("x"))})["conditions"].state is State.COMPLETE
    assert ehr.rounds == []


@pytest.mark.parametrize("policy", [Policy.REQUIRED, Policy.OPTIONAL])
def test_a_part_is_as_good_as_nothing_where_all_of_it_is_needed(policy):
    whole = PrefetchTemplate("conditions", CONDITIONS.query, policy=policy, complete=True)
    sent = {"conditions": bundle(condition("x"), link=NEXT)}
    full = gathered((whole,), Ehr({"next": bundle(condition("x"), condition("y"))}), sent)["conditions"]
    assert (full.state, full.source) == (State.COMPLETE, Source.FETCHED)
    if policy is Policy.REQUIRED:
        with pytest.raises(PreconditionMissing) as refused:
            gathered((whole,), Ehr({}), sent)
        assert "a part is not enough" in refused.value.diagnostics
    else:
        part = gathered((whole,), Ehr({}), sent)["conditions"]
        assert (part.state, part.value, list(part.resources())) == (State.ABSENT, None, [])
        assert (part.source, part.late) == (Source.NONE, False)
        assert gathered((whole,), Ehr({"next": FetchFailed(Reason.TIMEOUT)}), sent)["conditions"].late
        assert part.reason.endswith("answered 404, and a part is not enough")


def test_a_server_that_has_more_than_we_read_has_given_a_part():
    ehr = Ehr({"Condition?patient=p1": Fetched(bundle(condition("x")), complete=False)})
    found = gathered((CONDITIONS,), ehr)["conditions"]
    assert (found.state, found.source) == (State.PAGED, Source.FETCHED)


def test_a_search_that_reports_an_error_is_not_taken_for_none_found():
    found = gathered((CONDITIONS,), prefetch={"conditions": bundle(OUTCOME)})["conditions"]
    assert (found.state, found.reason) == (State.FAILED, "its search reports an error")
    alone = gathered((CONDITIONS,), prefetch={"conditions": OUTCOME})["conditions"]
    assert (alone.state, list(alone.resources()), list(found.resources())) == (State.FAILED, [], [])
    part = gathered((CONDITIONS,), Ehr({}), {"conditions": bundle(condition("x"), OUTCOME)})["conditions"]
    assert (part.state, len(list(part.resources()))) == (State.PAGED, 1)
    for remark in (REMARK, {"resourceType": "OperationOutcome", "issue": 7}, {**REMARK, "issue": ["error"]}):
        found = gathered((CONDITIONS,), prefetch={"conditions": bundle(remark)})["conditions"]
        assert found.state is State.EMPTY


@pytest.mark.parametrize("answer", [{}, {"resourceType": 7}, bundle(bundle()), bundle({"id": "x"})])
def test_what_a_server_answers_that_is_no_resource_is_not_read(answer):
    found = gathered((CONDITIONS,), Ehr({"Condition?patient=p1": answer}))["conditions"]
    assert (found.state, found.value) == (State.ABSENT, None)
    assert found.reason == "it was not sent, and the answer of the FHIR server is not FHIR JSON"


@pytest.mark.parametrize("answer", [OUTCOME, bundle(OUTCOME)])
def test_a_server_that_answers_200_and_an_error_has_answered_with_an_error(answer):
    found = gathered((CONDITIONS,), Ehr({"Condition?patient=p1": answer}))["conditions"]
    assert (found.state, found.source) == (State.ABSENT, Source.NONE)
    assert found.reason == f"it was not sent, and {Reason.FAILED}"
    part = gathered((CONDITIONS,), Ehr({"Condition?patient=p1": bundle(condition("x"), OUTCOME)}))["conditions"]
    assert (part.state, part.source) == (State.PAGED, Source.FETCHED)


def test_an_optional_key_that_comes_late_is_left_out_and_says_so():
    ehr = Ehr({"Condition?patient=p1": FetchFailed(Reason.TIMEOUT)})
    found = gathered((CONDITIONS, ROLES), ehr)
    assert (found["conditions"].state, found["conditions"].late) == (State.ABSENT, True)
    assert found["conditions"].reason == "it was not sent, and the FHIR server did not answer in time"
    assert found["roles"].late
    assert not gathered((CONDITIONS,), Ehr({}))["conditions"].late


def test_what_there_is_no_time_to_ask_for_is_late_without_being_asked():
    ehr = Ehr({"Condition?patient=p1": bundle(condition("PractitionerRole/r1"))}, slow=True)
    found = gathered((CONDITIONS, ROLES), ehr, seconds=0.3)
    assert len(ehr.rounds) == 1
    assert (found["conditions"].state, found["roles"].state) == (State.COMPLETE, State.ABSENT)
    assert (found["roles"].reason, found["roles"].late) == (
        "it was not sent, and there was no time left to ask for it",
        True,
    )
    required = PrefetchTemplate("roles", ROLES.query, required=True)
    with pytest.raises(PreconditionMissing) as refused:
        gathered((CONDITIONS, required), ehr, seconds=0.3)
    assert "no time left" in refused.value.diagnostics


def test_a_call_in_which_nothing_must_be_fetched_needs_no_time():
    assert gathered((CONDITIONS,), Ehr({}), {"conditions": None}, seconds=-1)["conditions"].state is State.NULL
    with pytest.raises(Busy):
        gathered((CONDITIONS,), Ehr({}), seconds=-1)


def test_keys_that_wait_for_each_other_are_our_fault_and_no_endless_loop():
    templates = (PrefetchTemplate("a", "X?_id={{%b.id}}"), PrefetchTemplate("b", "X?_id={{%a.id}}"))
    with pytest.raises(Fault):
        gathered(templates, Ehr({}))


def test_hits_and_misses_are_told_by_key_state_and_source():
    said = []
    templates = (CONDITIONS, ROLES, PrefetchTemplate("patient", "Patient/{{context.patientId}}", required=True))
    with pytest.raises(PreconditionMissing):
        gathered(
            templates, Ehr({"Condition?patient=p1": FetchFailed(Reason.TIMEOUT)}), {"roles": None}, observe=said
        )
    assert said == [("conditions", "late", "none"), ("roles", "null", "sent"), ("patient", "absent", "none")]
    said.clear()
    gathered((CONDITIONS,), Ehr({"Condition?patient=p1": bundle()}), observe=said)
    assert said == [("conditions", "empty", "fetched")]


def test_another_patients_data_is_counted_by_where_it_came_from():
    stranger = condition("x") | {"subject": {"reference": "Patient/p2"}}
    said = []
    for key in ("conditions", "nobodys-key"):
        with pytest.raises(IncorrectInput):
            gathered((CONDITIONS,), Ehr({}), {key: stranger}, observe=said)
    with pytest.raises(PreconditionMissing):
        gathered((CONDITIONS,), Ehr({"Condition?patient=p1": bundle(stranger)}), observe=said)
    assert said == [
        ("conditions", "stranger", "sent"),
        ("other", "stranger", "sent"),
        ("conditions", "stranger", "fetched"),
    ]


def test_another_patients_data_is_refused_also_where_it_was_only_a_step_of_the_way():
    sent = {"conditions": bundle(condition("RelatedPerson/q"))}
    somebodys = {"resourceType": "RelatedPerson", "id": "q", "patient": {"reference": "Patient/p2"}}
    ehr = Ehr({"RelatedPerson?_id=q": bundle(somebodys)})
    with pytest.raises(PreconditionMissing) as refused:
        gathered((CONDITIONS, PLACES), ehr, sent)
    assert refused.value.expression == ("prefetch.places",)


def test_a_token_granted_for_another_patient_is_refused_before_anything_is_fetched():
    granted = {"access_token": "t", "token_type": "Bearer", "expires_in": 1, "scope": "s", "subject": "x"}
    body = hook_body(prefetch={}, fhirServer=FHIR_SERVER, fhirAuthorization=granted | {"patient": "p1"})
    request = parse_request(body)
    other = replace(request, authorization=replace(request.authorization, patient_id="p2"))
    ehr = Ehr({"Condition?patient=p1": bundle()})
    with pytest.raises(IncorrectInput) as refused:
        gather(other, (CONDITIONS,), ehr, deadline_in(5))
    assert (refused.value.expression, ehr.rounds) == (("fhirAuthorization.patient",), [])
    assert gather(request, (CONDITIONS,), ehr, deadline_in(5))["conditions"].state is State.EMPTY
