"""What a C-STORE is answered with, whichever way it came: the edge where every error becomes a status."""

import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from clinical.errors import ClinicalError, IncorrectInput
from clinical.uids import uid_digest
from dicom_node.header import Header
from dicom_node.intake import Intake, NotCommitted, Sender, check_uids
from dicom_node.receiving import ReceivedObject
from dicom_node.status import (
    CANNOT_UNDERSTAND,
    DIMSE_STATUS,
    DUPLICATE_SOP_INSTANCE,
    NOT_THIS_CLASS,
    SUCCESS,
)
from record_store.instances import Taken
from record_store.parts import PartFile
from record_store.quarantine_folder import Refusal

SetAside = Callable[[PartFile, Refusal], object]
_STATUS_OF = {Taken.NEW: SUCCESS, Taken.SAME: SUCCESS, Taken.DIFFERENT: DUPLICATE_SOP_INSTANCE}


@dataclass(frozen=True, slots=True)
class StoreSeen:
    """One C-STORE answered. outcome: "new", "same", "different", or the error's category."""

    calling_ae: str
    outcome: str
    status: int
    size: int
    took_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """status: for the response. study_uid: of an object that is here now, else ""."""

    status: int
    study_uid: str = ""


class Storing:
    """Answers over one intake. fault: called at "after-receive" and "before-response".

    set_aside: may move away the part of an object that is refused for what it is; it does not raise.
    """

    def __init__(
        self,
        intake: Intake,
        called_ae: str,
        observe: Callable[[StoreSeen], None],
        fault: Callable[[str], None],
        set_aside: SetAside = lambda _part, _refusal: None,
    ) -> None:
        self._intake, self._called_ae, self._observe, self._fault = intake, called_ae, observe, fault
        self._set_aside = set_aside

    def rehearsing(self) -> "Storing":
        """Return one that does the same, takes back what it has stored and tells nobody."""
        return Storing(self._intake.rehearsing(), self._called_ae, lambda _seen: None, lambda _point: None)

    def answer(
        self,
        received: ReceivedObject | None,
        sop_instance: str,
        calling_ae: str,
        address: str = "",
        *,
        originator: str = "",
    ) -> Answer:
        """Store a received object, or say why not. received: None when the request carried no data set.

        originator: the AE title whose C-MOVE it answers, "" where it is not said.
        """
        started = time.monotonic()
        sender = Sender(calling_ae, self._called_ae, fetched=originator.strip() == self._called_ae)
        study_uid, size = "", received.size if received else 0
        try:
            taken, study_uid = self._store(received, sender, address)
            outcome, status = str(taken), _STATUS_OF[taken]
            study_uid = "" if taken is Taken.DIFFERENT else study_uid
        except ClinicalError as error:
            outcome, status = str(error.category), DIMSE_STATUS[error.category]
            audited = not isinstance(error, NotCommitted)
            self._intake.refused(sop_instance, sender, outcome, error.message, audited=audited)
        except Exception as error:  # noqa: BLE001 - the association handler's edge: never an empty success
            outcome, status = "fault", CANNOT_UNDERSTAND
            self._intake.refused(sop_instance, sender, outcome, why_of(error))
        self._observe(StoreSeen(calling_ae, outcome, status, size, time.monotonic() - started))
        self._fault("before-response")
        return Answer(status, study_uid)

    def _store(self, received: ReceivedObject | None, sender: Sender, address: str) -> tuple[Taken, str]:
        if received is None:
            raise IncorrectInput("the request carries no data set")
        part = received.part
        try:
            part, header = received.whole()
            self._fault("after-receive")
            _check(header, received.named)
            return self._intake.take_part(part, header, received.transfer_syntax, sender), header.study_uid
        except BaseException as error:
            if part is not None:
                if isinstance(error, Exception) and is_malformed(error):
                    self._set_aside(part, _refusal(received, sender, address, error))
                part.discard()
            received.discard()
            raise


def is_malformed(error: Exception) -> bool:
    """Tell whether an object was refused for what it is, or for a mistake of ours that it has brought to light."""
    return isinstance(error, IncorrectInput) or not isinstance(error, ClinicalError)


def _refusal(received: ReceivedObject, sender: Sender, address: str, error: Exception) -> Refusal:
    malformed = isinstance(error, IncorrectInput)
    sop_class, sop_instance = received.named
    return Refusal(
        service="C-STORE",
        calling=sender.calling,
        called=sender.called,
        address=address,
        status=NOT_THIS_CLASS if malformed else CANNOT_UNDERSTAND,
        why=why_of(error),
        instance=uid_digest(sop_instance),
        sop_class=sop_class,
        transfer_syntax=received.transfer_syntax,
        fetched=sender.fetched,
    )


def _check(header: Header, named: tuple[str, str]) -> None:
    """Raise IncorrectInput unless the data set's UIDs are UIDs and those of the command (PS3.7 9.1.1.1)."""
    check_uids(header)
    if (header.sop_class_uid, header.sop_instance_uid) != named:
        raise IncorrectInput("the data set is not the instance that the command names")


def why_of(error: Exception) -> str:
    """Return the words of an error of ours, file and line of another: its text may quote the object."""
    if isinstance(error, ClinicalError):
        return error.message
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {os.path.basename(frame.filename)}:{frame.lineno}"  # noqa: PTH119 - a name
