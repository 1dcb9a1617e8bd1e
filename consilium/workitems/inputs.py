"""The input of a step: who it is of, what of it is not here yet, how that comes, what became of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import Connection

from clinical.identity import IssuerTable
from consilium.circuit import ArchiveCircuits
from consilium.rules.workitems import WorkitemRule
from consilium.workitems.outcome import Ends, Seen, Waits, outcome
from consilium.workitems.outputs import sending
from consilium.workitems.wado import WebFetch, always
from dicom_node.destinations import Destination
from dicom_node.query.scu import Retrieved, Unanswered
from dicom_node.ups.workitem import Workitem
from record_store import workitems
from record_store.audit import digest
from record_store.instances import CLOSED, reopen_study, study_row
from record_store.priors import is_prior
from record_store.readings import FAILED, JobRow, jobs_of_study, recalled_models
from record_store.workitems import InputStudy, WorkitemRow

SENT_WITHIN = timedelta(minutes=10)  # after that a step is completed although results are still on their way
NOBODY = "nobody whom we know has it: neither the step nor its rule names an archive of the settings"
AWAY = "the archive does not answer and is left alone for a while"
RECALLED = "it was recalled"
NOTHING = "the archive has sent nothing"
Fetch = Callable[[Destination, str, str], Retrieved]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """Whom a study is fetched from. piecewise: object by object, so a part of it may be here without the rest."""

    name: str
    bring: Callable[[Callable[[], bool]], Retrieved]
    piecewise: bool = False


@dataclass(frozen=True, slots=True)
class Inputs:
    """archives: those of CONSILIUM_PACS, by name. fetch_study: as in consilium.priors. fetch_web: by WADO-RS.

    issuers: joins identifiers.
    """

    archives: Mapping[str, Destination]
    fetch_study: Fetch
    fetch_web: WebFetch
    issuers: IssuerTable
    circuits: ArchiveCircuits

    def patient_of(self, step: Workitem) -> tuple[str | None, str | None]:
        """Return (system, value) of a step's patient; no system where the step does not name the issuer."""
        key = self.issuers.from_dicom(step.issuer_of_patient_id, step.patient_id)
        if key is None:
            return None, None
        return key.system if step.issuer_of_patient_id else None, key.value

    def missing(self, conn: Connection, one: WorkitemRow) -> InputStudy | None:
        """Return a study of which something is not here, or None."""
        return next((each for each in workitems.studies_of(conn, one) if not workitems.held(conn, each)), None)

    def reopen_priors(self, conn: Connection, one: WorkitemRow) -> None:
        """Have studies read that are here only as somebody's prior, which no model reads by itself."""
        for each in workitems.studies_of(conn, one):
            study = study_row(conn, each.study_uid)
            known = study is not None and study.state == CLOSED and is_prior(conn, each.study_uid)
            if known and not jobs_of_study(conn, each.study_uid):
                reopen_study(conn, each.study_uid)

    def place(self, rule: WorkitemRule, study: InputStudy) -> Place | None:
        """Return who is asked for a study, None when nobody is known."""
        named = self._named(study)
        web = self.fetch_web.server(study) if named is None else None
        if web is not None:
            return Place(web, partial(self.fetch_web, study), piecewise=True)
        archive = named or self._of_rule(rule)
        if archive is None:
            return None
        fetch = self.fetch_study
        return Place(archive.name, lambda _goes_on: fetch(archive, study.study_uid, rule.by))

    def fetch(self, place: Place, study: InputStudy, goes_on: Callable[[], bool] = always) -> str | None:
        """Have a study sent to us; return why it did not come. goes_on: see WebFetch."""
        if not self.circuits.may_ask(place.name):
            return AWAY
        try:
            ended = place.bring(goes_on)
        except Unanswered as why:
            self.circuits.failed(place.name)
            return str(why)
        self.circuits.answered(place.name)
        if ended.status:
            return ended.words
        log.info(
            "workitem input fetched",
            study=digest(study.study_uid),
            destination=place.name,
            count=ended.completed,
        )
        return None if ended.completed + ended.warning else NOTHING

    def _named(self, study: InputStudy) -> Destination | None:
        """Return whom the step names by AE title, when we know that one."""
        known = (one for one in self.archives.values() if one.ae_title and one.ae_title == study.retrieve_ae)
        return next(known, None)

    def _of_rule(self, rule: WorkitemRule) -> Destination | None:
        found = self.archives.get(rule.archive) if rule.archive else None
        return found if found is not None and found.ae_title else None

    def found(self, conn: Connection, one: WorkitemRow, rule: WorkitemRule, now: datetime) -> Waits | Ends:
        """Return what becomes of a step whose input is here."""
        return outcome(self.seen(conn, one, rule, now), one.patient_value, one.patient_system)

    def seen(self, conn: Connection, one: WorkitemRow, rule: WorkitemRule, now: datetime) -> list[Seen]:
        """Return what became of each study of a step."""
        return [self._seen(conn, each.study_uid, rule, now) for each in workitems.studies_of(conn, one)]

    def _seen(self, conn: Connection, study_uid: str, rule: WorkitemRule, now: datetime) -> Seen:
        study = study_row(conn, study_uid)
        revision = study.revision if study is not None else 0
        every = jobs_of_study(conn, study_uid)
        recalled = recalled_models(conn, every)
        jobs = tuple(
            replace(job, state=FAILED, reason=RECALLED) if (job.model, job.model_version) in recalled else job
            for job in every
            if job.revision == revision and rule.counts(job.model)
        )
        fresh = [job.job_key for job in jobs if _fresh(job, now)]
        return Seen(study, jobs, sending(conn, fresh))


def _fresh(job: JobRow, now: datetime) -> bool:
    return job.finished_at is not None and now - job.finished_at < SENT_WITHIN
