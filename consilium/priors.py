"""Fetches earlier studies of a patient when a study arrives, as far as a rule lets it (docs/rules.md).

A loop of its own: no study waits for its priors, and an archive that is away costs nobody but its own priors.
What is fetched is stored and can be seen and queried; a model reads it only to compare (consilium/comparing.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from pydicom.dataset import Dataset

from clinical.clock import Clock
from clinical.days import as_written_today
from consilium.circuit import ArchiveCircuits
from consilium.rules.priors import Candidate, PriorRule, likely_priors
from dicom_node.destinations import Destination
from dicom_node.query.scu import Retrieved, Unanswered, query, text_of
from record_store import priors
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.database import Database
from record_store.priors import Current, PriorRow

POLL_S = 0.5
STUDIES_AT_ONCE = 8
BODY_PARTS_ASKED = 12  # studies of one answer whose series are asked for their body part
AWAY = "the archive does not answer and is left alone for a while"
_STUDY_KEYS = (
    "StudyInstanceUID",
    "StudyDate",
    "ModalitiesInStudy",
    "StudyDescription",
    "NumberOfStudyRelatedInstances",
    "IssuerOfPatientID",
    "PatientBirthDate",
)

log = structlog.get_logger()


class Find(Protocol):
    """dicom_node.query.scu.find"""

    def __call__(self, archive: Destination, calling_ae: str, wanted: Dataset) -> list[Dataset]: ...


# (archive, study UID, "move" or "get") -> how it ended; raises Unanswered.
Fetch = Callable[[Destination, str, str], Retrieved]


@dataclass(frozen=True, slots=True)
class Priors:
    """Asks archives for priors and has them sent."""

    db: Database
    rules: tuple[PriorRule, ...]
    archives: Mapping[str, Destination]
    calling_ae: str
    now: Clock
    find: Find
    fetch: Fetch
    circuits: ArchiveCircuits = field(default_factory=ArchiveCircuits)

    def once(self) -> int:
        """Ask for the priors of new studies, then fetch one that is wanted; return how often that was."""
        with self.db.read() as conn:
            waiting = priors.unasked(conn, self.now(), STUDIES_AT_ONCE)
        return sum(map(self._ask, waiting)) + self._fetch_one()

    def _ask(self, current: Current) -> bool:
        rule = next((one for one in self.rules if one.fits(current)), None)
        if rule is None:
            return False
        archive = self.archives.get(rule.archive)
        if archive is None or not self.circuits.may_ask(rule.archive):
            return False
        with self.db.write() as conn:
            if not priors.claim_question(conn, current.study_uid, rule.archive, rule.name, self.now()):
                return False
        found: list[Candidate] = []
        chosen: list[str] = []
        problem: str | None = None
        try:
            found = self._candidates(archive, current)
            chosen = self._choose(archive, rule, current, found)
            self.circuits.answered(rule.archive)
        except Unanswered as why:
            problem = str(why)
            self.circuits.failed(rule.archive)
        self._write_answer(rule, current, len(found), chosen, problem)
        return True

    def _write_answer(
        self, rule: PriorRule, current: Current, found: int, chosen: list[str], problem: str | None
    ) -> None:
        with self.db.write() as conn:
            priors.answer_question(
                conn, current.study_uid, self.now(), found=found, chosen=chosen, problem=problem
            )
            append_audit(
                conn,
                at=self.now(),
                action="priors-asked",
                outcome="failed" if problem else "asked",
                actor="worker",
                subject=digest(current.study_uid),
                detail={"archive": rule.archive, "rule": rule.name, "found": found, "wanted": len(chosen)},
            )
        study = digest(current.study_uid)
        log.info("priors asked", study=study, destination=rule.archive, count=len(chosen), problem=problem)

    def _candidates(self, archive: Destination, current: Current) -> list[Candidate]:
        wanted = query("STUDY", dict.fromkeys(_STUDY_KEYS, "") | {"PatientID": current.patient_id})
        return [_candidate(one) for one in self.find(archive, self.calling_ae, wanted)]

    def _choose(
        self, archive: Destination, rule: PriorRule, current: Current, found: Sequence[Candidate]
    ) -> list[str]:
        with self.db.read() as conn:
            held = priors.held_of(conn, [one.study_uid for one in found])
        likely = likely_priors(rule, current, found, held, self.now().date())
        if rule.body_part is None:
            return [one.study_uid for one in likely[: rule.most]]
        chosen: list[str] = []
        for one in likely[:BODY_PARTS_ASKED]:
            if self._shows(archive, rule.body_part, one.study_uid):
                chosen.append(one.study_uid)
            if len(chosen) == rule.most:
                break
        return chosen

    def _shows(self, archive: Destination, body_parts: tuple[str, ...], study_uid: str) -> bool:
        wanted = query("SERIES", {"StudyInstanceUID": study_uid, "SeriesInstanceUID": "", "BodyPartExamined": ""})
        series = self.find(archive, self.calling_ae, wanted)
        return any(text_of(one, "BodyPartExamined").upper() in body_parts for one in series)

    def _fetch_one(self) -> int:
        with self.db.write() as conn:
            one = priors.claim_wanted(conn, self.now())
        if one is None:
            return 0
        objects, problem = self._fetch(one)
        with self.db.write() as conn:
            state = priors.end_fetch(conn, one, self.now(), objects=objects, problem=problem)
            append_audit(
                conn,
                at=self.now(),
                action="prior-fetched",
                outcome=state or "late",  # another worker has it, or has had it
                actor="worker",
                subject=digest(one.prior_uid),
                detail={"archive": one.archive, "for": digest(one.study_uid), "objects": objects},
            )
        study = digest(one.study_uid)
        log.info("prior fetched", study=study, destination=one.archive, result=state, problem=problem)
        return 1

    def _fetch(self, one: PriorRow) -> tuple[int, str | None]:
        """Return how many objects came, and why not all."""
        archive = self.archives.get(one.archive)
        rule = next((rule for rule in self.rules if rule.name == one.rule), None)
        if archive is None or rule is None:
            return 0, "its rule or its archive is no longer configured"
        if not self.circuits.may_ask(one.archive):
            return 0, AWAY
        try:
            ended = self.fetch(archive, one.prior_uid, rule.by)
        except Unanswered as why:
            self.circuits.failed(one.archive)
            return 0, str(why)
        self.circuits.answered(one.archive)
        return ended.completed + ended.warning, None if ended.status == 0 else ended.words


def _candidate(ds: Dataset) -> Candidate:
    counted = text_of(ds, "NumberOfStudyRelatedInstances")
    return Candidate(
        study_uid=text_of(ds, "StudyInstanceUID"),
        study_date=as_written_today(text_of(ds, "StudyDate")),
        modalities=frozenset(text_of(ds, "ModalitiesInStudy").split("\\")),
        description=text_of(ds, "StudyDescription"),
        objects=int(counted) if counted.isdecimal() else None,
        patient_id=text_of(ds, "PatientID"),
        issuer_of_patient_id=text_of(ds, "IssuerOfPatientID"),
        patient_birth_date=as_written_today(text_of(ds, "PatientBirthDate")),
    )
