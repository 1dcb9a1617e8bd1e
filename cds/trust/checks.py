"""Is this token good, for this call, now? In the order that CDS Hooks gives (J5), cheapest first.

The signature comes late on purpose: what does not even claim to be for us costs no arithmetic. Nothing is
concluded from a claim but a refusal until the signature is good.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from cds.trust.issuer import CertificateUse, IssuerProfile, TrustFile
from fhir_adapters.trust import tokens
from fhir_adapters.trust.checks import Keys, signature_problem, time_problems
from fhir_adapters.trust.refusal import Reason, Refused
from fhir_adapters.trust.tokens import Token


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
    yield from time_problems(token, profile, at.timestamp())
    if profile.tenants and token.tenant not in profile.tenants:
        yield Reason.TENANT


def audiences(profile: IssuerProfile, url: str) -> set[str]:
    """Return what a call of `url` may name as its audience: compared letter by letter, as they must be."""
    path = urlsplit(url).path
    at = path.find("/cds-services")
    return {url, *profile.aud_aliases, *(base + path[at:] for base in profile.aud_bases)}
