"""The threads of a web worker: each takes what has been waiting longest, does it, and says so.

Without Futures: one request made one of these, two locks and a condition, that nobody waited for.
"""

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Threads(Generic[T]):
    """A fixed number of threads, started with the first work."""

    def __init__(self, count: int, work: Callable[[T], bool], done: Callable[[T, bool], None]) -> None:
        """work: does one item. done: told the item and what `work` returned, False when it raised."""
        self._count = count
        self._work = work
        self._done = done
        self._waiting: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._started = False

    @property
    def has_waiting(self) -> bool:
        """True when somebody waits for a thread."""
        return not self._waiting.empty()

    def submit(self, item: T) -> None:
        """Have an item done. From one thread only."""
        if not self._started:
            self._started = True
            for number in range(self._count):
                # Daemons: a request that outlives the worker's grace does not keep the process alive.
                threading.Thread(target=self._run, name=f"answers-{number}", daemon=True).start()
        self._waiting.put(item)

    def shutdown(self, wait: bool = False) -> None:
        """End each thread after what it does now. wait: for nobody; gunicorn asks so."""
        del wait
        for _ in range(self._count):
            self._waiting.put(None)

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            kept = False
            with contextlib.suppress(BaseException):  # whoever works says what went wrong; the thread goes on
                kept = self._work(item)
            self._done(item, kept)
