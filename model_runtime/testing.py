"""Stand-ins for tests and the demo: a canned engine and valid manifests. Tiny ONNX: model_export/testing.py."""
# ruff: noqa: ANN401 - documents are JSON

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from clinical.breast_codes import BREAST_LESION_TERMS, BREAST_RECORD, BREASTS
from clinical.codes import MALIGNANT_NEOPLASM_OF_BREAST
from clinical.errors import Busy, ClinicalError, NotFound
from model_runtime.engine import ModelState, Outputs, State
from model_runtime.graphs import MODEL
from model_runtime.lesion_shape import NAMES as SHAPE_NAMES
from model_runtime.manifest import Manifest, parse_manifest
from model_runtime.source_attributes import ATTRIBUTES, NOT_ASSESSED
from model_runtime.tasks.coding import coding_document
from model_runtime.tasks.lesion import DIAGNOSIS, IMAGE, OUTLINE, record_columns, record_document

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Document = dict[str, Any]
NO_DIGEST = "0" * 64
GOLDEN = {"file": "golden.npz", "sha256": NO_DIGEST, "tolerance": 1e-6}
DIABETES_FEATURES = (
    ("age", "Age", "a", True, 18, 120),
    ("sex_male", "Sex", "", True, 0, 1),
    ("bmi", "Body mass index", "kg/m2", False, 10, 100),
    ("waist_cm", "Waist", "cm", False, 40, 250),
    ("diastolic_mm_hg", "Diastolic pressure", "mm[Hg]", False, 20, 200),
    ("family_history", "Diabetes in a close relative", "", False, 0, 1),
    ("fasting_glucose_mg_dl", "Fasting glucose", "mg/dL", False, 20, 800),
)


LESION_TOKENS = (("dark", "dark inside"), ("rough", "rough outline"), ("tall", "taller than wide"))


@dataclass(frozen=True, slots=True)
class Slow:
    """An answer that takes its time; with a shorter `timeout_s` it is Busy, after that time."""

    delay_s: float
    outputs: Arrays


Answer = Arrays | ClinicalError | Slow | Callable[[Arrays], Arrays]


class CannedEngine:
    """An Engine that answers from a table.

    answers: model name, or (model name, graph), -> the outputs, an error to raise, a `Slow` answer, or a function
        of the inputs.
    manifests: model name -> manifest. Both missing means NotFound. arrays: (model, key) -> arrays.
    calls: (model, inputs) in order, for assertions.
    """

    def __init__(
        self,
        answers: Mapping[str | tuple[str, str], Answer],
        manifests: Mapping[str, Manifest] | None = None,
        arrays: Mapping[tuple[str, str], Mapping[str, Array]] | None = None,
    ) -> None:
        self._answers = dict(answers)
        self._manifests = dict(manifests or {})
        self._arrays = dict(arrays or {})
        self.calls: list[tuple[str, dict[str, Array]]] = []

    def run(
        self, model: str, inputs: Mapping[str, Array], *, graph: str = MODEL, timeout_s: float | None = None
    ) -> Outputs:
        """See model_runtime.engine.Engine. An answer that is `Outputs` says where it was computed."""
        self.calls.append((model, dict(inputs)))
        answer = self._answers.get((model, graph), self._answers.get(model))
        if answer is None:
            raise NotFound(f"there is no model named {model}")
        if isinstance(answer, ClinicalError):
            raise answer
        if isinstance(answer, Slow):
            _sleep(model, answer.delay_s, timeout_s)
            answer = answer.outputs
        found = answer(inputs) if callable(answer) else answer
        return found if isinstance(found, Outputs) else Outputs(found)

    def manifest(self, model: str) -> Manifest:
        """See model_runtime.engine.Engine."""
        try:
            return self._manifests[model]
        except KeyError:
            raise NotFound(f"there is no model named {model}") from None

    def arrays(self, model: str, key: str) -> Mapping[str, Array]:
        """See model_runtime.engine.Engine."""
        try:
            return self._arrays[model, key]
        except KeyError:
            raise NotFound(f"model {model} has no arrays named {key}") from None

    def card(self, model: str) -> str:
        """Every model has a card of one line."""
        return f"# {self.manifest(model).title}\n"

    def ready(self) -> tuple[ModelState, ...]:
        """Everything is ready, except models whose answer is an error."""
        names = sorted({key if isinstance(key, str) else key[0] for key in self._answers})
        return tuple(
            ModelState(
                name,
                "0.0.0",
                State.BROKEN if isinstance(self._answers.get(name), ClinicalError) else State.READY,
            )
            for name in names
        )


def _sleep(model: str, delay_s: float, timeout_s: float | None) -> None:
    if timeout_s is not None and timeout_s < delay_s:
        time.sleep(timeout_s)
        raise Busy(f"model {model} did not become free in time")
    time.sleep(delay_s)


