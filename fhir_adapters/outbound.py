"""The network below `fhir_adapters.client`: addresses resolved once, checked, and used; time as a wall.

httpcore is the engine of httpx. Used directly it follows no redirects, reads no proxy or netrc from the
environment, keeps no cookies and unpacks nothing, so each of those needs no switching off here.
"""

# ruff: noqa: ARG002 - the signatures are httpcore's
import contextvars
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpcore

Resolver = Callable[[str, int], Sequence[str]]
MAX_ADDRESSES = 4

_ends_at: contextvars.ContextVar[float] = contextvars.ContextVar("outbound_ends_at")


class AddressRefused(Exception):
    """The name resolved to an address that this server may not have. Nothing was connected."""


def system_resolver(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name in the system's order of preference; OSError when there are none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


@contextmanager
def until(ends_at: float) -> Iterator[None]:
    """Bound everything that this thread does on the network by one moment of `time.monotonic`.

    A timeout for each read would let a peer that sends one byte a second hold a thread for hours.
    """
    token = _ends_at.set(ends_at)
    try:
        yield
    finally:
        _ends_at.reset(token)


def time_left() -> float:
    """Return the seconds until the moment of `until`. Raises httpcore.ReadTimeout when it has passed."""
    left = _ends_at.get() - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout
    return left


class BoundedStream(httpcore.NetworkStream):
    """A connection whose every operation ends at the moment set by `until`."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what has arrived, waiting no longer than the time that is left."""
        return self._inner.read(max_bytes, time_left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send everything within the time that is left."""
        self._inner.write(buffer, time_left())

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Return the encrypted connection; the certificate is checked against the name, not the address."""
        return BoundedStream(self._inner.start_tls(ssl_context, server_hostname, time_left()))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's signature
        """Return what httpcore asks about the connection."""
        return self._inner.get_extra_info(info)


class PinnedBackend(httpcore.NetworkBackend):
    """Connects to addresses that were checked, never to a name that may resolve differently a moment later.

    admits: (host, port, address) -> may this server be at this address?
    """

    def __init__(self, resolve: Resolver, admits: Callable[[str, int, str], bool]) -> None:
        self._resolve = resolve
        self._admits = admits
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Resolve once, check every address, connect to the first that answers."""
        try:
            addresses = self._resolve(host.strip("[]"), port)[:MAX_ADDRESSES]
        except OSError as exc:
            raise httpcore.ConnectError("the name does not resolve") from exc
        # One refused address refuses them all: a name that is half inside is a rebinding attempt.
        if not addresses or not all(self._admits(host, port, address) for address in addresses):
            raise AddressRefused
        return BoundedStream(self._connect(addresses, port))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """Never: no FHIR server is behind a local socket."""
        raise AddressRefused

    def _connect(self, addresses: Sequence[str], port: int) -> httpcore.NetworkStream:
        for address in addresses[:-1]:
            try:
                return self._inner.connect_tcp(address, port, timeout=time_left())
            except httpcore.ConnectError:
                continue
        return self._inner.connect_tcp(addresses[-1], port, timeout=time_left())
