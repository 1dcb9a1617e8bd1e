"""Resources that a card proposes to create on the client's server (R4 4.0.1), each whole in itself.

None has an id, and the model stands in each as a contained Device: nothing points to a server that the client may
not know. What a model asserted carries the AI labels; what it asks a person to order or to consider is a draft.
"""

from datetime import datetime

from clinical.codes import Coding
from clinical.conformal import Answer
from clinical.finding import Finding, ModelRef, Reading
from clinical.risk import RiskScore
from fhir_adapters.resources.device import IMAGE_MODEL_KINDS, RECORD_MODEL_KINDS, device
from fhir_adapters.resources.labels import (
    Json,
    ai_asserted,
    concept,
    dicom_uid,
    instant,
    reference,
)
from fhir_adapters.resources.observation import observation
from fhir_adapters.resources.risk_assessment import risk_assessment

DISCLAIMER = "Proposed by a model, not reviewed by a human. Research demonstration, not a medical device."
_MODEL = "model"
_CONDITION = "http://terminology.hl7.org/CodeSystem/condition-"


def recorded_risk(
    risk: RiskScore,
    *,
    patient_id: str,
    occurred: datetime,
    judged: str,
    answer: Answer,
    kinds: tuple[Coding, ...] = RECORD_MODEL_KINDS,
) -> Json:
    """Return a RiskAssessment whose performer is the model. judged: what was made of the probability, in words."""
    made = risk_assessment(
        risk,
        resource_id="",
        patient_id=patient_id,
        device_id="",
        occurred=occurred,
        answer=answer,
        judged=judged,
    )
    return _by(risk.model, made, "performer", kinds)


def recorded_finding(
    reading: Reading, finding: Finding, *, tracking_uid: str, patient_id: str, issued: datetime
) -> Json:
    """Return the Observation of one finding, as the FHIR API has it; its study is named by its DICOM UID."""
    made = observation(
        reading,
        finding,
        resource_id="",
        tracking_uid=tracking_uid,
        patient_id=patient_id,
        device_id="",
        imaging_study_id="",
        issued=issued,
    )
    made["derivedFrom"] = [{"type": "ImagingStudy", "identifier": dicom_uid(reading.image.study_uid)}]
    del made["performer"]  # its extension would point to a Device of ours
    return _by(reading.model, made, "device", IMAGE_MODEL_KINDS)


def service_request(
    what: Coding, *, patient_id: str, authored: datetime, why: str, text: str | None = None
) -> Json:
    """Return a ServiceRequest to be signed: status draft, intent proposal. why: for the one who signs it."""
    return {
        "resourceType": "ServiceRequest",
        "meta": ai_asserted(),
        "status": "draft",
        "intent": "proposal",
        "code": concept(what, text=text),
        "subject": reference("Patient", patient_id),
        "authoredOn": instant(authored),
        "reasonCode": [{"text": why}],
        "note": [{"text": DISCLAIMER}],
    }


def provisional_condition(what: Coding, *, patient_id: str, recorded: datetime, why: str) -> Json:
    """Return a Condition to be thought about: verification status provisional, never more."""
    return {
        "resourceType": "Condition",
        "meta": ai_asserted(),
        "clinicalStatus": {"coding": [{"system": f"{_CONDITION}clinical", "code": "active"}]},
        "verificationStatus": {"coding": [{"system": f"{_CONDITION}ver-status", "code": "provisional"}]},
        "category": [{"coding": [{"system": f"{_CONDITION}category", "code": "problem-list-item"}]}],
        "code": concept(what),
        "subject": reference("Patient", patient_id),
        "recordedDate": instant(recorded),
        "note": [{"text": f"{why} {DISCLAIMER}"}],
    }


def _by(model: ModelRef, made: Json, element: str, kinds: tuple[Coding, ...]) -> Json:
    del made["id"]
    named = {**made[element], "reference": f"#{_MODEL}"}
    return made | {element: named, "contained": [_contained(model, kinds)]}


def _contained(model: ModelRef, kinds: tuple[Coding, ...]) -> Json:
    return device(model, resource_id=_MODEL, kinds=kinds)
