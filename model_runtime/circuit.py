"""A breaker before what may be away for a while: open after a failure, tried again after growing pauses."""

import threading
import time
from collections.abc import Callable

FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 900.0


class Circuit:
    """Closed until `fail`. Open, it hands out one try after each pause; pauses double until a try succeeds."""

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        first_pause_s: float = FIRST_PAUSE_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
    ) -> None:
        self._now = now
        self._first = first_pause_s
        self._longest = longest_pause_s
        self._lock = threading.Lock()
        self._pause: float | None = None  # None while closed
        self._try_at = 0.0

    @property
    def is_open(self) -> bool:
        """True from a failure until a try has succeeded."""
        return self._pause is not None

    @property
    def left_s(self) -> float:
        """Seconds until the next try, at least one: what a caller may be told to wait."""
        return max(1.0, self._try_at - self._now())

    def fail(self) -> None:
        """Open, or stay open for twice as long."""
        with self._lock:
            self._pause = self._first if self._pause is None else min(2 * self._pause, self._longest)
            self._try_at = self._now() + self._pause

    def succeed(self) -> None:
        """Close."""
        with self._lock:
            self._pause = None

    def take_try(self) -> bool:
        """Tell whether the caller is the one that may try now. Then it must call `fail` or `succeed`.

        One that never does (its thread died) has not spoilt it for ever: the next try is after the longest pause.
        """
        with self._lock:
            if self._pause is None or self._now() < self._try_at:
                return False
            self._try_at = self._now() + self._longest
            return True
