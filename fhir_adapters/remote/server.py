"""Another FHIR server: read, search with its pages, create once, update the version that is meant.

A request is sent again after a pause when the server says so (429, 503 with Retry-After, 502, 504) or gives no
answer. What may have arrived is sent again only where twice is as good as once: a read, an update, a create with
If-None-Exist, a Bundle of such.
"""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from clinical.errors import IncorrectInput
from fhir_adapters.allow_list import parse_url
from fhir_adapters.client import next_link
from fhir_adapters.remote.exchange import MAX_BYTES, Answer, Exchange, NotAnswered, Request
from fhir_adapters.remote.problem import ChangedThere, RemoteProblem
from fhir_adapters.remote.tokens import AccessTokens
from fhir_adapters.retry_after import retry_after_s
from fhir_adapters.strict_json import load_object

JsonObject = dict[str, Any]
MEDIA_TYPE = "application/fhir+json"
MOST_PAGES = 1000
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_BUSY = frozenset({429, 503})  # the server has not done it
_URL_SAFE = "/?&=:,$-._~%+@;!*'()"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request is tried. within_s: in all. jitter: 0..1, spreads half of a pause."""

    tries: int = 5
    within_s: float = 60.0
    timeout_s: float = 20.0
    first_s: float = 0.5
    longest_s: float = 30.0
    jitter: Callable[[], float] = random.random

    def pause_s(self, tried: int, asked_s: float | None) -> float:
        """Return the pause after so many tries (at least 1); what the server asks for is never undercut."""
        usual = min(self.first_s * 2.0 ** (tried - 1), self.longest_s) * (0.5 + 0.5 * self.jitter())
        return max(usual, asked_s or 0.0)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a write came to. id: there. etag: of the version, None when the server names none."""

    id: str
    etag: str | None
    created: bool


