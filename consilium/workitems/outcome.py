"""What the state of a step's studies means for the step: wait, complete, or cancel with a reason. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from clinical.codes import (
    DISCONTINUED,
    EQUIPMENT_FAILURE,
    INCORRECT_WORKLIST_ENTRY,
    OBJECT_SET_INCOMPLETE,
    OBJECT_TYPES_NOT_SUPPORTED,
    Coding,
)
from record_store.instances import CLOSED, HELD, StudyRow
from record_store.readings import DONE, FAILED, QUEUED, JobRow

# How far a step is, in percent, by what it waits for; a worklist is told when this changes.
BEGUN, COMING, IS_READ, IS_SENT = 0, 10, 40, 90
NOT_HERE = "its study is not here"
OTHER_PATIENT = "the study is of another patient than the step"
STAYED_HELD = "the study is held for a person to look at"
INCOMPLETE = "not all that the step names is in the archive"
NO_MODEL = "no model reads it"
NO_INPUT = "the step names no study"


@dataclass(frozen=True, slots=True)
class Seen:
    """One study of a step's input. jobs: those of its last revision whose results the step asks for.

    sending: results of theirs that are on their way to a destination.
    """

    study: StudyRow | None
    jobs: tuple[JobRow, ...] = ()
    sending: int = 0


@dataclass(frozen=True, slots=True)
class Waits:
    """The step goes on later. held: a person has to look first."""

    percent: int
    words: str
    held: bool = False


@dataclass(frozen=True, slots=True)
class Ends:
    """The step ends. reason: None when it is completed. words: why it is canceled."""

    reason: Coding | None = None
    words: str = ""


def outcome(seen: Sequence[Seen], patient_value: str | None, patient_system: str | None) -> Waits | Ends:
    """Return what becomes of a step. patient_value: whose it is, by number; None where it does not say.

    patient_system: who issued the number; where it does not say, the number alone is compared.
    """
    studies = [one.study for one in seen if one.study is not None]
    if not seen or len(studies) < len(seen):
        return Ends(OBJECT_SET_INCOMPLETE, NOT_HERE if seen else NO_INPUT)
    if any(_contradicts(one, patient_value, patient_system) for one in studies):
        return Ends(INCORRECT_WORKLIST_ENTRY, OTHER_PATIENT)
    held = next((one for one in studies if one.state == HELD), None)
    if held is not None:
        return Waits(COMING, f"{STAYED_HELD}: {held.hold_reason or 'no reason is recorded'}", held=True)
    if any(one.state != CLOSED for one in studies):
        return Waits(COMING, "its images are coming")
    return _of_jobs([job for one in seen for job in one.jobs], sum(one.sending for one in seen))


def _of_jobs(jobs: Sequence[JobRow], sending: int) -> Waits | Ends:
    if any(job.state == QUEUED for job in jobs):
        return Waits(IS_READ, "a model reads it")
    failed = next((job for job in jobs if job.state == FAILED), None)
    if failed is not None:
        return Ends(EQUIPMENT_FAILURE, f"{failed.model} failed: {failed.reason or 'no reason is recorded'}")
    if not any(job.state == DONE and job.reason is None for job in jobs):
        why = next((job.reason for job in jobs if job.reason), None)
        return Ends(OBJECT_TYPES_NOT_SUPPORTED, why or NO_MODEL)
    if sending:
        return Waits(IS_SENT, "its results are being sent")
    return Ends()


def still_held(words: str) -> Ends:
    """Return the end of a step whose study was held for too long."""
    return Ends(DISCONTINUED, words)


def _contradicts(study: StudyRow, value: str | None, system: str | None) -> bool:
    theirs = study.patient
    if theirs is None or value is None:
        return False
    return theirs.value != value or (system is not None and theirs.system != system)
