"""How many may run one model at a time, and how many may wait for it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from clinical.errors import Busy

MAX_WAITING = 64  # more would only time out, later


class Turns:
    """A bounded queue in front of one model."""

    def __init__(self, model: str, at_once: int, max_waiting: int = MAX_WAITING) -> None:
        """model: for the error's text. at_once: runs that may be under way."""
        self._model = model
        self._free = at_once
        self._waiting = 0
        self._max_waiting = max_waiting
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return self._waiting

    @contextmanager
    def take(self, deadline: float | None) -> Iterator[None]:
        """Hold a turn for the block. deadline: on time.monotonic(), None waits as long as it takes.

        Raises Busy when too many wait already, or when no turn came in time.
        """
        with self._changed:
            if not self._free:
                self._wait(deadline)
            self._free -= 1
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify()

    def _wait(self, deadline: float | None) -> None:
        if self._waiting >= self._max_waiting:
            raise Busy(f"too many requests wait for model {self._model}")
        self._waiting += 1
        try:
            left = None if deadline is None else deadline - time.monotonic()
            if not self._changed.wait_for(lambda: self._free > 0, left):
                raise Busy(f"model {self._model} did not become free in time")
        finally:
            self._waiting -= 1
