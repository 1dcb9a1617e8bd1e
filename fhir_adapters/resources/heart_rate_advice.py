"""What a heart rate forecast advises, as proposals (R4): a Goal, a CarePlan, and with an alarm a Flag.

The goal is proposed and the plan a draft; the flag is active, for a ward to look. No message to the patient is
made (CommunicationRequest): the words are for who looks after one.
"""

from datetime import timedelta

from clinical.codes import HEART_RATE, Coding
from clinical.forecast import Alarm
from clinical.said import Said, SaidForecast
from fhir_adapters.resources.care_proposal import DISCLAIMER, Plan, RangeGoal, care_plan_resource, goal_resource
from fhir_adapters.resources.device import made_by, performed_by
from fhir_adapters.resources.heart_rate import PER_MINUTE
from fhir_adapters.resources.ids import device_id
from fhir_adapters.resources.labels import Json, ai_asserted, concept, instant, reference

PERIOD = timedelta(days=1)
CLINICAL_FLAG = Coding("http://terminology.hl7.org/CodeSystem/flag-category", "clinical", "Clinical")
_LEAVES = {Alarm.HIGH: "may rise above", Alarm.LOW: "may fall below"}


def proposal_types(what: SaidForecast) -> tuple[str, ...]:
    """Return the types of what is proposed; none when no horizon is sure enough to plan on."""
    if not (what.forecast.sure and what.advice):
        return ()
    return ("Goal", "CarePlan") if what.forecast.alarm is Alarm.NONE else ("Goal", "CarePlan", "Flag")


def proposals(said: Said, what: SaidForecast, ids: dict[str, str], patient_id: str) -> list[Json]:
    """Return the proposals. ids: by type, of `proposal_types`."""
    made = {"Goal": _goal, "CarePlan": _plan, "Flag": _flag}
    return [made[kind](said, what, ids, patient_id) for kind in proposal_types(what)]


def _goal(said: Said, what: SaidForecast, ids: dict[str, str], patient_id: str) -> Json:
    goal = goal_resource(_range(said, what, ids["Goal"]), patient_id)
    return goal | {"id": ids["Goal"], "expressedBy": performed_by(said.model, device_id(said.model))}


def _plan(said: Said, what: SaidForecast, ids: dict[str, str], patient_id: str) -> Json:
    plan = Plan(
        title=what.plan,
        text=f"After a forecast by the model {said.model.label}.",
        what=HEART_RATE,
        steps=what.advice,
        start=said.at,
        end=said.at + PERIOD,
    )
    made = care_plan_resource(plan, _range(said, what, ids["Goal"]), patient_id)
    goal = reference("Goal", ids["Goal"])
    details = [{"detail": one["detail"] | {"goal": [goal]}} for one in made["activity"]]
    author = made_by(said.model, device_id(said.model))
    return made | {"id": ids["CarePlan"], "author": author, "goal": [goal], "activity": details}


def _flag(said: Said, what: SaidForecast, ids: dict[str, str], patient_id: str) -> Json:
    return {
        "resourceType": "Flag",
        "id": ids["Flag"],
        "meta": ai_asserted(),
        "status": "active",
        "category": [concept(CLINICAL_FLAG)],
        "code": {"text": f"{_words(what)}. {DISCLAIMER}"},
        "subject": reference("Patient", patient_id),
        "period": {"start": instant(said.at), "end": instant(said.at + PERIOD)},
        "author": made_by(said.model, device_id(said.model)),
    }


def _words(what: SaidForecast) -> str:
    usual = what.forecast.usual
    return (
        f"The heart rate {_LEAVES[what.forecast.alarm]} the personal range of"
        f" {usual.low:.0f} to {usual.high:.0f} per minute within the hour"
    )


def _range(said: Said, what: SaidForecast, key: str) -> RangeGoal:
    usual = what.forecast.usual
    return RangeGoal(
        key=key,
        what=HEART_RATE,
        low=usual.low,
        high=usual.high,
        unit=PER_MINUTE,
        text=f"Heart rate between {usual.low:.0f} and {usual.high:.0f} per minute at rest",
        due=said.at + PERIOD,
    )
