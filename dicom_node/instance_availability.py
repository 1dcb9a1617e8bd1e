"""Instance availability notification as SCP (PS3.4 annex R): an archive says which objects of a study it has.

The study is complete when all of them are here that can be had and that we take.
"""

from collections.abc import Callable, Collection, Iterator

from pydicom.dataset import Dataset
from pynetdicom import build_context, evt
from pynetdicom.sop_class import InstanceAvailabilityNotification

from dicom_node.announcing import (
    DUPLICATE_INSTANCE,
    INVALID_VALUE,
    MISSING_ATTRIBUTE,
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
from record_store.announcements import COMPLETED, Announcement

KIND = "IAN"
STATUSES: dict[int, str] = {
    SUCCESS: "the notification is written down",
    INVALID_VALUE: "a UID or an availability is none",
    PROCESSING_FAILURE: "the data set cannot be read, or the database is away",
    DUPLICATE_INSTANCE: "there is a notification of this UID already",
    MISSING_ATTRIBUTE: "an attribute of type 1 (PS3.4 table R.3.2-1) is missing",
}
_TO_BE_HAD = frozenset(("ONLINE", "NEARLINE", "OFFLINE"))  # PS3.3 C.4.23: and UNAVAILABLE
_AVAILABILITIES = _TO_BE_HAD | {"UNAVAILABLE"}


def availability_service(
    announcements: Announcements, takes: Collection[str], new_uid: Callable[[], str]
) -> Service:
    """Return the service. takes: SOP class UIDs that the node stores; others never come and are not waited for."""

    def on_create(event: evt.Event) -> Answer:
        return answered(KIND, event, lambda: _create(event, announcements, takes, new_uid))

    return Service(
        (build_context(InstanceAvailabilityNotification, PLAIN),),
        {evt.EVT_N_CREATE: on_create},
        name="Instance Availability Notification",
        statuses=STATUSES,
    )


def read_notification(uid: str, said_by: str, ds: Dataset, takes: Collection[str]) -> Announcement:
    """Return what a notification says; Refused when an attribute that it must have is missing or wrong."""
    objects = frozenset(
        instance
        for sop_class, instance, availability in _listed(ds)
        if availability in _TO_BE_HAD and sop_class in takes
    )
    study = required_uid(ds, "StudyInstanceUID")
    return Announcement(uid, KIND, COMPLETED, said_by, frozenset((study,)), objects)


def _listed(ds: Dataset) -> Iterator[tuple[str, str, str]]:
    for series in required(ds, "ReferencedSeriesSequence"):
        required_uid(series, "SeriesInstanceUID")
        for item in required(series, "ReferencedSOPSequence"):
            availability = str(required(item, "InstanceAvailability"))
            if availability not in _AVAILABILITIES:
                raise Refused(INVALID_VALUE, "InstanceAvailability is not one of PS3.3 C.4.23")
            yield (
                required_uid(item, "ReferencedSOPClassUID"),
                required_uid(item, "ReferencedSOPInstanceUID"),
                availability,
            )


def _create(
    event: evt.Event, announcements: Announcements, takes: Collection[str], new_uid: Callable[[], str]
) -> Answer:
    given = event.request.AffectedSOPInstanceUID
    uid = uid_of(str(given), "AffectedSOPInstanceUID") if given else new_uid()
    return created(announcements, read_notification(uid, peer(event), event.attribute_list, takes), given)
