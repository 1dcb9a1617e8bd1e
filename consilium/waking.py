"""Wakes the loops of a worker when somebody has committed something, so that at rest they need not look.

One thread asks for all of them, WATCH_S apart; what it cannot see (a database that is away, a moment that has
come) each loop still looks for by itself, REST_S apart (consilium/worker.py).
"""

import threading
from collections.abc import Callable, Hashable, Sequence

from consilium.attempts import Attempts
from record_store.changes import Changes

WATCH_S = 0.05  # what a loop that rests may be late by: no more than the quickest of them was (CLOSER_POLL_S)
AWAY_S = 1.0


class Waking:
    """Asks again and again whether something has changed, and calls `wakes` when it has."""

    def __init__(
        self,
        seen: Changes,
        wakes: Sequence[Callable[[], None]],
        *,
        watch_s: float = WATCH_S,
        away_s: float = AWAY_S,
    ) -> None:
        self._seen, self._wakes = seen, tuple(wakes)
        self._watch_s, self._away_s = watch_s, away_s
        self._attempts = Attempts("watch")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """End soon."""
        self._stop.set()

    def _run(self) -> None:
        last: Hashable = None
        pause_s = 0.0
        while not self._stop.wait(pause_s):
            now = self._asked()
            pause_s = self._away_s if now is None else self._watch_s
            if now is None or now != last:
                for wake in self._wakes:
                    wake()
            last = now
        self._seen.close()

    def _asked(self) -> Hashable:
        """Return what it says, None when it cannot be asked: who rests then looks for himself."""
        said: list[Hashable] = []
        self._attempts(lambda: said.append(self._seen()))
        return said[0] if said else None
