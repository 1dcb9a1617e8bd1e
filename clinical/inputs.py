"""What a model read of a record, so that a clinician can check it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class InputUsed:
    """One value that a model read.

    name: the feature's name in the manifest; label: how people call it.
    unit: UCUM, or "" for a value without one. taken_at: when it was measured, None when timeless.
    source: relative reference of the FHIR resource it was read from.
    """

    name: str
    label: str
    value: float
    shown: str
    unit: str
    taken_at: datetime | None
    source: str | None
