"""States of a Unified Procedure Step, and what a worklist's statuses mean to a performer (PS3.4 CC.1.1). Pure."""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class StepState(StrEnum):
    """Procedure Step State (0074,1000)."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


class Answer(StrEnum):
    """What a request came to.

    CONFLICT: the step is not where it was thought to be, or not ours. GONE: the worklist has no such step.
    REFUSED: anything else; it may be otherwise later.
    """

    DONE = "done"
    CONFLICT = "conflict"
    GONE = "gone"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Said:
    """A worklist's answer. words: for people, without anything of the step."""

    answer: Answer
    words: str = ""


_CONFLICTS = MappingProxyType(
    {
        0xB304: "the step is canceled already",
        0xB306: "the step is completed already",
        0xC300: "the step may no longer be changed",
        0xC301: "the step is another performer's",
        0xC302: "the step is in progress already",
        0xC310: "the step is not in progress",
        0xC311: "the step is completed already",
    }
)
_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})
_GONE = MappingProxyType({0x0112: "the worklist has no such step", 0xC307: "the worklist has no such step"})
_REFUSED = MappingProxyType(
    {
        0x0105: "the worklist knows no such attribute",
        0x0106: "the worklist takes a value for wrong",
        0x0110: "the worklist failed",
        0x0120: "the worklist misses an attribute",
        0x0122: "the worklist does not offer this service",
        0x0124: "the worklist does not let us",
        0x0213: "the worklist is out of resources",
        0xC303: "a step becomes scheduled only when it is created",
        0xC304: "what a finished step has to say is not there",
    }
)


def said_by(status: int) -> Said:
    """Return what a DIMSE status of N-ACTION, N-SET or N-GET means (PS3.4 CC.2.1.4, CC.2.6.4, CC.2.7.4).

    A warning is done: of what the worklist did not know (0x0001, 0x0107) or did not like (0x0116, PS3.7 annex
    C.4), or has changed (0xB3xx). What a final state then lacks it says when it is asked for that.
    """
    for answer, known in ((Answer.CONFLICT, _CONFLICTS), (Answer.GONE, _GONE), (Answer.REFUSED, _REFUSED)):
        if status in known:
            return Said(answer, f"{known[status]} (0x{status:04X})")
    if status in {0x0000, *_WARNINGS} or status >> 12 == 0xB:
        return Said(Answer.DONE)
    return Said(Answer.REFUSED, f"failed (0x{status:04X})")


def after_change(
    now: StepState, owner: str | None, wanted: StepState, given: str, *, may_end: bool
) -> tuple[int, StepState]:
    """Return the status and the next state of a step that a performer wants to change (PS3.4 table CC.1.1-2).

    owner: the Transaction UID under which it was claimed. may_end: whether it holds what a final state needs.
    """
    if wanted is StepState.SCHEDULED:
        return 0xC303, now
    if not given:
        return 0xC301, now
    if now is StepState.SCHEDULED:
        return (0x0000, wanted) if wanted is StepState.IN_PROGRESS else (0xC310, now)
    if given != owner:
        return 0xC301, now
    if now is StepState.IN_PROGRESS:
        if wanted is StepState.IN_PROGRESS:
            return 0xC302, now
        return (0x0000, wanted) if may_end else (0xC304, now)
    if wanted is now:
        return (0xB306 if now is StepState.COMPLETED else 0xB304), now
    return 0xC300, now


def after_cancel_request(now: StepState) -> tuple[int, StepState]:
    """Return the status and the next state of a step that its creator wants canceled (PS3.4 CC.2.2.3).

    One in progress is its performer's to cancel, who is told.
    """
    return {
        StepState.SCHEDULED: (0x0000, StepState.CANCELED),
        StepState.IN_PROGRESS: (0x0000, StepState.IN_PROGRESS),
        StepState.COMPLETED: (0xC311, StepState.COMPLETED),
        StepState.CANCELED: (0xB304, StepState.CANCELED),
    }[now]
