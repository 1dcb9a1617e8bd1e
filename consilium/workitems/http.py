"""One HTTP request to a worklist or an archive of the settings, over the guarded network of STOW-RS."""

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import httpcore

from consilium.stowing import may_be_an_archive
from dicom_node.query.scu import Unanswered
from fhir_adapters.outbound import AddressRefused, PinnedBackend, Resolver, system_resolver, time_left, until

SILENT_S = 30.0


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """headers: names in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def header(self, name: str) -> str:
        """Return a header, "" when there is none."""
        return self.headers.get(name, "")


@dataclass(frozen=True, slots=True)
class HttpStream:
    """An answer that is still coming. who: see `Http`."""

    who: str
    _answer: httpcore.Response = field(repr=False)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._answer.status

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case."""
        return {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in self._answer.headers}

    def pieces(self, most_bytes: int) -> Iterator[bytes]:
        """Yield the body. Raises Unanswered when it is larger, or nothing comes for SILENT_S."""
        size, stream = 0, iter(self._answer.iter_stream())
        while True:
            with until(min(time.monotonic() + SILENT_S, time.monotonic() + time_left())):
                piece = next(stream, None)
            if piece is None:
                return
            size += len(piece)
            if size > most_bytes:
                raise Unanswered(f"the {self.who}'s answer is too large")
            yield piece


@dataclass(frozen=True, slots=True)
class Http:
    """How a server is asked. token: sent as a bearer token. who: what it is called in words."""

    who: str
    token: str | None = field(default=None, repr=False)
    resolve: Resolver = system_resolver
    tls: ssl.SSLContext | None = None

    def send(
        self,
        method: str,
        url: str,
        *,
        accept: str,
        deadline_s: float,
        most_bytes: int,
        content: tuple[str, bytes] | None = None,
    ) -> HttpAnswer:
        """Return the answer, whatever its status. content: media type and bytes. Raises Unanswered."""
        with self.open(method, url, accept=accept, deadline_s=deadline_s, content=content) as answer:
            return HttpAnswer(answer.status, answer.headers, b"".join(answer.pieces(most_bytes)))

    @contextmanager
    def open(
        self, method: str, url: str, *, accept: str, deadline_s: float, content: tuple[str, bytes] | None = None
    ) -> Iterator["HttpStream"]:
        """Yield an answer whose body is still coming, as `send`; what the network does raises Unanswered there."""
        headers = [("Accept", accept), ("Accept-Encoding", "identity"), ("User-Agent", "consilium")]
        if content is not None:
            headers += [("Content-Type", content[0]), ("Content-Length", str(len(content[1])))]
        if self.token is not None:
            headers.append(("Authorization", f"Bearer {self.token}"))
        wire = [(name.encode(), text.encode("latin-1")) for name, text in headers]
        try:
            with (
                until(time.monotonic() + deadline_s),
                self._pool(url) as pool,
                pool.stream(method, url, headers=wire, content=content[1] if content else None) as answer,
            ):
                yield HttpStream(self.who, answer)
        except AddressRefused:
            raise Unanswered(f"the {self.who}'s name leads to an address that none has") from None
        except httpcore.TimeoutException:
            raise Unanswered(f"the {self.who} did not answer in time") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError):
            raise Unanswered("no connection") from None

    def _pool(self, url: str) -> httpcore.ConnectionPool:
        context = self.tls or (_authorities() if url.startswith("https:") else None)
        backend = PinnedBackend(self.resolve, may_be_an_archive)
        return httpcore.ConnectionPool(ssl_context=context, max_connections=1, network_backend=backend)


@cache
def _authorities() -> ssl.SSLContext:
    # Made once: it is read from files, and a study is fetched with a request for each object.
    return httpcore.default_ssl_context()
