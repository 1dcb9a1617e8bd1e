"""Tokens that must let somebody in, as what the site knows of them, and once."""

import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from cds.caller import ANONYMOUS, Capabilities
from cds.trust.checks import audiences
from cds.trust.door import BEARER, BearerDoor, OpenDoor
from cds.trust.issuer import TrustFile
from cds.trust.parts import door
from clinical.errors import Busy, Denied, Fault
from fhir_adapters.trust import tokens
from fhir_adapters.trust.jwk import Algorithm, read_key
from fhir_adapters.trust.refusal import Refused
from fhir_adapters.trust.refusal_log import RefusalLog
from fhir_adapters.trust.testing import part
from record_store.database import open_database

URL = "https://cds.example/cds-services/one-card"
P384_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
)


def reasons(house):
    return [json.loads(row["detail"])["reason"] for row in house.told()]


@pytest.mark.parametrize("signer", ["ES384", "RS384"])
def test_the_recommended_algorithms_are_let_in(signer, house, mint):
    answer = house.call(mint(signer))
    assert answer.status_code == 200
    assert len(answer.json["cards"]) == 1
    assert house.told() == []


@pytest.mark.parametrize(
    ("signer", "algorithm"), [("ES256", "ES256"), ("ES512", "ES512"), ("RS384", "RS256"), ("RS384", "PS384")]
)
def test_the_others_are_let_in_where_the_site_says_so(signer, algorithm, make_house, hospital, mint, signers):
    profile = replace(
        hospital, keys=(read_key(signers[signer].jwk),), algorithms=frozenset({Algorithm(algorithm)})
    )
    token = mint(signer, header={"alg": algorithm})
    head, payload, _ = token.split(".")
    signature = part(signers[signer].signature(f"{head}.{payload}", algorithm))
    house = make_house(profile)
    assert house.call(f"{head}.{payload}.{signature}").status_code == 200


def test_a_key_published_for_one_algorithm_serves_no_other(make_house, hospital, mint, signers):
    key = read_key(signers["RS384"].jwk | {"alg": "PS384"})
    house = make_house(replace(hospital, keys=(key,)))
    assert house.call(mint("RS384")).status_code == 401
    assert reasons(house) == ["key-of-another-kind"]


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [URL]},
        {"aud": ["https://elsewhere.example", URL]},
        {"exp": 1_795_338_299.5},
        {"nbf": 1_795_337_700},
        {"sub": "client-id", "tenant": "t1", "unheard-of": {"deep": [1, 2]}},
        {"iat": 1_795_338_060, "exp": 1_795_338_360},  # a clock that is a minute ahead
        {"iat": 1_795_337_642, "exp": 1_795_337_942},  # a token that is 58 s over, within the leeway
        {"jti": "j"},
        {"jti": "j" * 512},
    ],
)  # NOW is 1_795_338_000
def test_what_a_correct_client_may_send_is_let_in(changes, house, mint):
    assert house.call(mint(**changes)).status_code == 200


@pytest.mark.parametrize("header", [{"jku": "https://ehr.example/jwks.json"}, {"x5t": "abc", "unheard-of": 1}])
def test_what_is_not_used_does_no_harm(header, house, mint):
    assert house.call(mint(header=header)).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_the_scheme_is_read_as_http_reads_it(scheme, house, mint):
    assert house.call(authorization=f"{scheme} {mint()}").status_code == 200


def test_an_alias_that_the_site_has_set_is_taken_for_the_address(make_house, hospital, mint):
    house = make_house(
        replace(hospital, aud_aliases=frozenset({"our-cds"}), aud_bases=("https://inside.example/cds",))
    )
    for aud in ("our-cds", "https://inside.example/cds/cds-services/one-card", URL):
        assert house.call(mint(aud=aud)).status_code == 200
    assert house.call(mint(aud="https://inside.example/cds/cds-services/other")).status_code == 401
    odd = "/cds-services/cds-services-one"
    assert f"https://inside.example/cds{odd}" in audiences(
        house.door._trust.issuers[0], f"https://cds.example{odd}"
    )


