"""Reads from FHIR servers that are allowed by configuration; the only other way out is `trust.key_fetch`.

Guards, all here or below (threats T3, T20): exact origin and path prefix, address resolved once and pinned, no
redirects, one deadline, a byte cap, the token bound to its server. What comes back is untrusted input.
"""

import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic
from typing import Any
from urllib.parse import quote

import httpcore

from clinical.errors import IncorrectInput, PreconditionMissing
from fhir_adapters import strict_json
from fhir_adapters.allow_list import AllowedServer, Url, find, parse_url
from fhir_adapters.guarded_pool import GuardedPool
from fhir_adapters.outbound import AddressRefused, Resolver, system_resolver, time_left, until

JsonObject = dict[str, Any]
_JSON_TYPES = {"application/fhir+json", "application/json"}
_HEADERS = (("Accept", "application/fhir+json"), ("Accept-Encoding", "identity"))
_URL_SAFE = "/?&=:,$-._~%+@;!*'()"


class Reason(StrEnum):
    """Why data could not be had, in words for the OperationOutcome."""

    NOT_ALLOWED = "the FHIR server is not on the allow-list"
    UNAUTHORIZED = "the FHIR server answered 401"
    FORBIDDEN = "the FHIR server answered 403"
    NOT_FOUND = "the FHIR server answered 404"
    REDIRECTED = "the FHIR server answered with a redirect"
    FAILED = "the FHIR server answered with an error"
    TIMEOUT = "the FHIR server did not answer in time"
    UNREACHABLE = "the FHIR server could not be reached"
    TOO_LARGE = "the answer of the FHIR server is too large"
    UNREADABLE = "the answer of the FHIR server is not FHIR JSON"
    AWAY = "the FHIR server has not answered for some time and is not asked for now"


_REASON_OF_STATUS = {
    401: Reason.UNAUTHORIZED,
    403: Reason.FORBIDDEN,
    404: Reason.NOT_FOUND,
    410: Reason.NOT_FOUND,
    504: Reason.TIMEOUT,
}


class FetchFailed(PreconditionMissing):
    """One resource or search could not be had. The message is the reason, without address or patient."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Limits:
    """What one fetch may take. body_bytes counts all pages of one fetch together."""

    body_bytes: int = 10 << 20
    pages: int = 10
    entries: int = 1000
    connections: int = 16


@dataclass(frozen=True, slots=True)
class Grant:
    """Permission to read from one server: `fhirServer` and the token given with it."""

    base: str
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A resource, or a Bundle with the entries of all pages. complete: False when pages were left behind."""

    resource: JsonObject = field(repr=False)
    complete: bool = True


