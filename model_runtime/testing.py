"""Stand-ins for tests and the demo: a canned engine and valid manifests. Tiny ONNX: model_export/testing.py."""
# ruff: noqa: ANN401 - documents are JSON

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

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
    ("sex_male", "Sex", "", True, 0, 1),
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
