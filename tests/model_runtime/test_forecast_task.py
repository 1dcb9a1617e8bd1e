"""The forecast part of a manifest: what is read, and what contradicts itself."""

import copy

import pytest

from clinical.codes import HEART_RATE
from clinical.errors import Fault
from model_runtime.manifest import ManifestFault
from model_runtime.tasks.forecast import Forecast
from model_runtime.tasks.risk import Risk
from model_runtime.testing import forecast_document, manifest_of


def problems_of(document):
    with pytest.raises(ManifestFault) as caught:
        manifest_of(document)
    return caught.value.problems


def test_a_forecast_says_quantity_horizons_policy_and_whom_it_knows():
    part = manifest_of(forecast_document()).require(Forecast)
    assert part.quantity == HEART_RATE
    assert part.horizons_min == (15, 30, 60)
    assert part.policy.widest == (30.0, 40.0, 50.0)
    assert part.policy.guard == (40.0, 130.0)
    assert part.subjects == ("w00", "w01")
    assert part.inputs[0].codes == (HEART_RATE,)


def test_a_forecast_is_not_a_risk_model():
    with pytest.raises(Fault):
        manifest_of(forecast_document()).require(Risk)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("horizons_min",), [30, 15, 60], "$.forecast.horizons_min: expected rising numbers"),
        (("quantiles",), [0.1, 0.9], "$.forecast.quantiles: expected a low, a middle and a high one"),
        (("quantiles",), [0.5, 0.1, 0.9], "$.forecast.quantiles: expected rising numbers"),
        (
            ("policy", "widest"),
            [30.0],
            "$.forecast.policy.widest: expected one entry a horizon, as in intervals.scales",
        ),
        (("policy", "guard_high"), 30.0, "$.forecast.policy.guard_high: expected more than guard_low"),
        (
            ("intervals", "scales"),
            [[1.0, 0.0]] * 3,
            "$.forecast.intervals.scales[0]: expected pairs of positive numbers",
        ),
        (("inputs", 0, "maximum"), 10, "$.forecast.inputs[0].maximum: expected more than minimum"),
        (("subjects",), [1], "$.forecast.subjects[0]: expected names"),
    ],
)
def test_what_contradicts_itself_is_named(path, value, problem):
    document = copy.deepcopy(forecast_document())
    node = document["forecast"]
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    assert any(found.startswith(problem) for found in problems_of(document))


@pytest.mark.parametrize("output", [0, 1])
def test_the_graph_gives_quantiles_and_classes_for_each_horizon(output):
    document = copy.deepcopy(forecast_document())
    document["graphs"]["model"]["outputs"][output]["shape"] = ["batch", 3, 2]
    assert problems_of(document) == (
        "$.graphs.model.outputs: expected change [batch, horizon, quantile] and trend [batch, horizon, 3]",
    )