class FhirClient:
    """Reads and searches. Safe for threads; connections and threads are made at first use, per process."""

    def __init__(
        self,
        servers: Sequence[AllowedServer],
        *,
        limits: Limits = Limits(),
        resolve: Resolver = system_resolver,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """servers: the allow-list. resolve: name -> addresses. tls: trust other than certifi's authorities."""
        self._servers = tuple(servers)
        self._limits = limits
        self._pool = GuardedPool(servers, connections=limits.connections, resolve=resolve, tls=tls)
        self._threads_of: dict[int, ThreadPoolExecutor] = {}

    def allows(self, base: str) -> bool:
        """True when a FHIR base URL is on the allow-list."""
        return find(self._servers, base) is not None

    def fetch(self, grant: Grant, relative: str, *, ends_at: float) -> Fetched:
        """Return what `[base]/relative` answers, a search with its following pages.

        relative: `Type/id` or `Type?parameters`, values percent-encoded. ends_at: on `time.monotonic`.

        Raises FetchFailed.
        """
        base = self._allowed(grant)
        url = f"{grant.base.rstrip('/')}/{quote(relative, safe=_URL_SAFE)}"
        with _as_reasons(), until(ends_at):
            first, size = self._get(base, url, grant, self._limits.body_bytes)
            return self._rest(grant, base, first, self._limits.body_bytes - size)

    def follow(self, grant: Grant, bundle: Mapping[str, Any], *, ends_at: float) -> Fetched:
        """Return a Bundle that came with `link[next]` together with its following pages.

        Raises FetchFailed.
        """
        base = self._allowed(grant)
        with _as_reasons(), until(ends_at):
            return self._rest(grant, base, dict(bundle), self._limits.body_bytes)

    def fetch_all(
        self, grant: Grant, wanted: Mapping[str, str | Mapping[str, Any]], *, ends_at: float
    ) -> dict[str, Fetched | FetchFailed]:
        """Do several fetches side by side under one deadline; each key has its result or its failure.

        wanted: key -> a relative URL to fetch, or a Bundle whose pages to follow.
        """
        threads = self._threads()

        def one(item: str | Mapping[str, Any]) -> Fetched | FetchFailed:
            try:
                if isinstance(item, str):
                    return self.fetch(grant, item, ends_at=ends_at)
                return self.follow(grant, item, ends_at=ends_at)
            except FetchFailed as failure:
                return failure

        futures = {key: threads.submit(one, item) for key, item in wanted.items()}
        done, late = wait(futures.values(), timeout=max(0.0, ends_at - monotonic()))
        for future in late:
            future.cancel()
        return {key: f.result() if f in done else FetchFailed(Reason.TIMEOUT) for key, f in futures.items()}

    def close(self) -> None:
        """Close this process's connections."""
        threads = self._threads_of.pop(os.getpid(), None)
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)
        self._pool.close()

    def _threads(self) -> ThreadPoolExecutor:
        pid = os.getpid()
        if pid not in self._threads_of:
            threads = ThreadPoolExecutor(self._limits.connections, thread_name_prefix="fhir-fetch")
            self._threads_of.setdefault(pid, threads)
        return self._threads_of[pid]

    def _allowed(self, grant: Grant) -> Url:
        found = find(self._servers, grant.base)
        if found is None:
            raise FetchFailed(Reason.NOT_ALLOWED)
        return found[1]

    def _rest(self, grant: Grant, base: Url, bundle: JsonObject, bytes_left: int) -> Fetched:
        """Follow `link[next]`: pages are further entries of the first page's Bundle."""
        following = next_link(bundle)
        if following is None:
            return Fetched(bundle)
        entries = _entries(bundle)
        pages = 1
        while following and pages < self._limits.pages and len(entries) < self._limits.entries:
            page, size = self._get(base, following, grant, bytes_left)
            bytes_left -= size
            entries.extend(_entries(page))
            following = next_link(page)
            pages += 1
        whole = {key: value for key, value in bundle.items() if key != "link"} | {"entry": entries}
        return Fetched(whole, complete=not following)

    def _get(self, base: Url, url: str, grant: Grant, max_bytes: int) -> tuple[JsonObject, int]:
        """Return the JSON object at `url` and its size. Every request of this server is made here."""
        target = parse_url(url)
        if target is None or not target.under(base):
            raise FetchFailed(Reason.NOT_ALLOWED)
        headers = list(_HEADERS)
        if grant.token is not None:
            headers.append(("Authorization", f"Bearer {grant.token}"))
        with self._pool.stream("GET", url, headers, None, time_left()) as response:
            _check(response)
            body = _read(response, max_bytes)
        return strict_json.load_object(body, max_bytes=max_bytes), len(body)


def next_link(bundle: Mapping[str, Any]) -> str | None:
    """Return the URL of a Bundle's next page, or None when it is the last (R4 3.1.1.7)."""
    links = bundle.get("link")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("relation") == "next" and isinstance(link.get("url"), str):
            return str(link["url"])
    return None


def _entries(page: Mapping[str, Any]) -> list[Any]:
    entries = page.get("entry", [])
    if page.get("resourceType") != "Bundle" or not isinstance(entries, list):
        raise FetchFailed(Reason.UNREADABLE)
    return list(entries)


@contextmanager
def _as_reasons() -> Iterator[None]:
    """Say a network failure in our words; its own may quote the address with the patient's id."""
    try:
        yield
    except httpcore.TimeoutException:
        raise FetchFailed(Reason.TIMEOUT) from None
    except AddressRefused:
        raise FetchFailed(Reason.NOT_ALLOWED) from None
    except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError):
        raise FetchFailed(Reason.UNREACHABLE) from None
    except IncorrectInput:
        raise FetchFailed(Reason.UNREADABLE) from None


def _check(response: httpcore.Response) -> None:
    headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
    status = response.status
    if 300 <= status < 400:
        raise FetchFailed(Reason.REDIRECTED)
    if status != 200:
        raise FetchFailed(_REASON_OF_STATUS.get(status, Reason.FAILED))
    media_type = headers.get(b"content-type", "").split(";")[0].strip().lower()
    if media_type not in _JSON_TYPES or headers.get(b"content-encoding", "identity").lower() != "identity":
        raise FetchFailed(Reason.UNREADABLE)


def _read(response: httpcore.Response, max_bytes: int) -> bytes:
    body = bytearray()
    for chunk in response.iter_stream():
        body += chunk
        if len(body) > max_bytes:
            raise FetchFailed(Reason.TOO_LARGE)
    return bytes(body)
