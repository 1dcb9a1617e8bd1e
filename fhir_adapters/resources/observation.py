"""One finding as one Observation (R4 10.1): what, where, how large, how sure, and from which image."""

from collections.abc import Sequence
from datetime import datetime

from clinical.codes import BENIGN, IMAGING, MALIGNANT, MEASUREMENT_GROUP, Coding
from clinical.conformal import Answer
from clinical.finding import Finding, Reading
from clinical.image import SpacingOrigin
from fhir_adapters.resources.device import made_by, method, performed_by
from fhir_adapters.resources.labels import (
    NOT_REVIEWED,
    Json,
    ai_asserted,
    ai_confidence,
    concept,
    dicom_uid,
    instant,
    quantity,
    reference,
)

# What may be said of a lesion (clinical.conformal); when it is not sure enough, nothing.
DIAGNOSES = {Answer.NEGATIVE: BENIGN, Answer.POSITIVE: MALIGNANT}


def observation(
    reading: Reading,
    finding: Finding,
    *,
    resource_id: str,
    tracking_uid: str,
    patient_id: str,
    device_id: str,
    imaging_study_id: str,
    issued: datetime,
    effective: str | None = None,
    based_on: Sequence[Json] = (),
) -> Json:
    """Return the Observation of one finding.

    tracking_uid: the Tracking UID (0062,0021) of the same finding in SEG and SR. effective: when the image
    was taken, as a FHIR dateTime. based_on: References to the orders of the study.
    The value is benign or malignant where the model assesses a lesion and is sure enough; else there is none: the
    code says what was found, the components how much. The second category is that of HL7's DICOM SR mapping 1.0.0
    for what a measurement group of the report says.
    """
    resource: Json = {
        "resourceType": "Observation",
        "id": resource_id,
        "meta": ai_asserted(),
        "extension": [ai_confidence(finding.probability)],
        "identifier": [dicom_uid(tracking_uid)],
        "status": "preliminary",
        "category": [concept(IMAGING), concept(MEASUREMENT_GROUP)],
        "code": concept(reading.terms.observation, text=reading.terms.label),
        "subject": reference("Patient", patient_id),
        "issued": instant(issued),
        "bodySite": concept(reading.terms.body_site),
        "method": method(reading.model),
        "performer": [performed_by(reading.model, device_id)],
        "device": made_by(reading.model, device_id),
        "derivedFrom": [reference("ImagingStudy", imaging_study_id)],
        "note": [{"text": _note(reading, finding)}],
        "component": [_component(each.what, quantity(each)) for each in reading.measurements(finding)],
    }
    if effective:
        resource["effectiveDateTime"] = effective
    if based_on:
        resource["basedOn"] = list(based_on)
    lesion = reading.lesion(finding.number)
    if lesion is not None and lesion.answer in DIAGNOSES:
        resource["valueCodeableConcept"] = concept(DIAGNOSES[lesion.answer])
    return resource


def size_origin(reading: Reading) -> str:
    """Return what a size in this reading means, for people; "" when it is simply in the patient."""
    if reading.image.spacing is None:
        return "Sizes are in pixels: the image does not state its pixel spacing."
    if reading.image.spacing.origin is SpacingOrigin.IMAGER_PIXEL_SPACING:
        return "Sizes are measured at the detector (Imager Pixel Spacing), where things appear magnified."
    if reading.image.spacing.origin is SpacingOrigin.UNCALIBRATED:
        return "Sizes are by a Pixel Spacing that the image does not call calibrated: things may appear magnified."
    return ""


def _component(what: Coding, value: Json) -> Json:
    return {"code": concept(what), "valueQuantity": value}


def _note(reading: Reading, finding: Finding) -> str:
    row, column = finding.centroid_px
    place = (
        f"Finding {finding.number} of {len(reading.findings)} by {reading.model.label},"
        f" centred at row {row:.1f}, column {column:.1f} of the image."
    )
    lesion = reading.lesion(finding.number)
    judged = "" if lesion is None else f"Assessment: {lesion.in_words}."
    return " ".join(part for part in (NOT_REVIEWED, place, judged, size_origin(reading), reading.caveat) if part)
