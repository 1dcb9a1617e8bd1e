"""The keys of signatories that publish them: fetched in the background, kept while their server is away.

Rotation without refused tokens: a key id that is not known has the set fetched again at once, for the caller
who shows it, at most so often; a key that has left the set serves on for a minute, because servers behind one name
do not all change at the same moment.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import structlog

from clinical.errors import Busy
from fhir_adapters.trust.jwk import KeyUnfit, VerifyKey, read_published
from fhir_adapters.trust.key_fetch import KeysAway
from fhir_adapters.trust.signatory import Signatory
from fhir_adapters.trust.tokens import Token

REFRESH_S = 300.0
RETRY_S = 15.0
STALE_S = 24 * 3600.0
GRACE_S = 60.0
WAIT_S = 2.5  # longer than one fetch: whoever waits for somebody else's fetch sees its end
ASK_BURST = 4.0  # fetches for unknown key ids that may follow each other at once ...
ASK_EVERY_S = 15.0  # ... and how long until there is another one
ASKING = 4  # callers who may wait for a fetch: the other threads are for those whose keys are known

log = structlog.get_logger()


class Fetcher(Protocol):
    """Where key sets come from: `fhir_adapters.trust.key_fetch.KeyFetcher`."""

    def fetch(self, url: str) -> dict[str, Any]:
        """Return a JWK Set. Raises KeysAway."""
        ...


@dataclass(slots=True)
class _Published:
    """One address and what was last read there. Times on the ring's clock; written under `lock`."""

    url: str
    keys: tuple[VerifyKey, ...] = ()
    retired: tuple[tuple[VerifyKey, float], ...] = ()  # with the time until which it serves on
    fetched_at: float | None = None
    next_at: float = 0.0
    failing: bool = False
    tried: int = 0
    asks: float = ASK_BURST
    asked_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def with_kid(self, kid: str, now: float) -> tuple[VerifyKey, ...]:
        current = tuple(key for key in self.keys if key.kid == kid)
        return current or tuple(key for key, until in self.retired if key.kid == kid and now < until)


class KeyRing:
    """Every issuer's keys, in one process. Safe for threads; its own thread begins with the first caller."""

    def __init__(
        self, profiles: Iterable[Signatory], fetcher: Fetcher, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sets = {url: _Published(url) for profile in profiles for url in profile.jku}
        self._fetcher = fetcher
        self._clock = clock
        self._stop = threading.Event()
        self._starting = threading.Lock()
        self._asking = threading.BoundedSemaphore(ASKING)
        self._thread: threading.Thread | None = None

    def candidates(self, profile: Signatory, token: Token) -> tuple[VerifyKey, ...]:
        """Return the issuer's keys with the token's key id: those in its entry, else those that it publishes.

        Raises Busy when the issuer publishes its keys and none could be fetched, or none for too long; and when
        so many others wait for a fetch already.
        """
        known = tuple(key for key in profile.keys if key.kid == token.kid)
        if known or not profile.jku:
            return known
        self.start()
        sets = [self._sets[url] for url in profile.jku if token.jku in (None, url)]
        found = self._find(sets, token.kid)
        if not found:
            self._ask(sets)
            found = self._find(sets, token.kid)
        if not found and not any(self._usable(published) for published in sets):
            raise Busy("the keys of the caller cannot be fetched", retry_after_s=int(RETRY_S))
        return found

    def start(self) -> None:
        """Begin to refresh in the background; does nothing the second time, or when nobody publishes keys."""
        with self._starting:
            if self._thread is None and self._sets:
                self._thread = threading.Thread(target=self._refresh_for_ever, name="jwks-refresh", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the background thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def refresh_due(self) -> None:
        """Fetch every set whose time has come: one turn of the background thread."""
        for published in self._sets.values():
            if self._clock() >= published.next_at:
                with published.lock:
                    if self._clock() >= published.next_at:  # and no caller has had it fetched meanwhile
                        self._fetch(published)

    def _refresh_for_ever(self) -> None:
        while not self._stop.is_set():
            try:
                self.refresh_due()
            except Exception as error:  # noqa: BLE001 - the edge of a thread that must not end
                log.error("key refresh failed", kind=type(error).__name__)  # noqa: TRY400 - no texts in a log
            self._stop.wait(1.0)

    def _find(self, sets: Iterable[_Published], kid: str) -> tuple[VerifyKey, ...]:
        now = self._clock()
        return tuple(key for one in sets if self._usable(one) for key in one.with_kid(kid, now))

    def _usable(self, published: _Published) -> bool:
        return published.fetched_at is not None and self._clock() - published.fetched_at <= STALE_S

    def _ask(self, sets: Iterable[_Published]) -> None:
        if not self._asking.acquire(blocking=False):
            raise Busy("the keys of callers are being fetched", retry_after_s=1)
        try:
            for published in sets:
                self._ask_again(published)
        finally:
            self._asking.release()

    def _ask_again(self, published: _Published) -> None:
        """Fetch once more, unless somebody just has, it was asked for too often, or the server is away."""
        tried = published.tried
        if not published.lock.acquire(timeout=WAIT_S):
            return
        try:
            if published.tried == tried and not published.failing and self._may_ask(published):
                self._fetch(published)
        finally:
            published.lock.release()

    def _may_ask(self, published: _Published) -> bool:
        now = self._clock()
        earned = (now - published.asked_at) / ASK_EVERY_S
        published.asks, published.asked_at = min(ASK_BURST, published.asks + earned), now
        if published.asks < 1:
            return False
        published.asks -= 1
        return True

    def _fetch(self, published: _Published) -> None:
        try:
            keys = read_published(self._fetcher.fetch(published.url))
        except (KeysAway, KeyUnfit) as problem:
            if not published.failing:
                host = urlsplit(published.url).hostname
                log.warning("keys of an issuer cannot be fetched", host=host, reason=str(problem))
            published.failing, published.next_at = True, self._clock() + RETRY_S
        else:
            now = self._clock()
            names = {(key.kid, key.curve, key.alg) for key in keys}
            gone = [(key, now + GRACE_S) for key in published.keys if (key.kid, key.curve, key.alg) not in names]
            published.retired = (*gone, *(old for old in published.retired if now < old[1]))
            published.keys, published.fetched_at, published.failing = keys, now, False
            published.next_at = now + REFRESH_S * random.uniform(0.9, 1.1)  # noqa: S311 - spreads the workers
        published.tried += 1
