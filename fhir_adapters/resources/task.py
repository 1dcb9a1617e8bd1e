"""One image job as a Task (R4 8.16), in the manner of IHE AIW-I: asked for, under way, done with output, failed.

AIW-I itself speaks DICOM UPS; this is the same order of work for who reads FHIR.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from clinical.codes import Coding
from fhir_adapters.resources.labels import Json, concept, dicom_uid, instant

JOB_IDENTIFIER = "urn:consilium:job"
FULFILL = Coding("http://hl7.org/fhir/CodeSystem/task-code", "fulfill", "Fulfill the focal request")
REQUESTED, IN_PROGRESS, COMPLETED, FAILED = "requested", "in-progress", "completed", "failed"


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """What a job is to do, and how far it is. All references are FHIR References.

    status: of task-status. reason: why it failed, or why nothing was read. outputs: (what, Reference or
    Identifier) of each.
    """

    job_key: str
    status: str
    model: str
    focus: Json
    patient: Json
    owner: Json
    asked_at: datetime
    changed_at: datetime
    started: str | None = None
    ended: str | None = None
    reason: str | None = None
    based_on: Sequence[Json] = ()
    outputs: Sequence[tuple[str, Json]] = ()


def task(order: WorkOrder, *, resource_id: str) -> Json:
    """Return the Task."""
    period = {name: at for name, at in (("start", order.started), ("end", order.ended)) if at}
    resource: Json = {
        "resourceType": "Task",
        "id": resource_id,
        "identifier": [{"system": JOB_IDENTIFIER, "value": order.job_key}],
        "status": order.status,
        "intent": "order",
        "code": concept(FULFILL, text=f"Read the study with {order.model}"),
        "focus": order.focus,
        "for": order.patient,
        "authoredOn": instant(order.asked_at),
        "lastModified": instant(order.changed_at),
        "owner": order.owner,
    }
    if order.based_on:
        resource["basedOn"] = list(order.based_on)
    if order.reason:
        resource["statusReason"] = {"text": order.reason}
    if period:
        resource["executionPeriod"] = period
    if order.outputs:
        resource["output"] = [_output(what, value) for what, value in order.outputs]
    return resource


def study_named(study_uid: str) -> Json:
    """Return a logical Reference to a study that may not stand here as an ImagingStudy yet."""
    return {"type": "ImagingStudy", "identifier": dicom_uid(study_uid)}


def _output(what: str, value: Json) -> Json:
    return {"type": {"text": what}, "valueReference" if "reference" in value else "valueIdentifier": value}
