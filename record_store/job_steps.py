"""One step of a job, tried until it has an outcome. Knows nothing of the engine that records the outcome.

An outcome is JSON: {"ok": what the next step gets} or {"failed": {"category": ..., "message": ...}}.
"""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from clinical.errors import Category, ClinicalError

StepFunction = Callable[[str, dict[str, Any]], dict[str, Any]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StepRetry:
    """How often a step is tried within one run: at once, then after 1, 2, 4 ... 30 s.

    busy_attempts: what is busy passes, and a database may be away for a minute and a half.
    fault_attempts: a fault is mostly the same the next time, and the queue waits behind it.
    """

    busy_attempts: int = 8
    fault_attempts: int = 3
    first_s: float = 1.0
    ceiling_s: float = 30.0

    def attempts(self, category: Category) -> int:
        """Return how often a step that fails like this is tried (DESIGN section 6, column "job")."""
        return {Category.BUSY: self.busy_attempts, Category.FAULT: self.fault_attempts}.get(category, 1)

    def delay_s(self, attempt: int) -> float:
        """Return the pause after this attempt (from 1), in seconds."""
        return min(self.first_s * 2.0 ** (attempt - 1), self.ceiling_s)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed; message is free of patient data."""

    category: Category
    message: str

    def as_json(self) -> dict[str, Any]:
        """Return the outcome."""
        return {"failed": {"category": self.category.value, "message": self.message}}


def failure_in(outcome: Mapping[str, Any]) -> Failure | None:
    """Return the failure of an outcome, or None when it is a success."""
    failed = outcome.get("failed")
    return None if failed is None else Failure(Category(failed["category"]), failed["message"])


def run_step(
    function: StepFunction,
    job_key: str,
    previous: dict[str, Any],
    *,
    retry: StepRetry,
    sleep: Callable[[float], None],
) -> dict[str, Any]:
    """Return the outcome of `function(job_key, previous)`; no Exception leaves it.

    BUSY and FAULT are tried again with growing pauses, other categories fail at once (DESIGN section 6).
    """
    attempt = 0
    while True:
        attempt += 1
        outcome, failure = _attempt(function, job_key, previous)
        if failure is None:
            return outcome
        last = attempt >= retry.attempts(failure.category)
        log.warning("job step failed", job=job_key, attempt=attempt, last=last, category=failure.category.value)
        if last:
            return failure.as_json()
        sleep(retry.delay_s(attempt))


def _attempt(
    function: StepFunction, job_key: str, previous: dict[str, Any]
) -> tuple[dict[str, Any], Failure | None]:
    try:
        result = function(job_key, previous)
        orjson.dumps(result)  # what cannot be recorded would fail later, outside of this table
    except ClinicalError as exc:
        return {}, Failure(exc.category, exc.message)
    except Exception as exc:  # noqa: BLE001 - the worker's outer edge: a bug in a step must park its job, not the worker
        # Its text may quote patient data, so no log.exception: its type and place cannot.
        place = traceback.extract_tb(exc.__traceback__)[-1]
        log.error(  # noqa: TRY400
            "job step raised", job=job_key, kind=type(exc).__name__, file=place.filename, line=place.lineno
        )
        return {}, Failure(Category.FAULT, f"the step raised {type(exc).__name__}")
    return {"ok": result}, None
