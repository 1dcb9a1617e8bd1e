"""`heart-rate` at patient-view: where the heart rate probably goes in the next hour, and what to do about it.

A forecast is shown as P10, P50 and P90 at 15, 30 and 60 minutes beside persistence; it warns when it leaves the
person's own range. Intervals too wide to say something are shown as "not sure enough". Readings that do not reach
for a forecast are 412 with what is needed; a model that fails is 5xx. There is always a card.
"""

from collections.abc import Sequence

import numpy as np

import clinical.said
from cds.about import input_hash
from cds.card import Card, CardAbout, SelectionBehavior
from cds.explanation_block import not_seen
from cds.heart_rate_card import Said, detail, summary
from cds.heart_rate_proposal import suggestion
from cds.heart_rate_said import said_of
from cds.hooks import PATIENT_VIEW
from cds.model_call import manifest_of, outputs_of
from cds.override_reasons import OF_A_RISK
from cds.prefetch import PrefetchTemplate
from cds.service import CdsContext, HookCall, Service
from clinical.codes import (
    HEART_RATE,
    STEPS_24_HOURS,
    STEPS_UNSPECIFIED_TIME,
)
from clinical.errors import Fault, PreconditionMissing
from clinical.forecast import Alarm, HeartRateForecast, Moved, direction, steps_of, usual_range
from clinical.risk import Indicator
from clinical.trend import BLOCKS, Windows, joined, occlusions, summaries, windows
from fhir_adapters.features.age import age_in_years
from fhir_adapters.features.heart_rate import HeartRateRecord, heart_rate_record, newest_mean
from fhir_adapters.features.measurements import Missing
from model_runtime.manifest import Manifest
from model_runtime.tasks.forecast import CHANGE, CLASSES, TREND, Forecast

MODEL = "heart-rate-trend"
ADULT_FROM_YEARS = 18
LARGEST_CHANGE = 5.0  # as a share of the newest mean: from 40 to 240 a minute within the hour


def _observations(*codes: str, count: int) -> str:
    wanted = ",".join(f"http://loinc.org|{code}" for code in codes)
    return f"Observation?patient={{{{context.patientId}}}}&code={wanted}&_sort=-date&_count={count}"


PREFETCH = (
    PrefetchTemplate("patient", "Patient/{{context.patientId}}", required=True),
    # A value a minute for two hours are 120; a server that keeps runs (SampledData) sends days in as many.
    PrefetchTemplate("heart-rate", _observations(HEART_RATE.code, count=1000), required=True),
    PrefetchTemplate("steps", _observations(STEPS_UNSPECIFIED_TIME.code, STEPS_24_HOURS.code, count=500)),
)


def answer(call: HookCall, context: CdsContext) -> Sequence[Card]:
    """Return one card.

    Raises PreconditionMissing (412) for who is no adult, or when the readings do not reach for a forecast, naming
    what is needed; Busy or Fault of the model.
    """
    manifest = manifest_of(context.engine, MODEL)
    part = manifest.require(Forecast)
    _demand_adult(call, context)
    resources = [resource for key in ("heart-rate", "steps") for resource in call.prefetch[key].resources()]
    record = heart_rate_record(resources, context.now())
    if isinstance(record, str):
        raise PreconditionMissing(f"no forecast can be made: {record}", expression=["prefetch.heart-rate"])
    read = windows(record.series, record.end)
    forecast, moved = _forecast(record, read, manifest, part, call, context)
    _observe(forecast, read, manifest, part, context)
    said = Said(forecast, moved, record, part, call.prefetch)
    offered = suggestion(forecast, call.request.patient_id, context)
    return (
        Card(
            uuid=context.new_uuid(),
            summary=summary(said),
            indicator=Indicator.INFO if forecast.alarm is Alarm.NONE else Indicator.WARNING,
            source=context.links.source(f"model {manifest.ref.label}", HEART_RATE, manifest.name),
            detail=detail(said, manifest, context.links.model_card(manifest.name)),
            suggestions=() if offered is None else (offered,),
            selection_behavior=SelectionBehavior.ANY,
            override_reasons=OF_A_RISK,
            about=_about(said, read, call, context),
        ),
    )


