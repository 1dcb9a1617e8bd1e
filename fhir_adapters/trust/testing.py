"""A client that signs tokens, good and bad, and a place for its keys. For tests; nothing here runs in a server.

Written apart from what reads tokens: Base64 and JSON are the standard library's.
"""

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

from fhir_adapters.trust.key_fetch import KeysAway

_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


def part(value: object) -> str:
    """Return one part of a compact token: JSON of a value, or bytes as they are."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    """A key pair and what it signs. jwk: the public key, with its kid."""

    def __init__(self, kid: str, algorithm: str = "ES384") -> None:
        self.kid = kid
        self.algorithm = algorithm
        curve = _CURVES.get(algorithm)
        self.key = ECKey.generate_key(curve) if curve else RSAKey.generate_key(2048)
        self.jwk: dict[str, Any] = self.key.as_dict(private=False) | {"kid": kid, "use": "sig"}

    def signature(self, signed: str, algorithm: str | None = None) -> bytes:
        """Return the signature of `header.payload`."""
        return JWSRegistry.algorithms[algorithm or self.algorithm].sign(signed.encode(), self.key)

    def token(self, claims: object, header: object | None = None, *, algorithm: str | None = None) -> str:
        """Return a compact token. header: instead of the usual one."""
        usual = {"alg": algorithm or self.algorithm, "typ": "JWT", "kid": self.kid}
        signed = f"{part(usual if header is None else header)}.{part(claims)}"
        return f"{signed}.{part(self.signature(signed, algorithm))}"


def claims(iss: str, aud: object, at: datetime, jti: str, **changes: object) -> dict[str, object]:
    """Return the claims of a good token of 300 s; a change to None leaves a claim out."""
    issued = int(at.timestamp())
    usual = {"iss": iss, "aud": aud, "iat": issued, "exp": issued + 300, "jti": jti}
    return {name: value for name, value in (usual | changes).items() if value is not None}


class CannedFetcher:
    """Publishes key sets from a table; an address that is not in it is away. asked: what was fetched, in order."""

    def __init__(self, sets: Mapping[str, object]) -> None:
        self.sets = dict(sets)
        self.asked: list[str] = []

    def fetch(self, url: str) -> dict[str, Any]:
        """Return a JWK Set. Raises KeysAway."""
        self.asked.append(url)
        document = self.sets.get(url)
        if not isinstance(document, dict):
            raise KeysAway("the server could not be reached")
        return document
