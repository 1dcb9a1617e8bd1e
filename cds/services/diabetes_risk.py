"""`diabetes-risk` at patient-view: how likely diabetes is, what was read to say so, and what was missing.

The graph is chosen by what the chart holds: with laboratory where a fasting glucose is known, else without. A risk
below the manifest's `report_from` gives no card: the model looked and there is nothing to say. Age and sex are
required, and so is an age for which the model was made; without them the answer is 412.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cds.about import input_hash
from cds.card import Card, CardAbout, SelectionBehavior
from cds.hooks import PATIENT_VIEW
from cds.model_call import manifest_of, probabilities
from cds.override_reasons import OF_A_RISK
from cds.prefetch import PrefetchTemplate
from cds.risk_card import IN_WORDS, Told, detail, summary
from cds.risk_proposal import suggestions
from cds.service import CdsContext, HookCall, Service
from clinical.codes import HAEMOGLOBIN_A1C
from clinical.conformal import Answer
from clinical.errors import Fault, PreconditionMissing
from clinical.explanation import Attribution, explainer_of
from clinical.risk import Contribution, Indicator, RiskScore, indicator_for
from clinical.said import ModelInputs, Said, SaidRisk
from fhir_adapters.features.diabetes_risk import FeatureRow, MissingInput, feature_row
from model_runtime.manifest import Manifest
from model_runtime.tasks.risk import Risk, Variant

MODEL = "diabetes-risk"
OUTCOME = "diabetes"
TEST = f"{HAEMOGLOBIN_A1C.display} (LOINC {HAEMOGLOBIN_A1C.code}), the test that decides."
EXPLANATION = "{graph}_explanation"  # the arrays of the model's folder that explain a graph
LABELS = {"lab": "with laboratory values", "no_lab": "without laboratory values"}
READ_BY_ANOTHER_GRAPH = "recorded, but this variant of the model does not read it"
# Of the log-odds: beyond this, what explains the model is not what was run.
LARGEST_GAP = 1e-6
_ELEMENT = {"age": "prefetch.patient.birthDate", "sex_male": "prefetch.patient.gender"}


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
    _observations("insulin", "27873-9"),
    _observations("health-and-habits", "61577-3", "11323-3", "72166-2", "89555-7", "77593-2", "11996-6"),
    PrefetchTemplate("family-history", "FamilyMemberHistory?patient={{context.patientId}}&_count=50"),
)


def answer(call: HookCall, context: CdsContext) -> Sequence[Card]:
    """Return one card, or none when the risk is too low to interrupt anyone.

    Raises PreconditionMissing (412) naming what is required and not known; Busy or Fault of the model.
    """
    manifest = manifest_of(context.engine, MODEL)
    model = manifest.require(Risk)
    resources = [resource for found in call.prefetch.values() for resource in found.resources()]
    row = feature_row(resources, model.features, context.now())
    variant = _variant(row, model)
    told = _told(row, manifest, model, variant, call, context)
    context.drift.observe(manifest, row.values, told.risk.probability, told.answer.value)
    indicator = indicator_for(told.risk, variant.policy)
    if indicator is None:
        return ()
    shown = Indicator.INFO if told.answer is Answer.UNSURE else indicator
    return (_card(told, shown, _about(told, row, manifest, context), manifest, call, context),)


def _card(
    told: Told, indicator: Indicator, about: CardAbout, manifest: Manifest, call: HookCall, context: CdsContext
) -> Card:
    return Card(
        uuid=context.new_uuid(),
        summary=summary(told),
        indicator=indicator,
        source=context.links.source(f"model {manifest.ref.label}", told.risk.outcome, manifest.name),
        detail=detail(told, manifest, context.links.model_card(manifest.name)),
        suggestions=suggestions(told, call.request.patient_id, context),
        selection_behavior=SelectionBehavior.ANY,
        override_reasons=OF_A_RISK,
        about=about,
    )


def _about(told: Told, row: FeatureRow, manifest: Manifest, context: CdsContext) -> CardAbout:
    risk = told.risk
    digest = input_hash(risk.model, {name: row.values[name] for name in told.variant.features})
    return CardAbout(
        model=risk.model,
        threshold=told.variant.policy.report_from,
        probability=risk.probability,
        outcome=risk.outcome,
        finding_key=f"risk {risk.outcome.code}",
        input_hash=digest,
        could_not_look=told.partly_seen,
        said=None if context.result_rows is None else _said(told, row, manifest, digest, context),
    )


def _said(told: Told, row: FeatureRow, manifest: Manifest, digest: str, context: CdsContext) -> Said:
    risk = replace(told.risk, contributions=())
    values = np.array([[row.values[name] for name in told.variant.features]], np.float64)
    return Said(
        model=risk.model,
        input_sha256=digest,
        inputs=ModelInputs(told.variant.graph, {manifest.graph(told.variant.graph).inputs[0].name: values}),
        at=context.now(),
        what=SaidRisk(
            risk, told.answer, IN_WORDS[told.answer], TEST if told.answer is not Answer.NEGATIVE else ""
        ),
        sources=tuple(dict.fromkeys(used.source for used in risk.inputs if used.source)),
    )


def _variant(row: FeatureRow, model: Risk) -> Variant:
    """Return the first graph whose required inputs are known. Raises PreconditionMissing when none is."""
    lacking = [missing for missing in row.missing if missing.required]
    variant = model.variant_for({used.name for used in row.used})
    if lacking or variant is None:
        lacking = lacking or list(row.missing)
        raise PreconditionMissing(
            "the model cannot be used without: " + ", ".join(missing.label for missing in lacking),
            expression=[_ELEMENT.get(missing.name, "prefetch") for missing in lacking],
            diagnostics="; ".join(f"{missing.label}: {missing.reason}" for missing in lacking),
        )
    return variant


def _told(
    row: FeatureRow, manifest: Manifest, model: Risk, variant: Variant, call: HookCall, context: CdsContext
) -> Told:
    """Run the graph once and explain its answer from the model folder's arrays."""
    values = np.array([row.values[name] for name in variant.features], np.float64)
    tensor = manifest.graph(variant.graph).inputs[0].name
    (given,) = probabilities(context.engine, MODEL, {tensor: values[None]}, call.deadline, variant.graph)
    probability = float(given)
    used = tuple(item for item in row.used if item.name in variant.features)
    moved = _parts(manifest, variant, values, probability, context)
    contributions = [Contribution(item.name, item.label, moved[item.name]) for item in used if moved]
    missing = (*row.missing, *_unread(row, model, variant))
    risk = RiskScore(
        outcome=model.outcome,
        probability=probability,
        model=manifest.ref,
        inputs=used,
        missing=tuple(item.label for item in missing),
        contributions=tuple(sorted(contributions, key=lambda one: -abs(one.change))),
    )
    return Told(
        outcome=OUTCOME,
        risk=risk,
        answer=variant.conformal.answer(probability),
        variant=variant,
        variant_label=LABELS.get(variant.graph, variant.graph),
        missing=missing,
        unknown=sum(moved.values()) - sum(one.change for one in contributions),
        prefetch=call.prefetch,
    )