def test_the_caller_is_what_the_site_knows_of_it(make_house, hospital, mint, shared_db):
    able = Capabilities(system_actions=True)
    house = make_house(replace(hospital, capabilities=able, tenants=frozenset({"north"})))
    caller = house.door.admit({"Authorization": f"Bearer {mint(tenant='north')}"}, URL)
    assert (caller.issuer, caller.name, caller.tenant) == ("https://ehr.example/fhir", "hospital", "north")
    assert caller.capabilities is able


@pytest.mark.parametrize("tenant", [None, "south", ""])
def test_a_tenant_that_is_not_listed_is_refused(tenant, make_house, hospital, mint):
    house = make_house(replace(hospital, tenants=frozenset({"north"})))
    assert house.call(mint(tenant=tenant)).status_code == 401
    assert reasons(house) == (["claim-malformed"] if tenant == "" else ["tenant"])


def test_two_organisations_of_one_issuer_are_told_apart_by_tenant(make_house, hospital, mint, signers):
    north = replace(hospital, name="north", tenants=frozenset({"north"}), keys=(read_key(signers["ES384"].jwk),))
    south = replace(hospital, name="south", tenants=frozenset({"south"}), keys=(read_key(signers["RS384"].jwk),))
    house = make_house(north, south)
    assert house.call(mint("ES384", tenant="north")).status_code == 200
    assert house.call(mint("RS384", tenant="south")).status_code == 200
    assert house.call(mint("ES384", tenant="south")).status_code == 401  # the other organisation's key
    assert reasons(house) == ["key-unknown"]


def test_a_token_lets_in_one_call(house, mint):
    token = mint()
    assert [house.call(token).status_code for _ in range(3)] == [200, 401, 401]
    assert reasons(house) == ["used-before", "used-before"]


def test_a_jti_lets_in_one_call_whatever_else_the_token_says(house, mint):
    assert house.call(mint(jti="zzcanary-a")).status_code == 200
    assert house.call(mint("RS384", jti="zzcanary-a", sub="other")).status_code == 401
    assert reasons(house) == ["used-before"]


def test_the_other_signature_of_the_same_token_is_a_replay_too(house, mint, signers):
    """(r, n - s) is as good an ECDSA signature as (r, s): a memory of whole tokens would not know it."""
    token = mint()
    signed = token.rpartition(".")[0]
    raw = signers["ES384"].signature(signed)
    r, s = decode_dss_signature(encode_dss_signature(int.from_bytes(raw[:48]), int.from_bytes(raw[48:])))
    twin = part(r.to_bytes(48) + (P384_ORDER - s).to_bytes(48))
    assert house.call(f"{signed}.{part(raw)}").status_code == 200
    assert house.call(f"{signed}.{twin}").status_code == 401
    assert reasons(house) == ["used-before"]


def test_a_bad_token_does_not_use_up_the_jti_of_a_good_one(house, mint):
    good = mint(jti="zzcanary-b")
    forged = mint("stranger", header={"kid": "kid-ES384"}, jti="zzcanary-b")
    assert [house.call(token).status_code for token in (forged, good)] == [401, 200]


def test_a_token_that_has_expired_stays_out_though_it_was_never_used(house, mint, now):
    token = mint()
    now.advance(300 + 59)
    assert house.call(token).status_code == 200
    token = mint()
    now.advance(300 + 60)
    assert house.call(token).status_code == 401


def test_when_the_store_is_away_nobody_is_let_in_and_it_is_not_called_a_bad_token(
    make_house, hospital, mint, tmp_path
):
    (tmp_path / "a-folder.db").mkdir()
    house = make_house(hospital)
    house.door._seen._db = open_database(f"sqlite:///{tmp_path / 'a-folder.db'}")
    answer = house.call(mint())
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0


def test_refusals_are_recorded_and_counted_but_never_without_bound(make_house, hospital, mint, now):
    counted = []
    house = make_house(hospital, observe=lambda *names: counted.append(names))
    for _ in range(25):
        house.call("not.a.token")
    house.call(mint(aud="x"))
    assert reasons(house) == ["not-base64url"] * 10 + ["audience"]
    assert len(counted) == 26
    assert counted[-1] == ("hospital", "audience")
    now.advance(60)
    house.call("not.a.token")
    assert json.loads(house.told()[-1]["detail"])["left_out"] == 15


