"""The context of each hook as a frozen value (HL7/cds-hooks-library). FHIR resources stay the JSON that was sent.

An identifier of a patient, a user or a resource is left out of every repr: these values travel near logs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")  # R4 datatype `id`

Resource = Mapping[str, Any]
Resources = tuple[Resource, ...]


def is_id(value: object) -> bool:
    """True for a bare FHIR id. "." and ".." fit the datatype but would change the path of a URL."""
    return isinstance(value, str) and bool(_ID.fullmatch(value)) and value not in {".", ".."}


@dataclass(frozen=True, slots=True)
class Reference:
    """A relative reference, `Type/id`."""

    type: str
    id: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.type}/{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every hook says. user: None where the definition has none. extension: as sent, {} without one."""

    patient_id: str = field(repr=False)
    user: Reference | None = None
    encounter_id: str | None = field(default=None, repr=False)
    extension: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def drafts(self) -> frozenset[str]:
        """Return relative references of the orders (appointments, problems...) that are being made.

        Actions may change or delete these alone (K11).
        """
        return frozenset(
            f"{draft['resourceType']}/{draft['id']}" for draft in self._made() if is_id(draft.get("id"))
        )

    def _made(self) -> Resources:
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientView(Context):
    """The chart of a patient was opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSelect(Context):
    """Orders were chosen but have no details yet. selections: of those in draft_orders, the ones just chosen."""

    selections: tuple[Reference, ...]
    draft_orders: Resources = field(repr=False)

    def _made(self) -> Resources:
        return self.draft_orders


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSign(Context):
    """Orders are about to be signed; since 1.1.0 also orders that are being revised, which are no drafts."""

    draft_orders: Resources = field(repr=False)

    def _made(self) -> Resources:
        return self.draft_orders


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderDispatch(Context):
    """Signed orders are given to somebody to do them. The 1.0 form (`order`, `task`) reads as lists of one."""

    dispatched_orders: tuple[Reference, ...]
    performer: Reference
    fulfillment_tasks: Resources = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppointmentBook(Context):
    """Appointments are about to be made."""

    appointments: Resources = field(repr=False)

    def _made(self) -> Resources:
        return self.appointments


@dataclass(frozen=True, slots=True, kw_only=True)
class EncounterStart(Context):
    """An encounter begins; encounter_id is always there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncounterDischarge(Context):
    """A patient is being discharged; encounter_id is always there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemListItemCreate(Context):
    """Problems are being put on the list."""

    conditions: Resources = field(repr=False)

    def _made(self) -> Resources:
        return self.conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class AllergyIntoleranceCreate(Context):
    """An allergy or intolerance is being recorded."""

    allergy_intolerance: Resource = field(repr=False)

    def _made(self) -> Resources:
        return (self.allergy_intolerance,)


@dataclass(frozen=True, slots=True, kw_only=True)
class MedicationRefill(Context):
    """A refill is asked for, by the patient or by staff: user may be None."""

    medications: Resources = field(repr=False)

    def _made(self) -> Resources:
        return self.medications


@dataclass(frozen=True, slots=True, kw_only=True)
class MedicationVerify(Context):
    """A pharmacist or nurse verifies one active order."""

    medication: Resource = field(repr=False)

    def _made(self) -> Resources:
        return (self.medication,)


@dataclass(frozen=True, slots=True, kw_only=True)
class MedicationPrescribe(Context):
    """Deprecated: medications are being prescribed."""

    medications: Resources = field(repr=False)

    def _made(self) -> Resources:
        return self.medications


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReview(Context):
    """Deprecated: orders are being reviewed before they are signed."""

    orders: Resources = field(repr=False)

    def _made(self) -> Resources:
        return self.orders


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnContext(Context):
    """The context of a hook that an organisation has defined. values: its own fields, as read, by their name."""

    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
