"""Places for calls under way, so that one slow caller never takes the last thread from the others.

A web process answers as many calls at a time as it has threads. A caller whose own FHIR server hangs, or whose
bodies trickle in, holds a thread for each of its calls. The last places are therefore kept for callers who hold
none: who holds one already is told to come back (503 with Retry-After) and does not stand in everybody's way.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from clinical.errors import Busy

RESERVE = 4  # one place in so many is kept


class Bulkhead:
    """The places of one web process."""

    def __init__(self, places: int, callers: int) -> None:
        """places: threads that answer. callers: how many are known; with one there is nobody to keep any for."""
        self._free = places
        self._kept = max(1, places // RESERVE) if callers > 1 and places > 1 else 0
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def enter(self, caller: str) -> Iterator[None]:
        """Hold a place for the block. Raises Busy when only kept places are free and the caller has one."""
        with self._lock:
            if self._kept and self._free <= (self._kept if self._held[caller] else 0):
                raise Busy("too many calls of this caller are under way", retry_after_s=1)
            self._free -= 1
            self._held[caller] += 1
        try:
            yield
        finally:
            with self._lock:
                self._free += 1
                self._held[caller] -= 1
                if not self._held[caller]:
                    del self._held[caller]
