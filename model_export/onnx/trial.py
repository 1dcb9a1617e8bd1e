"""A graph in the server's own session before it is a file: how the models of cross-validation are run."""

import hashlib
from typing import Any

from model_export.onnx.inspect import opsets, tensor_spec
from model_runtime.graphs import MODEL, GoldenSpec, GraphSpec, TensorSpec
from model_runtime.session import Device, Session


def trial_session(model: Any, name: str) -> Session:  # noqa: ANN401 - onnx is untyped
    """Return the session of an onnx.ModelProto, on the CPU with one thread. Raises Fault as Session does."""
    data = model.SerializeToString()
    graph = GraphSpec(
        name=MODEL,
        file=f"{MODEL}.onnx",
        sha256=hashlib.sha256(data).hexdigest(),
        opset=opsets(model),
        intra_op_threads=1,
        heavy=False,
        precision="float64",
        tested_on=(Device.CPU.value,),
        inputs=tuple(_tensor(value) for value in model.graph.input),
        outputs=tuple(_tensor(value) for value in model.graph.output),
        golden=GoldenSpec("golden.npz", "0" * 64, 0.0),
    )
    return Session(name, graph, data, Device.CPU)


def _tensor(value: Any) -> TensorSpec:  # noqa: ANN401 - onnx is untyped
    said = tensor_spec(value)
    shape = tuple(said["shape"])
    return TensorSpec(said["name"], said["dtype"], shape, ("axis",) * len(shape), "", None, None)
