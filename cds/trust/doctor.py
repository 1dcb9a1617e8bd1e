"""What an operator asks when a client says "401": what was wrong with a token, and what to do.

For the operator alone, on the operator's machine: a caller never hears any of it. A token that is examined here is
not used up, and nothing is fetched unless asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from sqlalchemy import select

from cds.trust import checks
from cds.trust.advice import ADVICE, Advice
from cds.trust.issuer import TrustFile
from fhir_adapters.trust import tokens
from fhir_adapters.trust.checks import Keys, KnownKeys, signature_problem
from fhir_adapters.trust.refusal import Reason, Refused
from fhir_adapters.trust.refusal_log import ACTION
from fhir_adapters.trust.tokens import Token
from record_store import audit
from record_store.database import Database
from record_store.tables import audit as audit_table


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found. facts: name and value, in the order in which they matter.

    reasons: why it would be refused; none: it would be let in, once. unchecked: what could not be looked at.
    """

    facts: tuple[tuple[str, str], ...]
    reasons: tuple[Reason, ...]
    unchecked: tuple[str, ...] = ()

    @property
    def advice(self) -> tuple[Advice, ...]:
        """The words for each reason."""
        return tuple(ADVICE[reason] for reason in self.reasons)


@dataclass(frozen=True, slots=True)
class PastRefusal:
    """One refusal of the audit. left_out: how many of its kind were not written since the one before."""

    at: str
    client: str
    called: str
    reason: str
    facts: tuple[tuple[str, str], ...]
    left_out: int

    @property
    def advice(self) -> Advice | None:
        """The words for it; None for a reason of another version."""
        return ADVICE[Reason(self.reason)] if self.reason in set(Reason) else None


def examine(
    text: str, trust: TrustFile, *, base_url: str, url: str | None, at: datetime, keys: Keys | None = None
) -> Examined:
    """Return everything that is wrong with a token, as if it were shown now.

    text: the token, with or without "Bearer". url: what it was shown at; None takes whichever of our addresses it
    names. keys: who fetches published keys; None fetches nothing. Certificates are not looked at.
    """
    text = text.strip().removeprefix("Bearer ").strip()
    try:
        token = tokens.parse(text)
    except Refused as refused:
        return Examined((("length", f"{len(text)} characters"),), (refused.reason,))
    profile = trust.choose(token.iss, token.tenant)
    if profile is None:
        known = ", ".join(sorted({one.iss for one in trust.issuers}))
        return Examined((*_facts(token, at), ("issuers in the file", known)), (Reason.ISSUER,))
    called = url or _address_of(token, base_url)
    certificate = min(profile.certificates, default=None)
    reasons = list(checks.claim_problems(token, profile, url=called, at=at, certificate=certificate))
    facts = (*_facts(token, at), ("entry in the file", profile.name), ("address called", called))
    unchecked = ["the client certificate"] if profile.certificate_use else []
    if keys is None and profile.jku and not KnownKeys().candidates(profile, token):
        unchecked.append("the signature: the issuer publishes its keys, see --fetch-keys")
    elif (problem := signature_problem(token, profile, keys or KnownKeys())) is not None:
        reasons.append(problem)
    return Examined(facts, tuple(reasons), tuple(unchecked))


def last_refusals(db: Database, count: int) -> Sequence[PastRefusal]:
    """Return the newest refusals, newest first."""
    wanted = (
        select(audit_table).where(audit_table.c.action == ACTION).order_by(audit_table.c.row.desc()).limit(count)
    )
    with db.read() as conn:
        rows = conn.execute(wanted).all()
    return [_past(row.at, row.actor, row.subject, orjson.loads(row.detail)) for row in rows]


def _past(at: str, actor: str, subject: str, detail: dict[str, object]) -> PastRefusal:
    facts = tuple((name, str(detail[name])) for name in ("iss", "alg", "kid", "jti") if name in detail)
    left_out = detail.get("left_out", 0)
    return PastRefusal(
        at,
        actor.removeprefix("client:"),
        subject,
        str(detail.get("reason")),
        facts,
        left_out if isinstance(left_out, int) else 0,
    )


def _address_of(token: Token, base_url: str) -> str:
    ours = f"{base_url}/cds-services"
    return next((aud for aud in token.aud if aud == ours or aud.startswith(ours + "/")), ours)


def _facts(token: Token, at: datetime) -> Iterator[tuple[str, str]]:
    yield "signed with", token.algorithm.value
    yield "kid", f"{token.kid} (in the audit: {audit.digest(token.kid)})"
    if token.jku:
        yield "jku", token.jku
    yield "iss", token.iss
    yield "aud", ", ".join(token.aud)
    issued = token.exp if token.iat is None else token.iat
    yield "issued", _when(issued, at)
    if token.nbf is not None:
        yield "not before", _when(token.nbf, at)
    yield "expires", f"{_when(token.exp, at)}, life {token.exp - issued:g} s"
    if token.tenant:
        yield "tenant", token.tenant
    yield "jti", f"in the audit: {audit.digest(token.jti)}"


def _when(seconds: float, at: datetime) -> str:
    away = seconds - at.timestamp()
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{moment} ({abs(away):.0f} s {'from now' if away > 0 else 'ago'})"