def risk_document(name: str = "diabetes-risk", **changes: Any) -> Document:
    """Return a valid manifest.json of a risk model with seven features and one graph."""
    keys = ("name", "label", "unit", "required", "minimum", "maximum")
    rest = {
        "codes": [_coding("73211009", "Diabetes mellitus")],
        "look_back_days": None,
        "imputation": "none: missing is a value of its own",
    }
    names = [feature[0] for feature in DIABETES_FEATURES]
    return {
        **_common(name, "risk"),
        "graphs": {
            MODEL: graph_document(
                [tensor_document("features", "float64", ["batch", len(names)], ["person", "feature"])],
                [tensor_document("probability", "float64", ["batch", 1], ["person", "class"])],
            )
        },
        "features": [dict(zip(keys, feature, strict=True)) | rest for feature in DIABETES_FEATURES],
        "outcome": _coding("73211009", "Diabetes mellitus"),
        "variants": [
            {
                "graph": MODEL,
                "features": names,
                "requires": names[:2],
                "policy": {"report_from": 0.2, "warn_from": 0.4, "rule": "chosen for tests"},
                "conformal": {"alpha": 0.1, "negative": 0.5, "positive": 0.9, "rows": 100},
            }
        ],
        **changes,
    }


def segmentation_document(
    name: str = "lung-nodule", rows: int = 16, columns: int = 16, **changes: Any
) -> Document:
    """Return a valid manifest.json of a segmentation model with one grey channel."""
    shape: list[int | str] = ["batch", rows, columns, 1]
    axes = ["image", "row", "column", "channel"]
    return {
        **_common(name, "segmentation"),
        "graphs": {
            MODEL: graph_document(
                [tensor_document("image", "float32", shape, axes)],
                [tensor_document("probability", "float32", shape, axes)],
                heavy=True,
            )
        },
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
        "thresholds": {"mask": 0.5, "report": 0.5, "min_area_px": 4, "rule": "chosen for tests"},
        **changes,
    }


LESION_TOKENS = (
    ("dark", "darker than its surroundings"),
    ("rough", "rough outline"),
    ("tall", "taller than wide"),
)


def lesion_document(name: str = "breast-lesion", size: int = 16, crop: int = 8, **changes: Any) -> Document:
    """Return a valid manifest.json of a lesion model: pictures of size x size, squares of crop x crop."""
    terms = {
        part: coding_document(getattr(BREAST_LESION_TERMS, part))
        for part in ("category", "kind", "observation", "body_site")
    }
    return {
        **_common(name, "lesion"),
        "graphs": _lesion_graphs(size, crop),
        "image": {
            "modalities": ["US"],
            "rows": size,
            "columns": size,
            "fit": "letterbox",
            "normalise": {"percentiles": [0.0, 100.0], "local_radius_px": None},
        },
        "outline": {
            "mask": 0.5,
            "report": 0.5,
            "min_area_px": 4,
            "zoom": 2.0,
            "min_side_px": 4,
            "rule": "chosen for tests",
        },
        "crop": {"size": crop, "zoom": 1.5, "min_side_px": 4, "low_percentile": 0.0, "high_percentile": 100.0},
        "shape": list(SHAPE_NAMES),
        "tokens": [{"name": token, "label": label} for token, label in LESION_TOKENS],
        "segment": {**terms, "label": BREAST_LESION_TERMS.label},
        "outcome": coding_document(MALIGNANT_NEOPLASM_OF_BREAST),
        "body_parts": ["BREAST"],
        "regions": [coding_document(region) for region in BREASTS],
        "record": record_document(BREAST_RECORD),
        "variants": [
            _lesion_variant("category and image", "category", "image"),
            _lesion_variant("descriptors and image", "descriptors", "image"),
            _lesion_variant("image", "image"),
            _lesion_variant("category", "category"),
            _lesion_variant("descriptors", "descriptors"),
        ],
        **changes,
    }


def _lesion_variant(name: str, *requires: str) -> Document:
    return {
        "name": name,
        "requires": list(requires),
        "policy": {"report_from": 0.0, "warn_from": 0.5, "rule": "chosen for tests"},
        "conformal": {"alpha": 0.1, "negative": 0.4, "positive": 0.4, "rows": 100},
    }


