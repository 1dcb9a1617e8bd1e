"""Five states of a prefetch key, what is fetched, and what is refused."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds.deadline import Deadline, deadline_in
from cds.prefetch import PrefetchTemplate, State, gather, resolve
from cds.request import parse_request
from cds.testing import FHIR_SERVER, CannedReader, hook_body
from clinical.errors import Busy, Fault, IncorrectInput, PreconditionMissing
from fhir_adapters.client import Fetched, FetchFailed, Reason

PATIENT = {"resourceType": "Patient", "id": "p1"}
KEY = PrefetchTemplate("patient", "Patient/{{context.patientId}}", required=True)
BMI = PrefetchTemplate("bmi", "Observation?patient={{context.patientId}}&code=x", required=True)
WAIST = PrefetchTemplate("waist", "Observation?patient={{context.patientId}}&code=y")
OUTCOME = {"resourceType": "OperationOutcome", "issue": []}
TOKEN = {
    "fhirServer": FHIR_SERVER,
    "fhirAuthorization": {
        "access_token": "tok",
        "token_type": "Bearer",
        "expires_in": 1,
        "scope": "user/*.rs",
        "subject": "x",
    },
}


def bundle(*resources, **more):
    return {"resourceType": "Bundle", "entry": [{"resource": r} for r in resources], **more}


def obs(subject="Patient/p1", **more):
    return {"resourceType": "Observation", "subject": {"reference": subject}, **more}


NEXT = [{"relation": "next", "url": f"{FHIR_SERVER}?page=2"}]


def gathered(prefetch, templates=(KEY, BMI, WAIST), reader=None, **more):
    request = parse_request(hook_body(prefetch=prefetch, **more))
    return gather(request, templates, reader, deadline_in(5))


def test_the_five_states_stay_apart():
    sent = {"patient": PATIENT, "bmi": bundle(obs()), "null": None, "empty": bundle(), "failed": OUTCOME}
    sent["paged"] = bundle(obs(), link=NEXT)
    search = "Observation?patient={{context.patientId}}&code=x"
    templates = [PrefetchTemplate(key, search) for key in (*sent, "absent") if key != "patient"]
    templates.append(KEY)
    states = {key: found.state for key, found in gathered(sent, templates).items()}
    assert states == {
        "patient": State.COMPLETE,
        "bmi": State.COMPLETE,
        "null": State.NULL,
        "empty": State.EMPTY,
        "failed": State.FAILED,
        "paged": State.PAGED,
        "absent": State.ABSENT,
    }


def test_a_servers_remark_in_a_bundle_is_no_data():
    found = gathered({"patient": PATIENT, "bmi": bundle(OUTCOME)})["bmi"]
    assert found.state is State.EMPTY
    assert list(found.resources()) == []


def test_null_and_empty_are_answers_and_satisfy_a_required_key():
    assert gathered({"patient": PATIENT, "bmi": None})["bmi"].state is State.NULL
    assert gathered({"patient": PATIENT, "bmi": bundle()})["bmi"].state is State.EMPTY


def test_what_is_required_and_absent_is_a_412_that_names_keys_templates_and_reasons():
    with pytest.raises(PreconditionMissing) as refused:
        gathered({"waist": bundle()})
    assert refused.value.expression == ("prefetch.patient", "prefetch.bmi")
    assert "Patient/{{context.patientId}}" in refused.value.diagnostics
    assert "no fhirServer" in refused.value.diagnostics


def test_a_query_that_failed_at_the_client_is_not_asked_again():
    reader = CannedReader({"Observation": bundle(obs())})
    with pytest.raises(PreconditionMissing) as refused:
        gathered({"patient": PATIENT, "bmi": OUTCOME, "waist": None}, reader=reader, **TOKEN)
    assert refused.value.expression == ("prefetch.bmi",)
    assert reader.asked == []


def test_only_what_is_absent_is_fetched_with_the_granted_token():
    reader = CannedReader(
        {"Observation?patient=p1&code=x": bundle(obs()), "Observation?patient=p1&code=y": bundle()}
    )
    found = gathered({"patient": PATIENT}, reader=reader, **TOKEN)
    assert reader.asked == ["Observation?patient=p1&code=x", "Observation?patient=p1&code=y"]
    assert [(grant.base, grant.token) for grant in reader.grants] == [(FHIR_SERVER, "tok")]
    assert (found["bmi"].state, found["waist"].state) == (State.COMPLETE, State.EMPTY)


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_why_a_fetch_failed_is_told(reason):
    reader = CannedReader({"Observation": FetchFailed(reason)})
    with pytest.raises(PreconditionMissing) as refused:
        gathered({"patient": PATIENT}, reader=reader, **TOKEN)
    assert reason.value in refused.value.diagnostics


def test_a_server_that_is_not_allowed_is_not_asked():
    reader = CannedReader({"Patient": PATIENT}, base="https://other.example/fhir")
    with pytest.raises(PreconditionMissing) as refused:
        gathered({}, reader=reader, **TOKEN)
    assert "not on the allow-list" in refused.value.diagnostics
    assert reader.asked == []


def test_an_optional_key_that_cannot_be_had_is_absent_with_its_reason():
    reader = CannedReader({"Observation?patient=p1&code=x": bundle()})
    found = gathered({"patient": PATIENT}, reader=reader, **TOKEN)["waist"]
    assert found.state is State.ABSENT
    assert "404" in found.reason


def test_further_pages_are_fetched_and_a_part_that_stays_is_said():
    sent = {"patient": PATIENT, "waist": None, "bmi": bundle(obs(), link=NEXT)}
    whole = gathered(sent, reader=CannedReader({"next": bundle(obs(), obs())}), **TOKEN)["bmi"]
    assert (whole.state, len(list(whole.resources()))) == (State.COMPLETE, 2)
    capped = CannedReader({"next": Fetched(bundle(obs(), obs()), complete=False)})
    assert gathered(sent, reader=capped, **TOKEN)["bmi"].state is State.PAGED
    part = gathered(sent, reader=CannedReader({}), **TOKEN)["bmi"]
    assert (part.state, len(list(part.resources()))) == (State.PAGED, 1)
    assert "404" in part.reason


STRANGERS = [
    ({"resourceType": "Patient", "id": "p2"}, "prefetch.waist.id"),
    ({"resourceType": "Patient"}, "prefetch.waist.id"),
    (obs("Patient/p2"), "prefetch.waist.subject"),
    (obs("Patient/p11"), "prefetch.waist.subject"),
    (obs("Group/p1"), "prefetch.waist.subject"),
    (obs("urn:uuid:1"), "prefetch.waist.subject"),
    (obs("#p1"), "prefetch.waist.subject"),
    (obs("https://other.example/fhir/Patient/p1"), "prefetch.waist.subject"),
    ({"resourceType": "Observation"}, "prefetch.waist.subject"),
    ({"resourceType": "Observation", "subject": {"display": "p1"}}, "prefetch.waist.subject"),
    ({"resourceType": "FamilyMemberHistory", "patient": {"reference": "Patient/p2"}}, "prefetch.waist.patient"),
    ({"resourceType": "Basic", "subject": {"reference": "Patient/p2"}}, "prefetch.waist.subject"),
    ({"resourceType": "Basic", "patient": [{"reference": "Patient/p2"}]}, "prefetch.waist.patient"),
    ({"resourceType": "Coverage", "beneficiary": {"reference": "Patient/p2"}}, "prefetch.waist.beneficiary"),
    ({"resourceType": "Coverage"}, "prefetch.waist.beneficiary"),
    ({"resourceType": "Task", "for": {"reference": "Patient/p2"}}, "prefetch.waist.for"),
    (bundle(obs(), obs("Patient/p2")), "prefetch.waist.entry[1].resource.subject"),
]


@pytest.mark.parametrize(("resource", "path"), STRANGERS)
def test_another_patients_data_in_the_prefetch_is_refused(resource, path):
    with pytest.raises(IncorrectInput) as refused:
        gathered({"patient": PATIENT, "bmi": None, "waist": resource}, fhirServer=FHIR_SERVER)
    assert refused.value.expression == (path,)


@pytest.mark.parametrize(("resource", "path"), STRANGERS)
def test_another_patients_data_from_the_server_is_refused(resource, path):
    reader = CannedReader({"Observation?patient=p1&code=y": resource})
    with pytest.raises(PreconditionMissing) as refused:
        gathered({"patient": PATIENT, "bmi": None}, reader=reader, **TOKEN)
    assert refused.value.expression == ("prefetch.waist",)


def test_another_patient_under_a_key_that_nobody_asked_for_is_refused_without_repeating_the_key():
    with pytest.raises(IncorrectInput) as refused:
        gathered({"patient": PATIENT, "bmi": None, "zzcanary": obs("Patient/p2")})
    assert refused.value.expression == ("prefetch.subject",)


@pytest.mark.parametrize(
    "resource",
    [
        obs("Patient/p1"),
        obs("Patient/p1/_history/3"),
        obs(f"{FHIR_SERVER}/Patient/p1"),
        obs("https://EHR.example:443/fhir/Patient/p1"),
        {"resourceType": "Basic", "subject": {"reference": "Device/d"}},
        {"resourceType": "Practitioner", "id": "x"},
    ],
)
def test_this_patients_data_is_taken(resource):
    theirs = PrefetchTemplate("its", f"{resource['resourceType']}?patient={{{{context.patientId}}}}")
    found = gathered({"patient": PATIENT, "its": resource}, (KEY, theirs), fhirServer=FHIR_SERVER)
    assert list(found["its"].resources()) == [resource]


OTHER_KIND = {"resourceType": "Basic", "id": "x"}
NOT_A_SEARCH = [OTHER_KIND, bundle(OTHER_KIND), bundle(OTHER_KIND, OTHER_KIND)]


@pytest.mark.parametrize(
    ("key", "value"),
    [*(("waist", value) for value in NOT_A_SEARCH), ("patient", OTHER_KIND), ("patient", bundle(PATIENT))],
)
def test_what_answers_another_question_is_refused_and_no_none_found(key, value):
    with pytest.raises(IncorrectInput) as refused:
        gathered({"patient": PATIENT, "bmi": None} | {key: value})
    assert refused.value.expression == (f"prefetch.{key}",)


@pytest.mark.parametrize("value", [*NOT_A_SEARCH, bundle(obs(), OTHER_KIND)])
def test_what_a_server_answers_to_another_question_is_not_seen(value):
    reader = CannedReader({"Observation": value})
    found = gathered({"patient": PATIENT, "bmi": None}, reader=reader, **TOKEN)["waist"]
    included = value not in NOT_A_SEARCH
    assert found.state is (State.COMPLETE if included else State.ABSENT)
    assert included or "is not FHIR JSON" in str(found.reason)


@pytest.mark.parametrize(
    "value",
    [7, "x", [], {}, {"resourceType": 1}, bundle(bundle()), {"resourceType": "Bundle", "entry": {}},
     {"resourceType": "Bundle", "entry": [1]}, {"resourceType": "Bundle", "entry": [{"resource": None}]}],
)  # fmt: skip
def test_what_is_no_resource_is_refused(value):
    with pytest.raises(IncorrectInput):
        gathered({"patient": value})


def test_values_are_percent_encoded_and_cannot_widen_a_query():
    body = hook_body()
    body["context"]["encounterId"] = "e1"
    body["context"]["note"] = "a&patient=b/../c d"
    request = parse_request(body)
    template = PrefetchTemplate("x", "Basic?code={{ context.note }}&e={{context.encounterId}}")
    assert resolve(template, request) == "Basic?code=a%26patient%3Db%2F..%2Fc%20d&e=e1"


@given(st.text(min_size=1, max_size=30))
def test_no_value_adds_a_parameter_or_a_path(text):
    body = hook_body()
    body["context"]["note"] = text
    query = resolve(PrefetchTemplate("x", "Basic?code={{context.note}}"), parse_request(body))
    assert query.startswith("Basic?code=")
    assert not set(query.removeprefix("Basic?code=")) & set("&=?#/ +;\r\n")


def test_user_tokens_follow_the_type_of_the_user_and_a_token_without_value_gives_no_query():
    request = parse_request(hook_body())
    assert resolve(PrefetchTemplate("x", "Practitioner/{{userPractitionerId}}"), request) == "Practitioner/d1"
    assert resolve(PrefetchTemplate("x", "Patient/{{userPatientId}}"), request) is None
    assert resolve(PrefetchTemplate("x", "Encounter/{{context.encounterId}}"), request) is None


def test_a_template_with_an_unknown_token_stops_the_start():
    with pytest.raises(Fault):
        PrefetchTemplate("x", "Patient/{{patientId}}")


def test_a_call_whose_time_is_used_up_is_busy():
    with pytest.raises(Busy):
        gather(
            parse_request(hook_body(prefetch={}, **TOKEN)),
            (KEY,),
            CannedReader({}),
            Deadline(time.monotonic() - 1),
        )


@given(st.lists(st.sampled_from(["p1", "p2", "p3"]), min_size=1, max_size=6))
def test_a_bundle_is_taken_only_when_every_entry_is_the_patients(owners):
    sent = {"patient": PATIENT, "bmi": None, "waist": bundle(*(obs(f"Patient/{owner}") for owner in owners))}
    if set(owners) == {"p1"}:
        assert len(list(gathered(sent)["waist"].resources())) == len(owners)
    else:
        with pytest.raises(IncorrectInput):
            gathered(sent)
