"""Why a client of the FHIR API was refused, in an operator's words, and what to do about it.

docs/access.md shows the same table, and a test holds the two equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fhir_adapters.access.assertion import ClientReason
from fhir_adapters.trust.refusal import Reason


@dataclass(frozen=True, slots=True)
class Advice:
    """what: what was wrong. do: who mends it and how."""

    what: str
    do: str


ADVICE: Mapping[Reason | ClientReason, Advice] = {
    Reason.NO_TOKEN: Advice(
        "There was no Authorization header, or at the token endpoint no client_assertion.",
        "Have the client ask for an access token first, and send it as `Authorization: Bearer <token>`. "
        "Check that no proxy in front takes the header away.",
    ),
    Reason.NOT_BEARER: Advice(
        "The Authorization header is not `Bearer` and a token.",
        "Correct the client: it authenticates by a signed assertion, never by a name and a secret.",
    ),
    ClientReason.ACCESS_TOKEN: Advice(
        "What was shown is no access token of this server, or it was called back, or its client is no "
        "longer in the clients file; nor is it CONSILIUM_BEARER_TOKEN.",
        "Have the client ask for a new one. If all tokens are refused: do all machines have the same "
        "CONSILIUM_SECRET_KEY and CONSILIUM_PUBLIC_BASE_URL?",
    ),
    Reason.EXPIRED: Advice(
        "The assertion or the access token has expired.",
        "Compare the clocks of client and server (NTP). A client makes a new assertion for each request,"
        " and asks for a new access token before the old one ends (`expires_in`).",
    ),
    ClientReason.REQUEST: Advice(
        "The form could not be used: a field twice, a client_secret, no grant_type, no token.",
        "Have the client send what docs/access.md shows, as application/x-www-form-urlencoded.",
    ),
    ClientReason.GRANT_TYPE: Advice(
        "The grant_type is not client_credentials.",
        "There is no other one here.",
    ),
    ClientReason.ASSERTION_TYPE: Advice(
        "The client_assertion_type is not that of a JWT.",
        "It must be `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.",
    ),
    ClientReason.CLIENT: Advice(
        "The assertion's iss is no client_id of the clients file.",
        "Compare it letter by letter. If you trust this client, add a [[client]] for it.",
    ),
    ClientReason.SUBJECT: Advice(
        "The assertion's sub is not its iss.",
        "Both must be the client_id.",
    ),
    ClientReason.CLIENT_ID: Advice(
        "The form's client_id is not the assertion's iss.",
        "Ask the client's vendor to correct it.",
    ),
    ClientReason.ALGORITHM_OF_CLIENT: Advice(
        "The algorithm is good in general but not switched on for this client.",
        "Have the client sign with ES384 or RS384, or add the algorithm to its `algorithms`.",
    ),
    ClientReason.SCOPE: Advice(
        "No scope that was asked for is one that the client has, or none was.",
        "Compare with the client's `scopes`; `consilium fhir clients check` says what they mean.",
    ),
    ClientReason.PATIENT: Advice(
        "A patient/ scope without a patient, another patient than the client's, or a patient without "
        "such a scope.",
        "Register the client's `patient`, or have it send the Patient's id as `patient` with the request.",
    ),
    ClientReason.PURPOSE: Advice(
        "The client may not name that purpose.",
        "Add it to the client's `purposes`, if it may.",
    ),
    Reason.AUDIENCE: Advice(
        "The assertion's aud is not the address of the token endpoint, or not that alone.",
        "It must be CONSILIUM_PUBLIC_BASE_URL and /oauth2/token, letter by letter, as .well-known/smart-"
        "configuration says.",
    ),
    Reason.USED: Advice(
        "The assertion was used before (`jti`).",
        "Each request needs an assertion of its own. If the client does make one, look for a proxy that "
        "sends requests twice, and for somebody who records them.",
    ),
    Reason.LIFE: Advice(
        "The assertion lives for more than five minutes.",
        "Set `exp` to at most 300 seconds after `iat`, or after now where it has no `iat`.",
    ),
    Reason.BACKWARDS: Advice(
        "`exp` is not after `iat`.",
        "Ask the client's vendor to correct it.",
    ),
    Reason.NOT_YET: Advice(
        "The assertion is not valid yet (`nbf`).",
        "Compare the clocks of client and server (NTP).",
    ),
    Reason.FROM_THE_FUTURE: Advice(
        "The assertion was issued in the future (`iat`).",
        "Compare the clocks of client and server (NTP).",
    ),
    Reason.KEY_UNKNOWN: Advice(
        "The client has no key with this `kid`.",
        "Has it a new key? Keys in the clients file are added by hand. Published ones are fetched again "
        "by themselves: check that the `jwks_uri` shows it.",
    ),
    Reason.KEY_UNFIT: Advice(
        "The key with this `kid` is of another kind than the algorithm.",
        "Compare the keys with the vendor; if they are the same, treat this as an attack.",
    ),
    Reason.SIGNATURE: Advice(
        "The signature does not fit.",
        "Compare the keys with the vendor; if they are the same, treat this as an attack.",
    ),
    Reason.KEYS_AWAY: Advice(
        "The client's keys could not be fetched (answered with 503).",
        'Open the `jwks_uri` from this machine: DNS, firewall, TLS certificate, `network = "private"` '
        "for an address inside. The log says which part failed.",
    ),
    Reason.JKU_OF_ISSUER: Advice(
        "The assertion names an address for its keys (`jku`) that is not the registered one.",
        "Ask the vendor for the right address, through a channel that you trust. It was not fetched.",
    ),
    Reason.ALGORITHM: Advice(
        "The assertion is signed with an algorithm that is never taken (`none`, HMAC, or an unknown one).",
        "Have the client sign with ES384 or RS384. If it claims to do so, treat this as an attack.",
    ),
    Reason.TYPE: Advice(
        "The header's `typ` is not `JWT`.",
        "Ask the client's vendor to correct it.",
    ),
    Reason.KID: Advice(
        "The header has no usable `kid`.",
        "Ask the client's vendor to correct it.",
    ),
    Reason.JKU: Advice(
        "The header's `jku` is no text.",
        "Ask the client's vendor to correct it.",
    ),
    Reason.CRITICAL: Advice(
        "The header demands an extension (`crit`, `b64`).",
        "Ask the client's vendor to correct it.",
    ),
    Reason.CLAIM_MISSING: Advice(
        "One of iss, sub, aud, exp and jti is missing.",
        "Ask the client's vendor to correct it.",
    ),
    Reason.CLAIM_MALFORMED: Advice(
        "A claim is of the wrong kind or size.",
        "Ask the client's vendor to correct it.",
    ),
    Reason.TOO_LARGE: Advice(
        "The assertion is longer than 8,192 characters.",
        "Ask the client's vendor to correct it.",
    ),
    Reason.NOT_COMPACT: Advice(
        "What was sent is no signed token of three parts.",
        "Ask the client's vendor to correct it.",
    ),
    Reason.NOT_BASE64URL: Advice(
        "A part of the assertion is not Base64url.",
        "Ask the client's vendor to correct it.",
    ),
    Reason.HEADER_NOT_JSON: Advice(
        "The header cannot be read, or holds a name twice.",
        "Ask the client's vendor to correct it.",
    ),
    Reason.PAYLOAD_NOT_JSON: Advice(
        "The claims cannot be read, or hold a name twice.",
        "Ask the client's vendor to correct it.",
    ),
}
