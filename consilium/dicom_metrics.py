"""What the DICOM node saw, counted for each caller.

The called AE title is always ours, so a caller's title is the pair. Titles are what callers say of themselves:
where no table of callers keeps strangers out, only the first `MOST_CALLERS` have a name here.
"""

import threading
from collections.abc import Iterable

from consilium import metrics
from dicom_node.scp import AssociationSeen, RefusalSeen, StoreSeen

MOST_CALLERS = 100
OTHERS = "(others)"


class Callers:
    """The names that callers have in metrics: all of the table, and the first strangers."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = set(known)
        self._most = max(MOST_CALLERS, len(self._known))
        self._lock = threading.Lock()

    def name(self, calling_ae: str) -> str:
        """Return a caller's title, or OTHERS."""
        with self._lock:
            if calling_ae in self._known:
                return calling_ae
            if len(self._known) >= self._most:
                return OTHERS
            self._known.add(calling_ae)
            return calling_ae


class DicomMetrics:
    """An observer of the node. known: AE titles of the table of callers."""

    def __init__(self, known: Iterable[str]) -> None:
        self._callers = Callers(known)

    def __call__(self, seen: StoreSeen | AssociationSeen | RefusalSeen) -> None:
        """Count it."""
        if isinstance(seen, RefusalSeen):
            metrics.ASSOCIATIONS_REFUSED.labels(seen.why).inc()
            return
        caller = self._callers.name(seen.calling_ae)
        if isinstance(seen, AssociationSeen):
            metrics.ASSOCIATIONS.labels(caller, seen.outcome).inc()
            return
        metrics.INSTANCES.labels(caller, f"0x{seen.status:04X}").inc()
        metrics.INSTANCE_BYTES.labels(caller).inc(seen.size)
        metrics.STORE_SECONDS.labels(caller).observe(seen.took_s)
