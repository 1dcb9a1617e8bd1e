"""The way out to rest-hook endpoints: one request, one status, and no more of the answer than that.

Guards as in `fhir_adapters.client` (threat T3): exact origin and path prefix of the configuration, addresses
resolved once, checked and pinned, no redirects, one deadline. An answer's body is not read: the status line has
said everything, and neither an endless body nor a slow one holds the sender.
"""

import logging
import os
import ssl
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import httpcore

from fhir_adapters.allow_list import AllowedServer, admits, find, parse_url
from fhir_adapters.outbound import AddressRefused, PinnedBackend, Resolver, system_resolver, until
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
        self._endpoints, self._connections, self._tls = tuple(endpoints), connections, tls
        self._backend = PinnedBackend(resolve, lambda *at: admits(self._endpoints, *at))
        self._pools: dict[int, httpcore.ConnectionPool] = {}
        # At DEBUG httpcore logs headers, and the subscriber's hold secrets.
        logging.getLogger("httpcore").setLevel(logging.WARNING)

    def send(self, message: Message, timeout_s: float) -> Answer:
        """Send and return what came of it; never raises for what the network or the endpoint does."""
        target = parse_url(message.url)
        if target is None or not any(target.under(one.url) for one in self._endpoints):
            return Answer(None, NOT_ALLOWED)
        headers = [*message.headers, ("Host", _host(message.url)), ("User-Agent", "consilium")]
        try:
            with until(time.monotonic() + timeout_s):
                return self._answer(message, headers, timeout_s)
        except httpcore.TimeoutException:
            return Answer(None, NO_ANSWER)
        except AddressRefused:
            return Answer(None, NOT_ALLOWED)
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError):
            return Answer(None, UNREACHABLE)

    def close(self) -> None:
        """Close this process's connections."""
        pool = self._pools.pop(os.getpid(), None)
        if pool is not None:
            pool.close()

    def _answer(self, message: Message, headers: Iterable[tuple[str, str]], timeout_s: float) -> Answer:
        wire = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        extensions = {"timeout": {"pool": timeout_s}}
        with self._pool().stream(
            message.method, message.url, headers=wire, content=message.body, extensions=extensions
        ) as response:
            return _judged(response.status, response.headers)

    def _pool(self) -> httpcore.ConnectionPool:
        pid = os.getpid()
        if pid not in self._pools:
            encrypted = any(one.url.scheme == "https" for one in self._endpoints)
            pool = httpcore.ConnectionPool(
                ssl_context=self._tls or (httpcore.default_ssl_context() if encrypted else None),
                max_connections=self._connections,
                keepalive_expiry=15.0,
                network_backend=self._backend,
            )
            self._pools.setdefault(pid, pool)
        return self._pools[pid]


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


def _host(url: str) -> str:
    return url.split("/", 3)[2]
