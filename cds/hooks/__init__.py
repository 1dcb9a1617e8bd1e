"""The hooks that are understood, and the typed context of each: one row per hook in `library`.

A service with a hook of its own organisation makes it with `own_hook`; parsing then knows it.
"""

from cds.hooks.contexts import Context, OwnContext, Reference, is_id
from cds.hooks.fields import ContextField
from cds.hooks.hook import Hook, own_hook
from cds.hooks.library import (
    ALLERGYINTOLERANCE_CREATE,
    APPOINTMENT_BOOK,
    ENCOUNTER_DISCHARGE,
    ENCOUNTER_START,
    HOOKS,
    MEDICATION_PRESCRIBE,
    MEDICATION_REFILL,
    MEDICATION_VERIFY,
    ORDER_DISPATCH,
    ORDER_REVIEW,
    ORDER_SELECT,
    ORDER_SIGN,
    PATIENT_VIEW,
    PROBLEM_LIST_ITEM_CREATE,
)

__all__ = [
    "ALLERGYINTOLERANCE_CREATE",
    "APPOINTMENT_BOOK",
    "ENCOUNTER_DISCHARGE",
    "ENCOUNTER_START",
    "HOOKS",
    "MEDICATION_PRESCRIBE",
    "MEDICATION_REFILL",
    "MEDICATION_VERIFY",
    "ORDER_DISPATCH",
    "ORDER_REVIEW",
    "ORDER_SELECT",
    "ORDER_SIGN",
    "PATIENT_VIEW",
    "PROBLEM_LIST_ITEM_CREATE",
    "Context",
    "ContextField",
    "Hook",
    "OwnContext",
    "Reference",
    "is_id",
    "own_hook",
]
