"""Our access tokens (RFC 9068 in shape): signed by us, short-lived, for our FHIR base alone.

HMAC-SHA-256 under a key derived from the server's secret, because nobody but this server ever reads them: every
worker on every machine checks one in microseconds and without a look into the database.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from fhir_adapters.access import scopes as scopes_
from fhir_adapters.access.grant import Grant
from fhir_adapters.trust import base64url

MAX_ACCESS_TOKEN = 16_384  # characters: a request's header has 16 kB
_HEADER = base64url.encode(b'{"alg":"HS256","typ":"at+jwt"}')


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What one says. Times in seconds since 1970. grant: as it was when the token was made."""

    grant: Grant
    issued_at: int
    expires_at: int


class Mint:
    """Makes access tokens and reads them.

    key: of this purpose alone. issuer: our base URL. audience: the FHIR base URL that they open.
    """

    def __init__(self, key: bytes, *, issuer: str, audience: str) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience

    def make(self, token: AccessToken) -> str:
        """Return the text of a token."""
        grant = token.grant
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": grant.client_id,
            "client_id": grant.client_id,
            "iat": token.issued_at,
            "exp": token.expires_at,
            "jti": grant.token_id,
            "scope": scopes_.text_of(grant.scopes),
            "purpose": grant.purpose,
            **({"patient": grant.patient} if grant.patient else {}),
        }
        signed = f"{_HEADER}.{base64url.encode(orjson.dumps(claims))}"
        return f"{signed}.{base64url.encode(self._signature(signed))}"

    def read(self, text: str) -> Mapping[str, Any] | None:
        """Return the claims of a token that we made for our FHIR base, None for anything else. Times unchecked."""
        if len(text) > MAX_ACCESS_TOKEN:
            return None
        signed, _, signature = text.rpartition(".")
        header, _, payload = signed.partition(".")
        if header != _HEADER:
            return None
        try:
            # The signature first: what we did not write is not read.
            if not hmac.compare_digest(base64url.decode(signature), self._signature(signed)):
                return None
            claims: dict[str, Any] = orjson.loads(base64url.decode(payload))
        except ValueError:
            return None
        ours = claims.get("iss") == self._issuer and claims.get("aud") == self._audience
        return claims if ours else None

    def _signature(self, signed: str) -> bytes:
        return hmac.digest(self._key, signed.encode("utf-8", "replace"), hashlib.sha256)