def _about(said: Said, read: Windows, call: HookCall, context: CdsContext) -> CardAbout:
    """A forecast has no threshold of a probability; the side on which it leaves the range is the finding."""
    forecast = said.forecast
    values = {name: value.tobytes().hex() for name, value in read.inputs().items()}
    digest = input_hash(forecast.model, values)
    return CardAbout(
        model=forecast.model,
        outcome=HEART_RATE,
        finding_key=f"heart-rate {forecast.alarm.value}",
        input_hash=digest,
        could_not_look=bool(not_seen(said.prefetch)),
        said=None if context.result_rows is None else _kept(said, read, digest, call, context),
    )


def _kept(said: Said, read: Windows, digest: str, call: HookCall, context: CdsContext) -> clinical.said.Said:
    return said_of(
        said.forecast,
        said.record,
        read,
        call.prefetch["heart-rate"].resources(),
        judged=summary(said),
        input_sha256=digest,
        now=context.now(),
    )


def _demand_adult(call: HookCall, context: CdsContext) -> None:
    patient = next(call.prefetch["patient"].resources(), {})
    age = age_in_years(patient, context.now())
    if isinstance(age, Missing) or age.value < ADULT_FROM_YEARS:
        reason = age.reason if isinstance(age, Missing) else "the model is for adults"
        raise PreconditionMissing(f"no forecast can be made: {reason}", expression=["prefetch.patient.birthDate"])


def _forecast(
    record: HeartRateRecord, read: Windows, manifest: Manifest, part: Forecast, call: HookCall, context: CdsContext
) -> tuple[HeartRateForecast, tuple[Moved, ...]]:
    """Return the forecast, and how far each block of history moved its middle at the last horizon.

    One run of the model: row 0 is the patient, in each further row a block is taken away.
    """
    outputs = outputs_of(context.engine, MODEL, joined([read, occlusions(read)]).inputs(), call.deadline)
    rows, horizons = 1 + len(BLOCKS), len(part.horizons_min)
    change, trend = (np.asarray(outputs.get(name, ()), np.float64) for name in (CHANGE, TREND))
    if change.shape != (rows, horizons, len(part.quantiles)) or trend.shape != (rows, horizons, CLASSES):
        raise Fault(f"the model {MODEL} did not answer with a forecast a row")
    # Not NaN either, which every comparison denies: "not sure enough" is said of intervals, not of nonsense.
    if not (np.all((change > -1) & (change <= LARGEST_CHANGE)) and np.all((trend >= 0) & (trend <= 1))):
        raise Fault(f"the model {MODEL} answered with something that is no forecast")
    newest = newest_mean(record.series)
    forecast = HeartRateForecast(
        newest=newest,
        at=record.newest_at,
        steps=steps_of(newest, change[0], trend[0], part.horizons_min, part.policy),
        usual=usual_range(record.series.heart_rate, part.policy),
        model=manifest.ref,
    )
    middle = newest * change[:, -1, 1]
    moved = [Moved(label, float(middle[0] - without)) for label, without in zip(BLOCKS, middle[1:], strict=True)]
    return forecast, tuple(sorted(moved, key=lambda one: -abs(one.change)))


def _observe(
    forecast: HeartRateForecast, read: Windows, manifest: Manifest, part: Forecast, context: CdsContext
) -> None:
    last = forecast.steps[-1]
    said = direction(last, part.policy) if last.sure else None
    values = {name: float(value[0]) for name, value in summaries(read).items()}
    context.drift.observe(
        manifest, values, last.middle - forecast.newest, "unsure" if said is None else said.value
    )


SERVICE = Service(
    id="heart-rate",
    hook=PATIENT_VIEW,
    title="Heart rate in the next hour",
    description="Forecasts the heart rate in 15, 30 and 60 minutes as an interval with its trend, from the "
    "readings of the last hours and days and from steps where recorded; warns when it leaves the personal range, "
    "and offers a care plan and a goal as a proposal. Research demonstration, not a medical device.",
    prefetch=PREFETCH,
    answer=answer,
    usage_requirements="Adults. Needs heart rates (LOINC 8867-4, single values or SampledData) of the last 15 "
    "minutes and of half of the last two hours.",
)
