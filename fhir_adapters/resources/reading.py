"""All resources of one reading: the FHIR side of "one finding, one number" (DESIGN promise 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from clinical.conformal import Answer
from clinical.errors import Fault
from clinical.finding import Reading
from clinical.lesion import ANSWER_IN_WORDS, LesionAssessment
from clinical.risk import RiskScore
from fhir_adapters.resources.comparison import comparison, comparison_id
from fhir_adapters.resources.device import device
from fhir_adapters.resources.diagnostic_report import diagnostic_report
from fhir_adapters.resources.ids import derived, device_id, imaging_study_id
from fhir_adapters.resources.imaging_study import Instance, StudyFacts, imaging_study
from fhir_adapters.resources.labels import Json, reference
from fhir_adapters.resources.model_card import AiModel, model_card
from fhir_adapters.resources.observation import observation
from fhir_adapters.resources.provenance import provenance
from fhir_adapters.resources.risk_assessment import risk_assessment

READING_IDENTIFIER = "urn:consilium:reading"
REFER = "Referral to a breast unit, for imaging and for a biopsy where it is needed."


@dataclass(frozen=True, slots=True)
class ResultIds:
    """The resource ids of one reading. observations: one a finding; risks: one a lesion; in their order.

    comparison: of the Observation that compares with an earlier image, "" where nothing was compared.
    """

    device: str
    imaging_study: str
    report: str
    provenance: str
    observations: tuple[str, ...]
    risks: tuple[str, ...] = ()
    comparison: str = ""

    @property
    def results(self) -> list[tuple[str, str]]:
        """(type, id) of what the model asserts: the report, its Observations, its RiskAssessments."""
        return [
            ("DiagnosticReport", self.report),
            *(("Observation", one) for one in self.observations),
            *([("Observation", self.comparison)] if self.comparison else ()),
            *(("RiskAssessment", one) for one in self.risks),
        ]


def result_ids(reading: Reading, *, reading_id: str) -> ResultIds:
    """Return ids that follow from the reading: the same work writes the same identities again.

    The Device belongs to the model's file and the ImagingStudy to the study, whoever reads them.
    """
    numbers = range(1, len(reading.findings) + 1)
    return ResultIds(
        device=device_id(reading.model),
        imaging_study=imaging_study_id(reading.image.study_uid),
        report=derived("report", reading_id),
        provenance=derived("provenance", reading_id),
        observations=tuple(derived("observation", reading_id, str(number)) for number in numbers),
        risks=tuple(derived("risk", reading_id, str(lesion.finding)) for lesion in reading.lesions),
        comparison=comparison_id(reading_id) if reading.comparison is not None else "",
    )


def results_of(
    reading: Reading,
    *,
    ids: ResultIds,
    tracking_uids: Sequence[str],
    patient_id: str,
    issued: datetime,
    study: StudyFacts,
    evidence: Sequence[Instance],
    about: AiModel,
    reading_id: str,
    replaces: str | None = None,
    based_on: Sequence[Json] = (),
) -> list[Json]:
    """Return model card, Device, ImagingStudy, an Observation a finding and the DiagnosticReport, in that order.

    Before the report stands an Observation that compares with an earlier image, where there was one; after it a
    RiskAssessment for each lesion that the model assesses: how probable malignancy is, never a Condition. Their
    Provenance is `provenance_of`. tracking_uids: of the findings, as in SEG and SR. evidence: the SEG and SR made
    of it. replaces: id of the DiagnosticReport of the reading that this one replaces. based_on: References to the
    orders of the study.

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
            based_on=based_on,
        )
        for finding, resource_id, tracking_uid in zip(
            reading.findings, ids.observations, tracking_uids, strict=True
        )
    ]
    compared = (
        []
        if reading.comparison is None
        else [
            comparison(
                reading,
                reading.comparison,
                resource_id=ids.comparison,
                patient_id=patient_id,
                device_id=ids.device,
                issued=issued,
                effective=study.started,
                based_on=based_on,
            )
        ]
    )
    report = diagnostic_report(
        reading,
        resource_id=ids.report,
        patient_id=patient_id,
        observation_ids=(*ids.observations, *(one["id"] for one in compared)),
        imaging_study_id=ids.imaging_study,
        issued=issued,
        device_id=ids.device,
        identifiers=[{"system": READING_IDENTIFIER, "value": reading_id}],
        effective=study.started,
        replaces=replaces,
        based_on=based_on,
    )
    of_finding = {finding.number: one for finding, one in zip(reading.findings, ids.observations, strict=True)}
    risks = [
        _risk(reading, lesion, resource_id, of_finding[lesion.finding], ids, patient_id, issued)
        for lesion, resource_id in zip(reading.lesions, ids.risks, strict=True)
    ]
    return [
        model_card(about),
        device(reading.model, resource_id=ids.device, kinds=about.kinds, model_card_id=about.card_id),
        imaging_study(
            image.study_uid,
            resource_id=ids.imaging_study,
            patient_id=patient_id,
            instances=[source, *evidence],
            facts=study,
            based_on=based_on,
        ),
        *observations,
        *compared,
        report,
        *risks,
    ]


def provenance_of(
    reading: Reading,
    *,
    ids: ResultIds,
    versions: Mapping[tuple[str, str], int],
    issued: datetime,
    about: AiModel,
    image_sha256: str,
) -> Json:
    """Return the Provenance of a reading's results.

    versions: (type, id) -> the version that was written; what is not in it is referred to without one.
    image_sha256: of the file that was read.
    """

    def to(kind: str, ident: str) -> Json:
        return reference(kind, ident, versions.get((kind, ident)))

    compared = reading.comparison
    prior = [imaging_study_id(compared.prior.study_uid)] if compared is not None and compared.reading_id else []
    record = dict.fromkeys(used.source for lesion in reading.lesions for used in lesion.inputs if used.source)
    return provenance(
        reading.model,
        resource_id=ids.provenance,
        targets=[to(*each) for each in ids.results],
        device_id=ids.device,
        sources=[
            *(to("ImagingStudy", one) for one in (ids.imaging_study, *prior)),
            *({"reference": one} for one in record),
        ],
        recorded=issued,
        model_card=to("DocumentReference", about.card_id),
        input_sha256=image_sha256,
    )


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
        answer=lesion.answer,
        judged=ANSWER_IN_WORDS[lesion.answer],
        mitigation=None if lesion.answer is Answer.NEGATIVE else REFER,
    )
