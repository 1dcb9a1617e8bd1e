"""Key pairs of a client, for tests and for the first hour of an integration. Not for production."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from clinical.errors import IncorrectInput

SigningKey = ECKey | RSAKey
ALGORITHMS = ("ES384", "RS384", "ES256", "RS256")
_CURVE = {"ES384": "P-384", "ES256": "P-256"}
RSA_BITS = 2048


def new_key(algorithm: str, kid: str) -> SigningKey:
    """Return a fresh private key. algorithm: one of ALGORITHMS."""
    about: Any = {"kid": kid, "use": "sig", "alg": algorithm}
    if algorithm in _CURVE:
        return ECKey.generate_key(_CURVE[algorithm], about)
    if algorithm in ALGORITHMS:
        return RSAKey.generate_key(RSA_BITS, about)
    raise IncorrectInput(f"expected one of {', '.join(ALGORITHMS)} as the algorithm")


def public_set(keys: Sequence[SigningKey]) -> dict[str, Any]:
    """Return the JWK Set (RFC 7517) to hand to a service: no private part."""
    return {"keys": [key.as_dict(private=False) for key in keys]}


def private_text(key: SigningKey) -> str:
    """Return the private key as a JWK."""
    return json.dumps(key.as_dict(private=True), indent=2) + "\n"


def load_private(path: Path) -> SigningKey:
    """Return the private key in a JWK file, as `consilium cds keys` writes it. Raises IncorrectInput."""
    try:
        jwk = json.loads(path.read_text(encoding="utf-8"))
        kinds: dict[str, type[ECKey] | type[RSAKey]] = {"EC": ECKey, "RSA": RSAKey}
        key = kinds[jwk["kty"]].import_key(jwk)
    except (OSError, ValueError, KeyError, TypeError, JoseError):
        raise IncorrectInput("expected a readable file with one private key as a JWK of kty EC or RSA") from None
    if not key.is_private or not jwk.get("kid"):
        raise IncorrectInput("the key file holds no private key, or no kid")
    return key


def algorithm_of(key: SigningKey) -> str:
    """Return what the key signs with: what it was made for, else what its kind suggests."""
    named = key.as_dict(private=False).get("alg")
    if isinstance(named, str):
        return named
    curves = {curve: algorithm for algorithm, curve in _CURVE.items()}
    return curves.get(str(key.as_dict(private=False).get("crv")), "RS384")
