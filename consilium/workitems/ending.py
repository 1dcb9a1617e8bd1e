"""What a worklist is told of a step that ends: who did it, when, why it was not done, and the results."""

from dataclasses import dataclass

from pydicom.dataset import Dataset

from clinical import codes
from clinical.clock import Clock
from clinical.codes import COMPUTER_AIDED_DETECTION, Coding
from consilium.rules.workitems import WorkitemRule
from consilium.workitems.outputs import Places, outputs_of
from dicom_node.query.worklist import Code
from dicom_node.ups import reports
from record_store import workitems
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.workitems import WorkitemRow

REASONS = {
    one.code: one
    for one in (
        codes.EQUIPMENT_FAILURE,
        codes.DISCONTINUED,
        codes.INCORRECT_WORKLIST_ENTRY,
        codes.OBJECT_TYPES_NOT_SUPPORTED,
        codes.OBJECT_SET_INCOMPLETE,
    )
}

# What is said to have been done of a step that does not say what is to be done.
WITHOUT_CODE = Code(
    COMPUTER_AIDED_DETECTION.code,
    COMPUTER_AIDED_DETECTION.scheme,
    COMPUTER_AIDED_DETECTION.display,
)


@dataclass(frozen=True, slots=True)
class Ending:
    """station: our AE title."""

    db: Database
    blobs: Blobs
    places: Places
    station: str
    now: Clock

    def report(self, one: WorkitemRow, rule: WorkitemRule, *, outputs: bool) -> tuple[Dataset, int]:
        """Return what is written into a step before it ends, and how many results that names."""
        series = []
        if outputs:
            with self.db.read() as conn:
                studies = [each.study_uid for each in workitems.studies_of(conn, one)]
                series = outputs_of(conn, self.blobs, studies, rule, self.places)
        work = reports.Work(
            station=self.station,
            codes=[Code(*each) for each in one.codes] or [WITHOUT_CODE],
            began=one.claimed_at or one.created_at,
            ended=self.now(),
            outputs=series,
        )
        count = sum(len(each.objects) for each in series)
        if one.state == workitems.COMPLETING:
            return reports.performed(work), count
        reason: Coding = REASONS.get(one.reason_code or "", codes.DISCONTINUED)
        return reports.discontinued(work, reason, one.reason or reason.display), count
