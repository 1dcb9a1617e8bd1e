"""Keras network -> ONNX file with named axes and one node per resize.

Known traps of tf2onnx 1.17, each of which writes a file without complaint (reference/inference.md 2.1):
exact GELU becomes `Erfc`, which ONNX lacks; UpSampling2D becomes chains of Tile; recurrent layers become
Loop; batch axes get invented names. The gate (model_export/onnx/gate.py) must see the file afterwards.
"""

from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from tf2onnx.utils import make_name

Network = Any  # a Keras model; neither TensorFlow nor onnx carries types
Graph = Any

OPSET = 18  # the newest that tf2onnx 1.17 writes
BATCH_AXIS = "batch"


@keras.saving.register_keras_serializable("consilium")
class Enlarge(keras.layers.Layer):  # type: ignore[misc] # keras is untyped
    """Enlarge (batch, rows, columns, channels) by a whole factor in one operation.

    smooth: bilinear, else nearest neighbour. The result is that of keras.layers.UpSampling2D; rows and
    columns must be known when the model is built.
    """

    def __init__(self, factor: int, smooth: bool = False, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.factor, self.smooth = factor, smooth

    def call(self, x: Graph) -> Graph:
        size = [self.factor * x.shape[1], self.factor * x.shape[2]]
        if self.smooth:
            return tf.raw_ops.ResizeBilinear(images=x, size=size, half_pixel_centers=True)
        # half_pixel_centers=True would become a mode that ONNX has deprecated; for whole factors the
        # numbers are the same.
        return tf.raw_ops.ResizeNearestNeighbor(images=x, size=size, half_pixel_centers=False)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        rows, columns = (None if n is None else self.factor * n for n in shape[1:3])
        return shape[0], rows, columns, shape[3]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor, "smooth": self.smooth}


def keras_model(model: Network, *, opset: int = OPSET) -> Graph:
    """Return a Keras model as onnx.ModelProto, checked.

    Input names are kept, axis 0 is called `batch`. A model that answers with a dict keeps its names, the one
    output of another takes the name of the last layer.
    Raises ValueError when the graph still holds an operation that should have been rewritten.
    """
    signature = [
        tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype, name=tensor.name) for tensor in model.inputs
    ]
    name = model.layers[-1].name

    def serve(*tensors: Graph) -> Graph:
        answer = model(list(tensors) if len(tensors) > 1 else tensors[0], training=False)
        return answer if isinstance(answer, dict) else {name: answer}

    graph, _ = tf2onnx.convert.from_function(
        tf.function(serve, input_signature=signature),
        input_signature=signature,
        opset=opset,
        custom_op_handlers={"Erfc": (_erfc, [])},
    )
    name_batch_axis(graph)
    refuse_leftovers(graph)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def name_batch_axis(graph: Graph) -> None:
    """Call axis 0 of every input and output `batch`, and drop shapes that were recorded under other names."""
    for value in [*graph.graph.input, *graph.graph.output]:
        axis = value.type.tensor_type.shape.dim[0]
        axis.ClearField("dim_value")
        axis.dim_param = BATCH_AXIS
    del graph.graph.value_info[:]


def refuse_leftovers(graph: Graph, names: frozenset[str] = frozenset({"Loop", "Tile", "Erfc", "Scan"})) -> None:
    """Raise ValueError when the graph holds an operation that should have been rewritten."""
    found = sorted({node.op_type for node in graph.graph.node} & names)
    if found:
        raise ValueError(f"the exported graph still holds {found}")


def _erfc(context: Graph, node: Graph, name: str, _args: Graph) -> None:
    """Write TensorFlow's Erfc (from exact GELU) as 1 - Erf(x)."""
    shape, dtype = context.get_shape(node.output[0]), context.get_dtype(node.output[0])
    source, outputs = node.input[0], node.output
    context.remove_node(node.name)
    one = context.make_const(make_name("one"), np.array(1, np.float32)).output[0]
    erf = context.make_node("Erf", [source], dtypes=[dtype], shapes=[shape]).output[0]
    context.make_node("Sub", [one, erf], outputs=outputs, name=name, dtypes=[dtype], shapes=[shape])
