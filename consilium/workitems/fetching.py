"""Has the input of a claimed step brought here, study by study, each from whom the step or its rule names."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from clinical.codes import OBJECT_SET_INCOMPLETE
from consilium.rules.workitems import WorkitemRule
from consilium.workitems.inputs import NOBODY, Inputs, Place
from consilium.workitems.lanes import Lease
from consilium.workitems.outcome import COMING, INCOMPLETE, NOT_HERE, Ends
from consilium.workitems.standing import Standing
from consilium.workitems.worklist import Worklist
from record_store import workitems
from record_store.audit import digest
from record_store.database import Database
from record_store.deliveries import RetryPolicy
from record_store.workitems import InputStudy, WorkitemRow

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Fetching:
    """retry: how often and how patiently an archive is asked. lease: keeps a step in hand meanwhile."""

    db: Database
    inputs: Inputs
    standing: Standing
    retry: RetryPolicy
    lease: Callable[[WorkitemRow], Lease]

    def look(self, one: WorkitemRow, rule: WorkitemRule, worklist: Worklist) -> None:
        """Fetch a study that is missing; with none the step goes on. Raises Unanswered for the worklist."""
        study = self._missing(one)
        if study is None:
            return
        if study.fetched:
            self.standing.cancel(one, Ends(OBJECT_SET_INCOMPLETE, INCOMPLETE))
            return
        place = self.inputs.place(rule, study)
        source = place.name if place is not None else None
        if source != one.source:  # whoever asks that archive now, or nobody, fetches it
            with self.db.write() as conn:
                workitems.go_on(conn, one, one.state, self.standing.now(), source=source)
            return
        if not self.standing.tell(one, worklist, COMING, "its images are fetched"):
            return
        with self.lease(one) as lease:
            problem = self._bring(one, study, place, lease) if place is not None else NOBODY
            if lease.renew():
                self._ended(one, study, problem)
                return
        lease.give_back()  # it is to be canceled, or in other hands, which go on where these stopped

    def _bring(self, one: WorkitemRow, study: InputStudy, place: Place, lease: Lease) -> str | None:
        with self.db.write() as conn:
            workitems.begun(conn, one, study, piecewise=place.piecewise)
        return self.inputs.fetch(place, study, lease.is_kept)

    def _ended(self, one: WorkitemRow, study: InputStudy, problem: str | None) -> None:
        with self.db.write() as conn:
            if problem is None:
                workitems.fetched(conn, one, study.study_uid)
                workitems.go_on(conn, one, workitems.FETCHING, self.standing.now())
                return
            again = workitems.failed(conn, one, problem, self.standing.now(), self.retry)
        log.warning("workitem input not fetched", workitem=digest(one.workitem_uid), problem=problem)
        if not again:
            self.standing.cancel(one, Ends(OBJECT_SET_INCOMPLETE, f"{NOT_HERE}: {problem}"))

    def _missing(self, one: WorkitemRow) -> InputStudy | None:
        with self.db.write() as conn:
            study = self.inputs.missing(conn, one)
            if study is None:
                self.inputs.reopen_priors(conn, one)
                workitems.go_on(conn, one, workitems.READING, self.standing.now())
        return study
