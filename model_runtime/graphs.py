"""The graphs of a model folder: one ONNX file each, with its tensors, golden rows and where it was tried."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from model_runtime.json_fields import Fields, is_number, is_whole

BATCH = "batch"
MODEL = "model"  # the name of a model's only graph
DTYPES = ("float64", "float32", "float16", "int64", "int32", "uint16", "uint8", "bool")
PRECISIONS = ("float64", "float32", "float16", "int8")
DEVICES = ("cpu", "cuda")
MOST_BATCH_ROWS = 1024
GRAPH_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output.

    shape: axis lengths; the first axis may be the word `batch` (any length >= 1). axes: what each axis counts.
    unit: UCUM or words, "" for none. low, high: the range of its values, None where there is no bound.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    axes: tuple[str, ...]
    unit: str
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class GoldenSpec:
    """The stored input and output. tolerance: largest absolute difference at load."""

    file: str
    sha256: str
    tolerance: float


@dataclass(frozen=True, slots=True)
class GraphSpec:
    """One ONNX file of a model.

    sha256: of the file. opset: operator domain -> version. intra_op_threads: of one run on the CPU (1 for small
    ones). heavy: an imaging network, which workers load and web processes never. precision: of its arithmetic;
    tested_on: devices on which it was compared with the trainer. batch_rows: how many rows every run has, those of
    several callers together (model_runtime.batching); 1 for none: each caller's rows are a run.
    """

    name: str
    file: str
    sha256: str
    opset: Mapping[str, int]
    intra_op_threads: int
    heavy: bool
    precision: str
    tested_on: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    golden: GoldenSpec
    batch_rows: int = 1


def read_graphs(top: Fields) -> Mapping[str, GraphSpec]:
    """Read the key "graphs"; faults are noted by their JSON path."""
    graphs = {name: _graph(name, fields) for name, fields in top.named_children("graphs").items()}
    files = [file for graph in graphs.values() for file in (graph.file, graph.golden.file)]
    if len(set(files)) != len(files):
        top.faults.add("$.graphs", "expected a file of its own for each graph and each golden")
    return MappingProxyType(graphs)


def _graph(name: str, fields: Fields) -> GraphSpec:
    if not GRAPH_NAME.fullmatch(name):
        fields.faults.add(fields.path, "expected a name of lower-case letters, digits and underscores")
    graph = GraphSpec(
        name=name,
        file=fields.file_name("file"),
        sha256=fields.sha256("sha256"),
        opset=MappingProxyType(dict(fields.table("opset", "whole numbers", is_whole))),
        intra_op_threads=fields.whole("intra_op_threads", 1, 256),
        heavy=fields.flag("heavy"),
        precision=fields.one_of("precision", PRECISIONS),
        tested_on=fields.items("tested_on", " or ".join(DEVICES), lambda v: v in DEVICES),
        inputs=tuple(_tensor(item) for item in fields.children("inputs")),
        outputs=tuple(_tensor(item) for item in fields.children("outputs")),
        golden=_golden(fields.child("golden")),
        batch_rows=fields.whole_or("batch_rows", 1, MOST_BATCH_ROWS, 1),
    )
    tensors = (*graph.inputs, *graph.outputs)
    if graph.batch_rows > 1 and not all(spec.shape[:1] == (BATCH,) for spec in tensors):
        fields.faults.add(f"{fields.path}.batch_rows", "expected 1, for not every tensor has a batch axis")
    for key, specs in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        if len({spec.name for spec in specs}) != len(specs):
            fields.faults.add(f"{fields.path}.{key}", "expected different names")
    fields.end()
    return graph


def _tensor(fields: Fields) -> TensorSpec:
    open_ended: list[float | None] = [None, None]
    bounds = fields.take("range", "[low, high], either of them a number or null", _is_range, open_ended)
    low, high = (None if end is None else float(end) for end in bounds)
    spec = TensorSpec(
        name=fields.text("name"),
        dtype=fields.one_of("dtype", DTYPES),
        shape=fields.items("shape", "axis lengths or, first, the word batch", _is_axis),
        axes=fields.items("axes", "words", lambda v: isinstance(v, str) and bool(v.strip())),
        unit=fields.unit("unit"),
        low=low,
        high=high,
    )
    if BATCH in spec.shape[1:]:
        fields.faults.add(f"{fields.path}.shape", "expected the batch axis to be the first")
    if len(spec.axes) != len(spec.shape):
        fields.faults.add(f"{fields.path}.axes", "expected one word for each axis of the shape")
    fields.end()
    return spec


def _is_axis(value: object) -> bool:
    return value == BATCH or (isinstance(value, int) and is_whole(value) and value >= 1)


def _is_range(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(end is None or is_number(end) for end in value)
        and (None in value or value[0] <= value[1])
    )


def _golden(fields: Fields) -> GoldenSpec:
    golden = GoldenSpec(fields.file_name("file"), fields.sha256("sha256"), fields.number("tolerance", 0.0, 0.01))
    fields.end()
    return golden