def _lesion_graphs(size: int, crop: int) -> Document:
    batch: list[int | str] = ["batch"]
    pixels, numbers = ["image", "row", "column", "channel"], ["lesion", "number"]
    probability = tensor_document("probability", "float32", [*batch, 1], numbers)
    tokens = [*batch, len(LESION_TOKENS)]
    inputs = {
        OUTLINE: [tensor_document("image", "float32", [*batch, size, size, 1], pixels)],
        IMAGE: [
            tensor_document("crop", "float32", [*batch, crop, crop, 2], pixels),
            tensor_document("shape", "float32", [*batch, len(SHAPE_NAMES)], numbers),
        ],
        DIAGNOSIS: [
            tensor_document("record", "float32", [*batch, record_columns(BREAST_RECORD)], numbers),
            tensor_document("record_known", "float32", [*batch, len(BREAST_RECORD)], numbers),
            tensor_document("image", "float32", tokens, numbers),
            tensor_document("image_known", "float32", [*batch, 2], numbers),
        ],
    }
    outputs = {
        OUTLINE: [tensor_document("probability", "float32", [*batch, size, size, 1], pixels)],
        IMAGE: [tensor_document("tokens", "float32", tokens, numbers), probability],
        DIAGNOSIS: [probability, probability | {"name": "record_probability"}],
    }
    files = {name: {"file": f"{name}.onnx", "golden": {**GOLDEN, "file": f"{name}_golden.npz"}} for name in inputs}
    return {
        name: graph_document(inputs[name], outputs[name], heavy=name != DIAGNOSIS, **files[name])
        for name in inputs
    }


def forecast_document(name: str = "heart-rate-trend", **changes: Any) -> Document:
    """Return a valid manifest.json of a forecast model; keyword arguments replace keys of its policy."""
    policy = {
        "direction_from": 0.2,
        "widest": [30.0, 40.0, 50.0],
        "usual_low": 0.02,
        "usual_high": 0.98,
        "usual_from_hours": 12.0,
        "guard_low": 40.0,
        "guard_high": 130.0,
        "rule": "chosen for tests",
    }
    rate = {"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"}
    shapes = {"recent": [24, 3], "minutes": [15], "hours": [24], "person": [12]}
    inputs = [
        tensor_document(key, "float32", ["batch", *shape], ["window", *["step"] * len(shape)])
        for key, shape in shapes.items()
    ]
    outputs = [
        tensor_document(key, "float32", ["batch", 3, 3], ["window", "horizon", axis])
        for key, axis in (("change", "quantile"), ("trend", "class"))
    ]
    return {
        **_common(name, "forecast"),
        "graphs": {MODEL: graph_document(inputs, outputs)},
        "forecast": {
            "quantity": rate,
            "unit": "/min",
            "horizons_min": [15, 30, 60],
            "quantiles": [0.1, 0.5, 0.9],
            "band": 5.0,
            "inputs": [
                {
                    "name": "heart_rate",
                    "label": "Heart rate",
                    "unit": "/min",
                    "required": True,
                    "minimum": 20,
                    "maximum": 250,
                    "codes": [rate],
                    "look_back_min": 10080,
                    "imputation": "none",
                }
            ],
            "policy": policy | changes,
            "intervals": {"alpha": 0.2, "rows": 100, "scales": [[1.0, 1.0]] * 3},
            "subjects": ["w00", "w01"],
        },
    }


def tensor_document(name: str, dtype: str, shape: list[int | str], axes: list[str], **changes: Any) -> Document:
    """Return an input or output of a graph as a manifest writes it."""
    return {
        "name": name,
        "dtype": dtype,
        "shape": shape,
        "axes": axes,
        "unit": "",
        "range": [None, None],
        **changes,
    }


def graph_document(inputs: list[Document], outputs: list[Document], **changes: Any) -> Document:
    """Return a graph as a manifest writes it, in the files `model.onnx` and `golden.npz`."""
    return {
        "file": "model.onnx",
        "sha256": NO_DIGEST,
        "opset": {"": 18},
        "intra_op_threads": 1,
        "heavy": False,
        "precision": "float32",
        "tested_on": ["cpu"],
        "inputs": inputs,
        "outputs": outputs,
        "golden": GOLDEN,
        **changes,
    }


def _common(name: str, task: str) -> Document:
    no_data = {
        "name": "none",
        "citation": "none",
        "licence": "none",
        "subjects": 0,
        "rows": 0,
        "sha256": NO_DIGEST,
    }
    return {
        "schema": 2,
        "name": name,
        "version": "0.1.0",
        "title": "A model for tests",
        "task": task,
        "notice": None,
        "intended_use": "Tests.",
        "population": "None.",
        "not_for": "Anything else.",
        "arrays": {},
        "training": {"data": [no_data], "seed": 0, "recipe": "written by hand", "minutes": 0, "versions": {}},
        "metrics": {},
        "reference": {
            "features": {"age": {"edges": [40.0, 60.0], "shares": [0.25, 0.5, 0.25], "missing": 0.0}},
            "score": {"edges": [0.5], "shares": [0.5, 0.5], "missing": 0.0},
        },
        "transparency": {attribute.key: NOT_ASSESSED for attribute in ATTRIBUTES},
        "card": "card.md",
    }


def _coding(code: str, display: str) -> Document:
    return {"system": "http://snomed.info/sct", "code": code, "display": display}


def manifest_of(document: Mapping[str, Any]) -> Manifest:
    """Return the manifest of a document, checked as the server checks it."""
    return parse_manifest(json.dumps(document).encode(), str(document.get("name", "?")))
