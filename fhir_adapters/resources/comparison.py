"""A reading beside that of an earlier image, as one Observation (R4 10.1): the numbers of both images.

It says no more than that: findings of the two images are not matched, so none is called new, gone or changed.
"""

from collections.abc import Sequence
from datetime import datetime

from clinical.codes import COMPARISON_STUDY, IMAGING, Coding
from clinical.comparison import Comparison, Side
from clinical.finding import Reading
from fhir_adapters.resources.device import made_by, method, performed_by
from fhir_adapters.resources.ids import derived, imaging_study_id
from fhir_adapters.resources.labels import (
    NOT_REVIEWED,
    Json,
    ai_asserted,
    concept,
    dicom_uid,
    instant,
    quantity,
    reference,
)

# What the prior image's numbers are called: the standard concept by itself means the image that was read.
_OF_PRIOR = "urn:consilium:prior"


def comparison_id(reading_id: str) -> str:
    """Return the id of the Observation of a reading's comparison."""
    return derived("comparison", reading_id)


def comparison(
    reading: Reading,
    compared: Comparison,
    *,
    resource_id: str,
    patient_id: str,
    device_id: str,
    issued: datetime,
    effective: str | None = None,
    based_on: Sequence[Json] = (),
) -> Json:
    """Return the Observation.

    It is derived from both ImagingStudies and, where the prior's reading is published, from the Observations of
    its findings. effective: when the image was taken. based_on: References to the orders of the study.
    """
    here, there = imaging_study_id(reading.image.study_uid), imaging_study_id(compared.prior.study_uid)
    prior = {"identifier": dicom_uid(compared.prior.study_uid), "type": "ImagingStudy", "display": "Prior study"}
    if compared.reading_id:
        prior |= reference("ImagingStudy", there)
    numbers = range(1, compared.then.count + 1) if compared.reading_id else ()
    resource: Json = {
        "resourceType": "Observation",
        "id": resource_id,
        "meta": ai_asserted(),
        "status": "preliminary",
        "category": [concept(IMAGING)],
        "code": concept(COMPARISON_STUDY, text=f"{reading.terms.label}s, compared with the prior image"),
        "subject": reference("Patient", patient_id),
        "issued": instant(issued),
        "bodySite": concept(reading.terms.body_site),
        "method": method(reading.model),
        "performer": [performed_by(reading.model, device_id)],
        "device": made_by(reading.model, device_id),
        "derivedFrom": [
            reference("ImagingStudy", here),
            prior,
            *(reference("Observation", derived("observation", compared.reading_id, str(one))) for one in numbers),
        ],
        "note": [{"text": f"{NOT_REVIEWED} {compared.in_words}"}],
        "component": [
            *_components(compared.now, prior=False),
            *_components(compared.then, prior=True),
            {"code": concept(compared.interval.what), "valueQuantity": quantity(compared.interval)},
        ],
    }
    if effective:
        resource["effectiveDateTime"] = effective
    if based_on:
        resource["basedOn"] = list(based_on)
    return resource


def _components(side: Side, *, prior: bool) -> list[Json]:
    return [
        {"code": concept(_named(one.what, prior)), "valueQuantity": quantity(one)} for one in side.measurements
    ]


def _named(what: Coding, prior: bool) -> Coding:
    return Coding(_OF_PRIOR, what.code, f"{what.display}, prior image") if prior else what
