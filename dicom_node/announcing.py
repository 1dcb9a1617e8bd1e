"""What services share that are told of a study's objects or of steps: whom they tell, and what they answer.

An announcement is written down before it is answered with Success, as an object is.
"""

from collections.abc import Callable, Collection
from typing import Any, Protocol

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt

from clinical.errors import ClinicalError
from dicom_node.incoming import DECODER_ERRORS
from dicom_node.uids import checked_uid
from record_store.announcements import Announcement

# PS3.7 annex C
SUCCESS, INVALID_VALUE, PROCESSING_FAILURE = 0x0000, 0x0106, 0x0110
DUPLICATE_INSTANCE, NO_SUCH_INSTANCE, MISSING_ATTRIBUTE = 0x0111, 0x0112, 0x0120
PLAIN = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]

Answer = tuple[int | Dataset, Dataset | None]
log = structlog.get_logger()


class Announcements(Protocol):
    """Where announcements are kept. Each raises Busy when the database is away."""

    def announce(self, said: Announcement) -> bool:
        """Keep one; False when there is one of this UID already."""

    def state(self, uid: str) -> str | None:
        """Return where one stands, None when there is none of this UID."""

    def amend(self, uid: str, state: str, objects: Collection[str] | None) -> bool:
        """Change where one stands, and what it lists unless that is None; False when it is not in progress."""


class Refused(Exception):
    """The request gets this status. why: for the log, without anything of the request's."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


def answered(service: str, event: evt.Event, handle: Callable[[], Answer]) -> Answer:
    """Return the answer to a request: the outer edge, where every error becomes a status."""
    try:
        return handle()
    except Refused as reason:
        status, why = reason.status, reason.why
    except ClinicalError as error:
        status, why = PROCESSING_FAILURE, error.message
    except DECODER_ERRORS:
        status, why = PROCESSING_FAILURE, "the data set cannot be read"
    log.warning("request refused", service=service, calling_ae=peer(event), dimse_status=status, why=why)
    return status, None


def created(announcements: Announcements, said: Announcement, given: str | None) -> Answer:
    """Keep an announcement and return the answer to its N-CREATE. given: the UID that the caller gave it."""
    if not announcements.announce(said):
        raise Refused(DUPLICATE_INSTANCE, "there is one of this UID already")
    log.info(
        "announcement taken", kind=said.kind, calling_ae=said.said_by, state=said.state, count=len(said.objects)
    )
    answer = Dataset()
    if not given:
        answer.AffectedSOPInstanceUID = said.uid  # PS3.7 10.1.5.1.4: then the SCP names it
    return SUCCESS, answer


def required(ds: Dataset, keyword: str) -> Any:  # noqa: ANN401 - whatever the attribute holds
    """Return a type 1 attribute's value; Refused when it is absent or empty."""
    value = ds.get(keyword)
    if (
        value is None
        or value == ""
        or (not isinstance(value, str) and hasattr(value, "__len__") and not len(value))
    ):
        raise Refused(MISSING_ATTRIBUTE, f"{keyword} is missing")
    return value


def required_uid(ds: Dataset, keyword: str) -> str:
    """Return a type 1 UID; Refused when it is absent, or none."""
    return uid_of(str(required(ds, keyword)), keyword)


def uid_of(text: str, keyword: str) -> str:
    """Return a UID as it is kept; Refused when it is none."""
    try:
        return checked_uid(text, keyword)
    except ClinicalError as error:
        raise Refused(INVALID_VALUE, error.message) from None


def peer(event: evt.Event) -> str:
    """Return who asks."""
    primitive = event.assoc.requestor.primitive
    return str((primitive.calling_ae_title if primitive else "") or "").strip()[:16]
