"""A lane for each destination: one that is slow, hangs or is away holds up nobody but itself.

A destination has at most one transfer at a time, so that its objects arrive in the order in which they were made.
One that is away rests, longer each time, and what waits for it keeps its attempts meanwhile.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from consilium.attempts import Attempts
from record_store.deliveries import RetryPolicy

LONGEST_REST_S = 60.0


@dataclass(slots=True)
class _Lane:
    attempts: Attempts
    thread: threading.Thread | None = None
    failures: int = 0
    rests_until: float = 0.0


class Lanes:
    """Starts a thread for each destination that has something due, at most `slots` at once.

    due: names of destinations, the longest waiting first. deliver: False when the destination is away; it may
    raise, which is logged and tried later. rest: how long one that is away is left alone.
    """

    def __init__(
        self, due: Callable[[], list[str]], deliver: Callable[[str], bool], *, slots: int, rest: RetryPolicy
    ) -> None:
        self._due, self._deliver, self._slots, self._rest = due, deliver, slots, rest
        self._lanes: dict[str, _Lane] = {}

    def once(self) -> int:
        """Start what can be started; return how many transfers began."""
        begun = 0
        for name in self._due():
            if sum(_busy(lane) for lane in self._lanes.values()) >= self._slots:
                break
            lane = self._lanes.setdefault(name, _Lane(Attempts(f"deliver to {name}")))
            if _busy(lane) or time.monotonic() < lane.rests_until:
                continue
            lane.thread = threading.Thread(
                target=self._run, args=(name, lane), name=f"deliver-{name}", daemon=True
            )
            lane.thread.start()
            begun += 1
        return begun

    def wait(self, timeout_s: float) -> None:
        """Wait until no transfer is under way, at most so long."""
        until = time.monotonic() + timeout_s
        for lane in list(self._lanes.values()):
            if lane.thread is not None:
                lane.thread.join(max(0.0, until - time.monotonic()))

    def _run(self, name: str, lane: _Lane) -> None:
        there: list[bool] = []
        if lane.attempts(lambda: there.append(self._deliver(name))) and there == [True]:
            lane.failures = 0
            return
        lane.failures += 1
        lane.rests_until = time.monotonic() + min(self._rest.delay_s(lane.failures), LONGEST_REST_S)


def _busy(lane: _Lane) -> bool:
    return lane.thread is not None and lane.thread.is_alive()
