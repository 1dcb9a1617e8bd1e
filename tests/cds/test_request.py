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


def test_neither_token_nor_patient_is_in_a_repr():
    grant = GRANT | {"access_token": "s3cret", "patient": "ZZCANARY-4711"}
    shown = repr(parse_request(hook_body("ZZCANARY-4711", **SERVER, fhirAuthorization=grant)))
    assert "s3cret" not in shown
    assert "ZZCANARY" not in shown


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
