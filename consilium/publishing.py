"""One reading, all its results, in one transaction: the store, the FHIR API and the way to the archives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset
from sqlalchemy import Connection

from clinical.errors import PreconditionMissing
from clinical.finding import Reading
from clinical.identity import PatientKey
from clinical.uids import derived_uid, tracking_uid
from consilium import work_orders
from consilium.rules import NO_RULES, Rules, send_decision
from dicom_node.decoder_errors import DECODER_ERRORS
from dicom_node.preflight import CLASSES_OF_KIND
from fhir_adapters.orders import requests_of
from fhir_adapters.publish import PRELIMINARY, find_or_add_patient, is_recalled, publish, status_of, versions_of
from fhir_adapters.resources.imaging_study import Instance, StudyFacts, date_time
from fhir_adapters.resources.labels import dicom_uid, reference
from fhir_adapters.resources.model_card import AiModel
from fhir_adapters.resources.patient import GENDER, Demographics
from fhir_adapters.resources.reading import ResultIds, provenance_of, result_ids, results_of
from fhir_adapters.supersede import CANCELLED, supersede
from record_store import deliveries, readings
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.instances import HELD, study_row
from record_store.reading_json import from_json
from record_store.readings import JobRow, ResultObject, StoredReading
from record_store.resources import read

Json = dict[str, Any]

NO_ORDER_STANDS = (
    "no order of its accession number stands: each was revoked, called an error, or is another issuer's"
)
HEADER_TAGS = (
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "AccessionNumber",
    "RequestAttributesSequence",
    "TimezoneOffsetFromUTC",
    "SpecificCharacterSet",
)


@dataclass(frozen=True, slots=True)
class Publishing:
    """What one job publishes, in the caller's write transaction.

    about: what is said of the job's model beside its results. kinds_for: the kinds of objects that a destination
    gets; all that were made where it says nothing.
    """

    conn: Connection
    job: JobRow
    now: datetime
    destinations: tuple[str, ...]
    patient_id: Callable[[PatientKey], str]
    about: AiModel
    kinds_for: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rules: Rules = NO_RULES

    def run(self, made: Json, headers: Mapping[str, Dataset]) -> int:
        """Write everything and return the number of findings.

        made: what the steps before returned. headers: of the images that were read, by the blob's sha256.
        Raises PreconditionMissing when the study has been held meanwhile: then its patient is in doubt.
        """
        patient = self._patient()
        for item in made["readings"]:
            evidence = [_instance(one) for one in made["objects"] if one["reading_id"] == item["reading_id"]]
            self._reading(item, headers[item["image"]], evidence, patient)
        for item in made["objects"]:
            self._object(item)
        for refused in made.get("refused", ()):
            self._audit("result-refused", str(refused["kind"]), {**refused, "model": self.job.model})
        readings.finish_job(self.conn, self.job.job_key, readings.DONE, _unread(made), self.now)
        numbers = list(dict.fromkeys(number for one in headers.values() for number in accessions_of(one)))
        work_orders.completed(
            self.conn, self.job, self.now, work_orders.Done(_outputs(made), _unread(made), numbers)
        )
        lacks = {"no_order": NO_ORDER_STANDS} if self._lacks_its_order(patient, numbers) else {}
        detail = {"readings": len(made["readings"]), "objects": len(made["objects"])}
        self._audit("results-published", "done", detail | lacks | _compared(made))
        return sum(len(from_json(item["reading"].encode()).findings) for item in made["readings"])

    def _audit(self, action: str, outcome: str, detail: Json) -> None:
        append_audit(
            self.conn,
            at=self.now,
            action=action,
            outcome=outcome,
            actor=f"model:{self.job.model}/{self.job.model_version}",
            subject=digest(self.job.study_uid),
            detail=detail,
        )

    def _patient(self) -> PatientKey:
        row = study_row(self.conn, self.job.study_uid, to_change=True)  # who holds it is before or after
        if row is None or row.patient is None or row.state == HELD:
            why = row.hold_reason if row is not None and row.hold_reason else "its patient is in doubt"
            raise PreconditionMissing(f"the study is held: {why}")
        return row.patient

    def _lacks_its_order(self, patient: PatientKey, numbers: Sequence[str]) -> bool:
        """Tell whether there are requests of the study's numbers, and none of them is an order any more."""
        asked = any(requests_of(self.conn, patient, number) for number in numbers)
        return asked and not work_orders.orders_for(self.conn, self.job.study_uid, patient, numbers)

    def _reading(self, item: Json, header: Dataset, evidence: list[Instance], patient: PatientKey) -> None:
        reading_id, reading = item["reading_id"], from_json(item["reading"].encode())
        readings.put_reading(
            self.conn,
            reading,
            reading_id=reading_id,
            job_key=self.job.job_key,
            patient=patient,
            mask_sha256=item["mask"],
            now=self.job.created_at,
        )
        subject = find_or_add_patient(
            self.conn, patient, self.patient_id(patient), self.now, demographics_of(header)
        )
        ids = result_ids(reading, reading_id=reading_id)
        if is_recalled(self.conn, reading.model):
            raise PreconditionMissing(f"model {reading.model.label} was recalled")
        known = readings.readings_of_image(self.conn, patient, reading.image.sop_instance_uid, reading.model.name)
        before = known[: [one.reading_id for one in known].index(reading_id)]
        about = replace(self.about, ref=reading.model)
        orders = work_orders.orders_for(self.conn, self.job.study_uid, patient, accessions_of(header))
        resources = results_of(
            reading,
            ids=ids,
            tracking_uids=[tracking_uid(reading_id, finding.number) for finding in reading.findings],
            patient_id=subject,
            issued=self.job.created_at,
            study=study_facts_of(header),
            evidence=evidence,
            about=about,
            reading_id=reading_id,
            replaces=self._replaced(before),
            based_on=orders,
        )
        publish(self.conn, resources, self.now)
        self._provenance(reading, ids, about, item["image"])
        self._supersede(known[:-1], known[-1])

    def _replaced(self, before: Sequence[StoredReading]) -> str | None:
        """Return the id of the report that this one replaces; none when a person has made it theirs."""
        if not before:
            return None
        report = _ids(before[-1]).report
        mine = status_of(self.conn, "DiagnosticReport", report) in (None, PRELIMINARY, CANCELLED)
        return report if mine else None

    def _provenance(self, reading: Reading, ids: ResultIds, about: AiModel, image_sha256: str) -> None:
        """Say once which versions the model made, and of which: later versions are somebody else's."""
        if read(self.conn, "Provenance", ids.provenance) is not None:
            return
        used = [("ImagingStudy", ids.imaging_study), ("DocumentReference", about.card_id)]
        made = provenance_of(
            reading,
            ids=ids,
            versions=versions_of(self.conn, [*ids.results, *used]),
            issued=self.job.created_at,
            about=about,
            image_sha256=image_sha256,
        )
        publish(self.conn, [made], self.now)

    def _supersede(self, older: Sequence[StoredReading], current: StoredReading) -> None:
        """Leave one current result of this image by this model, whichever job was published first."""
        supersede(self.conn, [_ids(one) for one in older], _ids(current).report, self.now)
        objects = [derived_uid(kind, one.reading_id) for one in older for kind in CLASSES_OF_KIND]
        deliveries.supersede(self.conn, objects, self.now)

    def _object(self, item: Json) -> None:
        row = ResultObject(
            sop_instance_uid=item["sop"],
            job_key=self.job.job_key,
            kind=item["kind"],
            sop_class_uid=item["sop_class"],
            study_uid=self.job.study_uid,
            sha256=item["sha256"],
            created_at=self.job.created_at,
        )
        readings.add_result_object(self.conn, row)
        for destination in send_decision(self.rules, item["kind"], self.job.model, self.destinations).to:
            if item["kind"] not in self.kinds_for.get(destination, (item["kind"],)):
                continue
            deliveries.enqueue(self.conn, item["sop"], destination, self.now)


