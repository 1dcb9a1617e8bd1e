"""The gate between a trainer and `models/`: a file that does not compute what the trainer computed is not written.

Peers' exporters write files that are invalid (exact GELU) or silently wrong (66 % of decisions flipped for
boosted trees with categories, 10 % for forests with missing values). So a recipe hands over the model, the
trainer's own function and rows; what is written has been loaded and compared by the server's own code.
"""

import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from clinical.errors import ClinicalError
from model_export.onnx.edges import edge_faults, threshold_faults
from model_export.onnx.inspect import boundary_faults, opsets, tensor_spec, wire_faults
from model_runtime.library import Library
from model_runtime.manifest import Manifest, parse_manifest
from model_runtime.session import Device, Session

Array = NDArray[Any]
Arrays = Mapping[str, Array]
MAX_FOLDER_BYTES = 10_000_000
BATCHES = (1, 3, 8)


class ExportRefused(Exception):
    """The gate lets nothing through. reasons: every one found at the step that refused."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("export refused: " + "; ".join(reasons))
        self.reasons = reasons


@dataclass(frozen=True, slots=True)
class Limits:
    """tolerance: largest absolute difference to the trainer; min_rows: fewest rows to compare."""

    tolerance: float
    min_rows: int


TREES = Limits(tolerance=1e-12, min_rows=256)
NETWORKS = Limits(tolerance=1e-5, min_rows=256)


def _itself(values: Array) -> Array:
    return values


@dataclass(frozen=True, slots=True)
class GraphCandidate:
    """One graph that a recipe hands to the gate.

    model: onnx.ModelProto. reference: the trainer's own function, inputs -> outputs, for any batch length.
    rows: input name -> rows to compare, the same number for each; edge rows among them.
    golden_rows: how many of the first rows are stored as golden input and output.
    output: the output that decisions are taken on; decide: its rows -> the numbers that are compared
        with the thresholds (for a mask: its maximum per image).
    thresholds: where a decision changes side: `value >= threshold`.
    tensors: tensor name -> {"axes", "unit", "range"}: what a shape does not say, for every input and output.
    """

    model: Any
    reference: Callable[[Arrays], Arrays]
    rows: Arrays
    limits: Limits
    output: str
    thresholds: tuple[float, ...]
    tensors: Mapping[str, Mapping[str, Any]]
    golden_rows: int = 8
    decide: Callable[[Array], Array] = _itself
    intra_op_threads: int = 1
    heavy: bool = False
    precision: str = "float32"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a recipe hands to the gate.

    document: manifest.json without what the gate fills in ("graphs", "arrays", "card").
    graphs: by name, `model` when there is only one. card: writes card.md from the complete document.
    arrays: name -> arrays that explain the model, stored as `<name>.npz`.
    extra: path in the folder -> bytes, for what people look at (plots).
    """

    document: Mapping[str, Any]
    graphs: Mapping[str, GraphCandidate]
    card: Callable[[Mapping[str, Any]], str]
    arrays: Mapping[str, Arrays] = field(default_factory=dict)
    extra: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parity:
    """What the comparison found. difference: largest absolute one, over all outputs and batch lengths."""

    rows: int
    difference: float
    flips: int


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A graph that passed by itself: its bytes, its golden bytes, and what the manifest says of it."""

    data: bytes
    golden: bytes
    document: Mapping[str, Any]


def release(candidate: Candidate, out: Path) -> tuple[Path, dict[str, Parity]]:
    """Check everything, then write `out/<name>/`, replacing an older one; return folder and parity by graph.

    Raises ExportRefused with the reasons; then nothing under `out` has changed.
    """
    sealed = {name: _seal(candidate, name, graph) for name, graph in candidate.graphs.items()}
    arrays = {f"{name}.npz": npz_bytes(values) for name, values in candidate.arrays.items()}
    document = complete(candidate, sealed, arrays)
    manifest = check_manifest(document)
    parity = {
        name: check_parity(graph, manifest, name, sealed[name].data) for name, graph in candidate.graphs.items()
    }
    files = {manifest.graphs[name].file: graph.data for name, graph in sealed.items()}
    files |= {manifest.graphs[name].golden.file: graph.golden for name, graph in sealed.items()}
    files |= arrays | dict(candidate.extra)
    files[manifest.card] = candidate.card(document).encode()
    files["manifest.json"] = manifest_bytes(document)
    return _write(files, manifest, out), parity


def manifest_bytes(document: Mapping[str, Any]) -> bytes:
    """Return manifest.json."""
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _seal(candidate: Candidate, name: str, graph: GraphCandidate) -> _Sealed:
    model = _with_metadata(candidate.document, name, graph)
    check_graph(model)
    data = model.SerializeToString()
    golden = npz_bytes(_golden(graph))
    stem = "" if len(candidate.graphs) == 1 else f"{name}_"
    document = {
        "file": f"{name}.onnx",
        "sha256": hashlib.sha256(data).hexdigest(),
        "opset": opsets(model),
        "intra_op_threads": graph.intra_op_threads,
        "heavy": graph.heavy,
        "precision": graph.precision,
        "tested_on": [Device.CPU.value],
        "inputs": [_tensor(graph, value) for value in model.graph.input],
        "outputs": [_tensor(graph, value) for value in model.graph.output],
        "golden": {
            "file": f"{stem}golden.npz",
            "sha256": hashlib.sha256(golden).hexdigest(),
            "tolerance": graph.limits.tolerance,
        },
    }
    return _Sealed(data, golden, document)


def _tensor(graph: GraphCandidate, value: Any) -> dict[str, Any]:  # noqa: ANN401 - onnx is untyped
    said = graph.tensors.get(value.name)
    if said is None:
        raise ExportRefused(f"the recipe does not say what the axes of {value.name!r} are")
    return {**tensor_spec(value), **said}


def check_graph(model: Any) -> None:  # noqa: ANN401 - onnx is untyped
    """Check the graph by itself. Raises ExportRefused."""
    reasons = wire_faults(model) + boundary_faults(model)
    if reasons:
        raise ExportRefused(*reasons)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as problem:
        raise ExportRefused(f"onnx.checker: {str(problem).strip()[:300]}") from problem


def check_manifest(document: Mapping[str, Any]) -> Manifest:
    """Parse the manifest as the server does. Raises ExportRefused."""
    try:
        return parse_manifest(manifest_bytes(document), str(document.get("name")))
    except (ClinicalError, ValueError) as problem:
        raise ExportRefused(str(problem)) from problem


def check_parity(graph: GraphCandidate, manifest: Manifest, name: str, data: bytes) -> Parity:
    """Run the file in the server's own session beside the trainer, at batch 1, 3, 8 and all rows.

    Raises ExportRefused when there are too few rows, no edge rows (model_export.onnx.edges), a number that differs
    by more than the limit, a decision that changes side, or a result that is not finite.
    """
    count = min(rows.shape[0] for rows in graph.rows.values())
    if count < graph.limits.min_rows:
        raise ExportRefused(f"{name}: {count} rows to compare; at least {graph.limits.min_rows} are needed")
    lacking = edge_faults(manifest, name, graph.rows) + threshold_faults(manifest, name, graph.thresholds)
    if lacking:
        raise ExportRefused(*lacking)
    try:
        session = Session(manifest.name, manifest.graph(name), data, Device.CPU)
        found = [(piece, session.run(_cut(graph.rows, piece))) for piece in _pieces(count)]
    except ClinicalError as problem:
        raise ExportRefused(problem.message) from problem
    parity = Parity(count, 0.0, 0)
    for piece, results in found:
        parity = _compare(graph, parity, results, graph.reference(_cut(graph.rows, piece)))
    reasons = []
    if not parity.difference <= graph.limits.tolerance:
        reasons.append(
            f"{name} differs from the trainer by {parity.difference:.3g} (limit {graph.limits.tolerance:g})"
        )
    if parity.flips:
        reasons.append(f"{name}: {parity.flips} decisions change side at the threshold")
    if reasons:
        raise ExportRefused(*reasons)
    return parity


def _pieces(count: int) -> list[slice]:
    """Batches 1, 3 and 8 first, then eights: every row once, every batch length seen."""
    pieces, start = [], 0
    for length in (*BATCHES, *([BATCHES[-1]] * count)):
        if start >= count:
            break
        pieces.append(slice(start, min(count, start + length)))
        start += length
    return pieces


def _cut(rows: Arrays, piece: slice) -> dict[str, Array]:
    return {name: values[piece] for name, values in rows.items()}


def _compare(graph: GraphCandidate, parity: Parity, results: Arrays, wanted: Arrays) -> Parity:
    difference, flips = parity.difference, parity.flips
    for name, found in results.items():
        if name not in wanted or found.shape != wanted[name].shape:
            raise ExportRefused(f"output {name!r} does not have the trainer's shape")
        step = np.abs(found.astype(np.float64) - wanted[name].astype(np.float64))
        # max() of an array with NaN is NaN, and NaN is not <= the limit: a trainer's NaN is refused too.
        difference = float(np.max(np.append(step.ravel(), difference)))
    ours, theirs = graph.decide(results[graph.output]), graph.decide(wanted[graph.output])
    for threshold in graph.thresholds:
        flips += int(np.count_nonzero((ours >= threshold) != (theirs >= threshold)))
    return replace(parity, difference=difference, flips=flips)


def _with_metadata(document: Mapping[str, Any], name: str, graph: GraphCandidate) -> Any:  # noqa: ANN401
    """Return a copy whose metadata_props name model, version and data, readable without our manifest."""
    try:
        said = {
            "name": document["name"],
            "graph": name,
            "version": document["version"],
            "data_sha256": json.dumps({one["name"]: one["sha256"] for one in document["training"]["data"]}),
            "thresholds": json.dumps([float(limit) for limit in graph.thresholds]),
            "not_for": document["not_for"],
        }
    except (KeyError, TypeError):
        raise ExportRefused("the manifest lacks name, version, not_for or the digests of training.data") from None
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    onnx.helper.set_model_props(model, {key: str(value) for key, value in said.items()})
    model.producer_name = "consilium"
    model.producer_version = str(document["version"])
    return model


def npz_bytes(arrays: Arrays) -> bytes:
    """Return the bytes of an .npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _golden(graph: GraphCandidate) -> dict[str, Array]:
    piece = _cut(graph.rows, slice(0, graph.golden_rows))
    outputs = graph.reference(piece)
    stored = {f"in_{name}": values for name, values in piece.items()}
    return stored | {f"out_{name}": values for name, values in outputs.items()}


