"""What a card of a breast lesion offers: a referral, and to record the estimate."""

from cds.card import Action, Suggestion
from cds.service import CdsContext
from clinical.codes import PATIENT_REFERRAL
from clinical.conformal import Answer
from clinical.finding import percent
from clinical.lesion import ANSWER_IN_WORDS, BASIS_IN_WORDS
from clinical.risk import RiskScore
from fhir_adapters.resources.proposals import recorded_risk, service_request
from model_runtime.lesion_diagnosis import Diagnosis

REFERRAL = "Referral to a breast unit, for imaging and for a biopsy where it is needed"


def suggestions(
    risk: RiskScore, diagnosis: Diagnosis, patient_id: str, context: CdsContext
) -> tuple[Suggestion, ...]:
    """Return the suggestions. The referral is recommended unless the answer is benign."""
    said = (
        f"Estimated probability of malignancy {percent(risk.probability):.1f} % from "
        f"{BASIS_IN_WORDS[diagnosis.basis]} by {risk.model.label}."
    )
    now = context.now()
    refer = service_request(PATIENT_REFERRAL, patient_id=patient_id, authored=now, why=said, text=REFERRAL)
    record = recorded_risk(
        risk,
        patient_id=patient_id,
        occurred=now,
        judged=ANSWER_IN_WORDS[diagnosis.answer],
        answer=diagnosis.answer,
    )
    return (
        Suggestion(
            label="Refer to a breast unit",
            uuid=context.new_uuid(),
            actions=(Action("create", f"Draft the order: {REFERRAL}", refer),),
            is_recommended=diagnosis.answer is not Answer.NEGATIVE,
        ),
        Suggestion(
            label="Record the estimate in the chart",
            uuid=context.new_uuid(),
            actions=(Action("create", f"Record the estimate as a RiskAssessment by {risk.model.label}", record),),
            may_apply_itself=True,
        ),
    )
