"""The way out to rest-hook endpoints: one request, one status, and no more of the answer than that.

Guarded by `guarded_pool`, with one deadline. An answer's body is not read: the status line has
said everything, and neither an endless body nor a slow one holds the sender.
"""

import ssl
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import httpcore

from fhir_adapters.allow_list import AllowedServer, find
from fhir_adapters.guarded_pool import GuardedPool
from fhir_adapters.outbound import AddressRefused, Resolver, system_resolver, until
from fhir_adapters.retry_after import retry_after_s

NOT_ALLOWED = "the endpoint is not one of CONSILIUM_SUBSCRIPTION_ENDPOINTS, or its name leads elsewhere now"
NO_ANSWER = "the endpoint did not answer in time"
UNREACHABLE = "the endpoint could not be reached, or broke the connection"
REDIRECTED = "the endpoint answered with a redirect, which is not followed"
GONE = 410
# The endpoint's judgement of this one resource; any other refusal concerns all that is sent to it.
_OF_THE_RESOURCE = frozenset({400, 404, 405, 409, 412, 413, 415, 422})


@dataclass(frozen=True, slots=True)
class Message:
    """One request. headers: with the subscriber's secrets."""

    method: str
    url: str
    body: bytes = field(default=b"", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it. status: HTTP, None without an answer. problem: None exactly when it was taken (2xx)."""

    status: int | None
    problem: str | None
    retry_after_s: float | None = None

    @property
    def of_the_resource(self) -> bool:
        """True when other resources may be taken although this one is not."""
        return self.status in _OF_THE_RESOURCE


class RestHook:
    """Sends messages. Safe for threads; connections are made at first use, per process."""

    def __init__(
        self,
        endpoints: Sequence[AllowedServer],
        *,
        connections: int = 16,
        resolve: Resolver = system_resolver,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """endpoints: the allow-list. resolve: name -> addresses. tls: trust other than certifi's authorities."""
        self._pool = GuardedPool(endpoints, connections=connections, resolve=resolve, tls=tls)

    def send(self, message: Message, timeout_s: float) -> Answer:
        """Send and return what came of it; never raises for what the network or the endpoint does."""
        if not self._pool.allows(message.url):
            return Answer(None, NOT_ALLOWED)
        try:
            with until(time.monotonic() + timeout_s):
                return self._answer(message, timeout_s)
        except httpcore.TimeoutException:
            return Answer(None, NO_ANSWER)
        except AddressRefused:
            return Answer(None, NOT_ALLOWED)
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError):
            return Answer(None, UNREACHABLE)

    def close(self) -> None:
        """Close this process's connections."""
        self._pool.close()

    def _answer(self, message: Message, timeout_s: float) -> Answer:
        with self._pool.stream(message.method, message.url, message.headers, message.body, timeout_s) as response:
            return _judged(response.status, response.headers)


def allowed(endpoints: Sequence[AllowedServer], endpoint: str) -> bool:
    """Return whether an endpoint lies under one of the configured ones."""
    return find(endpoints, endpoint) is not None


def _judged(status: int, headers: Iterable[tuple[bytes, bytes]]) -> Answer:
    if 200 <= status < 300:
        return Answer(status, None)
    if 300 <= status < 400:
        return Answer(status, REDIRECTED)
    said = {name.lower(): value.decode("latin-1") for name, value in headers}
    return Answer(status, f"the endpoint answered {status}", retry_after_s(said.get(b"retry-after", "")))
