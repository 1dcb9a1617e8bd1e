"""A GET of a registered key address (jku), with the guards of `fhir_adapters.client` and stricter ones.

The address is never one that a token brought along: it is compared, letter by letter, with what the site has
registered for the issuer, and the registered one is fetched.
"""

import logging
import ssl
from collections.abc import Iterable
from functools import cached_property
from time import monotonic
from typing import Any

import httpcore

from clinical.errors import IncorrectInput
from fhir_adapters import strict_json
from fhir_adapters.allow_list import AllowedServer, admits
from fhir_adapters.outbound import AddressRefused, PinnedBackend, Resolver, system_resolver, time_left, until
from fhir_adapters.trust.signatory import Signatory

MAX_SET_BYTES = 256 * 1024
FETCH_S = 2.0
_TYPES = {"application/json", "application/jwk-set+json"}
_HEADERS = (("Accept", "application/json"), ("Accept-Encoding", "identity"), ("User-Agent", "consilium"))


class KeysAway(Exception):
    """The keys could not be fetched; the text says why, without the address."""


class KeyFetcher:
    """Fetches key sets of the registered addresses, and of no others. Safe for threads and over a fork."""

    def __init__(
        self,
        profiles: Iterable[Signatory],
        *,
        resolve: Resolver = system_resolver,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """resolve: name -> addresses. tls: trust other than certifi's authorities."""
        self._servers = {url: AllowedServer(url, profile.network) for profile in profiles for url in profile.jku}
        self._backend = PinnedBackend(resolve, self._admits)
        self._given_tls = tls
        logging.getLogger("httpcore").setLevel(logging.WARNING)

    def fetch(self, url: str) -> dict[str, Any]:
        """Return the JSON object at a registered address. Raises KeysAway."""
        if url not in self._servers:
            raise KeysAway("the address is not registered")
        try:
            with until(monotonic() + FETCH_S):
                return strict_json.load_object(self._get(url), max_bytes=MAX_SET_BYTES)
        except httpcore.TimeoutException:
            raise KeysAway("no answer in time") from None
        except AddressRefused:
            raise KeysAway("the name resolves to an address that is not allowed") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError):
            raise KeysAway("the server could not be reached") from None
        except IncorrectInput:
            raise KeysAway("the answer is not JSON, or too large") from None

    @cached_property
    def _tls(self) -> ssl.SSLContext | None:
        encrypted = any(server.url.scheme == "https" for server in self._servers.values())
        return self._given_tls or (httpcore.default_ssl_context() if encrypted else None)

    def _admits(self, host: str, port: int, address: str) -> bool:
        return admits(tuple(self._servers.values()), host, port, address)

    def _get(self, url: str) -> bytes:
        # A connection of its own for each fetch: one every few minutes is not worth keeping open over a fork.
        with (
            httpcore.ConnectionPool(ssl_context=self._tls, network_backend=self._backend) as pool,
            pool.stream(
                "GET", url, headers=list(_HEADERS), extensions={"timeout": {"pool": time_left()}}
            ) as answer,
        ):
            _check(answer)
            body = bytearray()
            for chunk in answer.iter_stream():
                body += chunk
                if len(body) > MAX_SET_BYTES:
                    raise KeysAway("the answer is not JSON, or too large")
            return bytes(body)


def _check(answer: httpcore.Response) -> None:
    if answer.status != 200:
        redirect = 300 <= answer.status < 400
        raise KeysAway(
            "the server answered with a redirect" if redirect else f"the server answered {answer.status}"
        )
    headers = {name.lower(): value.decode("latin-1").lower() for name, value in answer.headers}
    media_type = headers.get(b"content-type", "").split(";")[0].strip()
    if media_type not in _TYPES or headers.get(b"content-encoding", "identity") != "identity":
        raise KeysAway("the answer is not JSON, or too large")