def test_a_day_of_knocking_fills_no_disk(make_house, hospital, now):
    house = make_house(hospital)
    for _ in range(120):
        for shown in ("a", "a.b", "e30.e30.e30", "not.a.token", "x" * 9000):
            house.door._audit.record(refusal_of(shown), "/cds-services/one-card")
        now.advance(15)
    assert len(house.told()) <= 300
    now.advance(3600)
    house.call("a")
    assert json.loads(house.told()[-1]["detail"])["left_out"] > 0


def refusal_of(shown):
    try:
        tokens.parse(shown)
    except Refused as refused:
        return refused
    raise AssertionError


def test_the_operator_is_told_whose_token_it_was_and_nothing_that_was_in_it(house, mint):
    token = mint(aud="https://cds.example/other")
    house.call(token)
    (row,) = house.told()
    detail = json.loads(row["detail"])
    assert (row["actor"], row["subject"], row["outcome"]) == (
        "client:hospital",
        "/cds-services/one-card",
        "denied",
    )
    assert set(detail) == {"reason", "iss", "alg", "kid", "jti"}
    assert (len(detail["kid"]), len(detail["jti"])) == (12, 12)
    assert not any(piece in str(row) for piece in token.split("."))


def test_an_issuer_that_nobody_knows_leaves_no_text_of_its_own(house, mint):
    house.call(mint(iss="https://zzcanary.example"))
    (row,) = house.told()
    assert row["actor"] == "client:unknown"
    assert "iss" not in json.loads(row["detail"])


def test_development_lets_everybody_in_but_a_token_that_is_shown_must_be_good(house, mint):
    lax = OpenDoor(house.door)
    assert lax.admit({}, URL) is ANONYMOUS
    assert lax.admit({"Authorization": f"Bearer {mint()}"}, URL).name == "hospital"
    with pytest.raises(Denied):
        lax.admit({"Authorization": "Bearer nonsense"}, URL)
    assert OpenDoor().admit({"Authorization": "Bearer nonsense"}, URL) is ANONYMOUS


@pytest.mark.parametrize("shown", [None, "", "Bearer", f"Bearer {'s' * 47}", f"Basic {'s' * 48}", "Bearer é"])
def test_without_issuers_the_shared_token_is_asked_for(shown, shared_db, now):
    lock = BearerDoor("s" * 48, RefusalLog(shared_db, now))
    with pytest.raises(Denied) as refused:
        lock.admit({} if shown is None else {"Authorization": shown}, URL)
    assert refused.value.unauthenticated
    assert lock.admit({"Authorization": f"Bearer {'s' * 48}"}, URL) is BEARER


@pytest.mark.parametrize(
    ("issuers", "bearer", "development", "anonymous_is"),
    [
        (True, None, False, Denied),
        (True, "s" * 48, False, Denied),
        (False, "s" * 48, False, Denied),
        (False, None, False, Fault),
        (True, None, True, ANONYMOUS),
        (True, "s" * 48, True, Denied),
        (False, "s" * 48, True, Denied),
        (False, None, True, ANONYMOUS),
    ],
)
def test_which_door_the_settings_give(issuers, bearer, development, anonymous_is, hospital, shared_db, now):
    def admitted():
        trust = TrustFile((hospital,)) if issuers else None
        return door(trust=trust, bearer=bearer, open_to_all=development, db=shared_db, now=now).admit({}, URL)

    if anonymous_is is ANONYMOUS:
        assert admitted() is ANONYMOUS
    else:
        with pytest.raises(anonymous_is):
            admitted()


def test_with_issuers_the_shared_token_opens_no_hook(house):
    assert house.call("s" * 48).status_code == 401


def test_busy_is_what_a_caller_hears_while_keys_cannot_be_had(make_house, hospital, mint):
    house = make_house(replace(hospital, keys=(), jku=("https://ehr.example/jwks.json",)))
    with pytest.raises(Busy):
        house.door.admit({"Authorization": f"Bearer {mint()}"}, URL)
    assert house.call(mint()).status_code == 503
    assert reasons(house) == ["keys-away", "keys-away"]
