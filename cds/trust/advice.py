"""Why a caller was not let in, in an operator's words, and what to do about it.

docs/trust.md shows the same table, and a test holds the two equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fhir_adapters.trust.refusal import Reason


@dataclass(frozen=True, slots=True)
class Advice:
    """what: what was wrong. do: who mends it and how."""

    what: str
    do: str


ADVICE: Mapping[Reason, Advice] = {
    Reason.NO_TOKEN: Advice(
        "The call had no Authorization header.",
        "Have the client send `Authorization: Bearer <token>`; some need a switch for that. Check "
        "that no proxy in front takes the header away.",
    ),
    Reason.NOT_BEARER: Advice(
        "The Authorization header is not `Bearer` and a token.",
        "Correct the client: one blank between the word Bearer and the token, and nothing else.",
    ),
    Reason.TOO_LARGE: Advice(
        "The token is longer than 8,192 characters.",
        "Ask the client's vendor what it puts in; tokens of CDS Hooks have 500 to 1,500.",
    ),
    Reason.NOT_COMPACT: Advice(
        "What was sent is no signed token of three parts.",
        "The client sends something else: the shared bearer token, an opaque access token, an "
        "unsigned or an encrypted one. With an issuers file the hooks take signed tokens alone.",
    ),
    Reason.NOT_BASE64URL: Advice(
        "A part of the token is not Base64url.",
        "The token was changed on its way, or made by hand: no padding, no blanks, `-` and `_` for `+` and `/`.",
    ),
    Reason.HEADER_NOT_JSON: Advice(
        "The token's header cannot be read, or holds a name twice.",
        "Ask the client's vendor to correct it.",
    ),
    Reason.PAYLOAD_NOT_JSON: Advice(
        "The token's claims cannot be read, or hold a name twice.",
        "Ask the client's vendor to correct it.",
    ),
    Reason.CRITICAL: Advice(
        "The header demands an extension (`crit`, `b64`) that CDS Hooks does not have.",
        "Switch the extension off at the client.",
    ),
    Reason.ALGORITHM: Advice(
        "The token is signed with an algorithm that is never taken (`none`, HMAC, or an unknown one).",
        "Have the client sign with ES384 or RS384. If it claims to do so, treat this as an attack.",
    ),
    Reason.TYPE: Advice(
        "The header's `typ` is not `JWT`.",
        "Is it an access token for a FHIR server instead? The client must make a token of CDS Hooks "
        "for each call.",
    ),
    Reason.KID: Advice(
        "The header has no usable `kid`.",
        "The client must name its key: a `kid` of 1 to 256 characters.",
    ),
    Reason.JKU: Advice(
        "The header's `jku` is no text.",
        "Ask the client's vendor to correct it.",
    ),
    Reason.CLAIM_MISSING: Advice(
        "One of iss, aud, exp, iat and jti is missing.",
        "The client must send all five (CDS Hooks, 'Trusting CDS Clients').",
    ),
    Reason.CLAIM_MALFORMED: Advice(
        "A claim is of the wrong kind or size.",
        "Times are numbers of seconds since 1970 (not milliseconds, not text); iss, jti and tenant "
        "are texts that are not empty; aud is a text or a list of at most 16.",
    ),
    Reason.ISSUER: Advice(
        "The `iss` is not in the issuers file.",
        "Compare it letter by letter, slash at the end included. If you trust this client, add an "
        "[[issuer]] for it.",
    ),
    Reason.CERTIFICATE: Advice(
        "This issuer's tokens count only over one of its client certificates, and the proxy passed "
        "none of them on.",
        "Has the client changed its certificate? Then add its SHA-256. Else check "
        "[client_certificate]: the header's name, and the proxy's address as this server sees it.",
    ),
    Reason.ALGORITHM_OF_ISSUER: Advice(
        "The algorithm is good in general but not switched on for this issuer.",
        "Have the client use one of the issuer's `algorithms`, or add this one there.",
    ),
    Reason.JKU_OF_ISSUER: Advice(
        "The token names an address for its keys (`jku`) that is not registered for this issuer.",
        "Ask the vendor for the right address, through a channel that you trust, and add it to the "
        "issuer's `jku`. It was not fetched.",
    ),
    Reason.AUDIENCE: Advice(
        "The `aud` is not the address that was called.",
        "It must be CONSILIUM_PUBLIC_BASE_URL and the path, letter by letter (discovery, service and "
        "feedback each have their own). Correct it at the client; if it cannot be, add the text to "
        "the issuer's `aud_aliases`, or the base address to its `aud_bases`.",
    ),
    Reason.EXPIRED: Advice(
        "The token has expired.",
        "Compare the clocks of client and server (NTP). A client that keeps tokens must make a new "
        "one for each call.",
    ),
    Reason.NOT_YET: Advice(
        "The token is not valid yet (`nbf`).",
        "Compare the clocks of client and server (NTP).",
    ),
    Reason.FROM_THE_FUTURE: Advice(
        "The token was issued in the future (`iat`).",
        "Compare the clocks of client and server (NTP).",
    ),
    Reason.LIFE: Advice(
        "Between `iat` and `exp` is more time than this issuer's tokens may live.",
        "Shorten it at the client, or raise the issuer's `max_life_s` (Epic: 900).",
    ),
    Reason.BACKWARDS: Advice(
        "`exp` is not after `iat`.",
        "Ask the client's vendor to correct it.",
    ),
    Reason.TENANT: Advice(
        "The `tenant` is missing or not one of the issuer's `tenants`.",
        "If this organisation may call, add its tenant; if the client sends none, leave the list out.",
    ),
    Reason.KEY_UNKNOWN: Advice(
        "The issuer has no key with this `kid`.",
        "Has the client a new key? Keys in the issuers file must be added by hand. Published ones are "
        "fetched again by themselves: check that the `jku` shows it.",
    ),
    Reason.KEY_UNFIT: Advice(
        "The key with this `kid` is of another kind than the token's algorithm.",
        "Ask the vendor which key signs; if nobody can say, treat this as an attack.",
    ),
    Reason.SIGNATURE: Advice(
        "The signature does not fit.",
        "The token was changed, or signed with another key than the one published under this `kid`. "
        "Compare the keys with the vendor; if they are the same, treat this as an attack.",
    ),
    Reason.USED: Advice(
        "The token was used before (`jti`).",
        "Each call needs a token of its own. If the client does make one, look for a proxy that sends "
        "requests twice, and for somebody who records them.",
    ),
    Reason.KEYS_AWAY: Advice(
        "The issuer's keys could not be fetched, so nobody of it can be let in (answered with 503).",
        'Open the `jku` from this machine: DNS, firewall, TLS certificate, `network = "private"` for '
        "an address inside. The log says which part failed.",
    ),
    Reason.BEARER: Advice(
        "The token is not CONSILIUM_BEARER_TOKEN.",
        "Correct it at the client; or give the client an entry in an issuers file, and it needs no shared secret.",
    ),
}
