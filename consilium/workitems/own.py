"""The worklist that we keep ourselves: what others push to us, performed by us as any other worklist's steps."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from sqlalchemy import Connection

from clinical.clock import Clock
from clinical.codes import DISCONTINUED
from clinical.errors import Busy
from consilium.rules.workitems import WorkitemRule
from consilium.workitems.telling import tell
from dicom_node.announcing import SUCCESS
from dicom_node.ups import events, reports
from dicom_node.ups.scp import NO_SUCH_STEP, NOT_AUTHORISED, NOT_GLOBAL, UNKNOWN_RECEIVER
from dicom_node.ups.scu import MOST_STEPS
from dicom_node.ups.states import Answer, Said, StepState, after_cancel_request, after_change, said_by
from dicom_node.ups.workitem import Workitem, read_workitem
from record_store import own_steps, ups_events, ups_subscriptions, workitems
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.database import Database
from record_store.own_steps import OwnStep

if TYPE_CHECKING:
    from consilium.wiring import House

NAME = "(here)"  # no name that a worklist of the settings may have
MOST_WAITING = 1000  # steps of one caller that are not at their end
AT_ONCE = 200  # steps in memory for one answer
MOST_TOLD = ups_events.MOST_WAITING + 1  # one more, so that the log says that some are not
UNTAKEN_FOR = timedelta(hours=1)  # longer than processes with another rules file run beside each other
NO_RULE = "no [[workitem]] rule takes this step"
_OPEN = (StepState.SCHEDULED.value, StepState.IN_PROGRESS.value)
_FINAL, _NOT_BEGUN, _NOT_OURS, _GOES_ON = 0xC300, 0xC310, 0xC301, 0xC313


@dataclass(frozen=True, slots=True)
class OwnSteps:
    """Both sides: what the node's services ask (dicom_node.ups.scp.Steps), and a Worklist for the performer.

    callers: AE titles that may create steps. receivers: those whose address is known, so that they can be told.
    at_once: so many are read at a time.
    """

    db: Database
    callers: Collection[str]
    rules: tuple[WorkitemRule, ...]
    now: Clock
    at_once: int = AT_ONCE
    receivers: Collection[str] = ()

    @property
    def name(self) -> str:
        """How lists call it."""
        return NAME

    def may(self, calling_ae: str) -> bool:
        """Tell whether an AE may create steps."""
        return calling_ae in self.callers

    def problem_with(self, step: Workitem) -> str | None:
        """Return why nobody here would perform a step."""
        return None if any(rule.fits(step) for rule in self.rules) else NO_RULE

    def create(self, uid: str, ds: Dataset, calling_ae: str) -> bool:
        """Keep a step. Raises Busy when too many of this caller's wait."""
        with self.db.write() as conn:
            if own_steps.count_of(conn, calling_ae, _OPEN) >= MOST_WAITING:
                raise Busy("too many steps of this caller wait")
            new = own_steps.create(conn, uid, StepState.SCHEDULED, ds.to_json(), calling_ae, self.now())
            if new:
                self._audit(conn, uid, "workitem-created", "scheduled", calling_ae)
                ups_subscriptions.inherit(conn, uid)
                self._tell(conn, uid, events.STATE_REPORT, events.state_report(ds))
        return new

    def step(self, uid: str) -> Dataset | None:
        """Return a step as its creator may see it."""
        with self.db.read() as conn:
            found = own_steps.read(conn, uid)
        return None if found is None else _dataset(found)

    def every(self) -> Iterator[Dataset]:
        """Yield the steps in the order of their UIDs, as they are when each is reached."""
        after = ""
        while True:
            with self.db.read() as conn:
                some = own_steps.page(conn, after, self.at_once)
            yield from map(_dataset, some)
            if len(some) < self.at_once:
                return
            after = some[-1].workitem_uid

    def request_cancel(self, uid: str, calling_ae: str, terms: Dataset) -> int:
        """Cancel a step that nobody has begun, or have its performer look at the request; return the status.

        Whoever may create steps may cancel those of its own: another orchestrator's work is not its to stop.
        """
        with self.db.write() as conn:
            step = own_steps.read(conn, uid, to_change=True)
            if step is None:
                return NO_SUCH_STEP
            if step.created_by != calling_ae:
                return NOT_AUTHORISED
            status, state = after_cancel_request(StepState(step.state))
            if state != step.state:
                self._cancel(conn, step, terms)
                self._audit(conn, uid, "workitem-canceled", "canceled", calling_ae)
            elif status == SUCCESS and not workitems.ask_to_cancel(conn, NAME, uid, self.now()):
                return _GOES_ON
            elif status == SUCCESS:
                self._audit(conn, uid, "workitem-cancel-asked", "asked", calling_ae)
                self._tell(conn, uid, events.CANCEL_REQUESTED, events.cancel_requested(terms, calling_ae))
        return status

    def _cancel(self, conn: Connection, step: OwnStep, terms: Dataset) -> None:
        ds = _dataset(step)
        ds.update(reports.canceled_on_request(terms, DISCONTINUED, self.now()))
        own_steps.write(conn, replace(step, state=StepState.CANCELED, body=ds.to_json()), self.now())
        for state in (StepState.IN_PROGRESS, StepState.CANCELED):  # PS3.4 CC.2.2.3: by way of IN PROGRESS
            ds.ProcedureStepState = state.value
            self._tell(conn, step.workitem_uid, events.STATE_REPORT, events.state_report(ds))

    def subscribe(self, uid: str, receiving_ae: str, *, lock: bool) -> int:
        """Have an AE told of a step, or of all (PS3.4 CC.2.3.3); return the status."""
        if receiving_ae not in self.receivers:
            return UNKNOWN_RECEIVER
        told: list[OwnStep] = []
        # Read before the transaction: of 5,000 steps it takes 4 to 7 s, and a C-STORE waits for its turn for 5.
        read = self._states() if lock and uid == ups_subscriptions.GLOBAL else {}
        with self.db.write() as conn:
            if uid == ups_subscriptions.GLOBAL:
                ups_subscriptions.subscribe_to_all(conn, receiving_ae, lock=lock)
                if lock:  # CC.2.4.3: only then is the state of each reported at once
                    told = own_steps.page(conn, "", MOST_TOLD)
            else:
                step = own_steps.read(conn, uid, to_change=True)  # no change of it passes between
                if step is None:
                    return NO_SUCH_STEP
                ups_subscriptions.subscribe(conn, receiving_ae, uid, lock=lock)
                told = [step]
            tell(conn, receiving_ae, [read.get(one) or _state_of(one) for one in told], self.now)
            self._audit(conn, uid, "workitem-subscribed", "lock" if lock else "no-lock", receiving_ae)
        return SUCCESS

    def _states(self) -> dict[OwnStep, events.Event]:
        with self.db.read() as conn:
            return {one: _state_of(one) for one in own_steps.page(conn, "", MOST_TOLD)}

    def unsubscribe(self, uid: str, receiving_ae: str) -> int:
        """Have an AE told no more of a step, or of any; return the status."""
        with self.db.write() as conn:
            if uid == ups_subscriptions.GLOBAL:
                ups_subscriptions.unsubscribe_from_all(conn, receiving_ae)
            elif own_steps.read(conn, uid) is None:
                return NO_SUCH_STEP
            else:
                ups_subscriptions.unsubscribe(conn, receiving_ae, uid)
            self._audit(conn, uid, "workitem-unsubscribed", "ended", receiving_ae)
        return SUCCESS

    def suspend(self, uid: str, receiving_ae: str) -> int:
        """Have an AE told of no new steps, and of those that there are as before; return the status."""
        if uid != ups_subscriptions.GLOBAL:
            return NOT_GLOBAL
        with self.db.write() as conn:
            ups_subscriptions.unsubscribe(conn, receiving_ae, uid)
            self._audit(conn, uid, "workitem-unsubscribed", "suspended", receiving_ae)
        return SUCCESS

    def _tell(self, conn: Connection, uid: str, kind: int, information: Dataset) -> None:
        for receiver in ups_subscriptions.told_of(conn, uid):
            tell(conn, receiver, [(uid, kind, information)], self.now)

    def _audit(self, conn: Connection, uid: str, action: str, outcome: str, calling_ae: str) -> None:
        append_audit(
            conn,
            at=self.now(),
            action=action,
            outcome=outcome,
            actor=f"ae:{calling_ae}",
            subject=digest(uid),
            detail={},
        )

    def scheduled(self) -> list[Dataset]:
        """Return the steps that wait for us and that a rule takes; those that none takes any more are canceled."""
        found: list[Dataset] = []
        last: OwnStep | None = None
        while len(found) < MOST_STEPS:
            with self.db.read() as conn:
                some = own_steps.not_begun(conn, StepState.SCHEDULED.value, NAME, last, self.at_once)
            for one in some:
                ds = _dataset(one)
                if self.problem_with(read_workitem(ds)) is None:
                    found.append(ds)
                elif self.now() - one.created_at > UNTAKEN_FOR:
                    self._cancel_untaken(one.workitem_uid)
            if len(some) < self.at_once:
                break
            last = some[-1]
        return found

    def _cancel_untaken(self, uid: str) -> None:
        # A rule took it when it was created, and is no longer in the file: it would be SCHEDULED for ever.
        terms = Dataset()
        terms.ReasonForCancellation = NO_RULE
        with self.db.write() as conn:
            step = own_steps.read(conn, uid, to_change=True)
            if step is not None and step.state == StepState.SCHEDULED:
                self._cancel(conn, step, terms)
                self._audit(conn, uid, "workitem-canceled", "no-rule", NAME)

    def read(self, uid: str) -> tuple[Said, Dataset | None]:
        """Return a step, or that there is none."""
        found = self.step(uid)
        return (Said(Answer.DONE), found) if found is not None else (said_by(NO_SUCH_STEP), None)

    def change(self, uid: str, state: StepState, transaction_uid: str) -> Said:
        """Change a step's state, as its performer."""
        with self.db.write() as conn:
            step = own_steps.read(conn, uid, to_change=True)
            if step is None:
                return said_by(NO_SUCH_STEP)
            # What a final state needs our performer writes before it asks for it.
            status, after = after_change(
                StepState(step.state), step.transaction_uid, state, transaction_uid, may_end=True
            )
            if after != step.state:
                changed = replace(step, state=after, transaction_uid=transaction_uid)
                own_steps.write(conn, changed, self.now())
                self._tell(conn, *_state_of(changed))
        return said_by(status)

    def update(self, uid: str, transaction_uid: str, changes: Dataset) -> Said:
        """Write attributes of a step, as its performer."""
        with self.db.write() as conn:
            step = own_steps.read(conn, uid, to_change=True)
            if step is None:
                return said_by(NO_SUCH_STEP)
            if step.state not in _OPEN:
                return said_by(_FINAL)
            if step.transaction_uid != transaction_uid:
                return said_by(_NOT_BEGUN if step.transaction_uid is None else _NOT_OURS)
            ds = _dataset(step)
            ds.update(changes)
            own_steps.write(conn, replace(step, body=ds.to_json()), self.now())
            if "ProcedureStepProgressInformationSequence" in changes:
                self._tell(conn, uid, events.PROGRESS_REPORT, events.progress_report(changes))
        return Said(Answer.DONE)

    def watch(self, uid: str) -> bool:
        """Say that requests to cancel come: `request_cancel` writes them into the performer's own row."""
        del uid
        return True


def own_steps_of(house: "House") -> OwnSteps:
    """Return the worklist that a house keeps."""
    callers, rules = frozenset(house.settings.ups_aes), house.settings.rules().workitem
    return OwnSteps(house.db, callers, rules, house.now, receivers=frozenset(house.nodes))


def _state_of(step: OwnStep) -> events.Event:
    return step.workitem_uid, events.STATE_REPORT, events.state_report(_dataset(step))


def _dataset(step: OwnStep) -> Dataset:
    ds = Dataset.from_json(json.loads(step.body))
    ds.ProcedureStepState = step.state
    return ds
