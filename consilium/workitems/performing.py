"""Performs the steps that were kept: claims each, fetches its input, waits for its results, says what came of it.

One look at one step at a time, each from what its row says, so that any worker can go on after any kill. Whether a
step is ours the worklist decides: it knows the transaction UID that was written down before the claim.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from clinical.codes import EQUIPMENT_FAILURE, OBJECT_SET_INCOMPLETE
from clinical.errors import ClinicalError, IncorrectInput
from consilium.circuit import ArchiveCircuits
from consilium.rules.workitems import WorkitemRule
from consilium.workitems.canceling import Canceling
from consilium.workitems.ending import Ending
from consilium.workitems.fetching import Fetching
from consilium.workitems.inputs import Inputs
from consilium.workitems.lanes import Lanes
from consilium.workitems.outcome import (
    BEGUN,
    NO_INPUT,
    Ends,
    Waits,
    still_held,
)
from consilium.workitems.standing import Standing
from consilium.workitems.worklist import Spared, Worklist
from dicom_node.query.scu import Unanswered
from dicom_node.ups import reports
from dicom_node.ups.states import Answer, Said, StepState
from dicom_node.ups.workitem import read_workitem
from record_store import workitems
from record_store.audit import digest
from record_store.database import Database
from record_store.times import to_text
from record_store.workitems import InputStudy, WorkitemRow

LEASE_S = 120.0  # more than three answers may take
LOOK_AGAIN = timedelta(seconds=1)
LEFT_ALONE = timedelta(seconds=10)  # a step whose worklist is away, or whose study is held
HELD_FOR = timedelta(days=1)  # since the claim; then a step whose study is held is canceled
ASKED_EVERY = timedelta(minutes=1)  # what its worklist says of a step that is read
FORGOTTEN = timedelta(minutes=10)  # since it was asked: then another worker has ended the step
MOST_AT_ONCE = 64
MAY_BE_CANCELED = (workitems.CLAIMED, workitems.FETCHING, workitems.READING)
NOT_CONFIGURED = "its worklist is no longer configured"
QUICK = (
    workitems.WANTED,
    workitems.CLAIMED,
    workitems.READING,
    workitems.COMPLETING,
    workitems.CANCELING,
)


log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Performing:
    """The steps of all worklists. worker: our name."""

    db: Database
    worklists: Mapping[str, Worklist]
    rules: tuple[WorkitemRule, ...]
    inputs: Inputs
    ending: Ending
    standing: Standing
    fetching: Fetching
    canceling: Canceling
    lanes: Lanes
    circuits: ArchiveCircuits
    worker: str
    _asked: dict[str, datetime] = field(default_factory=dict)  # when a worklist was asked last, by step

    def resume(self) -> None:
        """Go on with what this worker had in hand when it was killed."""
        with self.db.write() as conn:
            workitems.let_go(conn, self.worker, self.standing.now())

    def once(self) -> int:
        """Do what is due but fetching; return how many steps were looked at."""
        for count in range(MOST_AT_ONCE):
            one = workitems.claim(self.db, QUICK, self.standing.now(), LEASE_S, self.worker)
            if one is None:
                return count
            self._look(one)
        return MOST_AT_ONCE

    def fetch_once(self) -> int:
        """Fetch what is due, which may take hours; return how many steps were looked at.

        Several threads may call it: each then fetches from another archive.
        """
        for count in range(MOST_AT_ONCE):
            with self.lanes.step() as one:
                if one is None:
                    return count
                self._look(one)
        return MOST_AT_ONCE

    def _look(self, one: WorkitemRow) -> None:
        worklist = self.worklists.get(one.worklist)
        if worklist is None:
            self.standing.wait(one, LEFT_ALONE, NOT_CONFIGURED)
            return
        steps = {
            workitems.WANTED: self._claim,
            workitems.CLAIMED: self._begin,
            workitems.FETCHING: self._fetch,
            workitems.READING: self._read,
            workitems.COMPLETING: self._end,
            workitems.CANCELING: self._end,
        }
        act = steps[one.state]
        if one.cancel_asked_at is not None and one.state in MAY_BE_CANCELED:
            act = self.canceling.look
        try:
            act(one, Spared(worklist, self.circuits))
        except Unanswered as why:
            self.standing.wait(one, LEFT_ALONE, str(why))  # however long it takes: the results are kept
        except ClinicalError as problem:
            self.standing.failed(one, problem.message)

    def _claim(self, one: WorkitemRow, worklist: Worklist) -> None:
        said = worklist.change(one.workitem_uid, StepState.IN_PROGRESS, one.transaction_uid)
        if said.answer is Answer.CONFLICT:
            # In progress already: by us, before a kill or a lost answer, if it knows our transaction UID.
            said = worklist.update(one.workitem_uid, one.transaction_uid, reports.progress(BEGUN, "claimed"))
        if self.standing.granted(one, said):
            at = to_text(self.standing.now())
            self.standing.go_on(one, workitems.CLAIMED, "claimed", claimed_at=at)

    def _begin(self, one: WorkitemRow, worklist: Worklist) -> None:
        said, ds = worklist.read(one.workitem_uid)
        if ds is None:
            self.standing.granted(one, said)
            return
        if not worklist.watch(one.workitem_uid):
            log.info("workitem not watched", workitem=digest(one.workitem_uid), destination=one.worklist)
        try:
            step = read_workitem(ds)
        except IncorrectInput as problem:
            self.standing.cancel(one, Ends(OBJECT_SET_INCOMPLETE, problem.message))
            return
        if not step.inputs:
            self.standing.cancel(one, Ends(OBJECT_SET_INCOMPLETE, NO_INPUT))
            return
        studies = [
            InputStudy(each.study_uid, each.retrieve_ae, each.objects, retrieve_url=each.retrieve_url)
            for each in step.inputs
        ]
        system, value = self.inputs.patient_of(step)
        now = self.standing.now()
        with self.db.write() as conn:
            workitems.begin(conn, one, studies, now, patient_system=system, patient_value=value)

    def _fetch(self, one: WorkitemRow, worklist: Worklist) -> None:
        self.fetching.look(one, self._rule(one), worklist)

    def _found(self, one: WorkitemRow, now: datetime) -> Waits | Ends:
        with self.db.read() as conn:
            return self.inputs.found(conn, one, self._rule(one), now)

    def _read(self, one: WorkitemRow, worklist: Worklist) -> None:
        now = self.standing.now()
        found = self._found(one, now)
        if isinstance(found, Waits) and self._is_canceled_there(one, worklist, now):
            self.canceling.over_there(one)
        elif isinstance(found, Waits):
            if found.held and one.claimed_at is not None and now - one.claimed_at > HELD_FOR:
                self.standing.cancel(one, still_held(found.words))
            elif self.standing.tell(one, worklist, found.percent, found.words):
                self.standing.wait(one, LEFT_ALONE if found.held else LOOK_AGAIN, found.words)
        elif found.reason is None:
            self.standing.go_on(one, workitems.COMPLETING, "read")
        else:
            self.standing.cancel(one, found)

    def _is_canceled_there(self, one: WorkitemRow, worklist: Worklist, now: datetime) -> bool:
        """Ask, once in a while, whether a worklist has canceled a step without a word to us."""
        key = f"{one.worklist} {one.workitem_uid}"
        if now - self._asked.setdefault(key, now) < ASKED_EVERY:
            return False
        self._asked[key] = now
        for old in [each for each, at in self._asked.items() if now - at > FORGOTTEN]:
            del self._asked[old]
        try:
            return _state_there(worklist, one) is StepState.CANCELED
        except (Unanswered, IncorrectInput):
            return False

    def _end(self, one: WorkitemRow, worklist: Worklist) -> None:
        """Say what came of it, then that it is over. A conflict may be an answer of ours that was lost."""
        self._asked.pop(f"{one.worklist} {one.workitem_uid}", None)
        completed = one.state == workitems.COMPLETING
        # A worklist may have been away for days: a model was recalled since, or the study found to be another's.
        found = self._found(one, self.standing.now()) if completed else Ends()
        if isinstance(found, Ends) and found.reason is not None:
            self.standing.cancel(one, found)
            return
        state = StepState.COMPLETED if completed else StepState.CANCELED
        outputs = completed or one.reason_code == EQUIPMENT_FAILURE.code
        report, count = self.ending.report(one, self._rule(one), outputs=outputs)
        said = worklist.update(one.workitem_uid, one.transaction_uid, report)
        if said.answer is Answer.DONE:
            said = worklist.change(one.workitem_uid, state, one.transaction_uid)
        if said.answer is Answer.CONFLICT and _state_there(worklist, one) is state:
            said = Said(Answer.DONE)
        if self.standing.granted(one, said):
            ended = workitems.COMPLETED if completed else workitems.CANCELED
            self.standing.go_on(one, ended, one.reason or "completed", outputs=count)

    def _rule(self, one: WorkitemRow) -> WorkitemRule:
        return rule_of(self.rules, one)


def rule_of(rules: tuple[WorkitemRule, ...], one: WorkitemRow) -> WorkitemRule:
    """Return the rule that claimed a step; one that is no longer in the file counts every result."""
    return next((rule for rule in rules if rule.name == one.rule), WorkitemRule(one.rule))


def _state_there(worklist: Worklist, one: WorkitemRow) -> StepState | None:
    _, ds = worklist.read(one.workitem_uid)
    return read_workitem(ds).state if ds is not None else None
