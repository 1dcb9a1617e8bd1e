"""What a diabetes risk card offers: the test that decides, a record of the estimate, a suspicion to be noted."""

from collections.abc import Iterator

from cds.card import Action, Suggestion
from cds.risk_card import IN_WORDS, Told, percent
from cds.service import CdsContext
from clinical.codes import HAEMOGLOBIN_A1C
from clinical.conformal import Answer
from fhir_adapters.resources.proposals import provisional_condition, recorded_risk, service_request


def suggestions(told: Told, patient_id: str, context: CdsContext) -> tuple[Suggestion, ...]:
    """Return the suggestions, the most useful first. The test is recommended unless the answer is "unlikely"."""
    return tuple(
        Suggestion(label, context.new_uuid(), (action,), recommended, may_apply_itself=by_itself)
        for label, action, recommended, by_itself in _offered(told, patient_id, context)
    )


def _offered(told: Told, patient_id: str, context: CdsContext) -> Iterator[tuple[str, Action, bool, bool]]:
    risk, now = told.risk, context.now()
    said = f"Estimated probability of {told.outcome} {percent(risk.probability)} by {risk.model.label}."
    test = service_request(HAEMOGLOBIN_A1C, patient_id=patient_id, authored=now, why=said)
    yield (
        "Order HbA1c, the test that decides",
        Action("create", f"Draft the order: {HAEMOGLOBIN_A1C.display} (LOINC {HAEMOGLOBIN_A1C.code})", test),
        told.answer is not Answer.NEGATIVE,
        False,
    )
    record = recorded_risk(
        risk, patient_id=patient_id, occurred=now, judged=IN_WORDS[told.answer], answer=told.answer
    )
    yield (
        "Record the estimate in the chart",
        Action("create", f"Record the estimate as a RiskAssessment by {risk.model.label}", record),
        False,
        True,
    )
    if told.answer is Answer.POSITIVE:
        suspicion = provisional_condition(risk.outcome, patient_id=patient_id, recorded=now, why=said)
        yield (
            f"Note {told.outcome} as suspected, to be confirmed by a test",
            Action("create", f"Add {risk.outcome.display} to the problem list as provisional", suspicion),
            False,
            False,
        )
