"""All resources of one reading: the FHIR side of "one finding, one number" (DESIGN promise 3)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clinical.errors import Fault
from clinical.finding import ModelRef, Reading
from clinical.lesion import ANSWER_IN_WORDS, LesionAssessment
from clinical.risk import RiskScore
from fhir_adapters.resources.device import device
from fhir_adapters.resources.diagnostic_report import diagnostic_report
from fhir_adapters.resources.imaging_study import Instance, StudyFacts, imaging_study
from fhir_adapters.resources.labels import Json, reference
from fhir_adapters.resources.observation import observation
from fhir_adapters.resources.provenance import provenance
from fhir_adapters.resources.risk_assessment import risk_assessment


@dataclass(frozen=True, slots=True)
class ResultIds:
    """The resource ids of one reading. observations: one a finding; risks: one a lesion; in their order."""

    device: str
    imaging_study: str
    report: str
    provenance: str
    observations: tuple[str, ...]
    risks: tuple[str, ...] = ()


def result_ids(reading: Reading, *, reading_id: str) -> ResultIds:
    """Return ids that follow from the reading: the same work writes the same identities again.

    The Device belongs to the model's file and the ImagingStudy to the study, whoever reads them.
    """
    numbers = range(1, len(reading.findings) + 1)
    return ResultIds(
        device=device_id(reading.model),
        imaging_study=imaging_study_id(reading.image.study_uid),
        report=_derived("report", reading_id),
        provenance=_derived("provenance", reading_id),
        observations=tuple(_derived("observation", reading_id, str(number)) for number in numbers),
        risks=tuple(_derived("risk", reading_id, str(lesion.finding)) for lesion in reading.lesions),
    )


def device_id(model: ModelRef) -> str:
    """Return the id of a model version's Device."""
    return _derived("device", model.name, model.version, model.digest)


def imaging_study_id(study_uid: str) -> str:
    """Return the id of a study's ImagingStudy."""
    return _derived("imaging-study", study_uid)


def results_of(
    reading: Reading,
    *,
    ids: ResultIds,
    tracking_uids: Sequence[str],
    patient_id: str,
    issued: datetime,
    study: StudyFacts,
    evidence: Sequence[Instance],
    replaces: str | None = None,
) -> list[Json]:
    """Return Device, ImagingStudy, an Observation a finding, DiagnosticReport and Provenance, in that order.

    Before the Provenance stands a RiskAssessment for each lesion that the model assesses: how probable malignancy
    is, never a Condition. tracking_uids: of the findings, as in SEG and SR. evidence: the SEG and SR made of it.
    replaces: id of the DiagnosticReport of the reading that this one replaces.

    Raises Fault when ids or tracking UIDs are not one a finding.
    """
    if not len(reading.findings) == len(ids.observations) == len(tracking_uids):
        raise Fault("a reading's findings, ids and tracking UIDs differ in number")
    image = reading.image
    source = Instance(image.sop_instance_uid, image.sop_class_uid, image.series_uid, image.modality)
    observations = [
        observation(
            reading,
            finding,
            resource_id=resource_id,
            tracking_uid=tracking_uid,
            patient_id=patient_id,
            device_id=ids.device,
            imaging_study_id=ids.imaging_study,
            issued=issued,
            effective=study.started,
        )
        for finding, resource_id, tracking_uid in zip(
            reading.findings, ids.observations, tracking_uids, strict=True
        )
    ]
    report = diagnostic_report(
        reading,
        resource_id=ids.report,
        patient_id=patient_id,
        observation_ids=ids.observations,
        imaging_study_id=ids.imaging_study,
        issued=issued,
        effective=study.started,
        replaces=replaces,
    )
    of_finding = {finding.number: one for finding, one in zip(reading.findings, ids.observations, strict=True)}
    risks = [
        _risk(reading, lesion, resource_id, of_finding[lesion.finding], ids, patient_id, issued)
        for lesion, resource_id in zip(reading.lesions, ids.risks, strict=True)
    ]
    made = [reference(each["resourceType"], each["id"]) for each in (report, *observations, *risks)]
    record = dict.fromkeys(used.source for lesion in reading.lesions for used in lesion.inputs if used.source)
    return [
        device(reading.model, resource_id=ids.device),
        imaging_study(
            image.study_uid,
            resource_id=ids.imaging_study,
            patient_id=patient_id,
            instances=[source, *evidence],
            facts=study,
        ),
        *observations,
        report,
        *risks,
        provenance(
            resource_id=ids.provenance,
            targets=made,
            device_id=ids.device,
            sources=[reference("ImagingStudy", ids.imaging_study), *({"reference": one} for one in record)],
            recorded=issued,
        ),
    ]


def _risk(
    reading: Reading,
    lesion: LesionAssessment,
    resource_id: str,
    observation_id: str,
    ids: ResultIds,
    patient_id: str,
    issued: datetime,
) -> Json:
    return risk_assessment(
        RiskScore(lesion.outcome, lesion.probability, reading.model, lesion.inputs, lesion.missing),
        resource_id=resource_id,
        patient_id=patient_id,
        device_id=ids.device,
        occurred=issued,
        basis=(f"Observation/{observation_id}", f"ImagingStudy/{ids.imaging_study}"),
        judged=ANSWER_IN_WORDS[lesion.answer],
    )


def _derived(*parts: str) -> str:
    return str(UUID(bytes=hashlib.sha256("\x1f".join(parts).encode()).digest()[:16], version=5))
