"""The token endpoint: an assertion in, an access token out (SMART 2.2 backend-services, RFC 6749 4.4).

Introspection (RFC 7662) and revocation (RFC 7009) know the same callers. What a client is told when it is refused
is one word of OAuth; why is told to the operator.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from clinical.clock import Clock
from clinical.errors import Busy
from fhir_adapters.access import scopes as scopes_
from fhir_adapters.access.access_token import AccessToken, Mint
from fhir_adapters.access.assertion import ClientReason, ClientRefused, Doorkeeping, authenticated
from fhir_adapters.access.clients import Client
from fhir_adapters.access.grant import Grant
from fhir_adapters.access.oauth import ASSERTION_TYPE, OAuthError, fields_of
from fhir_adapters.access.restriction import problem_of
from fhir_adapters.access.scopes import Scope, ScopeMalformed
from fhir_adapters.search.index import ID
from fhir_adapters.trust.refusal import Reason, Refusal

Pairs = Sequence[tuple[str, str]]
Json = dict[str, Any]
Answer = TypeVar("Answer")

# What OAuth calls a refusal; what is not here means that the client is not who it says.
_ERROR: Mapping[Reason | ClientReason, str] = {
    ClientReason.REQUEST: "invalid_request",
    ClientReason.PATIENT: "invalid_request",
    ClientReason.PURPOSE: "invalid_request",
    ClientReason.GRANT_TYPE: "unsupported_grant_type",
    ClientReason.SCOPE: "invalid_scope",
}


class Revoked(Protocol):
    """The tokens that were called back: `record_store.revoked_tokens.RevokedTokens`."""

    def add(self, token_id: str, expires_at: datetime) -> None:
        """Call a token back."""

    def __contains__(self, token_id: str) -> bool:
        """Tell whether it was."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The endpoint's collaborators.

    url: of the token endpoint, as assertions name it.
    refused: told of every refusal and the path. issued: told of every access token, before it is given out.
    """

    url: str
    parts: Doorkeeping
    mint: Mint
    revoked: Revoked
    now: Clock
    new_id: Callable[[], str]
    refused: Callable[[Refusal, str], None]
    issued: Callable[[Client, Grant], None]


def token(endpoint: Endpoint, pairs: Pairs) -> Json:
    """Return the answer to a request for an access token. Raises OAuthError."""
    return _guarded(endpoint, "token", lambda: _token(endpoint, pairs))


def introspection(endpoint: Endpoint, pairs: Pairs, *, operator: bool = False) -> Json:
    """Return what a token is worth; of one that the caller may not know of, that it is not active.

    operator: the caller has shown the operator's bearer token and needs no assertion. Raises OAuthError.
    """
    return _guarded(endpoint, "introspect", lambda: _introspection(endpoint, pairs, operator=operator))


def revocation(endpoint: Endpoint, pairs: Pairs) -> None:
    """Call one of the client's own tokens back; nothing to do for other text (RFC 7009 2.2). Raises OAuthError."""
    _guarded(endpoint, "revoke", lambda: _revocation(endpoint, pairs))


def _guarded(endpoint: Endpoint, what: str, work: Callable[[], Answer]) -> Answer:
    try:
        return work()
    except ClientRefused as refused:
        endpoint.refused(refused, f"/oauth2/{what}")
        if refused.reason is Reason.KEYS_AWAY:
            raise OAuthError("temporarily_unavailable", 503, retry_after_s=15) from None
        error = _ERROR.get(refused.reason, "invalid_client")
        raise OAuthError(error, 401 if error == "invalid_client" else 400) from None
    except Busy as busy:
        raise OAuthError("temporarily_unavailable", 503, retry_after_s=busy.retry_after_s) from None


def _token(endpoint: Endpoint, pairs: Pairs) -> Json:
    form = _form(pairs)
    if form.get("grant_type") is None:
        raise ClientRefused(ClientReason.REQUEST)
    if form["grant_type"] != "client_credentials":
        raise ClientRefused(ClientReason.GRANT_TYPE)
    at = endpoint.now()
    client = _client(endpoint, form, frozenset({endpoint.url}), at)
    return issue(endpoint, client, form, at)


