"""The door of the FHIR API: whose request it is and what it may do, or a bare 401."""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from clinical.clock import Clock
from clinical.errors import Denied
from fhir_adapters.access import scopes as scopes_
from fhir_adapters.access.access_token import Mint
from fhir_adapters.access.assertion import ClientReason, ClientRefused
from fhir_adapters.access.clients import Clients
from fhir_adapters.access.grant import ANONYMOUS, EMERGENCY, OPERATOR, TREATMENT, Grant, grant_from
from fhir_adapters.access.token_endpoint import Revoked
from fhir_adapters.trust.refusal import Reason, Refusal, Refused
from fhir_adapters.trust.tokens import bearer

MAX_KNOWN = 1024  # access tokens that a process remembers to have checked

Json = Mapping[str, Any]


class Access(Protocol):
    """Who lets callers of the FHIR API in."""

    @property
    def configuration(self) -> Json | None:
        """The smart-configuration, None where no client can have a token."""
        ...

    def admit(self, authorization: str | None, path: str) -> Grant:
        """Return what a caller may do. authorization: its header. Raises Denied (401), Busy."""
        ...

    def grant_of(self, kept: Json) -> Grant | None:
        """Return a grant that was kept (`Grant.as_json`), None when its client may nothing any more."""
        ...


class OpenAccess:
    """Everybody may do everything: the development profile, on loopback."""

    configuration: Json | None = None

    def admit(self, authorization: str | None, path: str) -> Grant:
        """See Access."""
        del authorization, path
        return ANONYMOUS

    def grant_of(self, kept: Json) -> Grant | None:
        """See Access."""
        return grant_from(kept)


OPEN = OpenAccess()


class TokenAccess:
    """Lets in who shows an access token of ours, or the operator's bearer token.

    open_to_all: development; who shows nothing may do everything, but a token that is shown must be good.
    """

    def __init__(
        self,
        *,
        clients: Clients | None,
        mint: Mint,
        revoked: Revoked,
        now: Clock,
        refused: Callable[[Refusal, str], None],
        configuration: Json | None = None,
        bearer: str | None = None,
        open_to_all: bool = False,
    ) -> None:
        self._clients = clients
        self._mint = mint
        self._revoked = revoked
        self._now = now
        self._refused = refused
        self._bearer = None if bearer is None else bearer.encode()
        self._open = open_to_all
        self._known: dict[str, tuple[Grant, float]] = {}
        self.configuration = configuration

    def admit(self, authorization: str | None, path: str) -> Grant:
        """See Access."""
        if authorization is None and self._open:
            return ANONYMOUS
        try:
            shown = bearer(authorization)
            return OPERATOR if self.is_operator(shown) else self._by_token(shown)
        except (Refused, ClientRefused) as refused:
            self._refused(refused, path)
            raise Denied("authentication is required", unauthenticated=True) from None

    def is_operator(self, shown: str) -> bool:
        """Tell whether this is the operator's bearer token."""
        return self._bearer is not None and hmac.compare_digest(shown.encode(), self._bearer)

    def grant_of(self, kept: Json) -> Grant | None:
        """See Access. It is narrowed to what its client may today.

        An emergency ends with its token: a grant that was kept does not pass Consents over.
        """
        grant = grant_from(kept)
        if grant.everything:
            return grant
        client = None if self._clients is None else self._clients.by_id(grant.client_id)
        if client is None:
            return None
        scopes = scopes_.granted(grant.scopes, client.scopes)
        if not scopes or client.patient not in ("", grant.patient):
            return None
        usual = [one for one in client.purposes if one != EMERGENCY]
        purpose = grant.purpose if grant.purpose in usual else next(iter(usual), TREATMENT)
        return replace(grant, scopes=scopes, purpose=purpose, actor=client.actor)

    def _by_token(self, shown: str) -> Grant:
        known = self._known.get(shown)
        grant, expires_at = known or self._read(shown)
        if expires_at <= self._now().timestamp():
            self._known.pop(shown, None)
            raise ClientRefused(Reason.EXPIRED)
        if grant.token_id in self._revoked:
            raise ClientRefused(ClientReason.ACCESS_TOKEN)
        if known is None:
            while len(self._known) >= MAX_KNOWN:
                self._known.pop(next(iter(self._known)), None)
            self._known[shown] = grant, expires_at
        return grant

    def _read(self, shown: str) -> tuple[Grant, float]:
        claims = self._mint.read(shown)
        client = self._clients.by_id(claims["client_id"]) if self._clients and claims else None
        if claims is None or client is None:
            raise ClientRefused(ClientReason.ACCESS_TOKEN)
        grant = Grant(
            who=f"client:{client.name}",
            client_id=client.iss,
            token_id=claims["jti"],
            scopes=scopes_.granted(scopes_.parse_all(claims["scope"]), client.scopes),
            patient=claims.get("patient", ""),
            purpose=claims["purpose"],
            actor=client.actor,
        )
        return grant, float(claims["exp"])
