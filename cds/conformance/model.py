"""What a check is and what can come out of it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cds.conformance.bench import Bench


class Level(StrEnum):
    """M: SHALL. S: SHOULD, and what the best-practice pages recommend. O: MAY, and our own stricter rules."""

    MUST = "M"
    SHOULD = "S"
    MAY = "O"


class Verdict(StrEnum):
    """skipped: it may apply, but could not be judged; the reason says what would be needed."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    NOT_APPLICABLE = "not-applicable"
    SKIPPED = "skipped"


class NotPassed(Exception):
    """How a check ends when it does not pass; the text says why, without what the server said of a patient."""

    verdict = Verdict.FAIL


class Failed(NotPassed):
    """The server does not keep the rule."""


class NotApplicable(NotPassed):
    """The rule is about something that this server does not do, and need not."""

    verdict = Verdict.NOT_APPLICABLE


class Skipped(NotPassed):
    """It could not be judged here."""

    verdict = Verdict.SKIPPED


@dataclass(frozen=True, slots=True)
class Check:
    """One claim about a server.

    id: its row in the checklist, a dot, a number. clause: section of the specification.
    run: returns when the claim holds, else raises a NotPassed.
    """

    id: str
    level: Level
    clause: str
    claim: str
    run: Callable[["Bench"], None]

    @property
    def row(self) -> str:
        """The row of the checklist."""
        return self.id.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Result:
    """What came out of one check. reason: empty when it passed."""

    check: Check
    verdict: Verdict
    reason: str
    took_ms: float


def must(condition: object, reason: str) -> None:
    """Raise Failed unless the condition holds."""
    if not condition:
        raise Failed(reason)
