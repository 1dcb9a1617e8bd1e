"""Public keys of those who call (RFC 7517), and which of them may check which signature (RFC 7518 3.1).

joserfc reads the keys and does the arithmetic; which keys and algorithms are let in is decided here, because a
library's defaults are made for everybody: HMAC with a public key as its secret, RSA of 512 bits, `none`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

from fhir_adapters.trust import base64url

MAX_KEYS = 100
MAX_KID = 256
_RSA_BITS = range(2048, 8193)
_MAX_EXPONENT = 1 << 32  # a longer one only makes each check slow
_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


class Algorithm(StrEnum):
    """What may sign a token. CDS Hooks recommends the first two; the others are let in issuer by issuer."""

    ES384 = "ES384"
    RS384 = "RS384"
    ES256 = "ES256"
    RS256 = "RS256"
    PS384 = "PS384"
    ES512 = "ES512"


RECOMMENDED = (Algorithm.ES384, Algorithm.RS384)
_CURVE = {Algorithm.ES256: "P-256", Algorithm.ES384: "P-384", Algorithm.ES512: "P-521"}


class KeyUnfit(Exception):
    """A key that cannot be used; the text says why, without the key."""


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """One public key. curve: of an EC key, None for RSA. alg: what the key was published for, when it says so."""

    kid: str
    curve: str | None
    alg: str | None
    key: ECKey | RSAKey = field(repr=False)

    def serves(self, algorithm: Algorithm) -> bool:
        """True when this key may check a signature of that algorithm: the key's kind decides, not the token."""
        return self.curve == _CURVE.get(algorithm) and self.alg in (None, algorithm.value)

    def verifies(self, algorithm: Algorithm, signed: bytes, signature: bytes) -> bool:
        """True when the signature is that of `signed` by this key."""
        return JWSRegistry.algorithms[algorithm.value].verify(signed, signature, self.key)


def read_key(jwk: object) -> VerifyKey:
    """Return the key of one JWK. Raises KeyUnfit."""
    if not isinstance(jwk, dict):
        raise KeyUnfit("a key is a JSON object")
    kid, kty = jwk.get("kid"), jwk.get("kty")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise KeyUnfit(f"a key has a `kid` of 1 to {MAX_KID} characters")
    if _PRIVATE & jwk.keys():
        raise KeyUnfit("a private or secret key does not belong here: whoever reads it can sign")
    if jwk.get("use", "sig") != "sig" or "verify" not in jwk.get("key_ops", ["verify"]):
        raise KeyUnfit("the key is not meant for signatures")
    alg = jwk.get("alg")
    if alg is not None and alg not in set(Algorithm):
        raise KeyUnfit(f"the key is for another algorithm than {', '.join(Algorithm)}")
    if kty == "EC":
        return VerifyKey(kid, str(jwk.get("crv")), alg, _ec(jwk))
    if kty == "RSA":
        return VerifyKey(kid, None, alg, _rsa(jwk))
    raise KeyUnfit("expected a key of kty EC or RSA")


def read_published(document: Mapping[str, Any]) -> tuple[VerifyKey, ...]:
    """Return the usable keys of a published JWK Set; others are none of our business and left out.

    Raises KeyUnfit when it is no key set, has too many keys, or the same key id twice for one kind of key.
    """
    keys = document.get("keys")
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise KeyUnfit(f"expected a JWK Set of at most {MAX_KEYS} keys")
    usable = []
    for jwk in keys:
        try:
            usable.append(read_key(jwk))
        except KeyUnfit:
            continue
    refuse_twins(usable)
    return tuple(usable)


def refuse_twins(keys: Sequence[VerifyKey]) -> None:
    """Raise KeyUnfit when two keys answer to the same name: which one signs would be a guess."""
    names = [(key.kid, key.curve, key.alg) for key in keys]
    if len(set(names)) != len(names):
        raise KeyUnfit("two keys have the same kid")


def _ec(jwk: Mapping[str, Any]) -> ECKey:
    if jwk.get("crv") not in _CURVE.values():
        raise KeyUnfit("expected the curve P-256, P-384 or P-521")
    return cast(ECKey, _imported(ECKey, {"kty": "EC", **{name: jwk.get(name) for name in ("crv", "x", "y")}}))


def _rsa(jwk: Mapping[str, Any]) -> RSAKey:
    # Measured before the key is made: the library warns of short ones and works with all.
    if _integer(jwk.get("n")).bit_length() not in _RSA_BITS:
        raise KeyUnfit(f"expected an RSA key of {_RSA_BITS.start} to {_RSA_BITS.stop - 1} bits")
    if _integer(jwk.get("e")) > _MAX_EXPONENT:
        raise KeyUnfit("the exponent of the RSA key is too large")
    return cast(RSAKey, _imported(RSAKey, {"kty": "RSA", **{name: jwk.get(name) for name in ("n", "e")}}))


def _integer(text: object) -> int:
    try:
        return int.from_bytes(base64url.decode(text if isinstance(text, str) else "!"))
    except ValueError:
        raise KeyUnfit("the key cannot be read") from None


def _imported(kind: type[ECKey] | type[RSAKey], parts: dict[str, Any]) -> ECKey | RSAKey:
    # Only the parts named above go in: certificates and addresses beside a key (x5c, x5u) are not looked at.
    if not all(isinstance(part, str) and len(part) <= 2048 for part in parts.values()):
        raise KeyUnfit("a part of the key is missing or too long")
    try:
        key = kind.import_key(parts)
        key.public_key  # noqa: B018 - a point that is not on its curve is found out here
    except (JoseError, ValueError, TypeError, KeyError):
        raise KeyUnfit("the key cannot be read") from None
    return key
