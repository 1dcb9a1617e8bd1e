"""What the DICOM node saw, counted for each caller.

The called AE title is always ours, so a caller's title is the pair. Titles are what callers say of themselves:
where no table of callers keeps strangers out, only the first `MOST_CALLERS` have a name here.
"""

import threading
from collections.abc import Callable, Iterable
from functools import lru_cache

from prometheus_client import Counter, Histogram

from consilium import metrics
from dicom_node.scp import AssociationSeen, ReceiversSeen, ReceivingBegun, RefusalSeen, StoreSeen
from dicom_node.status import SUCCESS

MOST_CALLERS = 100
OTHERS = "(others)"


class Callers:
    """The names that callers have in metrics: all of the table, and the first strangers."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = set(known)
        self._most = max(MOST_CALLERS, len(self._known))
        self._lock = threading.Lock()

    @property
    def known(self) -> frozenset[str]:
        """Those that have a name."""
        with self._lock:
            return frozenset(self._known)

    def name(self, calling_ae: str) -> str:
        """Return a caller's title, or OTHERS."""
        if calling_ae in self._known:
            return calling_ae
        with self._lock:
            if len(self._known) >= self._most:
                return OTHERS
            self._known.add(calling_ae)
            return calling_ae


class DicomMetrics:
    """An observer of the node. known: AE titles of the table of callers. died: called when a receiver has died."""

    def __init__(self, known: Iterable[str], died: Callable[[], None] = lambda: None) -> None:
        self._callers, self._died = Callers(known), died
        # A metric finds its child by its labels in 20 us, and every object has three: looked up once each.
        self._answered = lru_cache(MOST_CALLERS * 8)(_answered)
        self._received = lru_cache(MOST_CALLERS)(_received)

    def __call__(self, seen: StoreSeen | AssociationSeen | RefusalSeen | ReceivingBegun | ReceiversSeen) -> None:
        """Count it; a process that begins has its series at 0 before anybody waits for them to be made."""
        if isinstance(seen, ReceivingBegun):
            for name in (*self._callers.known, OTHERS):
                self._answered(name, SUCCESS)
                self._received(name)
            return
        if isinstance(seen, ReceiversSeen):
            metrics.RECEIVERS.set(seen.ready)
            if seen.died:
                metrics.RECEIVERS_DIED.labels(seen.died).inc()
                self._died()
            return
        if isinstance(seen, RefusalSeen):
            metrics.ASSOCIATIONS_REFUSED.labels(seen.why).inc()
            return
        caller = self._callers.name(seen.calling_ae)
        if isinstance(seen, AssociationSeen):
            metrics.ASSOCIATIONS.labels(caller, seen.outcome).inc()
            return
        self._answered(caller, seen.status).inc()
        size, seconds = self._received(caller)
        size.inc(seen.size)
        seconds.observe(seen.took_s)


def _answered(caller: str, status: int) -> Counter:
    return metrics.INSTANCES.labels(caller, f"0x{status:04X}")


def _received(caller: str) -> tuple[Counter, Histogram]:
    return metrics.INSTANCE_BYTES.labels(caller), metrics.STORE_SECONDS.labels(caller)
