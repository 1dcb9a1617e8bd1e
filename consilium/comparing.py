"""Finds the earlier image that a reading is compared with, and compares (clinical/comparison.py).

The same patient, model version, modality, body part, view and side, all of them stated; the newest earlier day,
when it has just one such image. What the model has said of it is taken as it was published; a prior that was
fetched (consilium/priors.py) and that no model has read is read for the comparison alone and never published.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date

from pydicom.dataset import Dataset
from sqlalchemy import Connection

from clinical.comparison import Comparison, compare
from clinical.days import day_of
from clinical.errors import ClinicalError
from clinical.finding import Reading
from clinical.identity import PatientKey
from clinical.uids import derived_uid
from consilium.selection import Selecting, SourceImage
from dicom_node.decoder_errors import DECODER_ERRORS
from dicom_node.header import Header
from fhir_adapters.publish import status_of
from fhir_adapters.resources.reading import result_ids
from model_runtime.manifest import Manifest
from record_store.database import Database
from record_store.earlier_readings import earlier_readings, has_others
from record_store.instances import InstanceRow, instances_of, study_row
from record_store.priors import ASKED, FETCHED, priors_of
from record_store.readings import StoredReading, result_object

TAGS = ("StudyDate", "ViewCodeSequence", "SpecificCharacterSet")
MOST = 100  # earlier images of one patient that are looked at, of the newest days
_IN_ERROR = frozenset((None, "cancelled", "entered-in-error"))

NO_DAY = "the study states no date"
NO_VIEW = "the image states no view"
NO_PART = "the image does not say which part of the body it shows"
NO_SIDE = "the image does not say which side it shows"
NONE_HERE = "no earlier image of the same body part, view and side has a result of this model version that stands"
NONE_OF_NEWEST = f"{NONE_HERE}, among the {MOST} of the newest days: older ones were not looked at"
TOO_MANY = f"the newest earlier day has more images than the {MOST} that are looked at"
STILL_COMING = "not all earlier studies that were asked for were here when it was read"
SEVERAL = "there are several images of this view of the newest earlier day"
# Body Part Examined (PS3.16 annex L) of which one image shows both sides; of any other one, a left and a right
# image that do not say so look alike.
_TRUNK = ("ABDOMEN", "CHEST", "HEAD", "LUNG", "NECK", "PELVIS", "SKULL", "THORAX")
BOTH_SIDES_IN_ONE = frozenset((*_TRUNK, "CSPINE", "LSPINE", "SPINE", "TSPINE"))


@dataclass(frozen=True, slots=True)
class Shown:
    """What an image shows, as far as two images have to agree. day: of its study."""

    modality: str
    body_part: str
    view: str
    sides: frozenset[str]
    day: date | None

    @property
    def unfit(self) -> str:
        """Why it can be compared with nothing, "" when it says what it shows: silence agrees with anything."""
        if self.day is None:
            return NO_DAY
        if not self.view:
            return NO_VIEW
        if not self.body_part:
            return NO_PART
        one_side = len(self.sides) == 1 or (not self.sides and self.body_part in BOTH_SIDES_IN_ONE)
        return "" if one_side else NO_SIDE

    def agrees(self, other: "Shown") -> bool:
        """Tell whether two images show the same in the same way, each on a day that is known."""
        what = [(one.modality, one.body_part, one.view, one.sides) for one in (self, other)]
        return what[0] == what[1] and not self.unfit and not other.unfit


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier image. stored: what was published of it, None when no model has read it."""

    row: InstanceRow
    shown: Shown
    stored: StoredReading | None


