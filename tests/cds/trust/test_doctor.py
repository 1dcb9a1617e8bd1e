"""The operator is told, in words, why a token is refused and what to do; nobody else is."""

from dataclasses import replace

import pytest

from cds.trust.advice import ADVICE
from cds.trust.doctor import examine, last_refusals
from cds.trust.issuer import TrustFile
from fhir_adapters.trust.keys import KeyRing
from fhir_adapters.trust.refusal import Reason
from fhir_adapters.trust.testing import CannedFetcher

BASE = "https://cds.example"


@pytest.fixture
def look(hospital, now):
    """look(token, profile=..., url=..., keys=...) -> what is found."""

    def at_token(token, *, profile=hospital, url=None, keys=None):
        return examine(token, TrustFile((profile,)), base_url=BASE, url=url, at=now(), keys=keys)

    return at_token


def test_every_reason_has_words_and_something_to_do():
    assert set(ADVICE) == set(Reason)
    assert all(advice.what.endswith(".") and advice.do.endswith(".") for advice in ADVICE.values())


def test_a_good_token_is_called_good_and_is_not_used_up(look, mint, house):
    token = mint()
    assert look(token).reasons == look(f"Bearer {token}\n").reasons == ()
    assert house.call(token).status_code == 200


def test_everything_that_is_wrong_is_told_at_once(look, mint):
    found = look(
        mint("ES256", aud="https://other.example", iat=1, exp=10_000), url=f"{BASE}/cds-services/one-card"
    )
    assert set(found.reasons) == {
        Reason.ALGORITHM_OF_ISSUER, Reason.AUDIENCE, Reason.EXPIRED, Reason.LIFE, Reason.KEY_UNKNOWN,
    }  # fmt: skip
    assert any("aud_aliases" in advice.do for advice in found.advice)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"aud": f"{BASE}/cds-services/"}, Reason.AUDIENCE), ({"iss": "https://ehr.example/"}, Reason.ISSUER)],
)
def test_the_facts_stand_beside_the_advice(change, reason, look, mint):
    found = look(mint(**change), url=f"{BASE}/cds-services/one-card")
    assert found.reasons == (reason,)
    assert any(value in dict(found.facts).values() for value in change.values())
    assert "0 s ago" in dict(found.facts)["issued"]
    assert "300 s from now" in dict(found.facts)["expires"]


def test_an_unknown_issuer_is_shown_those_that_are_known(look, mint):
    assert dict(look(mint(iss="https://ehr.example")).facts)["issuers in the file"] == "https://ehr.example/fhir"


def test_what_is_no_token_is_said_without_repeating_it(look):
    found = look("zzcanary-secret")
    assert found.reasons == (Reason.NOT_COMPACT,)
    assert "zzcanary" not in str(found)


def test_published_keys_are_fetched_only_when_asked_for(look, mint, hospital, signers):
    profile = replace(hospital, keys=(), jku=("https://ehr.example/jwks.json",))
    token = mint()
    assert look(token, profile=profile).unchecked[0].startswith("the signature")
    fetcher = CannedFetcher({profile.jku[0]: {"keys": [signers["ES384"].jwk]}})
    ring = KeyRing([profile], fetcher)
    assert look(token, profile=profile, keys=ring).reasons == ()
    ring.close()
    fetcher.sets.clear()
    away = KeyRing([profile], fetcher)
    assert look(token, profile=profile, keys=away).reasons == (Reason.KEYS_AWAY,)
    away.close()


def test_past_refusals_are_told_newest_first_with_their_advice(house, mint, shared_db):
    token = mint()
    for shown in (mint(aud="x"), token, token, "not.a.token"):
        house.call(shown)
    past = last_refusals(shared_db, 2)
    assert [one.reason for one in past] == ["not-base64url", "used-before"]
    assert past[1].client == "hospital"
    assert past[1].called == "/cds-services/one-card"
    assert dict(past[1].facts)["jti"] == dict(examine_facts(house, token))["jti"].removeprefix("in the audit: ")
    assert "proxy" in past[1].advice.do


def examine_facts(house, token):
    return examine(token, house.door._trust, base_url=BASE, url=None, at=house.door._now()).facts
