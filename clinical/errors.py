"""One error vocabulary for the whole server (DESIGN section 6).

The core raises by meaning. HTTP statuses, OperationOutcome codes, DIMSE statuses and job decisions stand
in one table per protocol: `fhir_adapters/outcome.py`, `dicom_node/status.py`, `record_store/jobs.py`.

A message may be shown and logged, so it never carries patient data.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar


class Category(StrEnum):
    """What went wrong, in the only words that every protocol translates."""

    INCORRECT = "incorrect"
    PRECONDITION = "precondition"
    NOT_FOUND = "not-found"
    UNSUPPORTED = "unsupported"
    DENIED = "denied"
    BUSY = "busy"
    FAULT = "fault"


class ClinicalError(Exception):
    """An error with a meaning; the transport chooses the number.

    message: one sentence for the caller, free of patient data.
    expression: where in the request, as FHIRPath or JSON path (`OperationOutcome.issue.expression`).
    diagnostics: more words for the caller's engineer, free of patient data.
    """

    category: ClassVar[Category] = Category.FAULT

    def __init__(self, message: str, *, expression: Sequence[str] = (), diagnostics: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.expression = tuple(expression)
        self.diagnostics = diagnostics


class IncorrectInput(ClinicalError):
    """What was sent cannot be understood or contradicts itself."""

    category = Category.INCORRECT


class PreconditionMissing(ClinicalError):
    """Data that the answer needs was neither sent nor obtainable."""

    category = Category.PRECONDITION


class NotFound(ClinicalError):
    """The thing asked for is not here, or the caller may not know of it."""

    category = Category.NOT_FOUND


class Unsupported(ClinicalError):
    """Understood, but this server does not do it."""

    category = Category.UNSUPPORTED


class Denied(ClinicalError):
    """The caller may not do this.

    unauthenticated: True when no valid identity was shown (401), False when the identity is known (403).
    """

    category = Category.DENIED

    def __init__(self, message: str, *, unauthenticated: bool = False) -> None:
        super().__init__(message)
        self.unauthenticated = unauthenticated


class Busy(ClinicalError):
    """Not now: a resource is exhausted or away; the same request may succeed later.

    retry_after_s: when the caller may try again, in seconds.
    """

    category = Category.BUSY

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Fault(ClinicalError):
    """Our own failure. Never an empty success."""

    category = Category.FAULT
