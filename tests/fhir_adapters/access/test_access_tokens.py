"""Access tokens: what they open, for how long, and how they are called back and asked about."""

import base64
import json

import pytest
from fhirclient.auth import FHIRAuth
from fhirclient.models.capabilitystatement import CapabilityStatement

from fhir_adapters.access.access_token import AccessToken, Mint
from fhir_adapters.access.grant import Grant
from fhir_adapters.access.scopes import parse
from fhir_adapters.trust.testing import part
from record_store.database import open_database

OPERATOR = "an-operator-s-token-of-more-than-32-characters"


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def status(house, token, path="/fhir/Patient"):
    return house.client.get(path, headers=bearer(token)).status_code


def claims_in(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def test_a_token_opens_what_its_scopes_say_and_403_is_the_answer_to_the_rest(house, warehouse):
    token = house.token(warehouse, "system/Patient.rs")
    assert status(house, token) == 200
    assert status(house, token, "/fhir/Observation") == 403
    answer = house.client.post("/fhir/Patient", json={"resourceType": "Patient"}, headers=bearer(token))
    assert (answer.status_code, answer.json["issue"][0]["code"]) == (403, "forbidden")


def test_without_a_token_the_api_is_closed_but_says_where_tokens_come_from(house):
    answer = house.client.get("/fhir/Patient/p1")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.json["resourceType"] == "OperationOutcome"
    told = house.client.get("/fhir/.well-known/smart-configuration")
    assert told.status_code == 200
    assert told.content_type == "application/json"
    assert house.client.get("/fhir/metadata").status_code == 200
    assert house.client.get("/fhir/.well-known/openid-configuration").status_code == 401


def test_the_operator_s_bearer_token_opens_everything(house):
    assert status(house, OPERATOR) == 200
    assert status(house, OPERATOR + "x") == 401


def test_a_token_holds_for_its_life_and_no_longer(house, warehouse, now):
    token = house.token(warehouse, "system/*.rs")
    assert claims_in(token)["exp"] - claims_in(token)["iat"] == 300
    now.advance(298)
    assert status(house, token) == 200
    now.advance(3)
    assert status(house, token) == 401


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-2] + ("AA" if token[-2:] != "AA" else "BB"),
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: token + "A",
        lambda token: f"{part({'alg': 'none', 'typ': 'at+jwt'})}.{token.split('.')[1]}.",
        lambda token: f"{part({'typ': 'at+jwt', 'alg': 'HS256'})}.{token.partition('.')[2]}",
        lambda token: ".".join(
            [token.split(".")[0], part(claims_in(token) | {"scope": "system/*.cruds"}), token.split(".")[2]]
        ),
        lambda token: Mint(b"x" * 32, issuer="https://cds.example", audience="https://cds.example/fhir").make,
        lambda token: "x" * 20_000,
        lambda token: "",
        lambda token: "é",
    ],
)
def test_a_token_that_we_did_not_make_opens_nothing(spoil, house, warehouse):
    token = house.token(warehouse, "system/*.rs")
    answer = house.client.get(
        "/fhir/Patient", headers={"Authorization": f"Bearer {spoil(token)}".encode().decode("latin-1")}
    )
    assert answer.status_code == 401


def test_a_token_of_another_server_with_the_same_key_opens_nothing(house):
    elsewhere = Mint(b"m" * 32, issuer="https://other.example", audience="https://other.example/fhir")
    token = elsewhere.make(_made(house))
    assert status(house, token) == 401


def _made(house):

    moment = int(house.now().timestamp())
    return AccessToken(Grant("client:warehouse", "https://warehouse.example/id", "t"), moment, moment + 300)


def test_a_client_assertion_is_no_access_token(house, warehouse):
    assert status(house, house.assertion(warehouse)) == 401


def test_a_token_of_a_client_that_was_taken_out_of_the_file_opens_nothing(make_house, warehouse, other):
    token = make_house(warehouse, other).token(warehouse, "system/*.rs")
    assert status(make_house(other), token) == 401


def test_a_token_reaches_no_further_than_its_client_may_by_now(make_house, warehouse, with_scopes):
    token = make_house(warehouse).token(warehouse, "system/*.rs")
    narrowed = make_house(with_scopes(warehouse, "system/Patient.rs"))
    assert (status(narrowed, token), status(narrowed, token, "/fhir/Observation")) == (200, 403)


def test_every_worker_takes_a_token_and_learns_that_it_was_called_back(make_house, warehouse, sqlite_db):
    one = make_house(warehouse)
    two = make_house(warehouse, db=open_database(sqlite_db.url))
    token = one.token(warehouse, "system/*.rs")
    assert (status(one, token), status(two, token)) == (200, 200)
    revoked = one.ask(one.assertion(warehouse), path="/oauth2/revoke", token=token)
    assert (revoked.status_code, revoked.json) == (200, {})
    assert status(one, token) == 401
    two.access._revoked._read_at = float("-inf")  # two seconds later
    assert status(two, token) == 401
    assert status(one, one.token(warehouse, "system/*.rs")) == 200
    two.db.dispose()


