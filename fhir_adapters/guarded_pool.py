"""Connections to servers that are allowed by configuration, kept open for each process (threats T3, T20).

Exact origin, addresses resolved once, checked and pinned; no redirects are followed, and what a request may take
in time is the caller's to say (`outbound.until`).
"""

import logging
import os
import ssl
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

import httpcore

from fhir_adapters.allow_list import AllowedServer, admits, parse_url
from fhir_adapters.outbound import PinnedBackend, Resolver

_KEPT_OPEN_S = 15.0
Headers = Iterable[tuple[str, str]]


class GuardedPool:
    """Safe for threads, and over a fork: connections are made at first use, per process."""

    def __init__(
        self,
        servers: Sequence[AllowedServer],
        *,
        connections: int,
        resolve: Resolver,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """servers: who may be called. resolve: name -> addresses. tls: trust other than certifi's authorities."""
        self._servers, self._connections, self._tls = tuple(servers), connections, tls
        self._backend = PinnedBackend(resolve, lambda *at: admits(self._servers, *at))
        self._pools: dict[int, httpcore.ConnectionPool] = {}
        # At DEBUG httpcore logs headers: tokens, subscribers' secrets, and a Location that names the patient.
        logging.getLogger("httpcore").setLevel(logging.WARNING)

    def allows(self, url: str) -> bool:
        """Return whether a URL lies under one of the servers."""
        target = parse_url(url)
        return target is not None and any(target.under(one.url) for one in self._servers)

    def stream(
        self, method: str, url: str, headers: Headers, body: bytes | None, timeout_s: float
    ) -> AbstractContextManager[httpcore.Response]:
        """Send a request to a server that `allows` has found; yield its answer with the body unread.

        headers: besides Host and User-Agent. timeout_s: for a free connection. Raises what httpcore raises, and
        AddressRefused; within `until`.
        """
        every = [("Host", url.split("/", 3)[2]), ("User-Agent", "consilium"), *headers]
        wire = [(name.encode(), text.encode("latin-1")) for name, text in every]
        return self._pool().stream(
            method, url, headers=wire, content=body, extensions={"timeout": {"pool": timeout_s}}
        )

    def close(self) -> None:
        """Close this process's connections."""
        pool = self._pools.pop(os.getpid(), None)
        if pool is not None:
            pool.close()

    def _pool(self) -> httpcore.ConnectionPool:
        pid = os.getpid()
        if pid not in self._pools:
            encrypted = any(one.url.scheme == "https" for one in self._servers)
            pool = httpcore.ConnectionPool(
                # Made once: httpcore would read the authorities again for every connection.
                ssl_context=self._tls or (httpcore.default_ssl_context() if encrypted else None),
                max_connections=self._connections,
                keepalive_expiry=_KEPT_OPEN_S,
                network_backend=self._backend,
            )
            self._pools.setdefault(pid, pool)
        return self._pools[pid]
