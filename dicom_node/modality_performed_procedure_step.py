"""Modality performed procedure step as SCP (PS3.4 F.7): the machine says what it does, and what came of it.

A study is not complete while a step is in progress; when it is completed or discontinued, the objects that it
lists are what the study has.
"""

from collections.abc import Callable, Collection, Iterator

from pydicom.dataset import Dataset
from pynetdicom import build_context, evt
from pynetdicom.sop_class import ModalityPerformedProcedureStep

from dicom_node.announcing import (
    DUPLICATE_INSTANCE,
    INVALID_VALUE,
    MISSING_ATTRIBUTE,
    NO_SUCH_INSTANCE,
    PLAIN,
    PROCESSING_FAILURE,
    SUCCESS,
    Announcements,
    Answer,
    Refused,
    answered,
    created,
    peer,
    required,
    required_uid,
    uid_of,
)
from dicom_node.service import Service
from record_store.announcements import COMPLETED, DISCONTINUED, IN_PROGRESS, Announcement

KIND = "MPPS"
STATUSES: dict[int, str] = {
    SUCCESS: "the step is written down",
    INVALID_VALUE: "a UID is none, or the status is not one that this request may set",
    PROCESSING_FAILURE: "the step is completed or discontinued (Error ID A710), the data set cannot be read, "
    "or the database is away",
    DUPLICATE_INSTANCE: "there is a step of this UID already",
    NO_SUCH_INSTANCE: "there is no step of this UID",
    MISSING_ATTRIBUTE: "an attribute of type 1 (PS3.4 table F.7.2-1) is missing",
}
_STATES = {"IN PROGRESS": IN_PROGRESS, "COMPLETED": COMPLETED, "DISCONTINUED": DISCONTINUED}  # PS3.3 C.4.14
_NO_LONGER_UPDATED = 0xA710  # Error ID, PS3.4 F.7.2.2.3


def performed_step_service(
    announcements: Announcements, takes: Collection[str], new_uid: Callable[[], str]
) -> Service:
    """Return the service. takes: SOP class UIDs that the node stores; others never come and are not waited for."""

    def on_create(event: evt.Event) -> Answer:
        return answered(KIND, event, lambda: _create(event, announcements, takes, new_uid))

    def on_set(event: evt.Event) -> Answer:
        return answered(KIND, event, lambda: _set(event, announcements, takes))

    handlers = {evt.EVT_N_CREATE: on_create, evt.EVT_N_SET: on_set}
    return Service(
        (build_context(ModalityPerformedProcedureStep, PLAIN),),
        handlers,
        name="Modality Performed Procedure Step",
        statuses=STATUSES,
    )


def read_step(uid: str, said_by: str, ds: Dataset, takes: Collection[str]) -> Announcement:
    """Return the step that an N-CREATE begins; Refused when what it must have is missing or wrong."""
    if str(required(ds, "PerformedProcedureStepStatus")) != "IN PROGRESS":
        raise Refused(INVALID_VALUE, "a step begins as IN PROGRESS")  # PS3.4 F.7.2.1.2
    scheduled = required(ds, "ScheduledStepAttributesSequence")
    studies = frozenset(required_uid(item, "StudyInstanceUID") for item in scheduled)
    return Announcement(uid, KIND, IN_PROGRESS, said_by, studies, objects_of(ds, takes) or frozenset())


def objects_of(ds: Dataset, takes: Collection[str]) -> frozenset[str] | None:
    """Return the objects of a Performed Series Sequence (0040,0340), which is always whole; None without one."""
    if "PerformedSeriesSequence" not in ds:
        return None
    listed = (item for series in ds.PerformedSeriesSequence or () for item in _referenced(series))
    return frozenset(
        required_uid(item, "ReferencedSOPInstanceUID")
        for item in listed
        if required_uid(item, "ReferencedSOPClassUID") in takes
    )


def _referenced(series: Dataset) -> Iterator[Dataset]:
    yield from series.get("ReferencedImageSequence") or ()
    yield from series.get("ReferencedNonImageCompositeSOPInstanceSequence") or ()


def _create(
    event: evt.Event, announcements: Announcements, takes: Collection[str], new_uid: Callable[[], str]
) -> Answer:
    given = event.request.AffectedSOPInstanceUID
    uid = uid_of(str(given), "AffectedSOPInstanceUID") if given else new_uid()
    return created(announcements, read_step(uid, peer(event), event.attribute_list, takes), given)


def _set(event: evt.Event, announcements: Announcements, takes: Collection[str]) -> Answer:
    uid = uid_of(str(event.request.RequestedSOPInstanceUID), "RequestedSOPInstanceUID")
    ds = event.modification_list
    if announcements.state(uid) is None:
        raise Refused(NO_SUCH_INSTANCE, "there is no step of this UID")
    status = str(ds.get("PerformedProcedureStepStatus") or "IN PROGRESS")
    if status not in _STATES:
        raise Refused(INVALID_VALUE, "the status is not one of PS3.3 C.4.14")
    amended = announcements.amend(uid, _STATES[status], objects_of(ds, takes))
    return (SUCCESS, Dataset()) if amended else (_final(), None)


def _final() -> Dataset:
    status = Dataset()
    status.Status, status.ErrorID = PROCESSING_FAILURE, _NO_LONGER_UPDATED
    status.ErrorComment = "Performed Procedure Step Object may no longer be updated"
    return status
