"""Smaller files of a network: weights stored in float16, or int8 arithmetic; only where the metric hardly notices.

Weights in float16 halve the file and cost nothing at run time: onnxruntime casts them once, when it loads. A
recipe that rounds the trainer's own weights first (`as_stored`) exports exactly what it measured. int8 is U8S8,
per channel, in quantise-dequantise pairs with calibrated ranges: of five ways that were measured the only one that
was faster at every batch, and one whose loss must be looked at.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model_export.onnx.gate import ExportRefused
from model_runtime.session import onnxruntime

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Run = Callable[[Arrays], Arrays]
MOST_LOSS = 0.005  # of the metric on the card's validation set
SMALLEST = 256  # tensors below are not worth a node
QUANTISED = ("Conv", "MatMul", "Gemm")


@dataclass(frozen=True, slots=True)
class Variant:
    """A smaller file and what it costs. before, after: the metric of both; bytes_*: their sizes."""

    model: Any
    before: float
    after: float
    bytes_before: int
    bytes_after: int

    @property
    def loss(self) -> float:
        """How much lower the metric is."""
        return self.before - self.after

    def in_words(self, metric: str) -> str:
        """Return one sentence for the card."""
        sizes = f"{self.bytes_before / 1e6:.2f} MB to {self.bytes_after / 1e6:.2f} MB"
        return f"{metric} {self.before:.4f} before and {self.after:.4f} after; file {sizes}."


def accepted(full: Any, smaller: Any, metric: Callable[[Run], float], most_loss: float = MOST_LOSS) -> Variant:  # noqa: ANN401
    """Return the smaller model as a variant, if the metric allows it.

    metric: of a function from inputs to outputs, higher is better, on data that neither training nor calibration
        saw.

    Raises ExportRefused when it falls by more than `most_loss` or is no number.
    """
    files = [model.SerializeToString() for model in (full, smaller)]
    before, after = (metric(runner(file)) for file in files)
    if not before - after <= most_loss:
        raise ExportRefused(
            f"the smaller file loses {before - after:.4f} of the metric ({before:.4f} to {after:.4f}); "
            f"at most {most_loss:g}"
        )
    return Variant(smaller, before, after, *map(len, files))


def runner(data: bytes) -> Run:
    """Return a function that runs an ONNX file on the CPU."""
    session = onnxruntime().InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def as_stored(values: Array) -> Array:
    """Return weights as `half_storage` keeps them: set these in the trainer before it is measured and exported.

    Raises ExportRefused when one is too large for float16.
    """
    if not np.max(np.abs(values), initial=0) <= np.finfo(np.float16).max:
        raise ExportRefused("a weight is too large for float16")
    return np.asarray(values, np.float32).astype(np.float16).astype(np.float32)


def half_storage(model: Any) -> Any:  # noqa: ANN401 - onnx is untyped
    """Return a copy whose float32 weights are stored in float16 and cast back; the arithmetic stays float32."""
    smaller = onnx.ModelProto()
    smaller.CopyFrom(model)
    casts = []
    for tensor in smaller.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < SMALLEST:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(as_stored(values).astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    for place, cast in enumerate(casts):
        smaller.graph.node.insert(place, cast)
    return smaller


def quantised(model: Any, calibration: Sequence[Arrays], leave: Collection[str] = ()) -> Any:  # noqa: ANN401
    """Return a copy in int8: weights signed per channel, activations unsigned, ranges from calibration inputs.

    calibration: inputs as the network gets them, some dozens that stand for the data. leave: names of nodes that
    stay in float32 (a network's head, where the loss is too large).
    """
    onnxruntime()  # imported our way first: without telemetry
    from onnxruntime import quantization  # noqa: PLC0415 - brings much that only this needs

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            _named(model),
            target,
            _Calibration(calibration),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            # 7 bits of a weight: with 8, sums saturate on a processor that has AVX2 and no VNNI, and the file that
            # was measured on one machine reads images otherwise on another.
            reduce_range=True,
            nodes_to_exclude=list(leave),
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        return onnx.load(target)


class _Calibration:
    """The rows, one after the other, as onnxruntime's calibrators ask for them."""

    def __init__(self, rows: Sequence[Arrays]) -> None:
        self._rows: Iterator[Arrays] = iter(rows)

    def get_next(self) -> dict[str, Array] | None:
        """Return the next inputs, None after the last."""
        row = next(self._rows, None)
        return None if row is None else dict(row)

    def __len__(self) -> int:
        return 0  # the calibrators ask only whether ranges are wanted


def _named(model: Any) -> Any:  # noqa: ANN401 - onnx is untyped
    """Return a copy in which every node has a name: the quantiser keeps its books by them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for number, node in enumerate(copy.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    return copy
