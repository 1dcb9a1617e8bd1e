"""Tokens that must not let anybody in. Each answers a bare 401, and tells the operator why (J2, J3, J5)."""

import base64
import contextlib
import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from cds.trust import checks
from fhir_adapters.trust import tokens
from fhir_adapters.trust.refusal import Reason, Refused
from fhir_adapters.trust.testing import part

SERVICE = "https://cds.example/cds-services/one-card"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def resigned(signer, header, payload):
    """A token of these texts, however odd, with a signature that is good."""
    signed = f"{part(header)}.{part(payload)}"
    return f"{signed}.{part(signer.signature(signed))}"


def with_hmac(signers, mint, secret, algorithm="HS256"):
    header = {"alg": algorithm, "typ": "JWT", "kid": "kid-ES384"}
    signed = f"{part(header)}.{mint().split('.')[1]}"
    digest = hashlib.sha256 if algorithm == "HS256" else hashlib.sha384
    return f"{signed}.{part(hmac.new(secret, signed.encode(), digest).digest())}"


def pieces(token):
    return token.split(".")


def cut(token, *, signature=None, payload=None, header=None):
    """The token with a part exchanged for other text."""
    old = pieces(token)
    return ".".join(
        new if new is not None else was for was, new in zip(old, (header, payload, signature), strict=True)
    )


def duplicate(value, name, second):
    """JSON in which one name stands twice."""
    return (json.dumps(value)[:-1] + f', "{name}": {json.dumps(second)}}}').encode()


def payload_of(token):
    text = pieces(token)[1]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


HEADER = {"alg": "ES384", "typ": "JWT", "kid": "kid-ES384"}

# name -> (what is sent as Authorization, given (mint, signers); the reason that the operator is told)
SHOWN = {
    "nothing": (lambda mint, s: None, Reason.NO_TOKEN),
    "an empty header": (lambda mint, s: "", Reason.NO_TOKEN),
    "blanks": (lambda mint, s: "   ", Reason.NO_TOKEN),
    "the scheme alone": (lambda mint, s: "Bearer", Reason.NOT_BEARER),
    "the scheme and a blank": (lambda mint, s: "Bearer  ", Reason.NOT_BEARER),
    "another scheme": (lambda mint, s: "Basic dXNlcjpwYXNz", Reason.NOT_BEARER),
    "a good token under another scheme": (lambda mint, s: f"Token {mint()}", Reason.NOT_BEARER),
    "a good token without a scheme": (lambda mint, s: mint(), Reason.NOT_BEARER),
    "two tokens in one header": (lambda mint, s: f"Bearer {mint()}, Bearer {mint()}", Reason.NOT_COMPACT),
    "one shared secret": (lambda mint, s: "Bearer " + "s" * 48, Reason.NOT_COMPACT),
}

