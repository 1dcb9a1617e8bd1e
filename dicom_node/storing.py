"""What a C-STORE is answered with, whichever way it came: the edge where every error becomes a status."""

import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from clinical.errors import ClinicalError, IncorrectInput
from dicom_node.header import Header
from dicom_node.intake import Intake, NotCommitted, Sender, check_uids
from dicom_node.receiving import ReceivedObject
from dicom_node.status import CANNOT_UNDERSTAND, DIMSE_STATUS, DUPLICATE_SOP_INSTANCE, SUCCESS
from record_store.instances import Taken

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
    """Answers over one intake. fault: called at "after-receive" and "before-response"."""

    def __init__(
        self,
        intake: Intake,
        called_ae: str,
        observe: Callable[[StoreSeen], None],
        fault: Callable[[str], None],
    ) -> None:
        self._intake, self._called_ae, self._observe, self._fault = intake, called_ae, observe, fault

    def answer(self, received: ReceivedObject | None, sop_instance: str, calling_ae: str) -> Answer:
        """Store a received object, or say why not. received: None when the request carried no data set."""
        started = time.monotonic()
        sender = Sender(calling_ae, self._called_ae)
        study_uid, size = "", received.size if received else 0
        try:
            taken, study_uid = self._store(received, sender)
            outcome, status = str(taken), _STATUS_OF[taken]
            study_uid = "" if taken is Taken.DIFFERENT else study_uid
        except ClinicalError as error:
            outcome, status = str(error.category), DIMSE_STATUS[error.category]
            audited = not isinstance(error, NotCommitted)
            self._intake.refused(sop_instance, sender, outcome, error.message, audited=audited)
        except Exception as error:  # noqa: BLE001 - the association handler's edge: never an empty success
            outcome, status = "fault", CANNOT_UNDERSTAND
            self._intake.refused(sop_instance, sender, outcome, f"{type(error).__name__} at {_where(error)}")
        self._observe(StoreSeen(calling_ae, outcome, status, size, time.monotonic() - started))
        self._fault("before-response")
        return Answer(status, study_uid)

    def _store(self, received: ReceivedObject | None, sender: Sender) -> tuple[Taken, str]:
        if received is None:
            raise IncorrectInput("the request carries no data set")
        try:
            part, header = received.whole()
            try:
                self._fault("after-receive")
                _check(header, received.named)
                taken = self._intake.take_part(part, header, received.transfer_syntax, sender)
            except BaseException:
                part.discard()
                raise
        finally:
            received.discard()
        return taken, header.study_uid


def _check(header: Header, named: tuple[str, str]) -> None:
    """Raise IncorrectInput unless the data set's UIDs are UIDs and those of the command (PS3.7 9.1.1.1)."""
    check_uids(header)
    if (header.sop_class_uid, header.sop_instance_uid) != named:
        raise IncorrectInput("the data set is not the instance that the command names")


def _where(error: Exception) -> str:
    """Return file and line of an error: its text may quote the object, so that is left out."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{os.path.basename(frame.filename)}:{frame.lineno}"  # noqa: PTH119 - a name, not a path
