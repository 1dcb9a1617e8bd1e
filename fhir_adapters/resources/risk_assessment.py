"""A model's risk as a RiskAssessment (R4 9.3): never a Condition, which is a clinician's to make."""

from collections.abc import Sequence
from datetime import datetime

from clinical.finding import percent
from clinical.inputs import InputUsed
from clinical.risk import RiskScore
from fhir_adapters.resources.labels import NOT_REVIEWED, Json, ai_asserted, concept, instant, reference


def risk_assessment(
    risk: RiskScore,
    *,
    resource_id: str,
    patient_id: str,
    device_id: str,
    occurred: datetime,
    basis: Sequence[str] = (),
    judged: str | None = None,
) -> Json:
    """Return the RiskAssessment of one score.

    basis: relative references of what it rests on besides the inputs. judged: what was made of the probability, in
    words ("not sure enough, refer" among them).
    probabilityDecimal is a percentage in R4 (9.3.4, ras-2: at most 100), so 0.37 is written 37.0. It is not
    repeated as AIconfidence: that is how sure the model is of its result, and a risk of 2 % can be certain.
    """
    prediction: Json = {
        "outcome": concept(risk.outcome),
        "probabilityDecimal": percent(risk.probability),
        "rationale": _rationale(risk),
    }
    if judged:
        prediction["qualitativeRisk"] = {"text": judged}
    sources = list(dict.fromkeys((*basis, *(used.source for used in risk.inputs if used.source))))
    resource: Json = {
        "resourceType": "RiskAssessment",
        "id": resource_id,
        "meta": ai_asserted(),
        "status": "preliminary",
        "method": {"text": f"{risk.model.label} (AI model)"},
        "subject": reference("Patient", patient_id),
        "occurrenceDateTime": instant(occurred),
        "performer": reference("Device", device_id),
        "prediction": [prediction],
        "note": [{"text": NOT_REVIEWED}],
    }
    if sources:
        resource["basis"] = [{"reference": source} for source in sources]
    return resource


def _rationale(risk: RiskScore) -> str:
    used = ", ".join(_shown(each) for each in risk.inputs) or "nothing"
    missing = f" Not available: {', '.join(risk.missing)}." if risk.missing else ""
    return f"Computed from: {used}.{missing}"


def _shown(used: InputUsed) -> str:
    value = f"{used.label} {used.shown} {used.unit}".strip()
    return f"{value} ({used.taken_at.date().isoformat()})" if used.taken_at else value
