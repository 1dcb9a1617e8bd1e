"""The door of the hooks: who calls, or a bare 401. Why somebody was not let in goes to the operator alone."""

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from cds.caller import ANONYMOUS, Caller
from cds.trust import checks, client_certificate
from cds.trust.issuer import CertificateUse, TrustFile
from clinical.clock import Clock
from clinical.errors import Busy, Denied
from fhir_adapters.trust import tokens
from fhir_adapters.trust.checks import Keys
from fhir_adapters.trust.refusal import Reason, Refused
from fhir_adapters.trust.refusal_log import RefusalLog
from record_store.seen_tokens import SeenTokens

BEARER = Caller("bearer-token", "bearer-token")


class TokenDoor:
    """Lets in who shows a good token of a known issuer, once; or a client certificate that is enough by itself."""

    def __init__(self, trust: TrustFile, keys: Keys, seen: SeenTokens, now: Clock, audit: RefusalLog) -> None:
        self._trust = trust
        self._keys = keys
        self._seen = seen
        self._now = now
        self._audit = audit

    def admit(self, headers: Mapping[str, str], url: str, peer: str = "") -> Caller:
        """See cds.stages.Doorkeeper."""
        certificate = client_certificate.fingerprint(headers, peer, self._trust.certificate_header)
        authorization = headers.get("Authorization")
        try:
            alone = self._by_certificate(certificate) if authorization is None else None
            return alone or self._by_token(tokens.bearer(authorization), url, certificate)
        except Refused as refused:
            raise _answered(refused, url, self._audit) from None

    def warm(self) -> None:
        """Begin to fetch the issuers' keys."""
        self._keys.start()

    def _by_certificate(self, certificate: str | None) -> Caller | None:
        for profile in self._trust.issuers:
            if profile.certificate_use is CertificateUse.ALONE and certificate in profile.certificates:
                return profile.caller(None)
        return None

    def _by_token(self, text: str, url: str, certificate: str | None) -> Caller:
        at = self._now()
        good = checks.verify(text, self._trust, self._keys, url=url, at=at, certificate=certificate)
        token, profile = good.token, good.profile
        # The last check, so that only a token that is otherwise good takes up a row.
        expires = datetime.fromtimestamp(token.exp, UTC) + timedelta(seconds=profile.leeway_s)
        if not self._seen.first_use(profile.iss, token.jti, expires_at=expires, now=at):
            raise Refused(Reason.USED, token=token, profile=profile)
        return profile.caller(token.tenant)


class BearerDoor:
    """Lets in who shows the one shared token (CONSILIUM_BEARER_TOKEN): a lock, not an identity."""

    def __init__(self, token: str, audit: RefusalLog) -> None:
        self._token = token.encode()
        self._audit = audit

    def admit(self, headers: Mapping[str, str], url: str, peer: str = "") -> Caller:
        """See cds.stages.Doorkeeper."""
        del peer
        try:
            self._compare(tokens.bearer(headers.get("Authorization")))
        except Refused as refused:
            raise _answered(refused, url, self._audit) from None
        return BEARER

    def warm(self) -> None:
        """Nothing to fetch."""

    def _compare(self, shown: str) -> None:
        if not hmac.compare_digest(shown.encode(), self._token):
            raise Refused(Reason.BEARER)


def _answered(refused: Refused, url: str, audit: RefusalLog) -> Denied | Busy:
    """Record why, and return what the caller is told: nothing, or to come back when it is our keys that lack."""
    audit.record(refused, urlsplit(url).path)
    if refused.reason is Reason.KEYS_AWAY:
        return Busy("callers cannot be checked just now", retry_after_s=15)
    return Denied("authentication is required", unauthenticated=True)


class OpenDoor:
    """Development: everybody is let in, but a token that is shown must be good when issuers are configured."""

    def __init__(self, tokens_door: TokenDoor | None = None) -> None:
        self._tokens_door = tokens_door

    def admit(self, headers: Mapping[str, str], url: str, peer: str = "") -> Caller:
        """See cds.stages.Doorkeeper."""
        if self._tokens_door is None or not headers.get("Authorization"):
            return ANONYMOUS
        return self._tokens_door.admit(headers, url, peer)

    def warm(self) -> None:
        """Begin to fetch the issuers' keys, when there are any."""
        if self._tokens_door is not None:
            self._tokens_door.warm()
