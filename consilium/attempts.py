"""The outer edge of work that is done again and again: what it raises is logged, and it is tried later."""

import time
import traceback
from collections.abc import Callable
from pathlib import Path

import structlog

from clinical.errors import ClinicalError

SAY_AGAIN_S = 60.0
log = structlog.get_logger()


def problem_of(error: Exception) -> tuple[str, str]:
    """Return the category of what was raised, and what went wrong, without patient data."""
    if isinstance(error, ClinicalError):
        return error.category, error.message
    # Its text may quote patient data; its type and place cannot.
    place = traceback.extract_tb(error.__traceback__)[-1]
    return "fault", f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"


class Attempts:
    """Calls work for one thread. The same problem is said once a minute, not once a second."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._said = ("", 0.0)

    def __call__(self, work: Callable[[], object]) -> bool:
        """Return True when the work came to its end, False when it was put off."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a process's outer edge: a loop that ended would be missed by nobody
            self._say(*problem_of(error))
            return False
        self._said = ("", 0.0)
        return True

    def _say(self, category: str, problem: str) -> None:
        before, at = self._said
        if problem == before and time.monotonic() - at < SAY_AGAIN_S:
            return
        self._said = (problem, time.monotonic())
        log.warning("work is put off", step=self._name, category=category, problem=problem)
