"""Who we are at another server: a registered client with a key pair (SMART App Launch 2.2, backend services).

The private key is a JWK (ES384 or RS384) in a file; its public half is what the other server has registered.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from clinical.errors import IncorrectInput

LIFE_S = 240  # of an assertion; the standard lets it have 300
_LEAST_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key. algorithm: what it signs with. kid: how the other server finds its public half."""

    algorithm: str
    kid: str
    key: ECKey | RSAKey = field(repr=False)

    @property
    def public(self) -> dict[str, Any]:
        """The public half, as it is registered with the other server."""
        said = self.key.as_dict(private=False)
        return {**said, "kid": self.kid, "use": "sig", "alg": self.algorithm}

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return claims as a signed JWT."""
        header = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT"}
        return jwt.encode(header, dict(claims), self.key, algorithms=[self.algorithm])


@dataclass(frozen=True, slots=True)
class Identity:
    """A client of one server. token_url: None: what its smart-configuration says. scope: what is asked for."""

    client_id: str
    key: SigningKey = field(repr=False)
    scope: str
    token_url: str | None = None

    def assertion(self, token_url: str, now_s: int, jti: str) -> str:
        """Return what the token endpoint knows us by (RFC 7523): for it alone, for once, for four minutes."""
        return self.key.sign(
            {
                "iss": self.client_id,
                "sub": self.client_id,
                "aud": token_url,
                "iat": now_s,
                "exp": now_s + LIFE_S,
                "jti": jti,
            }
        )


def signing_key(path: Path) -> SigningKey:
    """Return the private key in a file (JWK). Raises IncorrectInput, without anything of the key."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        kind = said.get("kty") if isinstance(said, dict) else None
        key: ECKey | RSAKey = ECKey.import_key(said) if kind == "EC" else RSAKey.import_key(said)
        private = key.is_private
    except OSError as problem:
        raise IncorrectInput(f"the key file cannot be read ({problem.strerror})") from None
    except (ValueError, TypeError, KeyError, JoseError):
        raise IncorrectInput("the key file holds no JWK of an EC or RSA key") from None
    if not private:
        raise IncorrectInput("the key file holds a public key only")
    if isinstance(key, ECKey) and key.curve_name != "P-384":
        raise IncorrectInput("an EC key is of the curve P-384 (ES384)")
    if isinstance(key, RSAKey) and key.raw_value.key_size < _LEAST_RSA_BITS:
        raise IncorrectInput(f"an RSA key has {_LEAST_RSA_BITS} bits or more (RS384)")
    return SigningKey("ES384" if kind == "EC" else "RS384", str(said.get("kid") or key.thumbprint()), key)


def new_key(kid: str) -> dict[str, Any]:
    """Return a new private key as a JWK, to be written into a key file."""
    return {**ECKey.generate_key("P-384").as_dict(private=True), "kid": kid, "use": "sig", "alg": "ES384"}
