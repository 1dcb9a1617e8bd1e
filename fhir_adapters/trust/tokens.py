"""A token taken apart: compact JWS (RFC 7515 7.1) with its claims. Nothing is believed here yet.

Strict where a lenient reader would be a second opinion: one spelling of Base64url, no name twice, no extension
that changes what is signed (crit, b64), no key that the token brings along (jwk, x5c, x5u are never looked at).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clinical.errors import IncorrectInput
from fhir_adapters import strict_json
from fhir_adapters.trust import base64url
from fhir_adapters.trust.jwk import MAX_KID, Algorithm
from fhir_adapters.trust.refusal import Reason, Refused

CDS_HOOKS = ("iss", "aud", "exp", "iat", "jti")  # CDS Hooks 3.0, "Trusting CDS Clients"
CLIENT_ASSERTION = ("iss", "sub", "aud", "exp", "jti")  # SMART App Launch 2.2, client-confidential-asymmetric
MAX_TOKEN = 8192  # characters; real ones have 500 to 1,500
MAX_JTI = 512
_MAX_TEXT = 2048
_MAX_AUDIENCES = 16
_LATEST = 253_402_300_800  # year 10000: later times are mistakes, in milliseconds for instance


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says of itself. Times in seconds since 1970 (NumericDate, may have a fraction).

    signed: the bytes that the signature is over.
    """

    algorithm: Algorithm
    kid: str
    jku: str | None
    iss: str
    aud: tuple[str, ...]
    exp: float
    iat: float | None
    nbf: float | None
    jti: str = field(repr=False)
    tenant: str | None
    sub: str | None
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def bearer(authorization: str | None) -> str:
    """Return the token of an Authorization header (RFC 6750 2.1). Raises Refused."""
    if authorization is None or not authorization.strip():
        raise Refused(Reason.NO_TOKEN)
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip(" "):
        raise Refused(Reason.NOT_BEARER)
    return token.strip(" ")


def parse(text: str, required: tuple[str, ...] = CDS_HOOKS) -> Token:
    """Return the parts of a token.

    required: the claims that it must have. Raises Refused for whatever is no such token.
    """
    if len(text) > MAX_TOKEN:
        raise Refused(Reason.TOO_LARGE)
    parts = text.split(".")
    if len(parts) != 3 or not all(parts):
        raise Refused(Reason.NOT_COMPACT)
    header_bytes, payload_bytes, signature = (_decoded(part) for part in parts)
    header = _object(header_bytes, Reason.HEADER_NOT_JSON)
    if "crit" in header or "b64" in header:
        raise Refused(Reason.CRITICAL)
    algorithm = _algorithm(header)
    if header.get("typ") != "JWT":
        raise Refused(Reason.TYPE)
    kid, jku = header.get("kid"), header.get("jku")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise Refused(Reason.KID)
    if jku is not None and not (isinstance(jku, str) and 0 < len(jku) <= _MAX_TEXT):
        raise Refused(Reason.JKU)
    signed = text.rpartition(".")[0].encode("ascii")
    claims = _object(payload_bytes, Reason.PAYLOAD_NOT_JSON)
    if not all(name in claims for name in required):
        raise Refused(Reason.CLAIM_MISSING)
    # What is not asked for is left alone, whatever it is.
    subject = _text(claims["sub"]) if "sub" in required else None
    return _token(claims, algorithm, kid, jku, subject, signed, signature)


def _token(
    claims: Mapping[str, Any],
    algorithm: Algorithm,
    kid: str,
    jku: str | None,
    subject: str | None,
    signed: bytes,
    signature: bytes,
) -> Token:
    return Token(
        algorithm,
        kid,
        jku,
        iss=_text(claims["iss"]),
        aud=_audiences(claims["aud"]),
        exp=_time(claims["exp"]),
        iat=_time(claims["iat"]) if "iat" in claims else None,
        nbf=_time(claims["nbf"]) if "nbf" in claims else None,
        jti=_text(claims["jti"], MAX_JTI),
        tenant=_text(claims["tenant"]) if "tenant" in claims else None,
        sub=subject,
        signed=signed,
        signature=signature,
    )


def _decoded(part: str) -> bytes:
    try:
        return base64url.decode(part)
    except ValueError:
        raise Refused(Reason.NOT_BASE64URL) from None


def _object(data: bytes, reason: Reason) -> dict[str, Any]:
    try:
        return strict_json.load_object(data, max_depth=16)
    except IncorrectInput:
        raise Refused(reason) from None


def _algorithm(header: Mapping[str, Any]) -> Algorithm:
    """Return the algorithm. `none` and HMAC are not among ours, so they cannot be chosen."""
    try:
        return Algorithm(str(header.get("alg")))
    except ValueError:
        raise Refused(Reason.ALGORITHM) from None


def _text(value: object, limit: int = _MAX_TEXT) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise Refused(Reason.CLAIM_MALFORMED)
    return value


def _audiences(value: object) -> tuple[str, ...]:
    """Return `aud`, a string or an array of them (RFC 7519 4.1.3)."""
    values = value if isinstance(value, list) else [value]
    if not 0 < len(values) <= _MAX_AUDIENCES:
        raise Refused(Reason.CLAIM_MALFORMED)
    return tuple(_text(one) for one in values)


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LATEST:
        raise Refused(Reason.CLAIM_MALFORMED)
    return float(value)
