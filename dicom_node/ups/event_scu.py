"""Events of steps elsewhere that come to us (UPS Event as SCU, PS3.4 CC.2.4): the worklist calls as the SCP."""

from collections.abc import Callable

import structlog
from pydicom.dataset import Dataset
from pynetdicom import build_context, evt

from clinical.errors import ClinicalError
from dicom_node import sop_classes
from dicom_node.announcing import PLAIN, PROCESSING_FAILURE, SUCCESS, Answer, peer
from dicom_node.incoming import DECODER_ERRORS
from dicom_node.query.scu import text_of
from dicom_node.service import Service
from dicom_node.ups.events import CANCEL_REQUESTED, STATE_REPORT
from dicom_node.ups.states import StepState

STATUSES = {
    SUCCESS: "the event is read, whatever it says",
    PROCESSING_FAILURE: "the database is away, or the event cannot be read",
}
# (calling AE, SOP instance UID of a step, whether it is canceled over there already)
Canceled = Callable[[str, str, bool], None]

log = structlog.get_logger()


def event_service(canceled: Canceled) -> Service:
    """Return the service. canceled: told of a step that is to be canceled, or is; raises Busy."""
    context = build_context(sop_classes.UNIFIED_PROCEDURE_STEP_EVENT, PLAIN)
    context.scu_role, context.scp_role = False, True  # who calls is the SCP of what it says
    handlers = {evt.EVT_N_EVENT_REPORT: lambda event: _read(event, canceled)}
    return Service(
        (context,), handlers, name="Unified Procedure Step Event (N-EVENT-REPORT, as SCU)", statuses=STATUSES
    )


def _read(event: evt.Event, canceled: Canceled) -> Answer:
    kind, uid, caller = event.request.EventTypeID, str(event.request.AffectedSOPInstanceUID), peer(event)
    try:
        said = event.event_information if event.request.EventInformation else Dataset()
        over = kind == STATE_REPORT and text_of(said, "ProcedureStepState") == StepState.CANCELED
        if over or kind == CANCEL_REQUESTED:
            canceled(caller, uid, over)
    except (ClinicalError, *DECODER_ERRORS) as error:
        why = error.message if isinstance(error, ClinicalError) else "the event cannot be read"
        log.warning("event refused", calling_ae=caller, kind=kind, why=why)
        return PROCESSING_FAILURE, None
    log.info("event taken", calling_ae=caller, kind=kind)
    return SUCCESS, None
