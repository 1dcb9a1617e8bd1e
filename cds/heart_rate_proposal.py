"""What a heart rate card offers to create: a CarePlan proposal with a Goal, for a clinician to accept or not."""

from datetime import timedelta

from cds.card import Action, Suggestion
from cds.service import CdsContext
from clinical.codes import HEART_RATE
from clinical.forecast import Alarm, HeartRateForecast
from fhir_adapters.resources.care_proposal import Plan, RangeGoal, care_plan_resource, goal_resource

UNIT = "/min"
PERIOD = timedelta(days=1)

# What is advised, by what the forecast says. Plain words for any ward: the model knows no diagnosis.
ADVICE = {
    Alarm.NONE: ("Go on recording the heart rate.", "Look again when it changes or after the next activity."),
    Alarm.HIGH: (
        "Look at the patient now: pain, fever, fluid loss, breathlessness, recent effort or drugs.",
        "Count the pulse by hand; a wrist sensor errs in motion.",
        "Measure again at rest in 15 and in 30 minutes; record an ECG when it stays high.",
    ),
    Alarm.LOW: (
        "Look at the patient now: dizziness, faintness, chest pain, drugs that slow the heart.",
        "Count the pulse by hand; a wrist sensor errs in motion and in the cold.",
        "Measure again in 15 and in 30 minutes, with the blood pressure; record an ECG when it stays low.",
    ),
}
TITLES = {
    Alarm.NONE: "Watch the heart rate",
    Alarm.HIGH: "Look into a heart rate that may rise above the personal range",
    Alarm.LOW: "Look into a heart rate that may fall below the personal range",
}


def suggestion(forecast: HeartRateForecast, patient_id: str, context: CdsContext) -> Suggestion | None:
    """Return the suggestion; None when no horizon is sure enough to plan on. Recommended only with an alarm."""
    if not forecast.sure:
        return None
    now, alarm = context.now(), forecast.alarm
    goal = RangeGoal(
        key=context.new_uuid(),
        what=HEART_RATE,
        low=forecast.usual.low,
        high=forecast.usual.high,
        unit=UNIT,
        text=f"Heart rate between {forecast.usual.low:.0f} and {forecast.usual.high:.0f} per minute at rest",
        due=now + PERIOD,
    )
    plan = Plan(
        title=TITLES[alarm],
        text=f"After a forecast by the model {forecast.model.label}.",
        what=HEART_RATE,
        steps=ADVICE[alarm],
        start=now,
        end=now + PERIOD,
    )
    return Suggestion(
        label=f"Propose a care plan and a goal: {TITLES[alarm].lower()}",
        uuid=context.new_uuid(),
        actions=(
            Action("create", "Create the goal, as proposed", goal_resource(goal, patient_id)),
            Action("create", "Create the care plan, as a draft", care_plan_resource(plan, goal, patient_id)),
        ),
        is_recommended=alarm is not Alarm.NONE,
    )
