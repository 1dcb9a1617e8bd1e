"""Which override reasons a card offers, and which group of the HL7 code system a given reason belongs to."""

from clinical.codes import Coding
from clinical.override_codes import (
    ACTION_COMPLETED,
    ACTION_NOT_PRIORITY,
    GROUPS,
    NEED_MORE_INFO,
    NON_ADHERENCE_REASON,
    PATIENT_INELIGIBLE,
    PATIENT_REFUSES,
    RECIPIENT_DOES_NOT_TRUST,
    SERVICE_NOT_AVAILABLE,
)

# A short list is read, one of 29 is not; a client may add reasons of its own.
OF_A_RISK = (
    PATIENT_INELIGIBLE,
    ACTION_COMPLETED,
    ACTION_NOT_PRIORITY,
    NEED_MORE_INFO,
    RECIPIENT_DOES_NOT_TRUST,
    PATIENT_REFUSES,
)
OF_AN_IMAGE = (
    ACTION_COMPLETED,
    ACTION_NOT_PRIORITY,
    NEED_MORE_INFO,
    RECIPIENT_DOES_NOT_TRUST,
    SERVICE_NOT_AVAILABLE,
)

_GROUP_OF = {reason.code: group for group, reasons in GROUPS.items() for reason in (group, *reasons)}


def group_of(system: str, code: str) -> Coding | None:
    """Return the group of a reason (of a group: itself), None for one that is not of the HL7 code system."""
    return _GROUP_OF.get(code) if system == NON_ADHERENCE_REASON else None
