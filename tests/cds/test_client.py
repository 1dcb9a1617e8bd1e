"""The client's side: tokens good and broken, a record as a FHIR server, prefetch filled as an EHR does."""

import base64
import json
from datetime import UTC, datetime

import httpx
import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from cds.client.fhir_mock import fhir_mock
from cds.client.keys import algorithm_of, load_private, new_key, private_text, public_set
from cds.client.record import RecordReader, record_of
from cds.client.remote import filled, request_body
from cds.client.tokens import FLAWS, REPLAYED, Client, draft, mint
from clinical.errors import IncorrectInput

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
URL = "https://cds.example/cds-services/diabetes-risk"
KEY = new_key("ES384", "k1")
CLIENT = Client("https://ehr.example", KEY, lambda: NOW, tenant="ward-7")


def verified(token: str) -> dict:
    """What an independent library reads; it refuses what is not signed by the published key."""
    return jwt.decode(token, KeySet.import_key_set(public_set([KEY])), algorithms=["ES384"]).claims


def parts(token: str) -> tuple[dict, dict]:
    """Header and claims, unchecked."""
    header, claims, _ = token.split(".")
    return tuple(json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, claims))


def test_a_good_token_is_what_cds_hooks_asks_for():
    token = mint(CLIENT, URL)
    claims = verified(token)
    assert parts(token)[0] == {"alg": "ES384", "typ": "JWT", "kid": "k1"}
    assert {name: claims[name] for name in ("iss", "aud", "tenant")} == {
        "iss": "https://ehr.example",
        "aud": URL,
        "tenant": "ward-7",
    }
    assert claims["exp"] - claims["iat"] == 300
    assert claims["jti"] != verified(mint(CLIENT, URL))["jti"]


UNSIGNED = {
    "none-alg", "none-alg-in-capitals", "hmac-with-public-key", "unknown-kid", "critical-header", "foreign-jku",
    "own-key-in-header", "other-key", "bad-signature", "no-signature",
}  # fmt: skip


@pytest.mark.parametrize("flaw", sorted(FLAWS))
def test_a_broken_token_differs_from_a_good_one_in_what_its_name_says(flaw):
    token = mint(CLIENT, URL, flaw)
    if flaw in UNSIGNED:
        with pytest.raises((JoseError, ValueError)):
            verified(token)
        return
    header, claims = parts(token)
    good_header, good_claims = draft(CLIENT, URL).header, draft(CLIENT, URL).claims
    changed = {
        name for name in good_claims | claims if name != "jti" and claims.get(name) != good_claims.get(name)
    }
    changed |= {name for name in good_header | header if header.get(name) != good_header.get(name)}
    changed |= {"jti"} - claims.keys()
    expected = {
        "expired": {"iat", "exp"}, "not-yet-valid": {"nbf"}, "issued-in-the-future": {"iat", "exp"},
        "too-long-life": {"exp"}, "text-exp": {"exp"}, "wrong-aud": {"aud"}, "wrong-iss": {"iss"},
        "wrong-typ": {"typ"},
    }  # fmt: skip
    assert changed == expected.get(flaw, {flaw.removeprefix("no-")})


def test_an_unknown_flaw_is_refused_with_the_known_ones():
    with pytest.raises(IncorrectInput, match=rf"{REPLAYED}, expired"):
        mint(CLIENT, URL, "rotten")


@pytest.mark.parametrize("algorithm", ["ES384", "RS384", "ES256"])
def test_a_key_that_was_written_signs_as_before_and_its_public_set_holds_nothing_private(tmp_path, algorithm):
    key = new_key(algorithm, "k2")
    (tmp_path / "private.jwk").write_text(private_text(key))
    again = load_private(tmp_path / "private.jwk")
    assert (algorithm_of(again), again.kid) == (algorithm, "k2")
    assert {"d", "p", "q"}.isdisjoint(public_set([again])["keys"][0])
    published = tmp_path / "jwks.json"
    published.write_text(json.dumps(public_set([again])))
    with pytest.raises(IncorrectInput):
        load_private(published)


@pytest.fixture
def record(adult):
    resources = [adult["patient"]]
    resources += [e["resource"] for value in adult.values() for e in value.get("entry", ())]
    return record_of({"resourceType": "Bundle", "entry": [{"resource": one} for one in resources]})


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("Observation?patient=p1&code=http://loinc.org|39156-5", ["b1"]),
        ("Observation?patient=p1&code=http://loinc.org|39156-5,http://loinc.org|8280-0", ["b1", "w1"]),
        ("Observation?patient=p1&code=http%3A%2F%2Floinc.org%7C14771-0", ["g1"]),
        ("Observation?patient=p1&code=14771-0", ["g1"]),
        ("Observation?patient=p1&code=http://snomed.info/sct|14771-0", []),
        ("Observation?subject=Patient/p1&date=ge2026-03-05", []),
        ("Observation?patient=p2", []),
        ("FamilyMemberHistory?patient=p1&_count=50", ["f1"]),
    ],
)
def test_a_record_is_searched_as_prefetch_templates_ask(record, query, ids):
    assert [entry["resource"]["id"] for entry in record.answer(query).get("entry", ())] == ids


def test_a_record_reads_by_id_and_refuses_a_parameter_that_it_does_not_know(record):
    assert record.answer("Patient/p1")["birthDate"] == "1969-05-01"
    assert record.answer("Patient/p2") is None
    assert record.patient_id() == "p1"
    with pytest.raises(IncorrectInput, match="value-quantity"):
        record.answer("Observation?value-quantity=gt5")


SERVICE = {
    "prefetch": {
        "patient": "Patient/{{context.patientId}}",
        "glucose": "Observation?patient={{context.patientId}}&code=http://loinc.org|14771-0&_count=1",
        "smoking": "Observation?patient={{context.patientId}}&code=http://loinc.org|72166-2",
        "user": "Practitioner/{{userPractitionerId}}",
    }
}


def test_prefetch_is_filled_from_a_file_and_what_is_not_there_is_left_out(record):
    body = request_body("patient-view", {"userId": "Practitioner/d1", "patientId": "p1"})
    found = filled(SERVICE, body, RecordReader(record), "https://record.example/fhir")
    assert found["patient"]["id"] == "p1"
    assert found["glucose"]["entry"][0]["resource"]["id"] == "g1"
    assert found["smoking"]["total"] == 0
    assert "user" not in found


def test_the_mock_server_pages_fails_and_redirects_as_told_and_remembers_what_it_was_asked(record):
    client = httpx.Client(trust_env=False, headers={"Authorization": "Bearer t1"})
    with fhir_mock(record) as server, client:
        get = client.get
        server.behaviour.page_size = 3
        first = get(f"{server.base}/Observation?patient=p1").json()
        rest = get(first["link"][0]["url"]).json()
        ids = [entry["resource"]["id"] for page in (first, rest) for entry in page["entry"]]
        assert sorted(ids) == ["b1", "bp1", "g1", "w1"]
        assert "link" not in rest
        assert {asked.token for asked in server.asked()} == {"t1"}
        server.behaviour.fail = {"Patient": 403}
        assert get(f"{server.base}/Patient/p1").json()["resourceType"] == "OperationOutcome"
        server.behaviour.redirect_to = "http://127.0.0.1:9/fhir"
        assert get(f"{server.base}/Patient/p1").headers["Location"] == "http://127.0.0.1:9/fhir/Patient/p1"
        server.forget()
        assert (server.asked(), get(f"{server.base}/Patient/p1").status_code) == ((), 200)
        assert get(f"{server.base}/Patient/nobody").status_code == 404
