"""What becomes of a step that somebody wants canceled while it is in progress, or that was canceled over there.

What was brought here for that step alone is held, so that no result of it goes anywhere before a person says so. A
study that others have sent, or that another step asks for, is read as it would be anyway.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from clinical.codes import DISCONTINUED
from consilium.workitems.outcome import IS_SENT, Ends, Waits
from consilium.workitems.standing import Standing
from consilium.workitems.worklist import Worklist
from dicom_node.query.scu import Unanswered
from dicom_node.ups import reports
from record_store import workitems
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.database import Database
from record_store.instances import HELD, StudyRow, hold_study, study_row
from record_store.workitems import WorkitemRow

ASKED = "its cancellation was requested"
TOO_LATE = "it was too late to cancel it: its results are there"
OVER_THERE = "it was canceled over there"
WITHDRAWN = "the step that it was fetched for was canceled"
Found = Callable[[Connection, WorkitemRow], Waits | Ends]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Canceling:
    """found: what becomes of a step whose input is here."""

    db: Database
    standing: Standing
    found: Found

    def look(self, one: WorkitemRow, worklist: Worklist) -> None:
        """Cancel a step on request, or say that it was too late."""
        if self._withdrawn(one):
            self.standing.cancel(one, Ends(DISCONTINUED, ASKED))
            return
        try:
            told = max(one.told, 0)
            worklist.update(one.workitem_uid, one.transaction_uid, reports.progress(told, TOO_LATE))
        except Unanswered as why:  # its results will say so
            log.info("progress not told", workitem=digest(one.workitem_uid), problem=str(why))
        with self.db.write() as conn:
            workitems.too_late(conn, one, self.standing.now())
            append_audit(
                conn,
                at=self.standing.now(),
                action="workitem-not-canceled",
                outcome="too-late",
                actor="worker",
                subject=digest(one.workitem_uid),
                detail={"worklist": one.worklist},
            )

    def over_there(self, one: WorkitemRow) -> None:
        """Leave a step alone that its worklist has canceled."""
        self._withdrawn(one)
        self.standing.go_on(one, workitems.LOST, OVER_THERE, reason=OVER_THERE)

    def _withdrawn(self, one: WorkitemRow) -> bool:
        """Hold what was brought here for it; False when its results are there, or are being published just now."""
        with self.db.write() as conn:
            # A job publishes in one transaction with these rows locked: it is before this one or after it.
            rows = [study_row(conn, uid, to_change=True) for uid in sorted(workitems.brought_by(conn, one))]
            if one.state == workitems.READING:
                found = self.found(conn, one)
                if isinstance(found, Ends) or found.percent >= IS_SENT:
                    return False
            for study in rows:
                if study is not None and study.state != HELD:  # else who releases it reads why it was held first
                    self._hold(conn, study)
        return True

    def _hold(self, conn: Connection, study: StudyRow) -> None:
        hold_study(conn, study.study_uid, WITHDRAWN)
        append_audit(
            conn,
            at=self.standing.now(),
            action="study-held",
            outcome="withdrawn",
            actor="worker",
            subject=digest(study.study_uid),
            detail={"revision": study.revision, "why": WITHDRAWN},
        )
        log.warning("study held", study=digest(study.study_uid), reason=WITHDRAWN)
