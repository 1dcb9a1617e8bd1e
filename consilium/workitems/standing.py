"""Where a step stands, written down: its next state, an attempt that failed, what its worklist was told of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from clinical.clock import Clock
from consilium.workitems.outcome import Ends
from consilium.workitems.worklist import Worklist
from dicom_node.query.scu import Unanswered
from dicom_node.ups import reports
from dicom_node.ups.states import Answer, Said
from record_store import workitems
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.database import Database
from record_store.deliveries import RetryPolicy
from record_store.workitems import WorkitemRow

Observe = Callable[[str, str], None]  # worklist, state

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Standing:
    """retry: how often and how patiently a worklist is asked. observe: told of each new state, for metrics."""

    db: Database
    now: Clock
    retry: RetryPolicy
    observe: Observe

    def go_on(self, one: WorkitemRow, state: str, words: str, **more: object) -> None:
        """Let a step stand in its next state, which is audited and counted. more: other columns."""
        with self.db.write() as conn:
            if not workitems.go_on(conn, one, state, self.now(), **more):
                return  # another worker, to whom the lease passed, was faster
            append_audit(
                conn,
                at=self.now(),
                action=f"workitem-{state}",
                outcome=state,
                actor="worker",
                subject=digest(one.workitem_uid),
                detail={"worklist": one.worklist, "rule": one.rule, "why": words},
            )
        self.observe(one.worklist, state)
        log.info(
            "workitem", workitem=digest(one.workitem_uid), destination=one.worklist, result=state, reason=words
        )

    def cancel(self, one: WorkitemRow, ends: Ends) -> None:
        """Let a step be canceled, as soon as its worklist has been told why."""
        code = ends.reason.code if ends.reason is not None else None
        self.go_on(one, workitems.CANCELING, ends.words, reason_code=code, reason=ends.words)

    def wait(self, one: WorkitemRow, pause: timedelta, problem: str | None) -> None:
        """Look at a step again later. problem: what is waited for."""
        with self.db.write(durable=False) as conn:
            workitems.wait(conn, one, self.now() + pause, problem)

    def failed(self, one: WorkitemRow, problem: str) -> None:
        """Count an attempt that failed; after the last the step is given up until an operator says otherwise."""
        with self.db.write() as conn:
            again = workitems.failed(conn, one, problem, self.now(), self.retry)
        log.warning("workitem not told", workitem=digest(one.workitem_uid), state=one.state, problem=problem)
        if not again:
            self.go_on(one, workitems.DEAD, problem, stopped_in=one.state, problem=problem)

    def granted(self, one: WorkitemRow, said: Said) -> bool:
        """Tell whether a request was granted; write down what it means when it was not."""
        if said.answer is Answer.DONE:
            return True
        if said.answer is Answer.REFUSED:
            self.failed(one, said.words)
        else:
            self.go_on(one, workitems.LOST, said.words, reason=said.words)
        return False

    def tell(self, one: WorkitemRow, worklist: Worklist, percent: int, words: str) -> bool:
        """Report progress, once for each percentage; False when the step is not ours any more.

        A worklist that does not answer, or takes no report, holds up no work: the next report may reach it.
        """
        if one.told >= percent:
            return True
        try:
            said = worklist.update(one.workitem_uid, one.transaction_uid, reports.progress(percent, words))
        except Unanswered as why:
            log.info("progress not told", workitem=digest(one.workitem_uid), problem=str(why))
            return True
        if said.answer in {Answer.CONFLICT, Answer.GONE}:
            return self.granted(one, said)
        if said.answer is Answer.DONE:
            with self.db.write(durable=False) as conn:
                workitems.told(conn, one, percent)
        return True
