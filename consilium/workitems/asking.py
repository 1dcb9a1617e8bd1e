"""Asks a worklist what is scheduled, and writes down the steps that a rule lets us perform."""

from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from pydicom.dataset import Dataset

from clinical.clock import Clock
from clinical.errors import IncorrectInput
from consilium.circuit import ArchiveCircuits
from consilium.rules.workitems import WorkitemRule
from consilium.workitems.worklist import Spared, Worklist
from dicom_node.query.scu import Unanswered
from dicom_node.ups.scu import MOST_STEPS
from dicom_node.ups.states import StepState
from dicom_node.ups.workitem import READY, Workitem, read_workitem
from record_store import workitems
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.database import Database

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Asking:
    """Looks at one worklist. new_uid: makes transaction UIDs."""

    db: Database
    worklist: Worklist
    rules: tuple[WorkitemRule, ...]
    now: Clock
    new_uid: Callable[[], str]
    circuits: ArchiveCircuits = field(default_factory=ArchiveCircuits)

    def once(self) -> int:
        """Ask, and keep what is ours to do; return how many steps that were."""
        if not self.circuits.may_ask(self.worklist.name):
            return 0
        try:
            found = Spared(self.worklist, self.circuits).scheduled()
        except Unanswered as why:
            log.warning("worklist not asked", destination=self.worklist.name, problem=str(why))
            return 0
        if len(found) >= MOST_STEPS:
            log.warning("worklist cut", destination=self.worklist.name, count=len(found))
        ours = [(step, rule) for step in _readable(found) if (rule := self._rule_for(step)) is not None]
        with self.db.read() as conn:
            known = workitems.known(conn, self.worklist.name, [step.uid for step, _ in ours])
        return sum(self._keep(step, rule) for step, rule in ours if step.uid not in known)

    def _rule_for(self, step: Workitem) -> WorkitemRule | None:
        # What a worklist answers is not always what it was asked for.
        if step.state is not StepState.SCHEDULED or step.readiness not in {READY, ""}:
            return None
        return next((one for one in self.rules if one.fits(step)), None)

    def _keep(self, step: Workitem, rule: WorkitemRule) -> bool:
        codes = [(one.value, one.scheme, one.meaning) for one in step.codes]
        with self.db.write() as conn:
            if not workitems.keep(
                conn,
                self.worklist.name,
                step.uid,
                transaction_uid=self.new_uid(),
                rule=rule.name,
                codes=codes,
                now=self.now(),
            ):
                return False  # another of our processes was faster
            append_audit(
                conn,
                at=self.now(),
                action="workitem-wanted",
                outcome=workitems.WANTED,
                actor="worker",
                subject=digest(step.uid),
                detail={"worklist": self.worklist.name, "rule": rule.name},
            )
        log.info("workitem wanted", workitem=digest(step.uid), destination=self.worklist.name)
        return True


def _readable(found: list[Dataset]) -> list[Workitem]:
    steps = []
    for ds in found:
        try:
            steps.append(read_workitem(ds))
        except IncorrectInput as problem:
            log.warning("workitem not readable", problem=problem.message)
    return steps
