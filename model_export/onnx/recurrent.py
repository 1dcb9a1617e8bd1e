"""Write graphs with recurrent layers node by node: a Keras GRU becomes the operator GRU.

tf2onnx turns every Keras GRU into a `Loop` (30 times slower, and refused by the gate) or, unrolled, into thousands
of nodes. Keras orders the gates z, r, h, which is ONNX's own order, so the operator takes the weights as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Weights = Sequence[NDArray[Any]]
Name = str  # of a tensor within the graph

OPSET = 18
IR_VERSION = 9
BATCH = "batch"


class GraphWriter:
    """A float32 graph that grows node by node; each method returns the name of the tensor that it made."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, value: NDArray[Any]) -> Name:
        """Store an array as it is."""
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def scalar(self, value: float) -> Name:
        """Store one float32."""
        return self.constant(np.array(value, np.float32))

    def whole(self, *values: int) -> Name:
        """Store a list of int64: axes, starts, shapes."""
        return self.constant(np.array(values, np.int64))

    def op(self, kind: str, *inputs: Name, output: Name | None = None, **attributes: object) -> Name:
        """Add any operator with one output."""
        name = output or f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def cut(self, tensor: Name, axis: int, start: int, end: int) -> Name:
        """Take a part of one axis."""
        return self.op("Slice", tensor, self.whole(start), self.whole(end), self.whole(axis))

    def reshape(self, tensor: Name, *shape: int) -> Name:
        """Reshape; -1 is the batch."""
        return self.op("Reshape", tensor, self.whole(*shape))

    def beside(self, axis: int, *tensors: Name) -> Name:
        """Join tensors along an axis."""
        return self.op("Concat", *tensors, axis=axis)

    def known(self, tensor: Name) -> Name:
        """Make 1 where a number stands and 0 where NaN does."""
        return self.op("Cast", self.op("Not", self.op("IsNaN", tensor)), to=TensorProto.FLOAT)

    def filled(self, tensor: Name, value: float = 0.0) -> Name:
        """Replace NaN by a value."""
        return self.op("Where", self.op("IsNaN", tensor), self.scalar(value), tensor)

    def clip(self, tensor: Name, low: float, high: float) -> Name:
        """Cut to [low, high]; NaN stays NaN, so fill first."""
        return self.op("Clip", tensor, self.scalar(low), self.scalar(high))

    def dense(self, tensor: Name, weights: Weights) -> Name:
        """Apply a Keras Dense layer's (kernel, bias) to (batch, features), without activation."""
        kernel, bias = weights
        return self.op("Gemm", tensor, self.constant(kernel), self.constant(bias))

    def last_state_of_gru(self, series: Name, weights: Weights) -> Name:
        """Apply a Keras GRU (default activations) and return its last state, (batch, units).

        series: (batch, steps, channels). weights: kernel, recurrent kernel and bias; a bias of two rows is that of
        `reset_after=True` (ONNX: linear_before_reset).
        """
        kernel, recurrent, bias = weights
        reset_after = bias.ndim == 2
        both = bias.reshape(-1) if reset_after else np.concatenate([bias, np.zeros_like(bias)])
        stored = [self.constant(part[None]) for part in (kernel.T, recurrent.T, both)]
        steps_first = self.op("Transpose", series, perm=[1, 0, 2])
        state = f"h{len(self._nodes)}"
        self._nodes.append(
            helper.make_node(
                "GRU",
                [steps_first, *stored],
                ["", state],
                hidden_size=len(recurrent),
                linear_before_reset=int(reset_after),
            )
        )
        return self.op("Squeeze", state, self.whole(0))

    def model(self, name: str, inputs: Mapping[str, Sequence[int]], outputs: Mapping[str, Sequence[int]]) -> Any:  # noqa: ANN401 - onnx is untyped
        """Return the finished onnx.ModelProto, fully checked. inputs, outputs: name -> shape after the batch axis.

        Raises onnx.checker.ValidationError or onnx.shape_inference.InferenceError for a graph that is none.
        """
        ends = [
            [helper.make_tensor_value_info(end, TensorProto.FLOAT, [BATCH, *shape]) for end, shape in side.items()]
            for side in (inputs, outputs)
        ]
        graph = helper.make_graph(self._nodes, name, *ends, self._constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model
