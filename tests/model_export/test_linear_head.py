"""Broken lines as ONNX against numpy's own interpolation."""

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the export extra")
from onnx import TensorProto, helper

from model_export.onnx.gate import check_graph
from model_export.onnx.linear_head import broken_lines, calibrated
from model_export.onnx.trial import trial_session

pytestmark = pytest.mark.export
KNOTS = (np.array([20.0, 40.0, 60.0, 80.0]), np.array([0.0, 1.0]), np.array([5.0]))
VALUES = (np.array([-1.0, 0.5, 0.25, 2.0]), np.array([0.0, 0.75]), np.array([3.0]))
MISSING = np.array([9.0, -4.0, 1.5])


def session():
    lines, constants = broken_lines(KNOTS, VALUES, MISSING, source="columns", result="lines")
    head, more = calibrated(["lines"], -0.5, score="log_odds", probability="probability")
    outputs = [
        helper.make_tensor_value_info(n, TensorProto.DOUBLE, ["batch", 1]) for n in ("probability", "log_odds")
    ]
    source = helper.make_tensor_value_info("columns", TensorProto.DOUBLE, ["batch", 3])
    graph = helper.make_graph([*lines, *head], "lines", [source], outputs, [*constants, *more])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    check_graph(model)
    return trial_session(model, "lines")


def test_the_graph_interpolates_stays_constant_outside_and_gives_missing_its_own_height():
    rng = np.random.default_rng(0)
    rows = np.stack([rng.uniform(0, 100, 400), rng.uniform(-1, 2, 400), rng.uniform(0, 9, 400)], axis=1)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    rows[:4, 0] = (20, 40, 80, 1e9)
    wanted = sum(
        np.where(np.isnan(x), m, np.interp(x, k, v))
        for x, k, v, m in zip(rows.T, KNOTS, VALUES, MISSING, strict=True)
    )
    found = session().run({"columns": rows})
    assert np.abs(found["log_odds"][:, 0] - (wanted - 0.5)).max() <= 1e-12
    assert np.abs(found["probability"] - 1 / (1 + np.exp(-found["log_odds"]))).max() <= 1e-15
