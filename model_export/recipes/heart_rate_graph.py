"""heart-rate-trend as ONNX, written node by node from the members' weights, with the operator GRU.

Each function here does what its namesake in heart_rate_network does in Keras; the gate compares them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.trend import RECENT_BINS, SHARES
from model_export.onnx.recurrent import GraphWriter, Name
from model_export.recipes.heart_rate_network import Network, flat
from model_export.recipes.heart_rate_settings import (
    COARSE,
    INPUTS,
    LIMIT,
    OUTPUTS,
    QUARTERS,
    RATE,
    RESTING,
    SPREAD,
    STEP_RATE,
    STEPS,
    UNIT,
    WEEK_HOURS,
)
from model_runtime.tasks.forecast import CHANGE, CLASSES, TREND


def graph(members: Sequence[Network], scales: NDArray[np.float64]) -> Any:  # noqa: ANN401 - onnx is untyped
    """Return the same as `together` as onnx.ModelProto, written node by node with the operator GRU."""
    write = GraphWriter()
    series, rest = _prepared_nodes(write)
    found = [_member_nodes(write, each, series, rest) for each in members]
    share = write.scalar(UNIT / len(members))
    middle = write.op("Mul", _sum(write, [one[0] for one in found]), share)
    widths = write.op(
        "Mul", write.op("Mul", _sum(write, [one[1] for one in found]), share), write.constant(flat(scales))
    )
    below, above = write.cut(widths, 1, 0, STEPS), write.cut(widths, 1, STEPS, 2 * STEPS)
    quantiles = [write.op("Sub", middle, below), middle, write.op("Add", middle, above)]
    columns = [write.op("Unsqueeze", one, write.whole(2)) for one in quantiles]
    newest = write.cut(write.cut("recent", 1, RECENT_BINS - 1, RECENT_BINS), 2, 0, 1)
    write.op("Div", write.beside(2, *columns), newest, output=CHANGE)
    write.op("Div", _sum(write, [one[2] for one in found]), write.scalar(len(members)), output=TREND)
    return write.model("heart_rate_trend", INPUTS, OUTPUTS)


def _sum(write: GraphWriter, tensors: Sequence[Name]) -> Name:
    return tensors[0] if len(tensors) == 1 else write.op("Sum", *tensors)


def _member_nodes(write: GraphWriter, network: Network, series: Name, rest: Name) -> tuple[Name, Name, Name]:
    """Add one member; return its middle, widths and chances."""
    weights = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
    x = write.beside(1, write.last_state_of_gru(series, weights["gru"]), rest)
    for name in ("dense_1", "dense_2"):
        x = write.op("Relu", write.dense(x, weights[name]))
    logits = write.reshape(write.dense(x, weights["trend"]), -1, STEPS, CLASSES)
    return (
        write.dense(x, weights["middle"]),
        write.op("Softplus", write.dense(x, weights["widths"])),
        write.op("Softmax", logits, axis=2),
    )


def _prepared_nodes(write: GraphWriter) -> tuple[Name, Name]:
    """Add what `_prepared` does."""
    channels = [write.reshape(write.cut("recent", 2, n, n + 1), -1, RECENT_BINS) for n in range(3)]
    rate, spread, steps = channels
    newest = write.cut(rate, 1, RECENT_BINS - 1, RECENT_BINS)
    columns = [
        _near_nodes(write, rate, newest, RATE),
        write.known(rate),
        _near_nodes(write, spread, None, SPREAD),
        _near_nodes(write, steps, None, STEP_RATE),
        write.known(steps),
    ]
    series = write.beside(2, *(write.op("Unsqueeze", column, write.whole(2)) for column in columns))
    person = {
        name: write.cut("person", 1, *ends)
        for name, ends in {
            "quantiles": (0, len(SHARES)),
            "hours": (5, 6),
            "days": (6, 10),
            "clock": (10, 12),
        }.items()
    }
    several = (
        ("minutes", RATE),
        ("hours", COARSE),
        (person["quantiles"], COARSE),
        (person["days"], COARSE),
    )
    rest = [
        part
        for values, scale in several
        for part in (_near_nodes(write, values, newest, scale), write.known(values))
    ]
    rest += [
        _near_nodes(write, person["hours"], None, WEEK_HOURS),
        _near_nodes(write, person["clock"], None, 1.0),
        write.known(person["clock"]),
        _near_nodes(write, newest, write.scalar(RESTING), COARSE),
    ]
    return write.reshape(series, -1, *QUARTERS), write.beside(1, *rest)


def _near_nodes(write: GraphWriter, values: Name, origin: Name | None, scale: float) -> Name:
    """Add what `_near` does."""
    moved = values if origin is None else write.op("Sub", values, origin)
    scaled = write.op("Div", moved, write.scalar(scale))
    filled = write.op("Where", write.op("IsNaN", values), write.scalar(0.0), scaled)
    return write.clip(filled, -LIMIT, LIMIT)
