"""What a model said on a hook call, asked again: the same graph on the stored inputs, as the service asks it."""

from dataclasses import replace

import numpy as np

from cds.deadline import deadline_in
from cds.model_call import outputs_of, probabilities
from cds.risk_card import IN_WORDS
from clinical.errors import PreconditionMissing
from clinical.forecast import steps_of
from clinical.lesion import ANSWER_IN_WORDS
from clinical.said import TOKENS, Said, SaidForecast, SaidRisk
from clinical.trend import Windows, joined, occlusions
from model_runtime.engine import Engine
from model_runtime.lesion_diagnosis import diagnose
from model_runtime.manifest import Manifest
from model_runtime.tasks.forecast import CHANGE, TREND, Forecast
from model_runtime.tasks.lesion import DIAGNOSIS, Lesion
from model_runtime.tasks.risk import Risk


def said_again(engine: Engine, said: Said, manifest: Manifest, timeout_s: float) -> Said:
    """Return what the model says now. manifest: of the same model, which the caller has compared.

    Raises PreconditionMissing when the inputs are none for it any more; Busy or Fault of the model.
    """
    if isinstance(said.what, SaidForecast):
        return replace(said, what=_forecast(engine, said, said.what, manifest, timeout_s))
    if manifest.get(Lesion) is not None:
        return replace(said, what=_lesion(engine, said, said.what, manifest, timeout_s))
    return replace(said, what=_risk(engine, said, said.what, manifest, timeout_s))


def _risk(engine: Engine, said: Said, what: SaidRisk, manifest: Manifest, timeout_s: float) -> SaidRisk:
    graph = said.inputs.graph
    variant = next((one for one in manifest.require(Risk).variants if one.graph == graph), None)
    if variant is None:
        raise PreconditionMissing(f"model {said.model.label} has no graph {graph}")
    (given,) = probabilities(engine, manifest.name, said.inputs.tensors, deadline_in(timeout_s), graph)
    answer = variant.conformal.answer(float(given))
    risk = replace(what.risk, probability=float(given))
    return replace(what, risk=risk, answer=answer, judged=IN_WORDS[answer])


def _lesion(engine: Engine, said: Said, what: SaidRisk, manifest: Manifest, timeout_s: float) -> SaidRisk:
    deadline = deadline_in(timeout_s)
    diagnosis = diagnose(
        lambda inputs: outputs_of(engine, manifest.name, inputs, deadline, DIAGNOSIS),
        manifest.require(Lesion),
        said.inputs.values,
        [said.inputs.tensors[TOKENS]] if TOKENS in said.inputs.tensors else [],
    )
    if diagnosis is None:
        raise PreconditionMissing("the model says nothing of these inputs")
    risk = replace(what.risk, probability=diagnosis.probability)
    return replace(what, risk=risk, answer=diagnosis.answer, judged=ANSWER_IN_WORDS[diagnosis.answer])


def _forecast(
    engine: Engine, said: Said, what: SaidForecast, manifest: Manifest, timeout_s: float
) -> SaidForecast:
    part, read = manifest.require(Forecast), Windows(**said.inputs.tensors)
    # As the hook asks: a row alone may be computed otherwise in the last digits than among others.
    asked = joined([read, occlusions(read)]).inputs()
    outputs = outputs_of(engine, manifest.name, asked, deadline_in(timeout_s))
    change, trend = (np.asarray(outputs[name], np.float64)[0] for name in (CHANGE, TREND))
    steps = steps_of(what.forecast.newest, change, trend, part.horizons_min, part.policy)
    return replace(what, forecast=replace(what.forecast, steps=steps))
