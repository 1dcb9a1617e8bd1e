"""One request to a server that is allowed by configuration, and its answer.

Guarded by `guarded_pool`, with one deadline and a byte cap. A failure says whether the request may have arrived.
"""

import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpcore

from fhir_adapters.allow_list import AllowedServer
from fhir_adapters.guarded_pool import GuardedPool
from fhir_adapters.outbound import AddressRefused, Resolver, system_resolver, until

MAX_BYTES = 32 << 20
NOT_ALLOWED = "the server is not allowed by configuration, or its name leads elsewhere now"
NO_ANSWER = "the server did not answer in time"
UNREACHABLE = "the server could not be reached"
BROKEN = "the server broke the connection"
TOO_LARGE = "the answer of the server is too large"


class NotAnswered(Exception):
    """There is no answer. reason: without address or patient. arrived: whether the request may have."""

    def __init__(self, reason: str, *, arrived: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.arrived = arrived


@dataclass(frozen=True, slots=True)
class Request:
    """body: None for none. headers: with secrets."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """headers: names in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Exchange:
    """Sends requests. Safe for threads; connections are made at first use, per process."""

    def __init__(
        self,
        servers: Sequence[AllowedServer],
        *,
        connections: int = 8,
        resolve: Resolver = system_resolver,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """servers: who may be called. resolve: name -> addresses. tls: trust other than certifi's authorities."""
        self._pool = GuardedPool(servers, connections=connections, resolve=resolve, tls=tls)

    def send(self, request: Request, timeout_s: float) -> Answer:
        """Return the answer, whatever its status. Raises NotAnswered."""
        if not self._pool.allows(request.url):
            raise NotAnswered(NOT_ALLOWED, arrived=False)
        try:
            with until(time.monotonic() + timeout_s):
                return self._answer(request, timeout_s)
        except AddressRefused:
            raise NotAnswered(NOT_ALLOWED, arrived=False) from None
        except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout):
            raise NotAnswered(UNREACHABLE, arrived=False) from None
        except httpcore.TimeoutException:
            raise NotAnswered(NO_ANSWER, arrived=True) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError):
            raise NotAnswered(BROKEN, arrived=True) from None

    def close(self) -> None:
        """Close this process's connections."""
        self._pool.close()

    def _answer(self, request: Request, timeout_s: float) -> Answer:
        headers = {"Accept-Encoding": "identity", **request.headers}
        with self._pool.stream(request.method, request.url, headers.items(), request.body, timeout_s) as response:
            said = {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in response.headers}
            body = bytearray()
            for chunk in response.iter_stream():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise NotAnswered(TOO_LARGE, arrived=True)
            return Answer(response.status, said, bytes(body))
