"""`diabetes-risk` at patient-view: how likely diabetes is, what was read to say so, and what was missing.

A risk below the manifest's `report_from` gives no card: the model looked and there is nothing to say. Age
and sex are required, and so is an age for which the model was made; without them the answer is 412.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from cds.card import Card, Source
from cds.hooks import PATIENT_VIEW
from cds.markdown import escape, paragraphs, table
from cds.model_call import manifest_of, probabilities
from cds.prefetch import Prefetched, PrefetchTemplate, State
from cds.service import CdsContext, HookCall, Service
from clinical.codes import (
    ACTION_COMPLETED,
    ACTION_NOT_PRIORITY,
    PATIENT_INELIGIBLE,
    RECIPIENT_DOES_NOT_TRUST,
)
from clinical.errors import PreconditionMissing
from clinical.inputs import InputUsed
from clinical.risk import Contribution, RiskPolicy, RiskScore, indicator_for
from clinical.units import shown_unit
from fhir_adapters.features.diabetes_risk import FeatureRow, MissingInput, feature_row
from model_runtime.manifest import Manifest
from model_runtime.tasks.risk import Risk

MODEL = "diabetes-risk"
TOP_FACTORS = 5
SMALLEST_FACTOR = 0.001  # 0.1 percentage points: less would be shown as 0.0
NOTE = "Research demonstration, not a medical device. The probability is a model's estimate, not a diagnosis."
_ELEMENT = {"age": "prefetch.patient.birthDate", "sex_male": "prefetch.patient.gender"}
_PARTLY_SEEN = (State.ABSENT, State.FAILED, State.PAGED)
_OVERRIDE_REASONS = (PATIENT_INELIGIBLE, ACTION_COMPLETED, ACTION_NOT_PRIORITY, RECIPIENT_DOES_NOT_TRUST)


def _observations(key: str, *codes: str, required: bool = False) -> PrefetchTemplate:
    wanted = ",".join(f"http://loinc.org|{code}" for code in codes)
    query = f"Observation?patient={{{{context.patientId}}}}&code={wanted}&_sort=-date&_count=20"
    return PrefetchTemplate(key, query, required)


PREFETCH = (
    PrefetchTemplate("patient", "Patient/{{context.patientId}}", required=True),
    # Height and weight come along, to compute the index where nobody recorded it.
    _observations("bmi", "39156-5", "8302-2", "29463-7", required=True),
    _observations("waist", "8280-0"),
    _observations("blood-pressure", "85354-9", "8462-4"),
    _observations("glucose", "1558-6", "14771-0"),
    PrefetchTemplate("family-history", "FamilyMemberHistory?patient={{context.patientId}}&_count=50"),
)


def answer(call: HookCall, context: CdsContext) -> Sequence[Card]:
    """Return one card, or none when the risk is too low to interrupt anyone.

    Raises PreconditionMissing (412) naming what is required and not known; Busy or Fault of the model.
    """
    manifest = manifest_of(context.engine, MODEL)
    model = manifest.require(Risk)
    variant = model.variants[0]
    resources = [resource for found in call.prefetch.values() for resource in found.resources()]
    row = feature_row(resources, model.features, context.now())
    _demand(row)
    risk = _score(row, manifest, model, call, context)
    indicator = indicator_for(risk, variant.policy)
    if indicator is None:
        return ()
    card = Card(
        uuid=context.new_uuid(),
        summary=f"Estimated probability of diabetes: {percent(risk.probability)}",
        indicator=indicator,
        source=Source(f"Consilium, model {manifest.ref.label}", risk.outcome),
        detail=_detail(risk, row, variant.policy, call),
        override_reasons=_OVERRIDE_REASONS,
    )
    return (card,)


def percent(probability: float) -> str:
    """Return a probability as people read it: 0.3417 is "34.2 %"."""
    return f"{probability * 100:.1f} %"


def _demand(row: FeatureRow) -> None:
    lacking = [missing for missing in row.missing if missing.required]
    if lacking:
        raise PreconditionMissing(
            "the model cannot be used without: " + ", ".join(missing.label for missing in lacking),
            expression=[_ELEMENT.get(missing.name, "prefetch") for missing in lacking],
            diagnostics="; ".join(f"{missing.label}: {missing.reason}" for missing in lacking),
        )


def _score(row: FeatureRow, manifest: Manifest, model: Risk, call: HookCall, context: CdsContext) -> RiskScore:
    """Return the risk with what each input did to it, from one run of the model.

    Row 0 is the patient; in each further row one input is taken away (NaN). The difference is what knowing
    that input changed: simple to say and exact, but not additive, so the column does not sum to the risk.
    Required inputs stay: the manifest says that the model does not read NaN for them.
    """
    names = list(row.values)
    required = {feature.name for feature in model.features if feature.required}
    optional = [used for used in row.used if used.name not in required]
    batch = np.tile(np.array(list(row.values.values()), np.float64), (len(optional) + 1, 1))
    for number, used in enumerate(optional, start=1):
        batch[number, names.index(used.name)] = np.nan
    result = probabilities(context.engine, MODEL, {manifest.graph(model.variants[0].graph).inputs[0].name: batch}, call.deadline)
    changes = [
        Contribution(used.name, used.label, float(result[0] - without))
        for used, without in zip(optional, result[1:], strict=True)
    ]
    return RiskScore(
        outcome=model.outcome,
        probability=float(result[0]),
        model=manifest.ref,
        inputs=row.used,
        missing=tuple(missing.label for missing in row.missing),
        contributions=tuple(sorted(changes, key=lambda change: -abs(change.change))),
    )


def _detail(risk: RiskScore, row: FeatureRow, policy: RiskPolicy, call: HookCall) -> str:
    return paragraphs(
        f"**Estimated probability of diabetes: {percent(risk.probability)}** "
        f"(shown from {percent(policy.report_from)}, warning from {percent(policy.warn_from)})",
        "**Inputs used**",
        table(("Input", "Value", "Unit", "Date"), [_used(item) for item in risk.inputs]),
        *_factors(risk.contributions),
        *_missing(row.missing),
        *_unread(call.prefetch),
        f"Model: {escape(risk.model.label)} (sha256 {risk.model.digest[:12]})",
        f"*{NOTE}*",
    )


def _used(item: InputUsed) -> tuple[str, str, str, str]:
    day = item.taken_at.date().isoformat() if item.taken_at else ""
    return (item.label, item.shown, shown_unit(item.unit), day)


def _factors(contributions: Sequence[Contribution]) -> tuple[str, ...]:
    top = [item for item in contributions[:TOP_FACTORS] if abs(item.change) >= SMALLEST_FACTOR]
    if not top:
        return ()
    rows = [(item.label, f"{item.change * 100:+.1f}") for item in top]
    return (
        "**What moved the estimate** (percentage points, against not knowing the input)",
        table(("Input", "Change"), rows),
    )


def _missing(missing: Sequence[MissingInput]) -> tuple[str, ...]:
    if not missing:
        return ()
    rows = [(item.label, item.reason) for item in missing]
    return ("**Inputs missing**: the estimate was made without them", table(("Input", "Why"), rows))


def _unread(prefetch: Mapping[str, Prefetched]) -> tuple[str, ...]:
    """Say which parts of the record could not be read: "none recorded" is not the same as "not seen"."""
    rows = [(key, found.reason) for key, found in prefetch.items() if found.reason and found.state in _PARTLY_SEEN]
    if not rows:
        return ()
    return ("**Parts of the record that were not seen, or not wholly**", table(("Part", "Why"), rows))


SERVICE = Service(
    id="diabetes-risk",
    hook=PATIENT_VIEW,
    title="Diabetes risk",
    description="Estimates the probability of diabetes from age, sex, body measures, blood pressure, family "
    "history and fasting glucose as far as they are recorded, with the inputs used and missing. Research "
    "demonstration, not a medical device.",
    prefetch=PREFETCH,
    answer=answer,
    usage_requirements="Adults. Needs the patient's birth date and gender; other inputs are used when recorded.",
)
