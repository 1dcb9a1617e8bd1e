"""A heart rate as it was and as it may become: a summary and a forecast as Observations, and a RiskAssessment.

The summary is a vital sign (8867-4 with its unit, as the profile of vital signs wants it). The forecast has a code
of its own: a heart rate of the future under 8867-4 would sooner or later be taken for one that was measured.
"""

from collections.abc import Sequence
from datetime import datetime

from clinical.codes import AVERAGE, COUNT, HEART_RATE, MAXIMUM, MINIMUM, UCUM, VITAL_SIGNS, Coding
from clinical.finding import PROBABILITY_DECIMALS, percent
from clinical.forecast import Alarm, Step, Trend
from clinical.said import Said, SaidForecast
from fhir_adapters.resources.device import made_by, method, performed_by
from fhir_adapters.resources.ids import device_id
from fhir_adapters.resources.labels import (
    AI_CONFIDENCE,
    NOT_REVIEWED,
    Json,
    ai_asserted,
    ai_confidence,
    concept,
    instant,
    reference,
)

FORECAST_SYSTEM = "urn:consilium:forecast"
FORECAST = Coding(FORECAST_SYSTEM, "heart-rate", "Heart rate forecast")
PER_MINUTE = "/min"
_ALARMS = {Alarm.HIGH: "above", Alarm.LOW: "below"}


def summary_observation(said: Said, what: SaidForecast, *, resource_id: str, patient_id: str) -> Json:
    """Return the heart rate that was read: mean, least and most of the time that the forecast rests on."""
    seen = what.summary
    return _observation(said, resource_id, patient_id, seen.start, seen.end) | {
        "category": [concept(VITAL_SIGNS)],
        "code": concept(HEART_RATE),
        "valueQuantity": _rate(seen.mean),
        **({"derivedFrom": [{"reference": one} for one in said.sources]} if said.sources else {}),
        "component": [
            {"code": concept(AVERAGE), "valueQuantity": _rate(seen.mean)},
            {"code": concept(MINIMUM), "valueQuantity": _rate(seen.low)},
            {"code": concept(MAXIMUM), "valueQuantity": _rate(seen.high)},
            # No Quantity: the profile of vital signs knows no unit for a count.
            {"code": concept(COUNT), "valueInteger": seen.minutes},
        ],
    }


def forecast_observation(
    said: Said, what: SaidForecast, *, resource_id: str, patient_id: str, summary_id: str
) -> Json:
    """Return the forecast: in each component the middle at a horizon, with P10 to P90 as AIconfidence (Range)."""
    forecast = what.forecast
    made = _observation(said, resource_id, patient_id, forecast.at, forecast.when(forecast.steps[-1]))
    return made | {
        "code": concept(FORECAST, text="Heart rate, forecast and not measured"),
        "derivedFrom": [reference("Observation", summary_id)],
        "component": [_horizon(step) for step in forecast.steps],
    }


def forecast_risk(
    said: Said, what: SaidForecast, *, resource_id: str, patient_id: str, basis: Sequence[str]
) -> Json:
    """Return how probable it is that the heart rate falls, stays or rises, at horizons that are sure enough."""
    forecast = what.forecast
    predictions = [each for step in forecast.steps if step.sure for each in _predictions(what, step)]
    start, end = instant(forecast.at), instant(forecast.when(forecast.steps[-1]))
    resource: Json = {
        "resourceType": "RiskAssessment",
        "id": resource_id,
        "meta": ai_asserted(),
        "status": "preliminary",
        "method": method(said.model),
        "code": concept(FORECAST),
        "subject": reference("Patient", patient_id),
        "occurrencePeriod": {"start": start, "end": end},
        "performer": made_by(said.model, device_id(said.model)),
        "basis": [{"reference": one} for one in basis],
        "note": [{"text": f"{NOT_REVIEWED} {what.judged}"}],
    }
    return (
        resource
        | ({"prediction": predictions} if predictions else {})
        | ({"mitigation": what.mitigation} if what.mitigation else {})
    )


def _predictions(what: SaidForecast, step: Step) -> list[Json]:
    forecast = what.forecast
    when = {"start": instant(forecast.at), "end": instant(forecast.when(step))}
    shown = f"P10 {step.low:.0f}, P50 {step.middle:.0f}, P90 {step.high:.0f} per minute"
    told = []
    for trend, chance in zip(Trend, step.chances, strict=True):
        sure = round(min(max(chance, 0.0), 1.0), PROBABILITY_DECIMALS)
        outcome = {
            "extension": [ai_confidence(sure)],
            "text": f"Heart rate {trend.value} in {step.minutes} minutes",
        }
        told.append(
            {
                "outcome": outcome,
                "probabilityDecimal": percent(sure),
                "whenPeriod": when,
                "rationale": f"Now {forecast.newest:.0f} per minute; {shown}.",
            }
        )
    alarm = step.alarm(forecast.usual)
    if alarm is not Alarm.NONE:
        usual = f"{forecast.usual.low:.0f} to {forecast.usual.high:.0f} per minute"
        leaves = f"Heart rate {_ALARMS[alarm]} the personal range ({usual}) in {step.minutes} minutes"
        told.append(
            {
                "outcome": {"text": leaves},
                "qualitativeRisk": {"text": "at least one chance in ten"},
                "whenPeriod": when,
            }
        )
    return told


def _horizon(step: Step) -> Json:
    range_of = {"low": _rate(step.low), "high": _rate(step.high)}
    code = Coding(FORECAST_SYSTEM, f"in-{step.minutes}-min", f"In {step.minutes} minutes")
    sure = {} if step.sure else {"interpretation": [{"text": "not sure enough to be acted on"}]}
    return {
        "extension": [{"url": AI_CONFIDENCE, "valueRange": range_of}],
        "code": concept(code),
        "valueQuantity": _rate(step.middle),
        **sure,
    }


def _observation(said: Said, resource_id: str, patient_id: str, start: datetime, end: datetime) -> Json:
    return {
        "resourceType": "Observation",
        "id": resource_id,
        "meta": ai_asserted(),
        "status": "preliminary",
        "subject": reference("Patient", patient_id),
        "effectivePeriod": {"start": instant(start), "end": instant(end)},
        "issued": instant(said.at),
        "performer": [performed_by(said.model, device_id(said.model))],
        "method": method(said.model),
        "device": made_by(said.model, device_id(said.model)),
        "note": [{"text": NOT_REVIEWED}],
    }


def _rate(value: float) -> Json:
    return {"value": round(value, 1), "unit": PER_MINUTE, "system": UCUM, "code": PER_MINUTE}
