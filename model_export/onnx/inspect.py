"""Read an ONNX graph for what the gate refuses: each check returns reasons, none when all is well."""

from collections.abc import Iterable, Iterator
from typing import Any

import onnx
from onnx.external_data_helper import uses_external_data

from model_runtime.graphs import BATCH, DTYPES

DOMAINS = ("", "ai.onnx", "ai.onnx.ml")  # operators that every onnxruntime build has
REFUSED_OPS = {
    "Loop": "a recurrent layer was not turned into its own operator (20 times slower)",
    "Scan": "a recurrent layer was not turned into its own operator",
    "Tile": "an upsampling layer became a Tile chain; use one Resize",
    "Erfc": "exact GELU was left as Erfc, which ONNX does not have; write 1 - Erf(x)",
}


def wire_faults(model: Any) -> list[str]:  # noqa: ANN401 - onnx is untyped
    """Return what the file must not contain: external data, foreign operators, functions, known bad ones."""
    reasons = []
    if any(uses_external_data(tensor) for tensor in tensors(model.graph)):
        reasons.append("a weight lies in another file (external data)")
    if model.functions or model.training_info:
        reasons.append("the file holds functions or training information")
    for node in nodes(model.graph):
        if node.domain not in DOMAINS:
            reasons.append(f"operator {node.op_type} is of the custom domain {node.domain!r}")
        if node.op_type in REFUSED_OPS:
            reasons.append(f"operator {node.op_type}: {REFUSED_OPS[node.op_type]}")
    return sorted(set(reasons))


def boundary_faults(model: Any) -> list[str]:  # noqa: ANN401 - onnx is untyped
    """Return what is wrong with inputs and outputs: the first axis is `batch`, the others are numbers."""
    reasons = []
    for value in (*model.graph.input, *model.graph.output):
        spec = tensor_spec(value)
        shape = spec["shape"]
        if not shape or shape[0] != BATCH:
            reasons.append(f"the first axis of {value.name!r} is not named {BATCH!r}")
        if not all(isinstance(axis, int) and axis > 0 for axis in shape[1:]):
            reasons.append(f"an axis of {value.name!r} other than the first has no fixed length")
        if spec["dtype"] not in DTYPES:
            reasons.append(f"{value.name!r} has a type that the server does not carry")
    return reasons


def tensor_spec(value: Any) -> dict[str, Any]:  # noqa: ANN401 - onnx is untyped
    """Return an input or output as the manifest writes it: name, dtype, shape."""
    kind = value.type.tensor_type
    shape = [axis.dim_param or axis.dim_value for axis in kind.shape.dim]
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    except KeyError:
        dtype = "unknown"
    return {"name": value.name, "dtype": dtype, "shape": shape}


def opsets(model: Any) -> dict[str, int]:  # noqa: ANN401 - onnx is untyped
    """Return operator domain -> version."""
    return {opset.domain: opset.version for opset in model.opset_import}


def nodes(graph: Any) -> Iterator[Any]:  # noqa: ANN401 - onnx is untyped
    """Yield every node, those of nested graphs among them."""
    for node in graph.node:
        yield node
        for inner in _graphs(node.attribute):
            yield from nodes(inner)


def tensors(graph: Any) -> Iterator[Any]:  # noqa: ANN401 - onnx is untyped
    """Yield every stored tensor: initializers, sparse ones, and attributes of nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for inner in _graphs(node.attribute):
            yield from tensors(inner)


def _graphs(attributes: Iterable[Any]) -> Iterator[Any]:
    for attribute in attributes:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
