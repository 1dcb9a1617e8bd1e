"""A CarePlan and a Goal that are only proposed (R4 4.0.1): what a card offers to create when a clinician agrees.

CarePlan.status is draft and its intent proposal; Goal.lifecycleStatus is proposed. Neither has an id before a
server gives it one, so the plan names its goal by an identifier (a logical reference, R4 references.html#logical).
"""

from dataclasses import dataclass
from datetime import datetime

from clinical.codes import UCUM, Coding
from fhir_adapters.resources.labels import Json, ai_asserted, concept, instant, reference

URN = "urn:ietf:rfc:3986"
DISCLAIMER = "Proposed by a model, not reviewed by a human. Research demonstration, not a medical device."


@dataclass(frozen=True, slots=True)
class RangeGoal:
    """A measured quantity that should stay within low and high, in `unit` (UCUM), until `due`.

    key: a UUID by which a plan can name it.
    """

    key: str
    what: Coding
    low: float
    high: float
    unit: str
    text: str
    due: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in order. steps: one activity each, in words. start, end: when."""

    title: str
    text: str
    what: Coding
    steps: tuple[str, ...]
    start: datetime
    end: datetime


def goal_resource(goal: RangeGoal, patient_id: str) -> Json:
    """Return the Goal."""
    ends = {side: _quantity(value, goal.unit) for side, value in (("low", goal.low), ("high", goal.high))}
    return {
        "resourceType": "Goal",
        "meta": ai_asserted(),
        "identifier": [_identifier(goal.key)],
        "lifecycleStatus": "proposed",
        "description": {"text": goal.text},
        "subject": reference("Patient", patient_id),
        "target": [{"measure": concept(goal.what), "detailRange": ends, "dueDate": goal.due.date().isoformat()}],
        "note": [{"text": DISCLAIMER}],
    }


def care_plan_resource(plan: Plan, goal: RangeGoal, patient_id: str) -> Json:
    """Return the CarePlan, which names the goal by its identifier."""
    named: Json = {"type": "Goal", "identifier": _identifier(goal.key), "display": goal.text}
    return {
        "resourceType": "CarePlan",
        "meta": ai_asserted(),
        "status": "draft",
        "intent": "proposal",
        "title": plan.title,
        "description": plan.text,
        "subject": reference("Patient", patient_id),
        "period": {"start": instant(plan.start), "end": instant(plan.end)},
        "goal": [named],
        "activity": [{"detail": _detail(step, plan, named)} for step in plan.steps],
        "note": [{"text": DISCLAIMER}],
    }


def _detail(step: str, plan: Plan, goal: Json) -> Json:
    return {
        "kind": "ServiceRequest",
        "code": concept(plan.what, text=step),
        "goal": [goal],
        "status": "not-started",
        "scheduledPeriod": {"start": instant(plan.start), "end": instant(plan.end)},
        "description": step,
    }


def _identifier(key: str) -> Json:
    return {"system": URN, "value": f"urn:uuid:{key}"}


def _quantity(value: float, unit: str) -> Json:
    return {"value": round(value, 1), "unit": unit, "system": UCUM, "code": unit}
