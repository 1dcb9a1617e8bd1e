"""Client assertions that must not get a token (goal 22), and those that must. The client is told one word."""

import base64
import hashlib
import hmac
import json
import threading

import pytest

from fhir_adapters.access.oauth import ASSERTION_TYPE
from fhir_adapters.trust.jwk import Algorithm, read_key
from fhir_adapters.trust.testing import CannedFetcher, part
from record_store.database import open_database

TOKEN_URL = "https://cds.example/oauth2/token"


def hmac_with(house, client, secret, algorithm="HS384"):
    """An assertion signed with a public key as if it were a shared secret."""
    payload = house.assertion(client).split(".")[1]
    signed = f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': 'kid-ES384'})}.{payload}"
    digest = hashlib.sha256 if algorithm == "HS256" else hashlib.sha384
    return f"{signed}.{part(hmac.new(secret, signed.encode(), digest).digest())}"


def unsigned(house, client, algorithm="none"):
    payload = house.assertion(client).split(".")[1]
    return f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': 'kid-ES384'})}.{payload}."


def swapped(house, client):
    """Another client's claims under this client's signature."""
    header, payload, signature = house.assertion(client).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return f"{header}.{part(claims | {'iss': 'other', 'sub': 'other'})}.{signature}"


def twice(house, client):
    """One name stands twice: which of them was signed for?"""
    header, payload, _ = house.assertion(client).split(".")
    data = base64.urlsafe_b64decode(payload + "==")[:-1] + f', "aud": "{TOKEN_URL}"}}'.encode()
    signed = f"{header}.{part(data)}"
    return f"{signed}.{part(house.signers['ES384'].signature(signed))}"


def without_jti(house, client):
    header, payload, _ = house.assertion(client).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    signed = f"{header}.{part({name: value for name, value in claims.items() if name != 'jti'})}"
    return f"{signed}.{part(house.signers['ES384'].signature(signed))}"


def at(house, seconds):
    return int(house.now().timestamp()) + seconds