# name -> (token; reason)
TOKENS = {
    # the compact form
    "two parts": (lambda mint, s: mint().rpartition(".")[0], Reason.NOT_COMPACT),
    "four parts": (lambda mint, s: mint() + ".e30", Reason.NOT_COMPACT),
    "five parts, as if encrypted": (lambda mint, s: "e30.e30.e30.e30.e30", Reason.NOT_COMPACT),
    "no signature": (lambda mint, s: cut(mint(), signature=""), Reason.NOT_COMPACT),
    "no payload": (lambda mint, s: cut(mint(), payload=""), Reason.NOT_COMPACT),
    "no header": (lambda mint, s: cut(mint(), header=""), Reason.NOT_COMPACT),
    "the JSON form of a signature": (
        lambda mint, s: json.dumps(dict(zip(("protected", "payload", "signature"), pieces(mint()), strict=True))),
        Reason.NOT_COMPACT,
    ),
    "padded Base64": (
        lambda mint, s: resigned(s["ES384"], b'{"a":1} ', {}).replace(".", "=."),
        Reason.NOT_BASE64URL,
    ),
    "the other Base64 alphabet": (lambda mint, s: cut(mint(), signature="+/" * 64), Reason.NOT_BASE64URL),
    "a blank within": (lambda mint, s: mint()[:40] + " " + mint()[40:], Reason.NOT_BASE64URL),
    "a letter beyond ASCII": (lambda mint, s: cut(mint(), signature="é" * 128), Reason.NOT_BASE64URL),
    "stray bits at the end": (
        lambda mint, s: cut(mint("RS384"), signature=stray(mint("RS384"))),
        Reason.NOT_BASE64URL,
    ),
    "a token of 9,000 letters": (lambda mint, s: mint(more="x" * 6500), Reason.TOO_LARGE),
    # the header
    "alg none": (lambda mint, s: mint(header={"alg": "none"}), Reason.ALGORITHM),
    "alg nOnE": (lambda mint, s: mint(header={"alg": "nOnE"}), Reason.ALGORITHM),
    "alg none, nothing signed": (
        lambda mint, s: cut(mint(header={"alg": "none"}), signature=""),
        Reason.NOT_COMPACT,
    ),
    "HMAC with the public key": (
        lambda mint, s: with_hmac(s, mint, s["ES384"].key.as_pem(private=False)),
        Reason.ALGORITHM,
    ),
    "HMAC with the key's x": (
        lambda mint, s: with_hmac(s, mint, s["ES384"].jwk["x"].encode(), "HS384"),
        Reason.ALGORITHM,
    ),
    "HMAC with an empty key": (lambda mint, s: with_hmac(s, mint, b""), Reason.ALGORITHM),
    "no alg": (lambda mint, s: mint(header={"alg": None}), Reason.ALGORITHM),
    "alg in a list": (lambda mint, s: mint(header={"alg": ["ES384"]}), Reason.ALGORITHM),
    "alg in small letters": (lambda mint, s: mint(header={"alg": "es384"}), Reason.ALGORITHM),
    "alg EdDSA": (lambda mint, s: mint(header={"alg": "EdDSA"}), Reason.ALGORITHM),
    "alg RS512": (lambda mint, s: mint(header={"alg": "RS512"}), Reason.ALGORITHM),
    "RS384 with the id of an EC key": (lambda mint, s: mint(header={"alg": "RS384"}), Reason.KEY_UNFIT),
    "ES384 with the id of an RSA key": (lambda mint, s: mint("RS384", header={"alg": "ES384"}), Reason.KEY_UNFIT),
    "ES256, not let in for this issuer": (lambda mint, s: mint("ES256"), Reason.ALGORITHM_OF_ISSUER),
    "ES512, not let in for this issuer": (lambda mint, s: mint("ES512"), Reason.ALGORITHM_OF_ISSUER),
    "RS256, not let in for this issuer": (
        lambda mint, s: mint("RS384", header={"alg": "RS256"}),
        Reason.ALGORITHM_OF_ISSUER,
    ),
    "PS384, not let in for this issuer": (
        lambda mint, s: mint("RS384", header={"alg": "PS384"}),
        Reason.ALGORITHM_OF_ISSUER,
    ),
    "a critical extension": (lambda mint, s: mint(header={"crit": ["exp"], "exp": 1}), Reason.CRITICAL),
    "an empty crit": (lambda mint, s: mint(header={"crit": []}), Reason.CRITICAL),
    "an unencoded payload": (lambda mint, s: mint(header={"b64": False, "crit": ["b64"]}), Reason.CRITICAL),
    "b64 without crit": (lambda mint, s: mint(header={"b64": True}), Reason.CRITICAL),
    "no typ": (lambda mint, s: mint(header={"typ": None}), Reason.TYPE),
    "typ of an access token": (lambda mint, s: mint(header={"typ": "at+jwt"}), Reason.TYPE),
    "typ in small letters": (lambda mint, s: mint(header={"typ": "jwt"}), Reason.TYPE),
    "typ a list": (lambda mint, s: mint(header={"typ": ["JWT"]}), Reason.TYPE),
    "no kid": (lambda mint, s: mint(header={"kid": None}), Reason.KID),
    "an empty kid": (lambda mint, s: mint(header={"kid": ""}), Reason.KID),
    "a number for kid": (lambda mint, s: mint(header={"kid": 7}), Reason.KID),
    "a kid of 300 letters": (lambda mint, s: mint(header={"kid": "k" * 300}), Reason.KID),
    "an unknown kid": (lambda mint, s: mint(header={"kid": "other"}), Reason.KEY_UNKNOWN),
    "a kid in other letters": (lambda mint, s: mint(header={"kid": "KID-ES384"}), Reason.KEY_UNKNOWN),
    "a path for kid": (lambda mint, s: mint(header={"kid": "../../../../dev/null"}), Reason.KEY_UNKNOWN),
    "a statement for kid": (lambda mint, s: mint(header={"kid": "' OR '1'='1"}), Reason.KEY_UNKNOWN),
    "a key brought along": (
        lambda mint, s: mint("stranger", header={"kid": "kid-ES384", "jwk": s["stranger"].jwk}),
        Reason.SIGNATURE,
    ),
    "a key brought along under its own id": (
        lambda mint, s: mint("stranger", header={"jwk": s["stranger"].jwk}),
        Reason.KEY_UNKNOWN,
    ),
    "a certificate brought along": (
        lambda mint, s: mint("stranger", header={"kid": "kid-ES384", "x5c": ["MIIB"]}),
        Reason.SIGNATURE,
    ),
    "an address for a certificate": (
        lambda mint, s: mint("stranger", header={"kid": "kid-ES384", "x5u": "https://evil.example"}),
        Reason.SIGNATURE,
    ),
    "an address for keys": (
        lambda mint, s: mint("stranger", header={"jku": "https://evil.example/jwks.json"}),
        Reason.KEY_UNKNOWN,
    ),
    "a number for jku": (lambda mint, s: mint(header={"jku": 7}), Reason.JKU),
    "alg twice": (
        lambda mint, s: resigned(s["ES384"], duplicate(HEADER, "alg", "none"), payload_of(mint())),
        Reason.HEADER_NOT_JSON,
    ),
    "kid twice": (
        lambda mint, s: resigned(s["ES384"], duplicate(HEADER, "kid", "kid-ES384"), payload_of(mint())),
        Reason.HEADER_NOT_JSON,
    ),
    "a header that is a list": (
        lambda mint, s: resigned(s["ES384"], [HEADER], payload_of(mint())),
        Reason.HEADER_NOT_JSON,
    ),
    "a header that is no JSON": (
        lambda mint, s: resigned(s["ES384"], b"{alg: ES384}", payload_of(mint())),
        Reason.HEADER_NOT_JSON,
    ),
    "a header in UTF-16": (
        lambda mint, s: resigned(s["ES384"], json.dumps(HEADER).encode("utf-16"), payload_of(mint())),
        Reason.HEADER_NOT_JSON,
    ),
    "a header nested deep": (
        lambda mint, s: resigned(s["ES384"], b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", {}),
        Reason.HEADER_NOT_JSON,
    ),
    # the claims
    "a payload that is no JSON": (lambda mint, s: resigned(s["ES384"], HEADER, b"iss=x"), Reason.PAYLOAD_NOT_JSON),
    "a payload that is a list": (
        lambda mint, s: resigned(s["ES384"], HEADER, [payload_of(mint())]),
        Reason.PAYLOAD_NOT_JSON,
    ),
    "a payload that is null": (lambda mint, s: resigned(s["ES384"], HEADER, None), Reason.PAYLOAD_NOT_JSON),
    "aud twice": (
        lambda mint, s: resigned(s["ES384"], HEADER, duplicate(payload_of(mint(aud="x")), "aud", SERVICE)),
        Reason.PAYLOAD_NOT_JSON,
    ),
    "NaN for exp": (
        lambda mint, s: resigned(s["ES384"], HEADER, payload_of(mint()) | {"exp": float("nan")}),
        Reason.PAYLOAD_NOT_JSON,
    ),
    "no iss": (lambda mint, s: mint(iss=None), Reason.CLAIM_MISSING),
    "a number for iss": (lambda mint, s: mint(iss=7), Reason.CLAIM_MALFORMED),
    "iss in a list": (lambda mint, s: mint(iss=["https://ehr.example/fhir"]), Reason.CLAIM_MALFORMED),
    "another issuer": (lambda mint, s: mint(iss="https://other.example/fhir"), Reason.ISSUER),
    "the issuer with a slash more": (lambda mint, s: mint(iss="https://ehr.example/fhir/"), Reason.ISSUER),
    "the issuer in other letters": (lambda mint, s: mint(iss="https://EHR.example/fhir"), Reason.ISSUER),
    "no aud": (lambda mint, s: mint(aud=None), Reason.CLAIM_MISSING),
    "an empty aud": (lambda mint, s: mint(aud=""), Reason.CLAIM_MALFORMED),
    "an empty list for aud": (lambda mint, s: mint(aud=[]), Reason.CLAIM_MALFORMED),
    "a number for aud": (lambda mint, s: mint(aud=7), Reason.CLAIM_MALFORMED),
    "aud with a number among texts": (lambda mint, s: mint(aud=[SERVICE, 7]), Reason.CLAIM_MALFORMED),
    "an aud of 17 texts": (lambda mint, s: mint(aud=[SERVICE] * 17), Reason.CLAIM_MALFORMED),
    "an object for aud": (lambda mint, s: mint(aud={"url": SERVICE}), Reason.CLAIM_MALFORMED),
    "another service": (lambda mint, s: mint(aud="https://cds.example/cds-services/other"), Reason.AUDIENCE),
    "the base address": (lambda mint, s: mint(aud="https://cds.example"), Reason.AUDIENCE),
    "discovery": (lambda mint, s: mint(aud="https://cds.example/cds-services"), Reason.AUDIENCE),
    "the feedback of this service": (lambda mint, s: mint(aud=f"{SERVICE}/feedback"), Reason.AUDIENCE),
    "http and not https": (lambda mint, s: mint(aud=SERVICE.replace("https", "http")), Reason.AUDIENCE),
    "a slash at the end": (lambda mint, s: mint(aud=SERVICE + "/"), Reason.AUDIENCE),
    "a query at the end": (lambda mint, s: mint(aud=SERVICE + "?a=b"), Reason.AUDIENCE),
    "the port said": (lambda mint, s: mint(aud="https://cds.example:443/cds-services/one-card"), Reason.AUDIENCE),
    "the host that was called": (
        lambda mint, s: mint(aud="http://localhost/cds-services/one-card"),
        Reason.AUDIENCE,
    ),
    "several audiences, none of them this": (
        lambda mint, s: mint(aud=["https://a.example", "https://b.example"]),
        Reason.AUDIENCE,
    ),
    "no exp": (lambda mint, s: mint(exp=0, iat=None), Reason.CLAIM_MISSING),
    "a text for exp": (lambda mint, s: mint(exp="1795000000"), Reason.CLAIM_MALFORMED),
    "true for exp": (lambda mint, s: mint(exp=True), Reason.CLAIM_MALFORMED),
    "exp in milliseconds": (lambda mint, s: mint(exp=1_795_000_000_000), Reason.CLAIM_MALFORMED),
    "exp before 1970": (lambda mint, s: mint(exp=-1), Reason.CLAIM_MALFORMED),
    "exp null": (
        lambda mint, s: resigned(s["ES384"], HEADER, payload_of(mint()) | {"exp": None}),
        Reason.CLAIM_MALFORMED,
    ),
    "expired, beyond the leeway": (lambda mint, s: mint(**around(mint, -361, -60)), Reason.EXPIRED),
    "expired yesterday": (lambda mint, s: mint(**around(mint, -86_400, -86_100)), Reason.EXPIRED),
    "not valid yet": (lambda mint, s: mint(nbf=at(mint, 61)), Reason.NOT_YET),
    "a text for nbf": (lambda mint, s: mint(nbf="soon"), Reason.CLAIM_MALFORMED),
    "no iat": (lambda mint, s: mint(iat=None), Reason.CLAIM_MISSING),
    "a text for iat": (lambda mint, s: mint(iat="now"), Reason.CLAIM_MALFORMED),
    "issued in the future": (lambda mint, s: mint(**around(mint, 61, 200)), Reason.FROM_THE_FUTURE),
    "a life of a second too much": (lambda mint, s: mint(**around(mint, 0, 301)), Reason.LIFE),
    "a life of ten years": (lambda mint, s: mint(**around(mint, 0, 315_360_000)), Reason.LIFE),
    "expires as it is issued": (lambda mint, s: mint(**around(mint, 0, 0)), Reason.BACKWARDS),
    "expires before it is issued": (lambda mint, s: mint(**around(mint, 30, 20)), Reason.BACKWARDS),
    "a number for tenant": (lambda mint, s: mint(tenant=7), Reason.CLAIM_MALFORMED),
    "no jti": (
        lambda mint, s: resigned(s["ES384"], HEADER, without(payload_of(mint()), "jti")),
        Reason.CLAIM_MISSING,
    ),
    "an empty jti": (lambda mint, s: mint(jti=""), Reason.CLAIM_MALFORMED),
    "a number for jti": (lambda mint, s: mint(jti=7), Reason.CLAIM_MALFORMED),
    "a jti of 513 letters": (lambda mint, s: mint(jti="j" * 513), Reason.CLAIM_MALFORMED),
    "U+0000 in jti": (lambda mint, s: mint(jti="a\x00b"), Reason.PAYLOAD_NOT_JSON),
    # the signature
    "signed by a stranger": (lambda mint, s: mint("stranger", header={"kid": "kid-ES384"}), Reason.SIGNATURE),
    "signed by a stranger's RSA key": (lambda mint, s: mint("stranger-rsa"), Reason.SIGNATURE),
    "the signature of another token": (lambda mint, s: cut(mint(), signature=pieces(mint())[2]), Reason.SIGNATURE),
    "the payload of another token": (lambda mint, s: cut(mint(), payload=pieces(mint())[1]), Reason.SIGNATURE),
    "the header with a member more": (
        lambda mint, s: cut(mint(), header=part(HEADER | {"x": 1})),
        Reason.SIGNATURE,
    ),
    "a signature cut short": (lambda mint, s: cut(mint(), signature=pieces(mint())[2][:64]), Reason.SIGNATURE),
    "a signature of zeros": (lambda mint, s: cut(mint(), signature=part(bytes(96))), Reason.SIGNATURE),
    "a signature with a byte more": (lambda mint, s: cut(mint(), signature=part(bytes(97))), Reason.SIGNATURE),
    "a signature in DER": (lambda mint, s: in_der(mint()), Reason.SIGNATURE),
    "an RSA signature of another padding": (lambda mint, s: pss_as_rs(mint, s["RS384"]), Reason.SIGNATURE),
}


def stray(token):
    """The signature with its last letter exchanged for one that decodes to the same bytes (RS384: 256 bytes)."""
    signature = pieces(token)[2]
    return signature[:-1] + LETTERS[LETTERS.index(signature[-1]) + 1]


def at(mint, seconds):
    return payload_of(mint())["iat"] + seconds


def around(mint, issued, expires):
    return {"iat": at(mint, issued), "exp": at(mint, expires)}


def without(claims, name):
    return {key: value for key, value in claims.items() if key != name}


def in_der(token):
    raw = base64.urlsafe_b64decode(pieces(token)[2])
    return cut(token, signature=part(encode_dss_signature(int.from_bytes(raw[:48]), int.from_bytes(raw[48:]))))


def pss_as_rs(mint, signer):
    token = mint("RS384")
    signed = token.rpartition(".")[0]
    return cut(token, signature=part(signer.signature(signed, "PS384")))


def assert_bare(answer):
    assert answer.status_code == 401
    assert answer.data == b""
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert set(answer.headers.keys()) <= {"WWW-Authenticate", "Content-Length", "Content-Type"}


@pytest.mark.parametrize("name", SHOWN)
def test_without_a_token_there_is_a_bare_401(name, house, mint, signers):
    shown, reason = SHOWN[name]
    assert_bare(house.call(authorization=shown(mint, signers)))
    assert [row["detail"] for row in house.told()] == [json.dumps({"reason": reason.value}).replace(": ", ":")]


@pytest.mark.parametrize("name", TOKENS)
def test_a_bad_token_is_answered_with_a_bare_401(name, house, mint, signers):
    token, reason = TOKENS[name]
    assert_bare(house.call(token(mint, signers)))
    (row,) = house.told()
    assert json.loads(row["detail"])["reason"] == reason.value
    assert "zzcanary" not in str(row)


def test_the_table_is_long_enough_and_uses_every_reason_that_a_token_alone_can_give():
    assert len(SHOWN) + len(TOKENS) >= 60
    elsewhere = {
        Reason.JKU_OF_ISSUER, Reason.CERTIFICATE, Reason.TENANT, Reason.USED, Reason.KEYS_AWAY, Reason.BEARER
    }  # fmt: skip
    assert {reason for _, reason in (*SHOWN.values(), *TOKENS.values())} == set(Reason) - elsewhere


@pytest.mark.parametrize("path", ["/cds-services", "/cds-services/one-card", "/cds-services/one-card/feedback"])
def test_a_token_opens_the_address_that_it_was_made_for_and_no_other(path, house, mint):
    for aud in ("/cds-services", "/cds-services/one-card", "/cds-services/one-card/feedback"):
        answer = house.call(mint(aud=f"https://cds.example{aud}"), path=path)
        assert (answer.status_code == 401) == (aud != path)


@pytest.mark.parametrize(("signer", "every"), [("RS384", 1), ("ES384", 7)])
def test_no_letter_of_a_token_can_be_another_one(signer, every, house, mint, hospital, now):
    """One spelling for one token: each letter exchanged for its neighbour, and each left out, is refused."""
    token, trust, keys = mint(signer), house.door._trust, house.door._keys
    assert checks.verify(token, trust, keys, url=SERVICE, at=now()).profile is hospital
    for place in range(0, len(token), every):
        letter = token[place]
        other = "A" if letter == "." else LETTERS[(LETTERS.index(letter) + 1) % 64]
        for changed in (token[:place] + other + token[place + 1 :], token[:place] + token[place + 1 :]):
            with pytest.raises(Refused):
                checks.verify(changed, trust, keys, url=SERVICE, at=now())


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: f"{part(data)}.{part(data)}.{part(data)}"))
def test_whatever_is_sent_is_read_or_refused_and_nothing_else(text):
    with contextlib.suppress(Refused):
        tokens.parse(text)


def test_a_token_in_the_address_or_the_body_is_not_looked_at(house, mint):
    token = mint()
    assert_bare(house.call(path=f"/cds-services/one-card?access_token={token}"))
    assert_bare(house.client.post("/cds-services/one-card", data={"access_token": token}))


def test_the_hosts_header_does_not_say_who_we_are(house, mint):
    aud = "https://evil.example/cds-services/one-card"
    assert_bare(house.call(mint(aud=aud), base_url="https://evil.example"))
    assert house.call(mint(), base_url="https://evil.example").status_code == 200
