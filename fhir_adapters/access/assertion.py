"""A client's assertion of who it is (SMART 2.2 client-confidential-asymmetric, RFC 7523): good, once, or refused.

Cheapest checks first; whether the assertion was used before is asked last, of the store that all workers share, by
one insert, so that only one that is otherwise good takes up a row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from fhir_adapters.access.clients import Client, Clients
from fhir_adapters.trust import tokens
from fhir_adapters.trust.checks import Keys, signature_problem, time_problems
from fhir_adapters.trust.refusal import Reason, Refused
from fhir_adapters.trust.tokens import Token
from record_store.seen_tokens import SeenTokens

USES = "fhir-client"  # before the client's id: an issuer of the hooks may have the same


class ClientReason(StrEnum):
    """Why a request to the token endpoint is refused, besides what is wrong with any token (`Reason`)."""

    REQUEST = "request-malformed"
    GRANT_TYPE = "grant-type"
    ASSERTION_TYPE = "assertion-type"
    CLIENT_ID = "client-id-differs"
    SUBJECT = "sub-not-iss"
    CLIENT = "client-unknown"
    ALGORITHM_OF_CLIENT = "algorithm-not-of-client"
    SCOPE = "scope"
    PATIENT = "patient"
    PURPOSE = "purpose"
    ACCESS_TOKEN = "access-token"  # noqa: S105 - no password


class ClientRefused(Exception):
    """A request is refused; as `Refused`, with its own reasons too. token, profile: as far as they were known."""

    def __init__(
        self, reason: Reason | ClientReason, *, token: Token | None = None, profile: Client | None = None
    ) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.token = token
        self.profile = profile


@dataclass(frozen=True, slots=True)
class Doorkeeping:
    """What assertions are checked with."""

    clients: Clients
    keys: Keys
    seen: SeenTokens


def authenticated(
    text: str, audiences: frozenset[str], parts: Doorkeeping, at: datetime, *, client_id: str | None = None
) -> Client:
    """Return the client that an assertion is of, and use the assertion up.

    audiences: what its `aud` may be, letter by letter. client_id: what the request says besides.
    Raises ClientRefused with the first reason, Busy when the store is away.
    """
    token, client = verified(text, audiences, parts.clients, parts.keys, at, client_id=client_id)
    expires = datetime.fromtimestamp(token.exp, UTC) + timedelta(seconds=client.leeway_s)
    if not parts.seen.first_use(f"{USES}\x1f{client.iss}", token.jti, expires_at=expires, now=at):
        raise ClientRefused(Reason.USED, token=token, profile=client)
    return client


def verified(
    text: str,
    audiences: frozenset[str],
    clients: Clients,
    keys: Keys,
    at: datetime,
    *,
    client_id: str | None = None,
) -> tuple[Token, Client]:
    """Return an assertion that is good but for having been used, and its client. Raises ClientRefused."""
    try:
        token = tokens.parse(text, tokens.CLIENT_ASSERTION)
    except Refused as refused:
        raise ClientRefused(refused.reason) from None
    client = clients.by_id(token.iss)
    for reason in claim_problems(token, client, audiences, at, client_id=client_id):
        raise ClientRefused(reason, token=token, profile=client)
    if client is None:
        raise ClientRefused(ClientReason.CLIENT, token=token)
    if (problem := signature_problem(token, client, keys)) is not None:
        raise ClientRefused(problem, token=token, profile=client)
    return token, client


def claim_problems(
    token: Token, client: Client | None, audiences: frozenset[str], at: datetime, *, client_id: str | None = None
) -> Iterator[Reason | ClientReason]:
    """Yield what is wrong with an assertion before its signature is looked at."""
    if token.sub != token.iss:
        yield ClientReason.SUBJECT
    if client_id is not None and client_id != token.iss:
        yield ClientReason.CLIENT_ID
    if client is None:
        yield ClientReason.CLIENT
        return
    if token.algorithm not in client.algorithms:
        yield ClientReason.ALGORITHM_OF_CLIENT
    if token.jku is not None and client.jku and token.jku not in client.jku:
        yield Reason.JKU_OF_ISSUER
    if not set(token.aud) <= audiences:
        yield Reason.AUDIENCE
    yield from time_problems(token, client, at.timestamp())
