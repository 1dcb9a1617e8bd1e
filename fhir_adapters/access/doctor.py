"""What an operator asks of clients: what one may do, what is wrong with an assertion, who was refused and why.

For the operator alone. An assertion that is examined is not used up, and nothing is fetched unless asked for.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import orjson
from sqlalchemy import select

from fhir_adapters.access.advice import ADVICE
from fhir_adapters.access.assertion import ClientReason, claim_problems
from fhir_adapters.access.clients import Client, Clients
from fhir_adapters.access.refusals import ACTION
from fhir_adapters.trust import tokens
from fhir_adapters.trust.checks import KnownKeys, signature_problem
from fhir_adapters.trust.jwk import KeyUnfit, read_published
from fhir_adapters.trust.key_fetch import KeyFetcher, KeysAway
from fhir_adapters.trust.keys import KeyRing
from fhir_adapters.trust.refusal import Reason, Refused
from fhir_adapters.trust.tokens import Token
from record_store import audit
from record_store.database import Database
from record_store.tables import audit as audit_table

_WORDS = {"c": "create", "r": "read", "u": "update", "d": "delete", "s": "search"}


def described(client: Client) -> Iterator[str]:
    """Yield what a client may do and how it is known, a line each."""
    yield f"client_id {client.iss}"
    keys = ", ".join(key.kid for key in client.keys) or "none in the file"
    yield f"keys {keys}" + "".join(f"; published at {url}" for url in client.jku)
    yield f"signs with {', '.join(sorted(client.algorithms))}; its access tokens live {client.token_life_s} s"
    for scope in client.scopes:
        letters = ", ".join(_WORDS[letter] for letter in scope.permissions)
        what = "everything" if scope.type == "*" else scope.type
        whose = {"patient": client.patient or "the patient whom it names with its request"}.get(scope.context)
        only = "".join(f", only where {name}={value}" for name, value in scope.parameters)
        yield f"{scope}: {letters} {what}" + (f" of {whose}" if whose else "") + only


def key_problem(client: Client) -> str | None:
    """Return what is wrong with the keys that a client publishes, by fetching them."""
    for url in client.jku:
        try:
            if not read_published(KeyFetcher([client]).fetch(url)):
                return "the address shows no key that can be used"
        except (KeysAway, KeyUnfit) as problem:
            return str(problem)
    return None


def examine(
    text: str, clients: Clients, base_url: str, at: datetime, *, fetch_keys: bool = False
) -> tuple[list[str], bool]:
    """Return what is wrong with an assertion, as if it were shown now, and whether it would be let in."""
    try:
        token = tokens.parse(text, tokens.CLIENT_ASSERTION)
    except Refused as refused:
        return [f"  length               {len(text)} characters", *_told(refused.reason)], False
    client = clients.by_id(token.iss)
    lines = [f"  {name:<20} {value}" for name, value in _facts(token, at)]
    reasons: list[Reason | ClientReason] = list(
        claim_problems(token, client, frozenset({f"{base_url}/oauth2/token"}), at)
    )
    if client is not None:
        lines.append(f"  {'entry in the file':<20} {client.name}")
        keys = KeyRing([client], KeyFetcher([client])) if fetch_keys else KnownKeys()
        if not fetch_keys and client.jku and not keys.candidates(client, token):
            lines.append("Not checked: the signature: the client publishes its keys, see --fetch-keys.")
        elif (problem := signature_problem(token, client, keys)) is not None:
            reasons.append(problem)
    for reason in reasons:
        lines += _told(reason)
    if not reasons:
        lines.append("Nothing is wrong with this assertion now: it would be let in, once.")
    return lines, not reasons


def last_refusals(db: Database, count: int) -> list[str]:
    """Return the newest refusals in words, newest first."""
    wanted = select(audit_table).where(audit_table.c.action == ACTION)
    with db.read() as conn:
        rows = conn.execute(wanted.order_by(audit_table.c.row.desc()).limit(count)).all()
    lines: list[str] = []
    for row in rows:
        detail = orjson.loads(row.detail)
        facts = "".join(f", {name} {detail[name]}" for name in ("iss", "alg", "kid", "jti") if name in detail)
        reason = str(detail.get("reason"))
        lines.append(f"{row.at}  {row.actor.removeprefix('client:')} at {row.subject}: {reason}{facts}")
        if detail.get("left_out"):
            lines.append(f"  and {detail['left_out']} more of this kind before it")
        lines += [line for known in ADVICE if known.value == reason for line in _words(known)]
    return lines


def _told(reason: Reason | ClientReason) -> list[str]:
    return [f"Refused: {reason.value}", *_words(reason)]


def _words(reason: Reason | ClientReason) -> list[str]:
    return [f"  {ADVICE[reason].what}", f"  To do: {ADVICE[reason].do}"]


def _facts(token: Token, at: datetime) -> Iterator[tuple[str, str]]:
    yield "signed with", token.algorithm.value
    yield "kid", f"{token.kid} (in the audit: {audit.digest(token.kid)})"
    yield "iss, sub", f"{token.iss}, {token.sub}"
    yield "aud", ", ".join(token.aud)
    if token.iat is not None:
        yield "issued", _when(token.iat, at)
    yield "expires", _when(token.exp, at)
    yield "jti", f"in the audit: {audit.digest(token.jti)}"


def _when(seconds: float, at: datetime) -> str:
    away = seconds - at.timestamp()
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{moment} ({abs(away):.0f} s {'from now' if away > 0 else 'ago'})"
