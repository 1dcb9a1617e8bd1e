"""A model's risk as a RiskAssessment (R4 9.3): never a Condition, which is a clinician's to make."""

from datetime import datetime

from clinical.finding import percent
from clinical.inputs import InputUsed
from clinical.risk import RiskScore
from fhir_adapters.resources.labels import NOT_REVIEWED, Json, ai_asserted, concept, instant, reference


def risk_assessment(
    risk: RiskScore, *, resource_id: str, patient_id: str, device_id: str, occurred: datetime
) -> Json:
    """Return the RiskAssessment of one score.

    probabilityDecimal is a percentage in R4 (9.3.4, ras-2: at most 100), so 0.37 is written 37.0. It is not
    repeated as AIconfidence: that is how sure the model is of its result, and a risk of 2 % can be certain.
    """
    basis = list(dict.fromkeys(used.source for used in risk.inputs if used.source))
    resource: Json = {
        "resourceType": "RiskAssessment",
        "id": resource_id,
        "meta": ai_asserted(),
        "status": "preliminary",
        "method": {"text": f"{risk.model.label} (AI model)"},
        "subject": reference("Patient", patient_id),
        "occurrenceDateTime": instant(occurred),
        "performer": reference("Device", device_id),
        "prediction": [
            {
                "outcome": concept(risk.outcome),
                "probabilityDecimal": percent(risk.probability),
                "rationale": _rationale(risk),
            }
        ],
        "note": [{"text": NOT_REVIEWED}],
    }
    if basis:
        resource["basis"] = [{"reference": source} for source in basis]
    return resource


def _rationale(risk: RiskScore) -> str:
    used = ", ".join(_shown(each) for each in risk.inputs) or "nothing"
    missing = f" Not available: {', '.join(risk.missing)}." if risk.missing else ""
    return f"Computed from: {used}.{missing}"


def _shown(used: InputUsed) -> str:
    value = f"{used.label} {used.shown} {used.unit}".strip()
    return f"{value} ({used.taken_at.date().isoformat()})" if used.taken_at else value
