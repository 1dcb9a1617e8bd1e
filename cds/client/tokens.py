"""A client's tokens: good ones, and ones that are broken in one named way.

A service must refuse every broken one with a bare 401 (CDS Hooks 3.0, "Trusting CDS Clients"). Signing is done by
hand here, because a library rightly refuses to make most of these.
"""

import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from joserfc.jws import JWSRegistry

from cds.client.keys import SigningKey, algorithm_of, new_key, public_set
from clinical.clock import Clock
from clinical.errors import IncorrectInput
from fhir_adapters.trust import base64url

LIFE_S = 300
REPLAYED = "replayed"  # a good token, shown twice: the caller of `mint` does that


@dataclass(frozen=True, slots=True)
class Client:
    """Who signs. key: its private one. now: for tests a standing clock."""

    iss: str
    key: SigningKey = field(repr=False)
    now: Clock
    tenant: str | None = None
    jku: str | None = None
    life_s: int = LIFE_S


@dataclass(frozen=True, slots=True)
class Draft:
    """A token before it is signed. sign: message -> signature."""

    header: dict[str, Any]
    claims: dict[str, Any]
    sign: Callable[[bytes], bytes] = field(repr=False)

    def having(self, part: str, **changes: object) -> "Draft":
        """Return a draft with members of `header` or `claims` set, or left out where the value is None."""
        merged = {name: value for name, value in (getattr(self, part) | changes).items() if value is not None}
        return replace(self, header=merged) if part == "header" else replace(self, claims=merged)

    def text(self) -> str:
        """Return the compact form (RFC 7515 section 7.1)."""
        message = ".".join(base64url.encode(json.dumps(part).encode()) for part in (self.header, self.claims))
        return f"{message}.{base64url.encode(self.sign(message.encode()))}"


def draft(client: Client, url: str) -> Draft:
    """Return a good token for one call of `url`, not yet signed."""
    issued = int(client.now().timestamp())
    algorithm = algorithm_of(client.key)
    header = {"alg": algorithm, "typ": "JWT", "kid": client.key.kid, "jku": client.jku}
    claims = {
        "iss": client.iss,
        "aud": url,
        "iat": issued,
        "exp": issued + client.life_s,
        "jti": str(uuid.uuid4()),
        "tenant": client.tenant,
    }
    empty = Draft({}, {}, _signer(algorithm, client.key))
    return empty.having("header", **header).having("claims", **claims)


def mint(client: Client, url: str, flaw: str | None = None) -> str:
    """Return a signed token for one call of `url`. flaw: a name in FLAWS, or None for a good one."""
    made = draft(client, url)
    if flaw is None or flaw == REPLAYED:
        return made.text()
    if flaw not in FLAWS:
        raise IncorrectInput(f"expected one of {', '.join([REPLAYED, *FLAWS])} as the token's flaw")
    return FLAWS[flaw](made, client).text()


def _signer(algorithm: str, key: Any) -> Callable[[bytes], bytes]:  # noqa: ANN401 - joserfc's keys
    return lambda message: JWSRegistry.algorithms[algorithm].sign(message, key)


def _shifted(made: Draft, **seconds: int) -> Draft:
    return made.having("claims", **{name: made.claims["iat"] + shift for name, shift in seconds.items()})


def _unsigned(made: Draft, spelling: str = "none") -> Draft:
    return replace(made.having("header", alg=spelling), sign=lambda _message: b"")


def _hmac(made: Draft, client: Client) -> Draft:
    """The old confusion: our public key, which everybody has, taken as an HMAC secret."""
    secret = client.key.as_pem(private=False)
    return replace(made.having("header", alg="HS256"), sign=partial(_digest, secret))


def _digest(secret: bytes, message: bytes) -> bytes:
    return hmac.digest(secret, message, hashlib.sha256)


def _flipped(made: Draft) -> Draft:
    def sign(message: bytes) -> bytes:
        signature = bytearray(made.sign(message))
        signature[-1] ^= 1
        return bytes(signature)

    return replace(made, sign=sign)


def _stranger(made: Draft, client: Client) -> Draft:
    algorithm = algorithm_of(client.key)
    return replace(made, sign=_signer(algorithm, new_key(algorithm, str(client.key.kid))))


def _brought_key(made: Draft, client: Client) -> Draft:
    algorithm = algorithm_of(client.key)
    own = new_key(algorithm, "own")
    with_key = made.having("header", jwk=public_set([own])["keys"][0], kid="own")
    return replace(with_key, sign=_signer(algorithm, own))


def _without(part: str, name: str) -> Callable[[Draft, Client], Draft]:
    return lambda made, _client: made.having(part, **{name: None})


def _with(part: str, **changes: object) -> Callable[[Draft, Client], Draft]:
    return lambda made, _client: made.having(part, **changes)


FLAWS: Mapping[str, Callable[[Draft, Client], Draft]] = {
    "expired": lambda made, _: _shifted(made, iat=-1200, exp=-900),
    "not-yet-valid": lambda made, _: _shifted(made, nbf=900),
    "issued-in-the-future": lambda made, _: _shifted(made, iat=900, exp=1200),
    "too-long-life": lambda made, _: _shifted(made, exp=86_400),
    "wrong-aud": _with("claims", aud="https://elsewhere.example/cds-services"),
    "wrong-iss": _with("claims", iss="https://stranger.example"),
    "no-iss": _without("claims", "iss"),
    "no-aud": _without("claims", "aud"),
    "no-exp": _without("claims", "exp"),
    "no-iat": _without("claims", "iat"),
    "no-jti": _without("claims", "jti"),
    "text-exp": lambda made, _: made.having("claims", exp=str(made.claims["exp"])),
    "none-alg": lambda made, _: _unsigned(made),
    "none-alg-in-capitals": lambda made, _: _unsigned(made, "NONE"),
    "hmac-with-public-key": _hmac,
    "no-kid": _without("header", "kid"),
    "unknown-kid": _with("header", kid="nobody-s"),
    "no-typ": _without("header", "typ"),
    "wrong-typ": _with("header", typ="at+jwt"),
    "critical-header": _with("header", crit=["exp"]),
    "foreign-jku": _with("header", jku="https://stranger.example/keys.json", kid="nobody-s"),
    "own-key-in-header": _brought_key,
    "other-key": _stranger,
    "bad-signature": lambda made, _: _flipped(made),
    "no-signature": lambda made, _: replace(made, sign=lambda _message: b""),
}