def complete(candidate: Candidate, sealed: Mapping[str, _Sealed], arrays: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the manifest document with what only the finished files can say."""
    return {
        **candidate.document,
        "graphs": {name: dict(graph.document) for name, graph in sealed.items()},
        "arrays": {
            Path(file).stem: {"file": file, "sha256": hashlib.sha256(data).hexdigest()}
            for file, data in arrays.items()
        },
        "card": "card.md",
    }


def _write(files: Mapping[str, bytes], manifest: Manifest, out: Path) -> Path:
    """Write beside the target, verify as the server will, then rename into place."""
    size = sum(map(len, files.values()))
    if size > MAX_FOLDER_BYTES:
        raise ExportRefused(f"the folder would hold {size / 1e6:.1f} MB; the limit is {MAX_FOLDER_BYTES / 1e6:g}")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=out) as scratch:
        folder = Path(scratch) / "new" / manifest.name
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        try:
            Library(folder.parent).verify_all(manifest.name)
        except ClinicalError as problem:
            raise ExportRefused(problem.message) from problem
        target = out / manifest.name
        if target.exists():
            target.replace(Path(scratch) / "old")
        shutil.move(folder, target)
    return target


def tabular_rows(
    low: Array, high: Array, optional: Array, known: Array, *, seed: int, count: int = 2048
) -> NDArray[np.float64]:
    """Return rows to compare for a table of numbers: edge rows first, then real rows, then random ones.

    low, high: plausible range of each column. optional: True where NaN may stand. known: rows of the data.
    Edges: the middle, all at minimum, all at maximum, everything optional missing, each optional one
    missing alone, and values just outside the range.
    """
    rng = np.random.default_rng(seed)
    middle = (low + high) / 2
    edges = [middle, low, high, np.where(optional, np.nan, middle), low - 1, high + 1]
    edges += [np.where(np.arange(len(low)) == column, np.nan, middle) for column in np.flatnonzero(optional)]
    random = rng.uniform(low, high, (count, len(low)))
    random[(rng.random(random.shape) < 0.2) & optional] = np.nan
    return np.concatenate([np.array(edges), known, random]).astype(np.float64)
