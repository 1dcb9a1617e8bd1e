"""What subscribers are told of a step (PS3.4 table CC.2.4-1): UPS Event as SCP, on an association of ours."""

from collections.abc import Generator, Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.sop_class import UnifiedProcedureStepEvent, UnifiedProcedureStepPush

from dicom_node.announcing import PLAIN
from dicom_node.associating import associated
from dicom_node.destinations import Destination, SendTimeouts
from dicom_node.query.scu import QUICK
from dicom_node.ups.states import StepState

STATE_REPORT, CANCEL_REQUESTED, PROGRESS_REPORT, STATUS_CHANGE = 1, 2, 3, 4  # Event Type IDs
_EVENT, _PUSH = UID(UnifiedProcedureStepEvent), UID(UnifiedProcedureStepPush)
_WHY = ("ReasonForCancellation", "ProcedureStepDiscontinuationReasonCodeSequence")
Event = tuple[str, int, Dataset]  # SOP instance UID of the step, Event Type ID, Event Information


def state_report(step: Dataset, state: StepState | None = None) -> Dataset:
    """Return the state of a step, and why it is canceled. state: another one than it has now."""
    ds = Dataset()
    ds.ProcedureStepState = (state or StepState(step.ProcedureStepState)).value
    ds.InputReadinessState = step.get("InputReadinessState") or "READY"
    if ds.ProcedureStepState == StepState.CANCELED:
        for item in step.get("ProcedureStepProgressInformationSequence") or ():
            for keyword in _WHY:
                if keyword in item:
                    ds.add(item[keyword])
        if "SpecificCharacterSet" in step:
            ds.SpecificCharacterSet = step.SpecificCharacterSet
    return ds


def cancel_requested(terms: Dataset, requesting_ae: str) -> Dataset:
    """Return that an AE wants a step canceled. terms: what it says of why (`reports.cancel_terms`)."""
    ds = Dataset()
    ds.update(terms)
    ds.RequestingAE = requesting_ae
    return ds


def progress_report(step: Dataset) -> Dataset:
    """Return how far a step is."""
    ds = Dataset()
    ds.ProcedureStepProgressInformationSequence = step.ProcedureStepProgressInformationSequence
    return ds


def restarted() -> Dataset:
    """Return that we have begun again and know steps and subscriptions as they were."""
    ds = Dataset()
    ds.SCPStatus, ds.SubscriptionListStatus = "RESTARTED", "WARM START"
    ds.UnifiedProcedureStepListStatus = "WARM START"
    return ds


def report_each(
    node: Destination, calling_ae: str, events: Sequence[Event], timeouts: SendTimeouts = QUICK
) -> Generator[str | None, None, None]:
    """Report events in their order; yield for each why it was not taken, None when it was. A failure ends it.

    What the subscriber answers to an event that reached it is for it to know: it has been told. Never raises.
    """
    with associated(node, calling_ae, [(_EVENT, PLAIN)], timeouts, as_scp=[_EVENT]) as (association, problem):
        if association is None:
            yield problem or "no association"
            return
        for uid, kind, information in events:
            status: Any
            try:
                status, _ = association.send_n_event_report(information, kind, _PUSH, UID(uid), meta_uid=_EVENT)
            except (ValueError, RuntimeError):
                yield "the association ended before the report"
                return
            if "Status" not in status:
                yield "the subscriber did not answer in time"
                return
            yield None
