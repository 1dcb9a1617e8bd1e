"""Steps that others push to us, as SCP: UPS Push (N-CREATE, N-GET, Request Cancel), Watch and Query (C-FIND).

Who is subscribed by UPS Watch is told of changes on an association of ours (`dicom_node.ups.events`).
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

import structlog
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pynetdicom import build_context, evt

from clinical.errors import Busy, ClinicalError, IncorrectInput
from dicom_node import sop_classes
from dicom_node.announcing import (
    DUPLICATE_INSTANCE,
    INVALID_VALUE,
    MISSING_ATTRIBUTE,
    PLAIN,
    PROCESSING_FAILURE,
    SUCCESS,
    Answer,
    Refused,
    answered,
    peer,
    required,
    uid_of,
)
from dicom_node.incoming import DECODER_ERRORS
from dicom_node.query.matching import checked_key, matches
from dicom_node.query.scu import text_of
from dicom_node.service import Service
from dicom_node.ups.reports import cancel_terms
from dicom_node.ups.states import StepState
from dicom_node.ups.workitem import READY, Workitem, read_workitem

KIND = "UPS"
# Action Type IDs, PS3.4 tables CC.2.2-1 and CC.2.3-1.
REQUEST_CANCEL, SUBSCRIBE, UNSUBSCRIBE, SUSPEND = 2, 3, 4, 5
NO_SUCH_STEP, NOT_SCHEDULED, NO_SUCH_ACTION = 0xC307, 0xC309, 0x0123
UNKNOWN_RECEIVER, NOT_GLOBAL = 0xC308, 0xC314
NOT_AUTHORISED, OUT_OF_RESOURCES, PENDING = 0x0124, 0x0213, 0xFF00
FIND_UNABLE = 0xC000
STATUSES = {
    SUCCESS: "the step is written down; it is read; it is canceled, or its performer is asked to",
    INVALID_VALUE: "a UID is none, the input is not READY, or a performer is named already",
    PROCESSING_FAILURE: "no rule takes the step, the data set cannot be read, or we failed",
    DUPLICATE_INSTANCE: "there is a step of this UID already",
    MISSING_ATTRIBUTE: "an attribute of type 1 (PS3.4 table CC.2.5-3) is missing",
    NO_SUCH_ACTION: "another action than Request Cancel",
    NOT_AUTHORISED: "the calling AE may not create steps; Request Cancel: another AE has created it",
    OUT_OF_RESOURCES: "too many steps of this caller wait, or the database is away",
    0xB304: "Request Cancel: the step is canceled already",
    NO_SUCH_STEP: "there is no step of this UID",
    NOT_SCHEDULED: "a new step is not SCHEDULED",
    0xC311: "Request Cancel: the step is completed already",
    0xC313: "Request Cancel: the results are there, and the step goes on",
    PENDING: "C-FIND: a match",
    FIND_UNABLE: "C-FIND: the identifier cannot be read, or we failed",
}
WATCH_STATUSES = {
    SUCCESS: "the subscription is as it was asked for; the step is read; see UPS Push for Request Cancel",
    INVALID_VALUE: "Deletion Lock is neither TRUE nor FALSE",
    MISSING_ATTRIBUTE: "Receiving AE or Deletion Lock is missing",
    PROCESSING_FAILURE: "the data set cannot be read, or we failed",
    NO_SUCH_ACTION: "another action than Request Cancel, Subscribe, Unsubscribe and Suspend Global Subscription",
    NOT_AUTHORISED: "the calling AE may not create steps",
    NO_SUCH_STEP: "there is no step of this UID, or it is that of a filtered subscription",
    UNKNOWN_RECEIVER: "the settings have no address of the Receiving AE",
    NOT_GLOBAL: "Suspend Global Subscription: of one step",
}
_REQUIRED = (
    "ScheduledProcedureStepPriority", "ProcedureStepLabel", "InputReadinessState",
    "ScheduledProcedureStepStartDateTime",
)  # fmt: skip

log = structlog.get_logger()


class Steps(Protocol):
    """Where steps are kept. Each raises Busy when the database is away."""

    def may(self, calling_ae: str) -> bool:
        """Tell whether an AE may create steps, and ask about them."""

    def problem_with(self, step: Workitem) -> str | None:
        """Return why a step would be performed by nobody here, None when it would be."""

    def create(self, uid: str, ds: Dataset, calling_ae: str) -> bool:
        """Keep a step; False when there is one of this UID."""

    def step(self, uid: str) -> Dataset | None:
        """Return a step, None when there is none."""

    def request_cancel(self, uid: str, calling_ae: str, terms: Dataset) -> int:
        """Cancel a step that nobody has begun, or ask its performer to; return the status.

        terms: why, and whom to ask (`reports.cancel_terms`).
        """

    def subscribe(self, uid: str, receiving_ae: str, *, lock: bool) -> int:
        """Have an AE told of a step, or of all; return the status. lock: see PS3.4 CC.2.3.2."""

    def unsubscribe(self, uid: str, receiving_ae: str) -> int:
        """Have an AE told no more; return the status."""

    def suspend(self, uid: str, receiving_ae: str) -> int:
        """Have an AE told of no new steps; return the status."""

    def every(self) -> Iterable[Dataset]:
        """Return the steps, each once."""


def step_services(steps: Steps, new_uid: Callable[[], str]) -> list[Service]:
    """Return the services by which steps come to us."""
    push = {
        evt.EVT_N_CREATE: lambda event: _answered(event, steps, partial(_create, event, steps, new_uid)),
        evt.EVT_N_GET: lambda event: _answered(event, steps, partial(_get, event, steps)),
        evt.EVT_N_ACTION: lambda event: _answered(event, steps, partial(_act, event, steps)),
    }
    watch = {one: handler for one, handler in push.items() if one is not evt.EVT_N_CREATE}
    contexts = (build_context(sop_classes.UNIFIED_PROCEDURE_STEP_PUSH, PLAIN),)
    watched = (build_context(sop_classes.UNIFIED_PROCEDURE_STEP_WATCH, PLAIN),)
    query = (build_context(sop_classes.UNIFIED_PROCEDURE_STEP_QUERY, PLAIN),)
    return [
        Service(
            contexts, push, name="Unified Procedure Step (Push: N-CREATE, N-GET, N-ACTION)", statuses=STATUSES
        ),
        Service(watched, watch, name="Unified Procedure Step (Watch: N-ACTION, N-GET)", statuses=WATCH_STATUSES),
        Service(query, {evt.EVT_C_FIND: lambda event: _find(event, steps)}, remark=_REMARK),
    ]


_REMARK = """Unified Procedure Steps may be created by the callers that a setting names, and the node performs
them itself. UPS Pull is not offered. Who is subscribed by UPS Watch, to one step or to all (not to a filtered
set), gets N-EVENT-REPORTs on an association that the node opens: UPS State Report, UPS Cancel Requested, UPS
Progress Report and, when a worker begins, SCP Status Change (RESTARTED, WARM START). Its address is in
CONSILIUM_NODES or CONSILIUM_PACS. A subscriber that does not answer is called eight times in about ten minutes;
then what waits for it is dropped. A step that is COMPLETED or CANCELED is kept for thirty days, and with a
deletion lock for a year. Request Cancel is taken from the AE that created the step. C-FIND matches every
attribute that a step has, sequences by their items; an N-GET without a list gets all of them."""


def check_new(ds: Dataset, uid: str) -> Workitem:
    """Return a new step as a value. Raises Refused for what PS3.4 CC.2.5 does not let be created."""
    if text_of(ds, "ProcedureStepState") != StepState.SCHEDULED:
        raise Refused(NOT_SCHEDULED, "a new step is SCHEDULED")
    for keyword in _REQUIRED:
        required(ds, keyword)
    if text_of(ds, "TransactionUID"):
        raise Refused(INVALID_VALUE, "a new step has no Transaction UID")
    if text_of(ds, "InputReadinessState") != READY:  # a creator cannot change it here later
        raise Refused(INVALID_VALUE, "Input Readiness State is not READY")
    ds.SOPClassUID, ds.SOPInstanceUID = sop_classes.UNIFIED_PROCEDURE_STEP_PUSH, uid
    try:
        return read_workitem(ds)
    except IncorrectInput as error:
        raise Refused(INVALID_VALUE, error.message) from None


def fits(asked: Dataset, held: Dataset) -> bool:
    """Tell whether a step is what a C-FIND asks for. Pure. Raises IncorrectInput for a key that cannot be one."""
    return all(_fits(element, held) for element in asked if element.keyword != "SpecificCharacterSet")


def chosen(asked: Dataset, held: Dataset) -> Dataset:
    """Return the attributes of a step that a C-FIND asks for, empty where the step does not have them. Pure."""
    ds = Dataset()
    for element in asked:
        ds.add(held[element.tag] if element.tag in held else DataElement(element.tag, element.VR, None))
    if "SpecificCharacterSet" in held:
        ds.SpecificCharacterSet = held.SpecificCharacterSet
    return ds


def _fits(element: DataElement, held: Dataset) -> bool:
    if element.VR == "SQ":
        wanted = [item for item in element.value or () if len(item)]
        items = held.get(element.keyword) or ()
        return all(not _says(one) or any(fits(one, item) for item in items) for one in wanted)
    asked = checked_key(element.VR, "" if element.value is None else str(element.value))
    return matches(element.VR, text_of(held, element.keyword), asked)


def _says(item: Dataset) -> bool:
    """Tell whether an item of a key holds a value at all."""
    return any(bool(one.value) and (one.VR != "SQ" or any(map(_says, one.value))) for one in item)


def _answered(event: evt.Event, steps: Steps, handle: Callable[[], Answer]) -> Answer:
    def allowed() -> Answer:
        if not steps.may(peer(event)):
            raise Refused(NOT_AUTHORISED, "this AE may not create steps")
        return handle()

    return answered(KIND, event, allowed)


def _create(event: evt.Event, steps: Steps, new_uid: Callable[[], str]) -> Answer:
    given = event.request.AffectedSOPInstanceUID
    uid = uid_of(str(given), "AffectedSOPInstanceUID") if given else new_uid()
    ds = event.attribute_list
    problem = steps.problem_with(check_new(ds, uid))
    if problem is not None:
        raise Refused(PROCESSING_FAILURE, problem)
    try:
        new = steps.create(uid, ds, peer(event))
    except Busy as error:
        raise Refused(OUT_OF_RESOURCES, error.message) from None
    if not new:
        raise Refused(DUPLICATE_INSTANCE, "there is a step of this UID already")
    answer = Dataset()
    if not given:
        answer.AffectedSOPInstanceUID = uid  # PS3.7 10.1.5.1.4: then the SCP names it
    return SUCCESS, answer


def _get(event: evt.Event, steps: Steps) -> Answer:
    ds = steps.step(str(event.request.RequestedSOPInstanceUID))
    if ds is None:
        raise Refused(NO_SUCH_STEP, "there is no step of this UID")
    wanted = event.request.AttributeIdentifierList
    if not wanted:
        return SUCCESS, ds
    tags = wanted if isinstance(wanted, (list, tuple)) or hasattr(wanted, "append") else [wanted]
    answer = Dataset()
    answer.update({tag: ds[tag] for tag in (*tags, Tag("SpecificCharacterSet")) if tag in ds})
    return SUCCESS, answer


def _act(event: evt.Event, steps: Steps) -> Answer:
    if event.context.abstract_syntax == sop_classes.UNIFIED_PROCEDURE_STEP_WATCH:
        status = _subscription(event, steps)
        if status is not None:
            return status, None
    if event.action_type != REQUEST_CANCEL:
        raise Refused(NO_SUCH_ACTION, "another action than Request Cancel")
    asked = event.action_information if event.request.ActionInformation else None
    return steps.request_cancel(str(event.request.RequestedSOPInstanceUID), peer(event), cancel_terms(asked)), None


def _subscription(event: evt.Event, steps: Steps) -> int | None:
    """Return the status of what changes a subscription, None for another action."""
    if event.action_type not in {SUBSCRIBE, UNSUBSCRIBE, SUSPEND}:
        return None
    uid, asked = str(event.request.RequestedSOPInstanceUID), event.action_information
    receiver = str(required(asked, "ReceivingAE")).strip()[:16]
    if event.action_type == UNSUBSCRIBE:
        return steps.unsubscribe(uid, receiver)
    if event.action_type == SUSPEND:
        return steps.suspend(uid, receiver)
    lock = str(required(asked, "DeletionLock")).strip()
    if lock not in {"TRUE", "FALSE"}:
        raise Refused(INVALID_VALUE, "Deletion Lock is neither TRUE nor FALSE")
    return steps.subscribe(uid, receiver, lock=lock == "TRUE")


def _find(event: Any, steps: Steps) -> Iterator[Answer]:  # noqa: ANN401 - pynetdicom's event
    """Yield what matches: the outer edge, where every error becomes a status."""
    if not steps.may(peer(event)):
        yield NOT_AUTHORISED, None
        return
    count = 0
    try:
        asked = event.identifier
        for held in steps.every():
            if event.is_cancelled:
                yield 0xFE00, None
                return
            if fits(asked, held):
                count += 1
                yield PENDING, chosen(asked, held)
    except (ClinicalError, *DECODER_ERRORS) as error:
        why = error.message if isinstance(error, ClinicalError) else "the identifier cannot be read"
        log.warning("query refused", service=KIND, calling_ae=peer(event), why=why)
        yield FIND_UNABLE, None
        return
    log.info("query answered", service=KIND, calling_ae=peer(event), count=count)