def _compared(made: Json) -> Json:
    """Return how many readings were compared with an earlier image, and why others were not."""
    why = sorted({reason for item in made["readings"] if (reason := item.get("not_compared"))})
    compared = sum(from_json(item["reading"].encode()).comparison is not None for item in made["readings"])
    return ({"compared": compared} if compared else {}) | ({"not_compared": why} if why else {})


def accessions_of(header: Dataset) -> list[str]:
    """Return the accession numbers that an image states.

    One that fulfils several requests names them in Request Attributes Sequence (0040,0275) and has no number of
    its own (PS3.3 C.7.3.1, IHE RAD group case).
    """
    own = str(header.get("AccessionNumber") or "").strip()
    if own:
        return [own]
    try:
        items = [one for one in header.get("RequestAttributesSequence") or () if isinstance(one, Dataset)]
        said = [str(one.get("AccessionNumber") or "").strip() for one in items]
    except DECODER_ERRORS:  # the result itself stands without it
        return []
    return [number for number in dict.fromkeys(said) if number]


def _outputs(made: Json) -> list[tuple[str, Json]]:
    """Return what the job made: the resources of its results, and its DICOM objects by their UIDs."""
    found: list[tuple[str, Json]] = []
    for item in made["readings"]:
        ids = result_ids(from_json(item["reading"].encode()), reading_id=item["reading_id"])
        found += [(kind, reference(kind, ident)) for kind, ident in ids.results]
    return [*found, *((item["kind"], dicom_uid(item["sop"])) for item in made["objects"])]


def _ids(stored: StoredReading) -> ResultIds:
    return result_ids(stored.reading, reading_id=stored.reading_id)


def _unread(made: Json) -> str | None:
    """Say that nothing was read, so that it never looks like "read and nothing found"."""
    if made["readings"] or made["read_before"]:
        return None
    said = readings.NO_IMAGE_READ if made["meant"] else readings.NOT_MEANT
    return f"{said}: " + "; ".join(made["left_out"])


def demographics_of(header: Dataset) -> Demographics:
    """Return what an image says about its patient besides the identifier."""
    name = header.get("PatientName")
    return Demographics(
        family=str(name.family_name) or None if name else None,
        given=str(name.given_name) or None if name else None,
        birth_date=date_time(str(header.get("PatientBirthDate", ""))),
        gender=GENDER.get(str(header.get("PatientSex", ""))),
    )


def study_facts_of(header: Dataset) -> StudyFacts:
    """Return when the study was made and what it is called."""
    day, clock, zone = (str(header.get(tag, "")) for tag in ("StudyDate", "StudyTime", "TimezoneOffsetFromUTC"))
    return StudyFacts(
        started=date_time(day, clock, zone), description=str(header.get("StudyDescription", "")) or None
    )


def _instance(made: Json) -> Instance:
    return Instance(made["sop"], made["sop_class"], made["series"], made.get("modality") or made["kind"])
