"""Stand-ins for tests and the demo: a canned engine, valid manifests, tiny ONNX models and their folders.

Making ONNX files needs the `onnx` package (extra `dev` or `export`); everything else here does not.
"""
# ruff: noqa: ANN401 - documents are JSON, and onnx is untyped

import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.errors import Busy, ClinicalError, NotFound
from model_runtime.engine import ModelState, State
from model_runtime.manifest import Manifest, parse_manifest

Array = NDArray[Any]
Outputs = Mapping[str, Array]
Document = dict[str, Any]
NO_DIGEST = "0" * 64
DIABETES_FEATURES = (
    ("age", "Age", "a", True, 18, 120),
    ("sex_male", "Male sex", "", True, 0, 1),
    ("bmi", "Body mass index", "kg/m2", False, 10, 100),
    ("waist_cm", "Waist", "cm", False, 40, 250),
    ("diastolic_mm_hg", "Diastolic pressure", "mm[Hg]", False, 20, 200),
    ("family_history", "Diabetes in a close relative", "", False, 0, 1),
    ("fasting_glucose_mg_dl", "Fasting glucose", "mg/dL", False, 20, 800),
)


@dataclass(frozen=True, slots=True)
class Slow:
    """An answer that takes its time; with a shorter `timeout_s` it is Busy, after that time."""

    delay_s: float
    outputs: Outputs


Answer = Outputs | ClinicalError | Slow | Callable[[Mapping[str, Array]], Outputs]


class CannedEngine:
    """An Engine that answers from a table.

    answers: model name -> the outputs, an error to raise, a `Slow` answer, or a function of the inputs.
    manifests: model name -> manifest. Both missing means NotFound.
    calls: (model, inputs) in order, for assertions.
    """

    def __init__(self, answers: Mapping[str, Answer], manifests: Mapping[str, Manifest] | None = None) -> None:
        self._answers = dict(answers)
        self._manifests = dict(manifests or {})
        self.calls: list[tuple[str, dict[str, Array]]] = []

    def run(self, model: str, inputs: Mapping[str, Array], *, timeout_s: float | None = None) -> dict[str, Array]:
        """See model_runtime.engine.Engine."""
        self.calls.append((model, dict(inputs)))
        answer = self._answers.get(model)
        if answer is None:
            raise NotFound(f"there is no model named {model}")
        if isinstance(answer, ClinicalError):
            raise answer
        if isinstance(answer, Slow):
            _sleep(model, answer.delay_s, timeout_s)
            return dict(answer.outputs)
        return dict(answer(inputs) if callable(answer) else answer)

    def manifest(self, model: str) -> Manifest:
        """See model_runtime.engine.Engine."""
        try:
            return self._manifests[model]
        except KeyError:
            raise NotFound(f"there is no model named {model}") from None

    def ready(self) -> tuple[ModelState, ...]:
        """Everything is ready, except models whose answer is an error."""
        return tuple(
            ModelState(name, "0.0.0", State.BROKEN if isinstance(answer, ClinicalError) else State.READY)
            for name, answer in sorted(self._answers.items())
        )


def _sleep(model: str, delay_s: float, timeout_s: float | None) -> None:
    if timeout_s is not None and timeout_s < delay_s:
        time.sleep(timeout_s)
        raise Busy(f"model {model} did not become free in time")
    time.sleep(delay_s)


def risk_document(name: str = "diabetes-risk", **changes: Any) -> Document:
    """Return a valid manifest.json of a risk model with the seven features of diabetes-risk."""
    keys = ("name", "label", "unit", "required", "minimum", "maximum")
    return {
        **_common(name, "risk"),
        "opset": {"": 18},
        "inputs": [{"name": "features", "dtype": "float64", "shape": ["batch", len(DIABETES_FEATURES)]}],
        "outputs": [{"name": "probability", "dtype": "float64", "shape": ["batch", 1]}],
        "features": [dict(zip(keys, feature, strict=True)) for feature in DIABETES_FEATURES],
        "outcome": _coding("73211009", "Diabetes mellitus"),
        "policy": {"report_from": 0.2, "warn_from": 0.4},
        **changes,
    }


def segmentation_document(
    name: str = "lung-nodule", rows: int = 16, columns: int = 16, **changes: Any
) -> Document:
    """Return a valid manifest.json of a segmentation model with one grey channel."""
    shape = ["batch", rows, columns, 1]
    return {
        **_common(name, "segmentation"),
        "opset": {"": 18},
        "inputs": [{"name": "image", "dtype": "float32", "shape": shape}],
        "outputs": [{"name": "probability", "dtype": "float32", "shape": shape}],
        "image": {
            "modalities": ["CR", "DX"],
            "rows": rows,
            "columns": columns,
            "fit": "letterbox",
            "normalise": {"percentiles": [0.0, 100.0], "local_radius_px": None},
        },
        "segment": {
            "category": _coding("49755003", "Morphologically abnormal structure"),
            "kind": _coding("27925004", "Nodule"),
            "observation": _coding("427359005", "Solitary nodule of lung"),
            "body_site": _coding("39607008", "Lung structure"),
            "label": "lung nodule",
        },
        "thresholds": {"mask": 0.5, "report": 0.5, "min_area_px": 4},
        **changes,
    }