def _unread(row: FeatureRow, model: Risk, variant: Variant) -> tuple[MissingInput, ...]:
    recorded = {item.name for item in row.used} - set(variant.features)
    return tuple(
        MissingInput(one.name, one.label, one.required, READ_BY_ANOTHER_GRAPH)
        for one in model.features
        if one.name in recorded
    )


def _parts(
    manifest: Manifest, variant: Variant, values: NDArray[np.float64], probability: float, context: CdsContext
) -> dict[str, float]:
    """Return what each feature adds to the log-odds; nothing for a model that brings no explanation.

    Raises Fault when the parts do not add up to what the graph said.
    """
    key = EXPLANATION.format(graph=variant.graph)
    if key not in manifest.arrays:
        return {}
    found: Attribution = explainer_of(context.engine.arrays(MODEL, key)).explain(values)
    if not abs(1 / (1 + np.exp(-found.score)) - probability) <= LARGEST_GAP:
        raise Fault(f"what explains the model {MODEL} does not add up to what it said")
    return dict(zip(variant.features, map(float, found.parts), strict=True))


SERVICE = Service(
    id="diabetes-risk",
    hook=PATIENT_VIEW,
    title="Diabetes risk",
    description="Estimates the probability of diabetes from age, sex, body measures, blood pressure, family "
    "history, self-rated health, habits, pregnancies, fasting glucose and insulin as far as they are recorded, "
    "with the inputs used and missing and what moved the estimate; says so when it is not sure enough. Research "
    "demonstration, not a medical device.",
    prefetch=PREFETCH,
    answer=answer,
    usage_requirements="Adults. Needs the patient's birth date and gender; other inputs are used when recorded.",
    reuse_model=MODEL,
)