# name -> (assertion, given (house, client); the reason that the operator is told)
BAD = {
    "no text": (lambda h, c: "", "no-token"),
    "no token": (lambda h, c: "x", "not-compact"),
    "alg none": (lambda h, c: unsigned(h, c) + "AAAA", "algorithm-refused"),
    "alg none, nothing signed": (unsigned, "not-compact"),
    "HMAC with the public key's x": (
        lambda h, c: hmac_with(h, c, h.signers["ES384"].jwk["x"].encode()),
        "algorithm-refused",
    ),
    "HMAC with the public key as PEM": (
        lambda h, c: hmac_with(h, c, h.signers["ES384"].key.as_pem(private=False), "HS256"),
        "algorithm-refused",
    ),
    "ES256, which is not switched on": (lambda h, c: h.assertion(c, "ES256"), "algorithm-not-of-client"),
    "RS256, which is not switched on": (lambda h, c: h.assertion(c, "RS256"), "algorithm-not-of-client"),
    "RS384 said of an EC key": (lambda h, c: h.assertion(c, header={"alg": "RS384"}), "key-of-another-kind"),
    "typ of an access token": (lambda h, c: h.assertion(c, header={"typ": "at+jwt"}), "typ-not-jwt"),
    "no typ": (lambda h, c: h.assertion(c, header={"typ": None}), "typ-not-jwt"),
    "no kid": (lambda h, c: h.assertion(c, header={"kid": None}), "kid-malformed"),
    "an unknown kid": (lambda h, c: h.assertion(c, header={"kid": "nobody"}), "key-unknown"),
    "the kid of another client": (lambda h, c: h.assertion(c, header={"kid": "kid-other"}), "key-unknown"),
    "the key of another client": (lambda h, c: h.assertion(c, "other"), "key-unknown"),
    "a stranger's key under a known kid": (lambda h, c: h.assertion(c, "stranger"), "signature"),
    "a key brought along": (
        lambda h, c: h.assertion(c, "stranger", header={"jwk": h.signers["stranger"].jwk}),
        "signature",
    ),
    "an address for keys, with inline keys": (
        lambda h, c: h.assertion(c, "stranger", header={"jku": "https://evil.example/jwks"}),
        "signature",
    ),
    "a critical extension": (lambda h, c: h.assertion(c, header={"crit": ["exp"]}), "critical-extension"),
    "a signature of other claims": (swapped, "key-unknown"),
    "aud twice": (twice, "payload-not-json"),
    "no iss": (lambda h, c: h.assertion(c, iss=None), "claim-missing"),
    "no sub": (lambda h, c: h.assertion(c, sub=None), "claim-missing"),
    "no aud": (lambda h, c: h.assertion(c, aud=None), "claim-missing"),
    "no exp": (lambda h, c: h.assertion(c, exp=None), "claim-missing"),
    "no jti": (without_jti, "claim-missing"),
    "an empty jti": (lambda h, c: h.assertion(c, jti=""), "claim-malformed"),
    "a jti of 600 letters": (lambda h, c: h.assertion(c, jti="j" * 600), "claim-malformed"),
    "an assertion of 9,000 letters": (lambda h, c: h.assertion(c, jti="j", more="m" * 9000), "too-large"),
    "sub of another": (lambda h, c: h.assertion(c, sub="other"), "sub-not-iss"),
    "iss of another": (lambda h, c: h.assertion(c, iss="other"), "sub-not-iss"),
    "another client's name, by this one's key": (
        lambda h, c: h.assertion(c, iss="other", sub="other"),
        "key-unknown",
    ),
    "an unknown client": (lambda h, c: h.assertion(c, iss="nobody", sub="nobody"), "client-unknown"),
    "the client's id in other letters": (
        lambda h, c: h.assertion(c, iss=c.iss.upper(), sub=c.iss.upper()),
        "client-unknown",
    ),
    "aud of the FHIR base": (lambda h, c: h.assertion(c, aud="https://cds.example/fhir"), "audience"),
    "aud with a slash more": (lambda h, c: h.assertion(c, aud=f"{TOKEN_URL}/"), "audience"),
    "aud of another server": (lambda h, c: h.assertion(c, aud="https://other.example/oauth2/token"), "audience"),
    "aud of ours and of another": (
        lambda h, c: h.assertion(c, aud=[TOKEN_URL, "https://other.example/token"]),
        "audience",
    ),
    "aud of introspection": (lambda h, c: h.assertion(c, aud="https://cds.example/oauth2/introspect"), "audience"),
    "expired, beyond the leeway": (lambda h, c: h.assertion(c, iat=at(h, -361), exp=at(h, -61)), "expired"),
    "a life of an hour": (lambda h, c: h.assertion(c, exp=at(h, 3600)), "life-too-long"),
    "a life of an hour, without iat": (lambda h, c: h.assertion(c, iat=None, exp=at(h, 3600)), "life-too-long"),
    "exp in milliseconds": (lambda h, c: h.assertion(c, exp=at(h, 60) * 1000), "claim-malformed"),
    "exp as text": (lambda h, c: h.assertion(c, exp=str(at(h, 60))), "claim-malformed"),
    "issued in the future": (lambda h, c: h.assertion(c, iat=at(h, 90), exp=at(h, 120)), "issued-in-the-future"),
    "not valid yet": (lambda h, c: h.assertion(c, nbf=at(h, 90)), "not-yet-valid"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_assertion_gets_no_token_and_the_operator_is_told_why(name, house, warehouse):
    make, reason = BAD[name]
    answer = house.ask(make(house, warehouse))
    assert answer.status_code == 401
    assert answer.json == {"error": "invalid_client"}
    assert answer.headers["Cache-Control"] == "no-store"
    assert not house.issued
    assert [json.loads(row["detail"])["reason"] for row in house.told()] == [reason]
    assert "zzcanary" not in str(house.told())


def test_the_table_is_long_enough():
    assert len(BAD) >= 40


@pytest.mark.parametrize("signer", ["ES384", "RS384"])
def test_a_good_assertion_gets_a_token(signer, house, warehouse):
    answer = house.ask(house.assertion(warehouse, signer))
    assert answer.status_code == 200
    assert (answer.json["token_type"], answer.json["expires_in"], answer.json["scope"]) == (
        "bearer",
        300,
        "system/*.rs",
    )
    assert answer.headers["Cache-Control"] == "no-store"
    assert len(house.issued) == 1


def test_an_assertion_without_iat_is_good(house, warehouse):
    assert house.ask(house.assertion(warehouse, iat=None)).status_code == 200


def test_an_assertion_counts_once_until_it_has_expired_with_leeway_and_longer(house, warehouse, now):
    assertion = house.assertion(warehouse)
    assert house.ask(assertion).status_code == 200
    for seconds in (0, 299, 59):  # the last is past exp, within the leeway
        now.advance(seconds)
        assert house.ask(assertion).json == {"error": "invalid_client"}
    assert house.ask(house.assertion(warehouse)).status_code == 200


def test_an_assertion_that_was_refused_for_its_scope_is_used_up(house, warehouse):
    assertion = house.assertion(warehouse)
    assert house.ask(assertion, scope="system/Patient.c").json == {"error": "invalid_scope"}
    assert house.ask(assertion).json == {"error": "invalid_client"}


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_of_many_that_show_one_assertion_at_once_one_gets_a_token(dialect, make_house, warehouse, request):
    """Two workers, eight threads each: one insert decides, not a look."""
    db = request.getfixturevalue("sqlite_db" if dialect == "sqlite" else "postgres_db")
    # Two Databases are two workers: nothing is shared but the store.
    workers = [make_house(warehouse, db=db), make_house(warehouse, db=open_database(db.url))]
    for number in range(3):
        assertion = workers[0].assertion(warehouse, jti=f"once-{dialect}-{number}")
        barrier, statuses = threading.Barrier(16), []

        def show(house, assertion=assertion, barrier=barrier, statuses=statuses):
            barrier.wait()
            statuses.append(house.ask(assertion).status_code)

        threads = [threading.Thread(target=show, args=(workers[n % 2],)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200] + [401] * 15
    workers[1].db.dispose()


def test_an_assertion_that_was_used_before_a_restart_is_refused_after_it(make_house, warehouse, sqlite_db):
    first = make_house(warehouse)
    assertion = first.assertion(warehouse)
    assert first.ask(assertion).status_code == 200
    restarted = make_house(warehouse, db=open_database(sqlite_db.url))
    assert restarted.ask(assertion).json == {"error": "invalid_client"}
    restarted.db.dispose()


def test_two_clients_may_use_the_same_jti(house, warehouse, other):
    assert house.ask(house.assertion(warehouse, jti="1")).status_code == 200
    scope = "patient/Observation.rs?category=laboratory"
    assert house.ask(house.assertion(other, "other", jti="1"), scope=scope).status_code == 200


# name -> (what is changed in the form; the word of OAuth)
FORMS = {
    "no grant_type": ({"grant_type": None}, "invalid_request"),
    "another grant": ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
    "a password": ({"grant_type": "password"}, "unsupported_grant_type"),
    "no assertion": ({"client_assertion": None}, "invalid_client"),
    "another kind of assertion": ({"client_assertion_type": "urn:x"}, "invalid_client"),
    "no kind": ({"client_assertion_type": None}, "invalid_client"),
    "a secret besides": ({"client_secret": "s"}, "invalid_request"),
    "another client_id": ({"client_id": "other"}, "invalid_client"),
    "no scope": ({"scope": None}, "invalid_scope"),
    "a scope that it has not": ({"scope": "system/Patient.d"}, "invalid_scope"),
    "no scope of SMART": ({"scope": "everything"}, "invalid_scope"),
    "scopes of identity alone": ({"scope": "openid fhirUser"}, "invalid_scope"),
    "a patient without a scope for one": ({"patient": "p1"}, "invalid_request"),
    "a scope for a patient, and none named": ({"scope": "patient/*.rs"}, "invalid_request"),
    "no id of a patient": ({"scope": "patient/*.rs", "patient": "Patient/p1"}, "invalid_request"),
    "a purpose that it has not": ({"purpose": "ETREAT"}, "invalid_request"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_request_that_is_not_as_it_should_be_is_told_so_in_one_word(name, house, warehouse):
    changes, word = FORMS[name]
    answer = house.ask(house.assertion(warehouse), **changes)
    assert answer.json == {"error": word}
    assert answer.status_code == (401 if word == "invalid_client" else 400)


def test_a_field_that_stands_twice_is_refused(house, warehouse):
    pairs = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", house.assertion(warehouse)),
        ("scope", "system/Patient.r"),
        ("scope", "system/*.rs"),
    ]
    body = "&".join(f"{name}={value}" for name, value in pairs)
    answer = house.client.post("/oauth2/token", data=body, content_type="application/x-www-form-urlencoded")
    assert answer.json == {"error": "invalid_request"}


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "text/plain"])
def test_a_request_is_a_form(kind, house):
    answer = house.client.post("/oauth2/token", data=b"{}", content_type=kind)
    assert (answer.status_code, answer.json) == (400, {"error": "invalid_request"})


def test_keys_that_are_published_are_fetched_and_may_change(make_house, warehouse, with_scopes, signers):
    """Rotation: the new key counts from the moment that it is published."""
    url = "https://warehouse.example/jwks"
    fetcher = CannedFetcher({url: {"keys": [signers["ES384"].jwk]}})
    client = with_scopes(warehouse, "system/*.rs", keys=(), jku=(url,))
    house = make_house(client, fetcher=fetcher)
    assert house.ask(house.assertion(client)).status_code == 200
    assert house.ask(house.assertion(client, "next")).status_code == 401
    fetcher.sets[url] = {"keys": [signers["ES384"].jwk, signers["next"].jwk]}
    assert house.ask(house.assertion(client, "next")).status_code == 200
    assert house.ask(house.assertion(client)).status_code == 200
    # An address that an assertion brings along is compared, and never followed.
    elsewhere = house.assertion(client, header={"jku": "https://evil.example/jwks"})
    assert house.ask(elsewhere).status_code == 401
    assert set(fetcher.asked) == {url}


def test_while_keys_cannot_be_fetched_the_answer_is_to_come_back(make_house, warehouse, with_scopes):
    client = with_scopes(warehouse, "system/*.rs", keys=(), jku=("https://away.example/jwks",))
    house = make_house(client)
    answer = house.ask(house.assertion(client))
    assert (answer.status_code, answer.json) == (503, {"error": "temporarily_unavailable"})
    assert int(answer.headers["Retry-After"]) > 0


def test_a_store_that_is_away_lets_nobody_in(make_house, warehouse, tmp_path):
    house = make_house(warehouse, db=open_database(f"sqlite:///{tmp_path}/nowhere/x.db"))
    assert house.ask(house.assertion(warehouse)).status_code == 503


def test_a_key_of_256_bits_is_let_in_where_the_site_says_so(make_house, warehouse, with_scopes, signers):
    keys = (read_key(signers["ES256"].jwk),)
    client = with_scopes(warehouse, "system/*.rs", keys=keys, algorithms=frozenset({Algorithm.ES256}))
    house = make_house(client)
    assert house.ask(house.assertion(client, "ES256")).status_code == 200
    assert house.ask(house.assertion(client, "ES384")).status_code == 401
