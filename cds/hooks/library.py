"""The hooks of HL7/cds-hooks-library, one row each, with the version that discovery announces."""

from collections.abc import Mapping
from types import MappingProxyType

from cds.hooks import contexts
from cds.hooks.dispatch import one_form
from cds.hooks.fields import (
    bundle,
    encounter_id,
    patient_id,
    reference,
    references,
    resource,
    resources,
    user_id,
    wrong,
)
from cds.hooks.hook import Hook

_ANYBODY = ("Practitioner", "PractitionerRole", "Patient", "RelatedPerson")


def _selected_are_drafts(context: contexts.OrderSelect) -> None:
    drafts = context.drafts()
    for number, chosen in enumerate(context.selections):
        if str(chosen) not in drafts:
            raise wrong(f"context.selections[{number}]", "expected an order that is in context.draftOrders")


PATIENT_VIEW = Hook(
    "patient-view", "1.0", (user_id(*_ANYBODY), patient_id(), encounter_id()), contexts.PatientView
)
ORDER_SELECT = Hook(
    "order-select",
    "1.0",
    (
        user_id(),
        patient_id(),
        encounter_id(),
        references("selections", "selections"),
        bundle("draftOrders", "draft_orders"),
    ),
    contexts.OrderSelect,
    check=_selected_are_drafts,
)
ORDER_SIGN = Hook(
    "order-sign",
    "1.1.0",
    (user_id(), patient_id(), encounter_id(), bundle("draftOrders", "draft_orders")),
    contexts.OrderSign,
)
ORDER_DISPATCH = Hook(
    "order-dispatch",
    "1.1",
    (
        patient_id(),
        references("dispatchedOrders", "dispatched_orders"),
        reference("performer", "performer"),
        resources("fulfillmentTasks", "fulfillment_tasks", "Task", required=False),
    ),
    contexts.OrderDispatch,
    normalise=one_form,
)
APPOINTMENT_BOOK = Hook(
    "appointment-book",
    "1.0",
    (user_id(*_ANYBODY), patient_id(), encounter_id(), bundle("appointments", "appointments", "Appointment")),
    contexts.AppointmentBook,
)
ENCOUNTER_START = Hook(
    "encounter-start", "1.0", (user_id(), patient_id(), encounter_id(required=True)), contexts.EncounterStart
)
ENCOUNTER_DISCHARGE = Hook(
    "encounter-discharge",
    "1.0",
    (user_id(), patient_id(), encounter_id(required=True)),
    contexts.EncounterDischarge,
)
PROBLEM_LIST_ITEM_CREATE = Hook(
    "problem-list-item-create",
    "0.1.0",
    (user_id(), patient_id(), encounter_id(), bundle("conditions", "conditions", "Condition")),
    contexts.ProblemListItemCreate,
)
ALLERGYINTOLERANCE_CREATE = Hook(
    "allergyintolerance-create",
    "0.1.0",
    (
        user_id("Practitioner"),
        patient_id(),
        encounter_id(),
        resource("allergyIntolerance", "allergy_intolerance", "AllergyIntolerance"),
    ),
    contexts.AllergyIntoleranceCreate,
)
MEDICATION_REFILL = Hook(
    "medication-refill",
    "0.1.0",
    (
        user_id(required=False),
        patient_id(),
        encounter_id(),
        bundle("medications", "medications", "MedicationRequest"),
    ),
    contexts.MedicationRefill,
)
MEDICATION_VERIFY = Hook(
    "medication-verify",
    "0.1.0",
    (user_id(), patient_id(), encounter_id(), resource("medication", "medication", "MedicationRequest")),
    contexts.MedicationVerify,
)
MEDICATION_PRESCRIBE = Hook(
    "medication-prescribe",
    "1.0",
    (
        user_id("Practitioner"),
        patient_id(),
        encounter_id(),
        bundle("medications", "medications", "MedicationRequest", "MedicationOrder"),
    ),
    contexts.MedicationPrescribe,
    deprecated=True,
)
ORDER_REVIEW = Hook(
    "order-review",
    "1.0",
    (user_id("Practitioner"), patient_id(), encounter_id(), bundle("orders", "orders")),
    contexts.OrderReview,
    deprecated=True,
)

HOOKS: Mapping[str, Hook] = MappingProxyType(
    {
        hook.name: hook
        for hook in (
            PATIENT_VIEW,
            ORDER_SELECT,
            ORDER_SIGN,
            ORDER_DISPATCH,
            APPOINTMENT_BOOK,
            ENCOUNTER_START,
            ENCOUNTER_DISCHARGE,
            PROBLEM_LIST_ITEM_CREATE,
            ALLERGYINTOLERANCE_CREATE,
            MEDICATION_REFILL,
            MEDICATION_VERIFY,
            MEDICATION_PRESCRIBE,
            ORDER_REVIEW,
        )
    }
)