def test_a_client_calls_back_its_own_tokens_alone(make_house, warehouse, other):
    house = make_house(warehouse, other)
    token = house.token(warehouse, "system/*.rs")
    for shown in (token, "no token of ours"):
        answer = house.ask(house.assertion(other, "other"), path="/oauth2/revoke", token=shown)
        assert (answer.status_code, answer.json) == (200, {})
    assert status(house, token) == 200


def test_introspection_says_what_a_token_is_worth(house, warehouse, now):
    token = house.token(warehouse, "patient/*.rs", patient="p1")
    aud = "https://cds.example/oauth2/introspect"
    said = house.ask(house.assertion(warehouse, aud=aud), path="/oauth2/introspect", token=token).json
    assert said["active"] is True
    assert (said["client_id"], said["scope"], said["patient"]) == (warehouse.iss, "patient/*.rs", "p1")
    assert said["exp"] == claims_in(token)["exp"]
    now.advance(301)
    assert _introspected(house, token, OPERATOR).json == {"active": False}


def _introspected(house, token, bearer_token):
    return house.client.post("/oauth2/introspect", data={"token": token}, headers=bearer(bearer_token))


def test_who_may_not_know_of_a_token_is_told_that_it_is_not_active(make_house, warehouse, other, with_scopes):
    house = make_house(warehouse, other)
    token = house.token(warehouse, "system/*.rs")
    asked = house.ask(house.assertion(other, "other"), path="/oauth2/introspect", token=token)
    assert asked.json == {"active": False}
    assert _introspected(house, token, OPERATOR).json["active"] is True
    assert _introspected(house, token, "somebody").status_code == 401
    watching = with_scopes(other, "patient/Observation.r", introspect=True)
    house = make_house(warehouse, watching)
    asked = house.ask(house.assertion(watching, "other"), path="/oauth2/introspect", token=token)
    assert asked.json["active"] is True


def test_a_client_with_one_patient_gets_that_patient_and_no_other(house, other):
    scope = "patient/Observation.rs?category=laboratory"
    answer = house.ask(house.assertion(other, "other"), scope=scope).json
    assert (answer["scope"], answer["patient"]) == (scope, "p1")
    refused = house.ask(house.assertion(other, "other"), scope=scope, patient="p2")
    assert refused.json == {"error": "invalid_request"}


def test_a_wider_request_is_granted_as_far_as_the_client_is_registered(house, other):
    answer = house.ask(house.assertion(other, "other"), scope="patient/*.cruds launch openid")
    assert answer.json["scope"] == "patient/Observation.rs?category=laboratory"


def test_a_grant_that_was_kept_is_looked_up_again_by_what_its_client_may_today(make_house, warehouse, with_scopes):
    house = make_house(warehouse)
    house.token(warehouse, "system/*.rs")
    kept = json.loads(json.dumps(house.issued[-1].as_json()))
    assert house.access.grant_of(kept) == house.issued[-1]
    narrowed = make_house(with_scopes(warehouse, "system/Patient.r"))
    assert [str(one) for one in narrowed.access.grant_of(kept).scopes] == ["system/Patient.r"]
    assert make_house(with_scopes(warehouse, "patient/*.r")).access.grant_of(kept) is None


def test_in_a_batch_each_entry_is_held_to_the_scopes(house, warehouse):
    token = house.token(warehouse, "system/Patient.rs")
    entries = [{"request": {"method": "GET", "url": url}} for url in ("Patient", "Observation")]
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    answer = house.client.post("/fhir", json=bundle, headers=bearer(token)).json
    assert [entry["response"]["status"] for entry in answer["entry"]] == ["200", "403"]


def test_the_configuration_names_the_addresses_and_what_the_test_kit_looks_for(house):
    said = house.client.get("/fhir/.well-known/smart-configuration").json
    assert said["token_endpoint"] == "https://cds.example/oauth2/token"
    assert said["introspection_endpoint"] == "https://cds.example/oauth2/introspect"
    assert said["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    assert {"ES384", "RS384"} <= set(said["token_endpoint_auth_signing_alg_values_supported"])
    assert said["code_challenge_methods_supported"] == ["S256"]
    assert {"client-confidential-asymmetric", "permission-v2"} <= set(said["capabilities"])

    assert all(parse(scope) for scope in said["scopes_supported"])


def test_the_capability_statement_has_the_extension_that_clients_read(house):
    security = house.client.get("/fhir/metadata").json["rest"][0]["security"]
    uris = {each["url"]: each["valueUri"] for each in security["extension"][0]["extension"]}
    assert uris["token"] == "https://cds.example/oauth2/token"
    assert security["service"][0]["coding"][0]["code"] == "SMART-on-FHIR"


def test_fhirclient_reads_the_statement_and_asks_for_no_launch(house):
    """It knows the extension; without an `authorize` there it goes on with the token that it was given."""
    statement = CapabilityStatement(house.client.get("/fhir/metadata").json)
    found: dict[str, str] = {}
    auth = FHIRAuth.from_capability_security(statement.rest[0].security, found)
    assert auth.auth_type == "none"
    assert found["token_uri"] == "https://cds.example/oauth2/token"