@dataclass(slots=True)
class RemoteServer:
    """One server. tokens: None for one that is open to us. Safe for threads."""

    base: str
    exchange: Exchange
    tokens: AccessTokens | None = None
    patience: Patience = Patience()
    sleep: Callable[[float], None] = time.sleep
    seconds: Callable[[], float] = field(default=time.monotonic)

    def read(self, relative: str, *, decimals: bool = False) -> JsonObject:
        """Return the resource at Type/id, or one page of a search. decimals: numbers keep their digits.

        Raises RemoteProblem.
        """
        return _body(self._done("GET", self._url(relative)), decimals=decimals)

    def search(self, relative: str) -> Iterator[JsonObject]:
        """Yield the resources of a search, page by page (R4 3.1.1.7). Raises RemoteProblem."""
        url: str | None = self._url(relative)
        for _ in range(MOST_PAGES):
            if url is None:
                return
            target, base = parse_url(url), parse_url(self.base)
            if target is None or base is None or target.origin != base.origin:
                raise RemoteProblem("the next page is at another server")
            page = _body(self._done("GET", url))
            for entry in page.get("entry") or ():
                if not isinstance(entry, dict):
                    raise RemoteProblem("an entry of the answer is no object")
                mode = (entry.get("search") or {}).get("mode", "match")
                if isinstance(entry.get("resource"), dict) and mode == "match":
                    yield entry["resource"]
            url = next_link(page)
        raise RemoteProblem("the search has too many pages")

    def create(self, resource_type: str, body: bytes, condition: str) -> Stored:
        """Create the one resource that a condition (search parameters) means, unless it is there (R4 3.1.0.8.1).

        Raises RemoteProblem: 412 when the condition means several.
        """
        headers = {"If-None-Exist": quote(condition, safe=_URL_SAFE)}
        answer = self._done("POST", self._url(resource_type), body, headers)
        return self._stored(answer, resource_type, None)

    def update(self, resource_type: str, resource_id: str, body: bytes, etag: str | None) -> Stored:
        """Make a resource this version; etag: of the version that is replaced, None for whichever it is.

        Raises ChangedThere when it is another by now, RemoteProblem.
        """
        url = self._url(f"{resource_type}/{resource_id}")
        unsure: list[str] = []
        headers = {"If-Match": etag} if etag else {}
        try:
            answer = self._done("PUT", url, body, headers, unsure=unsure)
        except ChangedThere:
            # An answer was lost before: it may be our own version that is there.
            if not unsure or not _same(current := self.read(f"{resource_type}/{resource_id}"), body):
                raise
            version = str((current.get("meta") or {}).get("versionId", ""))
            return Stored(resource_id, f'W/"{version}"' if version else None, created=False)
        return self._stored(answer, resource_type, resource_id)

    def bundle(self, body: bytes, *, repeatable: bool) -> JsonObject:
        """Return the answer to a batch or transaction. repeatable: doing it twice is as good as once."""
        return _body(self._done("POST", self.base.rstrip("/"), body, repeatable=repeatable))

    def _url(self, relative: str) -> str:
        return f"{self.base.rstrip('/')}/{quote(relative, safe=_URL_SAFE)}"

    def _stored(self, answer: Answer, resource_type: str, known: str | None) -> Stored:
        """Return what was written, by Location (R4 3.1.0.8), else by the body."""
        location = answer.headers.get("location", answer.headers.get("content-location", ""))
        own = location.partition("/_history/")[0].rpartition(f"{resource_type}/")[2]
        body: JsonObject = {}
        if not own and not known:
            body = _body(answer)
            own = str(body.get("id", ""))
        if not (known or own):
            raise RemoteProblem("the server does not say what it has created", status=answer.status)
        return Stored(known or own, answer.headers.get("etag"), created=answer.status == 201)

    def _done(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        more: Mapping[str, str] | None = None,
        *,
        repeatable: bool = True,
        unsure: list[str] | None = None,
    ) -> Answer:
        """Return an answer of 2xx. unsure: gets a word for each try that may have arrived.

        Raises RemoteProblem.
        """
        ends_at, tried, renewed = self.seconds() + self.patience.within_s, 0, False
        while True:
            tried += 1
            problem, again = self._try(method, url, body, more or {}, repeatable=repeatable)
            if isinstance(problem, Answer):
                return problem
            if problem.status == 401 and self.tokens is not None and not renewed:
                renewed, tried = True, tried - 1
                continue
            if again and unsure is not None and problem.status not in _BUSY:
                unsure.append(problem.message)
            pause = self.patience.pause_s(tried, problem.retry_after_s)
            if not again or tried >= self.patience.tries or self.seconds() + pause > ends_at:
                raise problem
            self.sleep(pause)

    def _try(
        self, method: str, url: str, body: bytes | None, more: Mapping[str, str], *, repeatable: bool
    ) -> tuple[Answer | RemoteProblem, bool]:
        """Return the answer, or what is wrong and whether it may be sent again."""
        headers, token = {"Accept": MEDIA_TYPE, **more}, None
        if body is not None:
            headers["Content-Type"] = MEDIA_TYPE
        try:
            if self.tokens is not None:
                token = self.tokens.get(self.patience.timeout_s)
                headers["Authorization"] = f"Bearer {token}"
        except NotAnswered as lost:
            return RemoteProblem(f"the token endpoint: {lost.reason}", may_pass=True), True
        except RemoteProblem as problem:
            return problem, problem.may_pass
        try:
            answer = self.exchange.send(Request(method, url, headers, body), self.patience.timeout_s)
        except NotAnswered as lost:
            return RemoteProblem(lost.reason, may_pass=True), repeatable or not lost.arrived
        if 200 <= answer.status < 300:
            return answer, False
        if answer.status == 401 and token is not None and self.tokens is not None:
            self.tokens.forget(token)
        return _problem(answer), answer.status in _BUSY or (repeatable and answer.status in _PASSING)


def _problem(answer: Answer) -> RemoteProblem:
    status = answer.status
    if status in (409, 412):
        return ChangedThere(
            f"the server answered {status}: it is another version, or several are meant", status=status
        )
    words = "with a redirect, which is not followed" if 300 <= status < 400 else str(status)
    return RemoteProblem(
        f"the server answered {words}",
        status=status,
        may_pass=status in _PASSING or status in (401, 403),
        retry_after_s=retry_after_s(answer.headers.get("retry-after", "")),
    )


def _body(answer: Answer, *, decimals: bool = False) -> JsonObject:
    try:
        return load_object(answer.body, max_bytes=MAX_BYTES, decimals=decimals)
    except IncorrectInput:
        raise RemoteProblem("the answer of the server is not FHIR JSON", status=answer.status) from None


def _same(there: JsonObject, sent: bytes) -> bool:
    """Tell whether a resource says what was sent, its version aside."""
    ours = json.loads(sent)
    return {k: v for k, v in there.items() if k != "meta"} == {k: v for k, v in ours.items() if k != "meta"}