@dataclass(frozen=True, slots=True)
class Comparing:
    """Compares readings with earlier ones.

    header: reads attributes of an image, by the sha256 of its blob. read: has the model read an image, for this
    alone.
    """

    db: Database
    selecting: Selecting
    header: Callable[[str, Sequence[str]], Dataset]
    read: Callable[[Manifest, str], Reading]

    def of(self, reading: Reading, sha256: str, manifest: Manifest) -> tuple[Comparison | None, str]:
        """Return the comparison of an image's reading, or None and why there is none."""
        uid = reading.image.study_uid
        with self.db.read() as conn:
            study = study_row(conn, uid)
            patient = study.patient if study is not None else None
            fetched, coming = _fetched(conn, uid, reading.image.modality)
            is_alone = patient is None or not (fetched or has_others(conn, patient, reading))
            rows = [] if is_alone else instances_of(conn, uid)
        none = f"{NONE_HERE}; {STILL_COMING}" if coming else NONE_HERE
        row = next((one for one in rows if one.sha256 == sha256), None)
        if patient is None or row is None:
            return None, none  # as of most images: no file has been opened
        now = self._shown(row)
        if now is None or now.day is None:
            return None, NO_DAY
        if now.unfit:
            return None, now.unfit
        found, is_cut = self._newest(reading, now, patient, self._may_be_read(fetched, patient, manifest))
        if is_cut:
            return None, TOO_MANY if found else NONE_OF_NEWEST
        if not found:
            return None, none
        if len(found) > 1:
            return None, SEVERAL
        return self._compared(reading, now.day, found[0], manifest)

    def _newest(
        self, reading: Reading, now: Shown, patient: PatientKey, fetched: Sequence[SourceImage]
    ) -> tuple[list[Earlier], bool]:
        """Return the images to compare with, and whether there may be others that were not looked at."""
        if now.day is None:
            return [], False
        with self.db.read() as conn:
            newest_first = earlier_readings(conn, patient, reading, now.day, MOST + 1)
            before = [one for one in newest_first[:MOST] if one.reading.model == reading.model]
            stands = {one.reading_id for one in before if _stands(conn, one)}
        images = list(self._earlier(before, stands, fetched))
        found = newest(now, images)
        return found, len(newest_first) > MOST and not _are_all(found, images)

    def _compared(
        self, reading: Reading, day: date, prior: Earlier, manifest: Manifest
    ) -> tuple[Comparison | None, str]:
        if prior.shown.day is None:
            return None, NONE_HERE
        if prior.stored is not None:
            made = compare(reading, prior.stored.reading, day=day, prior_day=prior.shown.day)
            return replace(made, reading_id=prior.stored.reading_id, report=self._report(prior.stored)), ""
        try:
            read = self.read(manifest, prior.row.sha256)
        except ClinicalError as problem:  # the reading itself stands without it
            return None, f"the earlier image could not be read: {problem.message}"
        return compare(reading, read, day=day, prior_day=prior.shown.day), ""

    def _report(self, stored: StoredReading) -> tuple[str, str] | None:
        uid, series = derived_uid("SR", stored.reading_id), derived_uid("SR", "series", stored.reading_id)
        with self.db.read() as conn:
            return (uid, series) if result_object(conn, uid) is not None else None

    def _earlier(
        self, before: Sequence[StoredReading], stands: Set[str], fetched: Sequence[SourceImage]
    ) -> Iterator[Earlier]:
        """Yield images of other studies that this model version has read, and fetched ones that it may read.

        stands: ids of the readings that nobody took back. What was taken back is not said again by reading anew.
        """
        known = {stored.reading.image.sop_instance_uid for stored in before}
        studies = {stored.reading.image.study_uid for stored in before}
        with self.db.read() as conn:
            rows = {row.sop_instance_uid: row for uid in sorted(studies) for row in instances_of(conn, uid)}
        for stored in before:
            row = rows.get(stored.reading.image.sop_instance_uid)
            if row is None or stored.reading_id not in stands:
                continue
            shown = self._shown(row)
            if shown is not None:
                yield Earlier(row, shown, stored)
        for image in fetched:
            shown = self._shown(image.row)
            if image.row.sop_instance_uid not in known and shown is not None:
                yield Earlier(image.row, shown, None)

    def _may_be_read(
        self, rows: Sequence[InstanceRow], patient: PatientKey, manifest: Manifest
    ) -> Sequence[SourceImage]:
        found: list[SourceImage] = []
        for row in rows:
            try:
                found.append(self.selecting.image(row))
            except ClinicalError:
                continue  # it is not one to compare with
        return self.selecting.select(patient, found, manifest).read

    def _shown(self, row: InstanceRow) -> Shown | None:
        try:
            return shown_by(self.selecting.image(row).header, self.header(row.sha256, TAGS))
        except (ClinicalError, *DECODER_ERRORS):  # the reading itself stands without it
            return None


def _stands(conn: Connection, one: StoredReading) -> bool:
    """Tell whether a reading was neither recalled nor called an error."""
    report = result_ids(one.reading, reading_id=one.reading_id).report
    return not one.recalled and status_of(conn, "DiagnosticReport", report) not in _IN_ERROR


def _fetched(conn: Connection, study_uid: str, modality: str) -> tuple[list[InstanceRow], bool]:
    """Return the images of the priors that were fetched for a study, and whether others are not here."""
    asked = priors_of(conn, study_uid)
    came = [one.prior_uid for one in asked if one.prior_uid and one.state == FETCHED]
    rows = [row for uid in came for row in instances_of(conn, uid) if row.modality == modality]
    return rows, any(one.state not in (ASKED, FETCHED) for one in asked)


def shown_by(header: Header, said: Dataset) -> Shown:
    """Return what an image shows. said: its TAGS. Pure.

    A view in words (0018,5101) and one in codes (0054,0220) are two views: nothing here says that they are one.
    """
    sides = {header.image_laterality.upper(), header.laterality.upper()} - {""}
    parts = (header.modality, header.body_part, header.view_position or _view_code(said))
    modality, body_part, view = (text.strip().upper() for text in parts)
    return Shown(modality, body_part, view, frozenset(sides), day_of(str(said.get("StudyDate") or "")))


def _view_code(said: Dataset) -> str:
    item = next(iter(said.get("ViewCodeSequence") or ()), None)
    if not isinstance(item, Dataset):  # a file may give the sequence another VR
        return ""
    return f"{item.get('CodingSchemeDesignator', '')} {item.get('CodeValue', '')}".strip()


def newest(now: Shown, images: Sequence[Earlier]) -> list[Earlier]:
    """Return the images of the newest earlier day that show the same, of whatever study; [] without one. Pure."""
    fit = [one for one in images if one.shown.agrees(now) and _is_before(one.shown, now)]
    last = max((one.shown.day for one in fit if one.shown.day), default=None)
    return [one for one in fit if one.shown.day == last]


def _are_all(found: Sequence[Earlier], images: Sequence[Earlier]) -> bool:
    """Tell whether no image of the day that was found was left out with those that were not looked at. Pure.

    images: newest day first, but for those that were fetched.
    """
    days = [one.shown.day for one in images if one.stored is not None and one.shown.day]
    return bool(found and days) and all(one.shown.day is not None and days[-1] < one.shown.day for one in found)


def _is_before(earlier: Shown, now: Shown) -> bool:
    return earlier.day is not None and now.day is not None and earlier.day < now.day