def issue(endpoint: Endpoint, client: Client, form: Mapping[str, str], at: datetime) -> Json:
    """Return the answer to a client that is known. form: scope, and patient and purpose where it names them.

    Raises ClientRefused.
    """
    grant = _grant(endpoint, client, form)
    made = AccessToken(grant, int(at.timestamp()), int(at.timestamp()) + client.token_life_s)
    endpoint.issued(client, grant)
    answer: Json = {
        "access_token": endpoint.mint.make(made),
        "token_type": "bearer",
        "expires_in": client.token_life_s,
        "scope": scopes_.text_of(grant.scopes),
    }
    return answer | ({"patient": grant.patient} if grant.patient else {})


def _grant(endpoint: Endpoint, client: Client, form: Mapping[str, str]) -> Grant:
    scopes = _scopes(client, form.get("scope", ""))
    purpose = form.get("purpose", client.purposes[0])
    if purpose not in client.purposes:
        raise ClientRefused(ClientReason.PURPOSE, profile=client)
    return Grant(
        who=f"client:{client.name}",
        client_id=client.iss,
        token_id=endpoint.new_id(),
        scopes=scopes,
        patient=_patient(client, form.get("patient"), scopes),
        purpose=purpose,
        actor=client.actor,
    )


def _scopes(client: Client, asked: str) -> tuple[Scope, ...]:
    try:
        asked_for = scopes_.parse_all(asked)
    except ScopeMalformed:
        raise ClientRefused(ClientReason.SCOPE, profile=client) from None
    # One that cannot be held to is not granted: it would let through more than it says.
    scopes = tuple(one for one in scopes_.granted(asked_for, client.scopes) if problem_of(one) is None)
    # A token that a header cannot carry would be refused by whoever reads headers, without a reason.
    if not scopes or len(scopes) > scopes_.MAX_SCOPES:
        raise ClientRefused(ClientReason.SCOPE, profile=client)
    return scopes


def _patient(client: Client, asked: str | None, scopes: Sequence[Scope]) -> str:
    """Return the patient whom the token's patient/ scopes are about; "" when it has none."""
    if not any(scope.context == "patient" for scope in scopes):
        if asked is not None:
            raise ClientRefused(ClientReason.PATIENT, profile=client)
        return ""
    wanted = asked or client.patient
    if not ID.fullmatch(wanted) or (client.patient and wanted != client.patient):
        raise ClientRefused(ClientReason.PATIENT, profile=client)
    return wanted


def _introspection(endpoint: Endpoint, pairs: Pairs, *, operator: bool) -> Json:
    form = _form(pairs)
    caller = None if operator else _client(endpoint, form, _beside(endpoint, "introspect"), endpoint.now())
    claims = endpoint.mint.read(_shown(form))
    if claims is None or claims["exp"] <= endpoint.now().timestamp() or claims["jti"] in endpoint.revoked:
        return {"active": False}
    if caller is not None and not caller.introspect and claims["client_id"] != caller.iss:
        return {"active": False}
    names = ("scope", "client_id", "exp", "iat", "sub", "aud", "iss", "jti", "patient")
    return {"active": True, "token_type": "bearer"} | {name: claims[name] for name in names if name in claims}


def _revocation(endpoint: Endpoint, pairs: Pairs) -> None:
    form = _form(pairs)
    caller = _client(endpoint, form, _beside(endpoint, "revoke"), endpoint.now())
    claims = endpoint.mint.read(_shown(form))
    if claims is not None and claims["client_id"] == caller.iss:
        # A minute longer, for machines whose clocks are behind.
        expires = datetime.fromtimestamp(claims["exp"], UTC) + timedelta(minutes=1)
        endpoint.revoked.add(str(claims["jti"]), expires)


def _form(pairs: Pairs) -> dict[str, str]:
    form = fields_of(pairs)
    if form is None or "client_secret" in form:
        raise ClientRefused(ClientReason.REQUEST)
    return form


def _shown(form: Mapping[str, str]) -> str:
    if "token" not in form:
        raise ClientRefused(ClientReason.REQUEST)
    return form["token"]


def _client(endpoint: Endpoint, form: Mapping[str, str], audiences: frozenset[str], at: datetime) -> Client:
    if "client_assertion" not in form:
        raise ClientRefused(Reason.NO_TOKEN)
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise ClientRefused(ClientReason.ASSERTION_TYPE)
    return authenticated(form["client_assertion"], audiences, endpoint.parts, at, client_id=form.get("client_id"))


def _beside(endpoint: Endpoint, name: str) -> frozenset[str]:
    """Return the audiences of the endpoint's kin: its own address, or that of the token endpoint."""
    return frozenset({endpoint.url, f"{endpoint.url.rpartition('/')[0]}/{name}"})
