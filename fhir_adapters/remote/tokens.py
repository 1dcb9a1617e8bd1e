"""An access token for one server: asked for once, kept while it lasts, asked for again a little before it ends.

One thread asks; who comes meanwhile uses the old token while that is good, and waits when there is none.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from clinical.clock import Clock
from fhir_adapters.remote.exchange import Answer, Exchange, Request
from fhir_adapters.remote.identity import Identity
from fhir_adapters.remote.problem import RemoteProblem
from fhir_adapters.retry_after import retry_after_s

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MARGIN_S = 60.0  # a token is renewed so long before its end, or when a fifth of its life is left
USUAL_LIFE_S = 300.0
# The words of OAuth that may be repeated (RFC 6749 5.2); anything else came from outside.
_WORDS = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "invalid_scope",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    renew_at: float
    ends_at: float


class AccessTokens:
    """Gives out the token for one server. Safe for threads."""

    def __init__(
        self,
        exchange: Exchange,
        base: str,
        identity: Identity,
        *,
        now: Clock,
        new_id: Callable[[], str],
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """base: of the FHIR server. new_id: makes a jti that was never used. seconds: a clock that never turns."""
        self._exchange, self._base, self._identity = exchange, base.rstrip("/"), identity
        self._now, self._new_id, self._seconds = now, new_id, seconds
        self._asking = threading.Lock()
        self._kept: _Token | None = None
        self._token_url = identity.token_url

    def get(self, timeout_s: float) -> str:
        """Return a token. Raises RemoteProblem when there is none to be had."""
        kept = self._kept
        if kept is not None and self._seconds() < kept.renew_at:
            return kept.text
        good = kept is not None and self._seconds() < kept.ends_at
        if not self._asking.acquire(blocking=not good, timeout=-1 if good else timeout_s):
            if good and kept is not None:
                return kept.text
            raise RemoteProblem("no access token in time", may_pass=True)
        try:
            kept = self._kept
            if kept is None or self._seconds() >= kept.renew_at:
                kept = self._kept = self._ask(timeout_s)
            return kept.text
        finally:
            self._asking.release()

    def forget(self, text: str) -> None:
        """Do not give out this token again: the server refuses it."""
        if self._kept is not None and self._kept.text == text:
            self._kept = None

    def _ask(self, timeout_s: float) -> _Token:
        url = self._token_url or self._discover(timeout_s)
        assertion = self._identity.assertion(url, int(self._now().timestamp()), self._new_id())
        form = {
            "grant_type": "client_credentials",
            "scope": self._identity.scope,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        begun = self._seconds()
        answer = self._exchange.send(Request("POST", url, headers, urlencode(form).encode()), timeout_s)
        said = _object(answer)
        if answer.status != 200:
            raise _refusal(answer, said)
        text, life = said.get("access_token"), said.get("expires_in", USUAL_LIFE_S)
        if not isinstance(text, str) or not text.isascii() or not isinstance(life, int | float) or life <= 0:
            raise RemoteProblem("the token endpoint's answer holds no access token", status=answer.status)
        return _Token(text, begun + life - min(MARGIN_S, life / 5), begun + life)

    def _discover(self, timeout_s: float) -> str:
        """Return the token endpoint that the server names (SMART App Launch 2.2, .well-known)."""
        url = f"{self._base}/.well-known/smart-configuration"
        answer = self._exchange.send(Request("GET", url, {"Accept": "application/json"}), timeout_s)
        found = _object(answer).get("token_endpoint")
        if answer.status != 200 or not isinstance(found, str):
            raise RemoteProblem(
                "the server names no token endpoint", status=answer.status, may_pass=_passes(answer)
            )
        self._token_url = found
        return found


def _refusal(answer: Answer, said: dict[str, Any]) -> RemoteProblem:
    word = said.get("error")
    known = f": {word}" if word in _WORDS else ""
    pause = retry_after_s(answer.headers.get("retry-after", ""))
    reason = f"the token endpoint answered {answer.status}{known}"
    return RemoteProblem(reason, status=answer.status, may_pass=_passes(answer), retry_after_s=pause)


def _passes(answer: Answer) -> bool:
    return answer.status == 429 or answer.status >= 500


def _object(answer: Answer) -> dict[str, Any]:
    try:
        said = json.loads(answer.body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
