"""A good call with something left out, doubled or bent anywhere: understood or refused, never our failure."""

import copy
import json
from contextlib import suppress
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SERVICES = ("breast-lesion", "diabetes-risk", "heart-rate", "imaging-findings", "order-imaging")
WORD = "Zzcanary Quillon"
BENT = (
    *(None, True, 0, -1, 10**30, 1e308, -1e-308, "", " ", WORD, "0", "#", "\u202e\u0301", "z" * 5000),
    *("2026-13-45", "9999-12-31", "2026-11-22T24:00:00Z", "<b>Quillon</b>", "http://zzcanary.example/x"),
    *("Patient/zzcanary-2", "Patient/zzcanary-1", "urn:uuid:zzcanary", [], [None], [[[]]], {}, {"Zzcanary": WORD}),
    *({"resourceType": "Patient"}, {"resourceType": "Bundle", "entry": [{}]}, {"reference": "Patient/zzcanary-2"}),
    *({"value": 1e308, "code": "kg/m2"}, {"coding": [{"system": None, "code": []}]}),
)
# One client for all examples is meant: nothing is kept from one call to the next.
FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def places(value, most=4):
    """Return every (container, key) in a JSON value; of long lists only the first few."""
    found = []
    items = (
        value.items() if isinstance(value, dict) else enumerate(value[:most]) if isinstance(value, list) else ()
    )
    for key, inner in items:
        found.append((value, key))
        found += places(inner, most)
    return found


def bend(draw, body):
    where = places(body)
    holder, key = where[draw(st.integers(0, len(where) - 1))]
    match draw(st.integers(0, 5)):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.extend([copy.deepcopy(holder[key])] * draw(st.sampled_from([1, 50])))
        case 2:
            holder[key] = [holder[key]]
        case 3:
            elsewhere, name = where[draw(st.integers(0, len(where) - 1))]
            with suppress(KeyError, IndexError):  # taken away by an earlier turn
                holder[key] = copy.deepcopy(elsewhere[name])
        case _:
            holder[key] = copy.deepcopy(draw(st.sampled_from(BENT)))


@pytest.fixture(scope="module")
def client(ward):
    return ward.client(records=True)


@pytest.fixture(scope="module")
def body_of(ward):
    @cache
    def text(service):
        granted = {
            "access_token": ward.token,
            "token_type": "Bearer",
            "expires_in": 1,
            "scope": "x",
            "subject": "c",
        }
        return json.dumps(ward.call(service, fhirServer="https://ehr.example/fhir", fhirAuthorization=granted))

    return lambda service: json.loads(text(service))


def check(answer):
    assert answer.status_code in {200, 400, 412}, answer.text
    if answer.status_code == 200:
        assert isinstance(answer.get_json()["cards"], list)
        return
    assert answer.get_json()["resourceType"] == "OperationOutcome"
    assert "zzcanary" not in answer.text.lower()
    assert "quillon" not in answer.text.lower()


@FUZZ
@given(data=st.data())
def test_a_call_that_is_bent_anywhere_is_understood_or_refused(client, body_of, data):
    service = data.draw(st.sampled_from(SERVICES))
    body = body_of(service)
    for _ in range(data.draw(st.integers(1, 3))):
        if places(body):
            bend(data.draw, body)
    check(client.post(f"/cds-services/{service}", json=body))


@FUZZ
@given(data=st.data())
def test_a_call_whose_bytes_are_bent_is_understood_or_refused(client, body_of, data):
    service = data.draw(st.sampled_from(SERVICES))
    sent = bytearray(json.dumps(body_of(service), ensure_ascii=data.draw(st.booleans())).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(sent) - 1))
        size = data.draw(st.integers(0, 40))
        sent[at : at + size] = data.draw(st.binary(max_size=8))
    check(client.post(f"/cds-services/{service}", data=bytes(sent), content_type="application/json"))