def _common(name: str, task: str) -> Document:
    return {
        "schema": 1,
        "name": name,
        "version": "0.1.0",
        "title": "A model for tests",
        "task": task,
        "intended_use": "Tests.",
        "not_for": "Anything else.",
        "file": "model.onnx",
        "sha256": NO_DIGEST,
        "intra_op_threads": 1,
        "golden": {"file": "golden.npz", "sha256": NO_DIGEST, "tolerance": 1e-6},
        "training": {"data": "none", "licence": "none", "data_sha256": NO_DIGEST, "seed": 0, "versions": {}},
        "metrics": {},
        "card": "card.md",
    }


def _coding(code: str, display: str) -> Document:
    return {"system": "http://snomed.info/sct", "code": code, "display": display}


def manifest_of(document: Mapping[str, Any]) -> Manifest:
    """Return the manifest of a document, checked as the server checks it."""
    return parse_manifest(json.dumps(document).encode(), str(document.get("name", "?")))


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    """Return the bytes of an .npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def write_model(models: Path, document: Mapping[str, Any], model: bytes, golden: Mapping[str, Array]) -> Path:
    """Write `models/<name>/` with digests that fit the bytes; return the folder.

    golden: `in_<input name>` and `out_<output name>` arrays.
    """
    folder = models / str(document["name"])
    folder.mkdir(parents=True)
    stored = npz_bytes(golden)
    whole = {
        **document,
        "sha256": hashlib.sha256(model).hexdigest(),
        "golden": {**document["golden"], "sha256": hashlib.sha256(stored).hexdigest()},
    }
    (folder / "model.onnx").write_bytes(model)
    (folder / "golden.npz").write_bytes(stored)
    (folder / "manifest.json").write_text(json.dumps(whole, indent=1), "utf-8")
    (folder / "card.md").write_text("# A model for tests\n", "utf-8")
    return folder


def write_tiny_risk(models: Path, **changes: Any) -> Path:
    """Write a risk model: P = 1 / (1 + exp(-(glucose - 126) / 20)), 0.2 when glucose is NaN."""
    features = np.full((2, len(DIABETES_FEATURES)), np.nan)
    features[0, -1] = 126.0
    golden = {"in_features": features, "out_probability": np.array([[0.5], [0.2]])}
    return write_model(models, risk_document(**changes), tiny_risk_onnx(), golden)


def write_tiny_segmentation(models: Path, rows: int = 16, columns: int = 16, **changes: Any) -> Path:
    """Write a segmentation model whose probability is the grey value itself, cut to 0..1."""
    image = np.linspace(0, 1, rows * columns, dtype=np.float32).reshape(1, rows, columns, 1)
    golden = {"in_image": image, "out_probability": image}
    document = segmentation_document(rows=rows, columns=columns, **changes)
    return write_model(models, document, tiny_segmentation_onnx(rows, columns), golden)


def tiny_risk_onnx() -> bytes:
    """Return the ONNX bytes of `write_tiny_risk`'s model."""
    from onnx import helper, numpy_helper  # noqa: PLC0415 - only makers of files need onnx

    constants = {"last": np.array([6]), "mean": np.array(126.0), "width": np.array(20.0), "base": np.array(0.2)}
    nodes = [
        helper.make_node("Gather", ["features", "last"], ["glucose"], axis=1),
        helper.make_node("Sub", ["glucose", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "width"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["known"]),
        helper.make_node("IsNaN", ["glucose"], ["absent"]),
        helper.make_node("Where", ["absent", "base", "known"], ["probability"]),
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    return onnx_bytes(nodes, initializers, risk_document())


def tiny_segmentation_onnx(rows: int = 16, columns: int = 16) -> bytes:
    """Return the ONNX bytes of `write_tiny_segmentation`'s model."""
    from onnx import helper, numpy_helper  # noqa: PLC0415 - only makers of files need onnx

    limits = {"low": np.float32(0), "high": np.float32(1)}
    nodes = [helper.make_node("Clip", ["image", "low", "high"], ["probability"])]
    initializers = [numpy_helper.from_array(np.array(value), name) for name, value in limits.items()]
    return onnx_bytes(nodes, initializers, segmentation_document(rows=rows, columns=columns))


def onnx_bytes(nodes: list[Any], initializers: list[Any], document: Mapping[str, Any]) -> bytes:
    """Return an ONNX file of these nodes with the inputs and outputs of a manifest document."""
    from onnx import helper  # noqa: PLC0415 - only makers of files need onnx

    def value(spec: Mapping[str, Any]) -> Any:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec["dtype"]))
        return helper.make_tensor_value_info(spec["name"], kind, spec["shape"])

    inputs = [value(spec) for spec in document["inputs"]]
    outputs = [value(spec) for spec in document["outputs"]]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    opsets = [helper.make_opsetid(domain, version) for domain, version in document["opset"].items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return bytes(model.SerializeToString())
