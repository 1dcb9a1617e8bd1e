"""An archive that does not answer is left alone for a while."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

FAILURES, PAUSE_S = 3, 60.0


@dataclass(slots=True)
class ArchiveCircuits:
    """After FAILURES failures in a row an archive is not asked for PAUSE_S seconds. clock: seconds, monotonic."""

    clock: Callable[[], float] = time.monotonic
    _failures: dict[str, int] = field(default_factory=dict)
    _open_until: dict[str, float] = field(default_factory=dict)
    _problems: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def may_ask(self, archive: str) -> bool:
        """Tell whether an archive may be asked now."""
        with self._lock:
            return self.clock() >= self._open_until.get(archive, 0.0)

    def answered(self, archive: str) -> None:
        """Forget its failures."""
        with self._lock:
            self._failures.pop(archive, None)

    def problem(self, archive: str) -> str:
        """Return why it did not answer last, "" when nobody has said."""
        with self._lock:
            return self._problems.get(archive, "")

    def failed(self, archive: str, problem: str = "") -> None:
        """Count a failure; the first one after a pause begins the next. problem: why it did not answer."""
        with self._lock:
            self._problems[archive] = problem
            self._failures[archive] = self._failures.get(archive, 0) + 1
            if self._failures[archive] >= FAILURES:
                self._open_until[archive] = self.clock() + PAUSE_S
