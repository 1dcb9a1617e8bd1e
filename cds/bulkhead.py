"""Places for calls under way, so that one slow caller never takes the last thread from the others.

A web process answers as many calls at a time as it has threads. A caller whose FHIR server hangs holds a thread
for each of its calls, as long as they last. The last places are therefore kept from slow callers who hold one
already: they are told to come back (503 with Retry-After) and do not stand in everybody's way. A quick caller may
fill every place, for his calls make room again in milliseconds.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from clinical.errors import Busy

RESERVE = 4  # one place in so many is kept
SLOW_S = 0.25  # half of the budget that CDS Hooks recommends for a call
WEIGHT = 0.2  # of the last call in the average: after four slow ones a caller is slow, after four quick ones not


@dataclass(slots=True)
class _Caller:
    """usual_s: how long his calls take. under_way: number of a call -> when it began, the oldest first."""

    usual_s: float = 0.0
    under_way: dict[int, float] = field(default_factory=dict)

    def is_slow(self, now: float) -> bool:
        oldest = next(iter(self.under_way.values()), now)
        return max(self.usual_s, now - oldest) > SLOW_S


class Bulkhead:
    """The places of one web process. Callers are known by configuration, so their number is bounded."""

    def __init__(self, places: int, callers: int, now: Callable[[], float] = time.monotonic) -> None:
        """places: threads that answer. callers: how many are known; with one there is nobody to keep any for."""
        self._free = places
        self._kept = max(1, places // RESERVE) if callers > 1 and places > 1 else 0
        self._now = now
        self._callers: dict[str, _Caller] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    @contextmanager
    def enter(self, caller: str) -> Iterator[None]:
        """Hold a place for the block. Raises Busy when only kept places are free and the caller is slow."""
        with self._lock:
            known = self._callers.setdefault(caller, _Caller())
            started = self._now()
            if self._kept and self._free <= self._kept and known.under_way and known.is_slow(started):
                raise Busy("too many slow calls of this caller are under way", retry_after_s=1)
            self._free -= 1
            number = next(self._numbers)
            known.under_way[number] = started
        try:
            yield
        finally:
            with self._lock:
                self._free += 1
                del known.under_way[number]
                known.usual_s += WEIGHT * (self._now() - started - known.usual_s)
