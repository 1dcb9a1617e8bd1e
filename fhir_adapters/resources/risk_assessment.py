"""A model's risk as a RiskAssessment (R4 9.3): never a Condition, which is a clinician's to make."""

from collections.abc import Sequence
from datetime import datetime

from clinical.codes import CLASSIFIED_AS, HIGH_RISK, LOW_RISK, MODERATE_RISK
from clinical.conformal import Answer
from clinical.finding import percent
from clinical.inputs import InputUsed
from clinical.risk import RiskScore
from fhir_adapters.resources.device import made_by, method
from fhir_adapters.resources.labels import (
    NOT_REVIEWED,
    Json,
    ai_asserted,
    ai_confidence,
    concept,
    instant,
    reference,
)

# What conformal prediction may say, in the words of risk-probability.
LIKELIHOOD = {Answer.NEGATIVE: LOW_RISK, Answer.UNSURE: MODERATE_RISK, Answer.POSITIVE: HIGH_RISK}


def risk_assessment(
    risk: RiskScore,
    *,
    resource_id: str,
    patient_id: str,
    device_id: str,
    occurred: datetime,
    answer: Answer | None = None,
    judged: str | None = None,
    basis: Sequence[str] = (),
    mitigation: str | None = None,
) -> Json:
    """Return the RiskAssessment of one score.

    answer: whether one class may be named; judged: the same in words ("not sure enough, refer" among them).
    basis: relative references of what it rests on besides the inputs. mitigation: what lowers or settles the risk.
    probabilityDecimal is a percentage in R4 (9.3.4, ras-2: at most 100), so 0.37 is written 37.0. The 0..1 figure
    is the AIconfidence of the outcome: how sure the model is that just this is so. The models say what is so now,
    and not in so many years: whenPeriod is the moment of the estimate.
    """
    outcome = concept(risk.outcome, *CLASSIFIED_AS.get(risk.outcome, ()))
    prediction: Json = {
        "outcome": {"extension": [ai_confidence(risk.probability)], **outcome},
        "probabilityDecimal": percent(risk.probability),
        "whenPeriod": {"start": instant(occurred), "end": instant(occurred)},
        "rationale": _rationale(risk),
    }
    if answer is not None or judged:
        coded = concept(LIKELIHOOD[answer]) if answer is not None else {}
        prediction["qualitativeRisk"] = coded | ({"text": judged} if judged else {})
    sources = list(dict.fromkeys((*basis, *(used.source for used in risk.inputs if used.source))))
    resource: Json = {
        "resourceType": "RiskAssessment",
        "id": resource_id,
        "meta": ai_asserted(),
        "status": "preliminary",
        "method": method(risk.model),
        "subject": reference("Patient", patient_id),
        "occurrenceDateTime": instant(occurred),
        "performer": made_by(risk.model, device_id),
        "prediction": [prediction],
        "note": [{"text": NOT_REVIEWED}],
    }
    if sources:
        resource["basis"] = [{"reference": source} for source in sources]
    if mitigation:
        resource["mitigation"] = mitigation
    return resource


def _rationale(risk: RiskScore) -> str:
    used = ", ".join(_shown(each) for each in risk.inputs) or "nothing"
    missing = f" Not available: {', '.join(risk.missing)}." if risk.missing else ""
    return f"Computed from: {used}.{missing}"


def _shown(used: InputUsed) -> str:
    value = f"{used.label} {used.shown} {used.unit}".strip()
    return f"{value} ({used.taken_at.date().isoformat()})" if used.taken_at else value
