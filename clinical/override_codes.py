"""Why a card was not followed: HL7's code system non-adherence-reason-codes, whole (6 groups, 29 reasons).

HL7/cds-hooks, input/vocabulary/CodeSystem-non-adherence-reason-codes.json (CDS Hooks 3.0.0-ballot, 2026): codes
and displays as they stand there. A group may be given as a reason too.
"""

from collections.abc import Mapping
from types import MappingProxyType

from clinical.codes import Coding

NON_ADHERENCE_REASON = "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes"


def _reason(code: str, display: str) -> Coding:
    return Coding(NON_ADHERENCE_REASON, code, display)


CDS_NOT_APPLICABLE = _reason("cds-not-applicable", "PC CDS does not apply to patient")
PATIENT_INELIGIBLE = _reason("patient-ineligible", "Patient does not meet eligibility for recommended action")
INDICATION_ORDER_EXISTS = _reason("indication-order-exists", "Patient has indication/order for intended action")
ACTION_COMPLETED = _reason("action-completed", "Recommended action was already completed")
ACTION_UNSUCCESSFUL = _reason("action-unsuccessful", "Recommended action was previously unsuccessful")
ACTION_PERFORMED_NO_ADVERSE_EFFECT = _reason(
    "action-performed-no-adverse-effect", "Intended action was performed previously without adverse effect"
)
ACTION_NOT_PRIORITY = _reason(
    "action-not-priority", "Recommended action is not relevant or a priority in current state of health"
)

CDS_SUBOPTIMAL_CONTEXT = _reason("cds-suboptimal-context", "PC CDS delivered in suboptimal context")
LIMITED_TIME = _reason("limited-time", "Could not address recommended action due to limited time")
WRONG_TIME_WORKFLOW = _reason(
    "wrong-time-workflow", "PC CDS delivered at wrong time in workflow or patient lifecycle"
)
INAPPROPRIATE_RECIPIENT = _reason("inappropriate-recipient", "PC CDS delivered to inappropriate recipient/role")
NEED_MORE_INFO = _reason(
    "need-more-info",
    "Could not address recommended action due to need for more information/pending results/pending consult",
)

RECIPIENT_DISAGREES_EVIDENCE = _reason(
    "recipient-disagrees-evidence", "Recipient disagrees with recommendation because of issues with the evidence"
)
DOES_NOT_ALIGN_LATEST_EVIDENCE = _reason(
    "does-not-align-latest-evidence", "Recommended action does not align with the latest evidence"
)
EXPERT_CONTRADICTS = _reason("expert-contradicts", "Advice from expert contradicts the recommended action")
POLICY_CONTRADICTS = _reason(
    "policy-contradicts", "Institutional policy/guideline contradicts the recommended action"
)
RECIPIENT_DOES_NOT_TRUST = _reason(
    "recipient-does-not-trust", "Recipient does not agree with or trust the recommended action"
)

RECIPIENT_CONCERNS_OUTCOMES = _reason(
    "recipient-concerns-outcomes", "Recipient has concerns regarding potential health outcomes"
)
RISK_BENEFIT_RATIO = _reason("risk-benefit-ratio", "Recipient assessment of risk/benefit ratio")
MITIGATE_RISK_NEGATIVE_OUTCOME = _reason(
    "mitigate-risk-negative-outcome", "Action taken to mitigate risk of negative outcome"
)
LIKELY_NEGATIVE_HEALTH_OUTCOMES = _reason(
    "likely-negative-health-outcomes", "Recommended action likely to have negative health outcomes"
)
PATIENT_CONTRAINDICATION = _reason(
    "patient-contraindication", "Patient has contraindication to recommended action"
)

DOES_NOT_ALIGN_PREFERENCES = _reason(
    "does-not-align-preferences", "Recommendation does not align with patient preferences or values"
)
PATIENT_FEARS_DISCOMFORT = _reason(
    "patient-fears-discomfort", "Patient fears discomfort from complying with recommended action"
)
PATIENT_DOES_NOT_WANT_CHANGE = _reason(
    "patient-does-not-want-change",
    "Patient does not want to change behavior or believes the change is unnecessary",
)
CULTURAL_RELIGIOUS_REASON = _reason(
    "cultural-religious-reason", "Patient has a cultural or religious reason for not following recommended action"
)
PREFERS_ALTERNATIVE = _reason("prefers-alternative", "Patient prefers an alternative approach or treatment")
PATIENT_REFUSES = _reason("patient-refuses", "Patient refuses/declines (no context given)*")

NOT_CONVENIENT_FEASIBLE = _reason("not-convenient-feasible", "Recommendation is not convenient or feasible")
INADEQUATE_SUPPORT = _reason("inadequate-support", "Patient has inadequate caregiver/social support")
SERVICE_NOT_AVAILABLE = _reason("service-not-available", "Treatment or service is not practically available")
IMPLEMENTATION_CHALLENGES = _reason(
    "implementation-challenges", "Recommended action cannot be implemented due to technology/challenges"
)
TOO_COSTLY_UNCOVERED = _reason(
    "too-costly-uncovered", "Recommended action is too costly or not covered by insurance"
)
RECIPIENT_DOES_NOT_UNDERSTAND = _reason(
    "recipient-does-not-understand",
    "Recipient does not understand the recommended action or know how to perform the recommended action",
)
COMORBIDITY_DISABILITY = _reason(
    "comorbidity-disability",
    "Patient has co-morbidity or disability that hinders them from completing recommended action",
)

# Group -> its reasons, in the order of the code system.
GROUPS: Mapping[Coding, tuple[Coding, ...]] = MappingProxyType(
    {
        CDS_NOT_APPLICABLE: (
            PATIENT_INELIGIBLE,
            INDICATION_ORDER_EXISTS,
            ACTION_COMPLETED,
            ACTION_UNSUCCESSFUL,
            ACTION_PERFORMED_NO_ADVERSE_EFFECT,
            ACTION_NOT_PRIORITY,
        ),
        CDS_SUBOPTIMAL_CONTEXT: (
            LIMITED_TIME,
            WRONG_TIME_WORKFLOW,
            INAPPROPRIATE_RECIPIENT,
            NEED_MORE_INFO,
        ),
        RECIPIENT_DISAGREES_EVIDENCE: (
            DOES_NOT_ALIGN_LATEST_EVIDENCE,
            EXPERT_CONTRADICTS,
            POLICY_CONTRADICTS,
            RECIPIENT_DOES_NOT_TRUST,
        ),
        RECIPIENT_CONCERNS_OUTCOMES: (
            RISK_BENEFIT_RATIO,
            MITIGATE_RISK_NEGATIVE_OUTCOME,
            LIKELY_NEGATIVE_HEALTH_OUTCOMES,
            PATIENT_CONTRAINDICATION,
        ),
        DOES_NOT_ALIGN_PREFERENCES: (
            PATIENT_FEARS_DISCOMFORT,
            PATIENT_DOES_NOT_WANT_CHANGE,
            CULTURAL_RELIGIOUS_REASON,
            PREFERS_ALTERNATIVE,
            PATIENT_REFUSES,
        ),
        NOT_CONVENIENT_FEASIBLE: (
            INADEQUATE_SUPPORT,
            SERVICE_NOT_AVAILABLE,
            IMPLEMENTATION_CHALLENGES,
            TOO_COSTLY_UNCOVERED,
            RECIPIENT_DOES_NOT_UNDERSTAND,
            COMORBIDITY_DISABILITY,
        ),
    }
)
