"""A breaker before what may be away for a while: open after failures, tried again after growing pauses.

The GPU of a graph, a service and an EHR stand behind one of these. Two ways to use it: `fail`, `succeed` and
`take_try` for a caller that serialises itself (`slots.py`), `enter` and `settle` for calls side by side, of
which one that began before the circuit last changed must not decide what it is now.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 900.0


class Verdict(StrEnum):
    """What a call says of the thing behind the circuit. NONE: nothing, the call ended before it was asked."""

    GOOD = "good"
    BAD = "bad"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Entry:
    """Permission for one call. period: between two changes of the circuit; is_try: the one try of an open one."""

    period: int
    is_try: bool


class Circuit:
    """Closed until `failures` failures in a row. Open, it hands out one try after each pause.

    Pauses double until a try succeeds.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        first_pause_s: float = FIRST_PAUSE_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
        failures: int = 1,
    ) -> None:
        self._now = now
        self._first = first_pause_s
        self._longest = longest_pause_s
        self._threshold = failures
        self._lock = threading.RLock()
        self._in_a_row = 0
        self._period = 0
        self._pause: float | None = None  # None while closed
        self._try_at = 0.0

    @property
    def is_open(self) -> bool:
        """True from the last failure that it took until a try has succeeded."""
        return self._pause is not None

    @property
    def may_enter(self) -> bool:
        """True when `enter` would give permission now."""
        return self._pause is None or self._now() >= self._try_at

    @property
    def left_s(self) -> float:
        """Seconds until the next try, at least one: what a caller may be told to wait.

        While somebody tries nobody knows; then it is one pause.
        """
        pause = self._pause or 0.0
        return max(1.0, min(self._try_at - self._now(), pause))

    def fail(self) -> None:
        """Count a failure; open, or stay open for twice as long."""
        with self._lock:
            if self._pause is None:
                self._in_a_row += 1
                if self._in_a_row < self._threshold:
                    return
            self._pause = self._first if self._pause is None else min(2 * self._pause, self._longest)
            self._try_at = self._now() + self._pause
            self._period += 1

    def succeed(self) -> None:
        """Close, and forget the failures."""
        with self._lock:
            self._in_a_row = 0
            if self._pause is not None:
                self._pause = None
                self._period += 1

    def take_try(self) -> bool:
        """Tell whether the caller is the one that may try now. Then it must call `fail` or `succeed`.

        One that never does (its thread died) has not spoilt it for ever: the next try is after the longest pause.
        """
        with self._lock:
            if self._pause is None or self._now() < self._try_at:
                return False
            self._try_at = self._now() + self._longest
            self._period += 1
            return True

    def enter(self) -> Entry | None:
        """Return the permission for one call, to be settled when it ends; None while the circuit is open."""
        with self._lock:
            if self._pause is None:
                return Entry(self._period, is_try=False)
            return Entry(self._period, is_try=True) if self.take_try() else None

    def settle(self, entry: Entry, verdict: Verdict) -> bool:
        """Take in how a call ended; return True when that opened or closed the circuit.

        A call of an earlier period says nothing. A try without a verdict is given back: the next caller tries.
        """
        with self._lock:
            if entry.period != self._period:
                return False
            before = self.is_open
            if verdict is Verdict.BAD:
                self.fail()
            elif verdict is Verdict.GOOD:
                self.succeed()
            elif entry.is_try:
                self._try_at = self._now()
            return self.is_open is not before
