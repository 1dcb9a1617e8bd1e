"""What is wrong with a hook call is named by its JSON path, and what was sent is not repeated."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds.request import parse_request
from cds.testing import hook_body
from clinical.errors import IncorrectInput

GRANT = {
    "access_token": "opaque",
    "token_type": "Bearer",
    "expires_in": 300,
    "scope": "patient/*.rs",
    "subject": "cds",
    "patient": "p1",
}
SERVER = {"fhirServer": "https://ehr.example/fhir"}


def test_a_call_with_extensions_everywhere_is_understood():
    extension = {"com.example.site": {"a": 1}}
    body = hook_body(extension=extension, **SERVER, fhirAuthorization=GRANT | {"extension": extension}, other=[1])
    body["context"]["extension"] = extension
    request = parse_request(body)
    assert request.patient_id == "p1"
    assert request.authorization.access_token == "opaque"


def context_of(**changes):
    return {"context": {"userId": "Practitioner/d1", "patientId": "p1"} | changes}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"hook": None}, "hook"),
        ({"hook": "order-sing"}, "hook"),
        ({"hookInstance": "zzcanary"}, "hookInstance"),
        ({"hookInstance": 7}, "hookInstance"),
        ({"context": []}, "context"),
        (context_of(patientId="Patient/p1"), "context.patientId"),
        (context_of(patientId=".."), "context.patientId"),
        (context_of(patientId="p1?x=y"), "context.patientId"),
        (context_of(patientId=None), "context.patientId"),
        (context_of(userId="d1"), "context.userId"),
        (context_of(userId="Device/d1"), "context.userId"),
        (context_of(encounterId=""), "context.encounterId"),
        (context_of(extension=[]), "context.extension"),
        ({"extension": []}, "extension"),
        ({"prefetch": None}, "prefetch"),
        ({"prefetch": []}, "prefetch"),
        ({"fhirServer": "ehr.example/fhir"}, "fhirServer"),
        ({"fhirServer": "ftp://ehr.example"}, "fhirServer"),
        ({"fhirServer": "http://[::1"}, "fhirServer"),
        ({"fhirAuthorization": GRANT}, "fhirServer"),
        (SERVER | {"fhirAuthorization": "x"}, "fhirAuthorization"),
        (SERVER | {"fhirAuthorization": GRANT | {"access_token": "a\r\nb"}}, "fhirAuthorization.access_token"),
        (SERVER | {"fhirAuthorization": GRANT | {"token_type": "MAC"}}, "fhirAuthorization.token_type"),
        (SERVER | {"fhirAuthorization": GRANT | {"expires_in": "300"}}, "fhirAuthorization.expires_in"),
        (SERVER | {"fhirAuthorization": GRANT | {"expires_in": True}}, "fhirAuthorization.expires_in"),
        (SERVER | {"fhirAuthorization": GRANT | {"scope": ""}}, "fhirAuthorization.scope"),
        (SERVER | {"fhirAuthorization": GRANT | {"patient": "p2"}}, "fhirAuthorization.patient"),
    ],
)
def test_a_bad_field_is_named_by_its_path(change, path):
    with pytest.raises(IncorrectInput) as refused:
        parse_request(hook_body() | change)
    assert refused.value.expression == (path,)
    assert "zzcanary" not in refused.value.message


@pytest.mark.parametrize("field", ["hook", "hookInstance", "context"])
def test_a_missing_field_is_named(field):
    body = hook_body()
    del body[field]
    with pytest.raises(IncorrectInput) as refused:
        parse_request(body)
    assert refused.value.expression == (field,)


def test_a_uuid_is_the_same_in_capitals():
    body = hook_body(hookInstance="D1577C69-DFBE-44AD-BA6D-3E05E953B2EA")
    assert parse_request(body).hook_instance == "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"


def test_neither_token_nor_patient_is_in_a_repr():
    grant = GRANT | {"access_token": "s3cret", "patient": "ZZCANARY-4711"}
    shown = repr(parse_request(hook_body("ZZCANARY-4711", **SERVER, fhirAuthorization=grant)))
    assert "s3cret" not in shown
    assert "ZZCANARY" not in shown


@pytest.mark.parametrize(
    "scope",
    ["patient/*.read", "user/Observation.read launch", "patient/*.rs", "user/Observation.rs?category=laboratory"],
)
def test_scopes_of_smart_v1_and_v2_are_tolerated_as_they_are(scope):
    grant = GRANT | {"scope": scope, "need_patient_banner": True, "extension": {"com.example": 1}}
    granted = parse_request(hook_body(**SERVER, fhirAuthorization=grant)).authorization
    assert (granted.scope, granted.subject, granted.expires_in_s) == (scope, "cds", 300)
    assert granted.extension == {"com.example": 1}


@pytest.mark.parametrize("field", ["access_token", "token_type", "expires_in", "scope", "subject"])
def test_every_field_of_an_authorization_is_required_but_the_patient(field):
    grant = {key: value for key, value in GRANT.items() if key != field}
    with pytest.raises(IncorrectInput) as refused:
        parse_request(hook_body(**SERVER, fhirAuthorization=grant))
    assert refused.value.expression == (f"fhirAuthorization.{field}",)
    no_patient = {key: value for key, value in GRANT.items() if key != "patient"}
    assert parse_request(hook_body(**SERVER, fhirAuthorization=no_patient)).authorization.patient_id is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("hook", "hookInstance", "context", "prefetch", "fhirServer", "fhirAuthorization", "extension")


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_no_body_does_more_than_be_refused(changes):
    with suppress(IncorrectInput):
        parse_request(hook_body() | changes)


LEGAL = (
    hook_body(),
    hook_body(**SERVER, fhirAuthorization=GRANT, extension={"com.example": {"a": [1]}}, prefetch={"a": None}),
    hook_body(
        hook="order-select",
        context={
            "userId": "Practitioner/d1",
            "patientId": "p1",
            "selections": ["ServiceRequest/s1"],
            "draftOrders": {
                "resourceType": "Bundle",
                "entry": [
                    {
                        "resource": {
                            "resourceType": "ServiceRequest",
                            "id": "s1",
                            "subject": {"reference": "Patient/p1"},
                        }
                    }
                ],
            },
        },
    ),
    hook_body(
        hook="order-dispatch",
        context={"patientId": "p1", "order": "ServiceRequest/s1", "performer": "Organization/o1"},
    ),
)
# What is wrong with one field may show at another that it must agree with.
AGREE = {
    "context.patientId": ("context", "fhirAuthorization.patient"),
    "context.draftOrders": ("context.draftOrders", "context.selections"),
    "hook": ("hook", "context"),
    "fhirServer": ("fhirServer", "fhirAuthorization", "context"),
    "fhirAuthorization": ("fhirAuthorization", "fhirServer"),
}


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def with_value(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = with_value(value[path[0]], path[1:], new)
    return copy


@given(st.sampled_from(LEGAL), st.data())
def test_what_is_refused_is_named_where_it_was_changed(body, data):
    place = data.draw(st.sampled_from([path for path in places(body) if path]))
    top = ".".join(str(step) for step in place[: 2 if place[0] == "context" else 1])
    refusal = None
    try:
        request = parse_request(with_value(body, place, data.draw(JSON)))
        assert request.typed.patient_id == request.patient_id == request.context["patientId"]
    except IncorrectInput as error:
        refusal = error
    assert refusal is None or refusal.expression[0].startswith(AGREE.get(top, (top,)))


@given(st.sampled_from(LEGAL), st.data())
def test_what_is_not_known_changes_nothing(body, data):
    objects = [
        path
        for path in places(body)
        if isinstance(at(body, path), dict) and path[:1] not in {("extension",), ("prefetch",)}
    ]
    place = (*data.draw(st.sampled_from(objects)), "zz-not-known")
    more = with_new(body, place, data.draw(JSON))
    one, other = parse_request(body), parse_request(more)
    assert (one.patient_id, one.fhir_server, one.authorization) == (
        other.patient_id,
        other.fhir_server,
        other.authorization,
    )
    assert type(one.typed) is type(other.typed)
    assert one.typed.drafts() == other.typed.drafts()


def at(value, path):
    for step in path:
        value = value[step]
    return value


def with_new(body, place, new):
    return with_value(body, place[:-1], {**at(body, place[:-1]), place[-1]: new})
