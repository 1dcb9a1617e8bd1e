"""A worklist by DIMSE: UPS Pull as SCU (PS3.4 CC.2.1, CC.2.6 to CC.2.8). The same four requests as by UPS-RS."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID
from pynetdicom import Association
from pynetdicom.sop_class import UnifiedProcedureStepPull, UnifiedProcedureStepPush, UnifiedProcedureStepWatch

from dicom_node.associating import associated
from dicom_node.destinations import Destination, SendTimeouts
from dicom_node.incoming import DECODER_ERRORS
from dicom_node.query.scu import PLAIN, QUICK, Unanswered, find
from dicom_node.ups.reports import state_change
from dicom_node.ups.states import Answer, Said, StepState, said_by
from dicom_node.ups.workitem import ATTRIBUTES, scheduled_steps

MOST_STEPS = 10_000
CHANGE_STATE, SUBSCRIBE = 1, 3  # Action Type IDs, PS3.4 tables CC.2.1-1 and CC.2.3-1
_PULL, _PUSH, _WATCH = map(UID, (UnifiedProcedureStepPull, UnifiedProcedureStepPush, UnifiedProcedureStepWatch))


@dataclass(frozen=True, slots=True)
class UpsPull:
    """A worklist that is a DICOM node. Every method raises Unanswered when nobody answers."""

    node: Destination
    calling_ae: str
    timeouts: SendTimeouts = QUICK

    @property
    def name(self) -> str:
        """How settings call it."""
        return self.node.name

    def scheduled(self) -> list[Dataset]:
        """Return the steps that wait for a performer."""
        # A worklist has the steps of all performers; ours may be the last of them.
        wanted = scheduled_steps()
        return find(self.node, self.calling_ae, wanted, model=_PULL, most=MOST_STEPS, timeouts=self.timeouts)

    def read(self, uid: str) -> tuple[Said, Dataset | None]:
        """Return a step with what we look at (N-GET), or why there is none."""
        wanted = [Tag(one) for one in ATTRIBUTES]
        status, ds = self._ask(lambda one: one.send_n_get(wanted, _PUSH, uid, meta_uid=_PULL))
        said = said_by(status)
        if said.answer is not Answer.DONE:
            return said, None
        if ds is None:
            raise Unanswered("the worklist answered without the step")
        ds.SOPInstanceUID = uid
        return said, ds

    def change(self, uid: str, state: StepState, transaction_uid: str) -> Said:
        """Change a step's state (N-ACTION)."""
        wanted = state_change(state, transaction_uid)
        status, _ = self._ask(lambda one: one.send_n_action(wanted, CHANGE_STATE, _PUSH, uid, meta_uid=_PULL))
        return said_by(status)

    def update(self, uid: str, transaction_uid: str, changes: Dataset) -> Said:
        """Write attributes of a step that is ours (N-SET)."""
        ds = Dataset()
        ds.update(changes)
        ds.TransactionUID = transaction_uid
        status, _ = self._ask(lambda one: one.send_n_set(ds, _PUSH, uid, meta_uid=_PULL))
        return said_by(status)

    def watch(self, uid: str) -> bool:
        """Subscribe to the events of a step (UPS Watch, N-ACTION): a request to cancel it comes as one of them."""
        wanted = Dataset()
        wanted.ReceivingAE, wanted.DeletionLock = self.calling_ae, "FALSE"
        status, _ = self._ask(
            lambda one: one.send_n_action(wanted, SUBSCRIBE, _PUSH, uid, meta_uid=_WATCH), sop_class=_WATCH
        )
        return said_by(status).answer is Answer.DONE

    def _ask(
        self, request: Callable[[Association], tuple[Any, Dataset | None]], sop_class: UID = _PULL
    ) -> tuple[int, Dataset | None]:
        wanted = [(sop_class, PLAIN)]
        with associated(self.node, self.calling_ae, wanted, self.timeouts) as (association, problem):
            if association is None:
                raise Unanswered(problem or "no association")
            try:
                status, ds = request(association)
            except (*DECODER_ERRORS, RuntimeError):
                raise Unanswered("the association ended before the request was answered") from None
            if "Status" not in status:
                raise Unanswered("the worklist did not answer in time")
            return int(status.Status), ds
