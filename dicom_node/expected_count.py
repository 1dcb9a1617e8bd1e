"""How many objects a study has by an archive's word; one that is away costs nobody more than a question."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from dicom_node.destinations import Destination, SendTimeouts
from dicom_node.find import Unanswered, instances_of_study

FAILURES, PAUSE_S = 3, 60.0
# Nobody waits for the answer, and an archive that is busy may take its time.
PATIENT = SendTimeouts(connect_s=5.0, acse_s=10.0, dimse_s=20.0, network_s=20.0)
NOT_KNOWN = "it does not know the study, or does not say"
LEFT_ALONE = "it did not answer the last times and is left alone for a while"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Counted:
    """objects: Number of Study Related Instances (0020,1208), None when that is not known; problem: then why."""

    objects: int | None
    problem: str | None = None


@dataclass(slots=True)
class ExpectedCount:
    """Asks one archive. It never raises; after FAILURES failures in a row nobody is asked for PAUSE_S seconds.

    clock: seconds, monotonic.
    """

    archive: Destination
    calling_ae: str
    clock: Callable[[], float] = time.monotonic
    timeouts: SendTimeouts = PATIENT
    _failures: int = 0
    _closed_until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, study_uid: str) -> Counted:
        """Return how many objects of a study the archive knows of."""
        with self._lock:
            if self.clock() < self._closed_until:
                return Counted(None, LEFT_ALONE)
        try:
            objects = instances_of_study(self.archive, self.calling_ae, study_uid, timeouts=self.timeouts)
        except Unanswered as reason:
            log.warning("archive not asked", destination=self.archive.name, problem=str(reason))
            self._failed()
            return Counted(None, str(reason))
        with self._lock:
            self._failures = 0
        return Counted(objects, None if objects is not None else NOT_KNOWN)

    def _failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES:
                self._closed_until = self.clock() + PAUSE_S
