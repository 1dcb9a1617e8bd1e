"""Is this token good, for this call, now? In the order that CDS Hooks gives (J5), cheapest first.

The signature comes late on purpose: what does not even claim to be for us costs no arithmetic. Nothing is
concluded from a claim but a refusal until the signature is good.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import urlsplit

from cds.trust import tokens
from cds.trust.issuer import CertificateUse, IssuerProfile, TrustFile
from cds.trust.jwk import VerifyKey
from cds.trust.refusal import Reason, Refused
from cds.trust.tokens import Token
from clinical.errors import Busy


class Keys(Protocol):
    """Where the keys of issuers are found: `cds.trust.keys.KeyRing`."""

    def candidates(self, profile: IssuerProfile, token: Token) -> tuple[VerifyKey, ...]:
        """Return the keys of an issuer with the token's kid. Raises Busy when none could be fetched yet."""
        ...

    def start(self) -> None:
        """Begin to fetch keys in the background."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that is good but for having been used, and whose it is."""

    token: Token
    profile: IssuerProfile


def verify(
    text: str, trust: TrustFile, keys: Keys, *, url: str, at: datetime, certificate: str | None = None
) -> Verified:
    """Return what a token vouches for.

    text: the compact token. url: the public URL that was called. certificate: SHA-256 of the client's
    certificate, when a trusted proxy passed one on.

    Raises Refused with the first reason.
    """
    token = tokens.parse(text)
    profile = trust.choose(token.iss, token.tenant)
    if profile is None:
        raise Refused(Reason.ISSUER, token=token)
    for reason in claim_problems(token, profile, url=url, at=at, certificate=certificate):
        raise Refused(reason, token=token, profile=profile)
    if (problem := signature_problem(token, profile, keys)) is not None:
        raise Refused(problem, token=token, profile=profile)
    return Verified(token, profile)


def claim_problems(
    token: Token, profile: IssuerProfile, *, url: str, at: datetime, certificate: str | None
) -> Iterator[Reason]:
    """Yield what is wrong with a token before its signature is looked at."""
    if token.algorithm not in profile.algorithms:
        yield Reason.ALGORITHM_OF_ISSUER
    if token.jku is not None and profile.jku and token.jku not in profile.jku:
        yield Reason.JKU_OF_ISSUER
    if profile.certificate_use is CertificateUse.WITH_TOKEN and certificate not in profile.certificates:
        yield Reason.CERTIFICATE
    if not set(token.aud) & audiences(profile, url):
        yield Reason.AUDIENCE
    yield from _time_problems(token, profile, at.timestamp())
    if profile.tenants and token.tenant not in profile.tenants:
        yield Reason.TENANT


def audiences(profile: IssuerProfile, url: str) -> set[str]:
    """Return what a call of `url` may name as its audience: compared letter by letter, as they must be."""
    path = urlsplit(url).path
    at = path.find("/cds-services")
    return {url, *profile.aud_aliases, *(base + path[at:] for base in profile.aud_bases)}


def _time_problems(token: Token, profile: IssuerProfile, now: float) -> Iterator[Reason]:
    leeway = profile.leeway_s
    if token.exp <= now - leeway:
        yield Reason.EXPIRED
    if token.nbf is not None and token.nbf > now + leeway:
        yield Reason.NOT_YET
    if token.iat > now + leeway:
        yield Reason.FROM_THE_FUTURE
    if token.exp <= token.iat:
        yield Reason.BACKWARDS
    # Both by the issuer's clock, so without leeway.
    if token.exp - token.iat > profile.max_life_s:
        yield Reason.LIFE


def signature_problem(token: Token, profile: IssuerProfile, keys: Keys) -> Reason | None:
    """Return what is wrong with the signature, or None."""
    try:
        candidates = keys.candidates(profile, token)
    except Busy:
        return Reason.KEYS_AWAY
    if not candidates:
        return Reason.KEY_UNKNOWN
    fit = [key for key in candidates if key.serves(token.algorithm)]
    if not fit:
        return Reason.KEY_UNFIT
    good = any(key.verifies(token.algorithm, token.signed, token.signature) for key in fit)
    return None if good else Reason.SIGNATURE
