"""Tiny ONNX models with a known answer, and folders of them, for tests. Needs `onnx`: extra `dev` or `export`."""
# ruff: noqa: ANN401 - documents are JSON, and onnx is untyped

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from clinical.breast_codes import BREAST_RECORD
from model_export.onnx.gate import npz_bytes
from model_runtime.graphs import MODEL
from model_runtime.lesion_shape import NAMES as SHAPE_NAMES
from model_runtime.lesion_tensors import columns_of
from model_runtime.tasks.lesion import DIAGNOSIS, IMAGE, OUTLINE, record_columns
from model_runtime.testing import (
    DIABETES_FEATURES,
    LESION_TOKENS,
    lesion_document,
    risk_document,
    segmentation_document,
)

Array = NDArray[Any]


def write_model(models: Path, document: Mapping[str, Any], model: bytes, golden: Mapping[str, Array]) -> Path:
    """Write `models/<name>/` of a model with one graph; see write_graphs."""
    return write_graphs(models, document, {MODEL: (model, golden)})


def write_graphs(
    models: Path,
    document: Mapping[str, Any],
    graphs: Mapping[str, tuple[bytes, Mapping[str, Array]]],
    arrays: Mapping[str, Mapping[str, Array]] | None = None,
) -> Path:
    """Write `models/<name>/` with digests that fit the bytes; return the folder.

    graphs: by name, the ONNX file and its golden `in_<input name>` and `out_<output name>` arrays, for every graph
        of the document. arrays: by key, what explains the model.
    """
    folder = models / str(document["name"])
    folder.mkdir(parents=True)
    sealed = {}
    for name, (model, golden) in graphs.items():
        graph = document["graphs"][name]
        golden_file = graph["golden"]["file"]
        digest = _written(folder / graph["file"], model)
        golden_digest = _written(folder / golden_file, npz_bytes(golden))
        sealed[name] = {**graph, "sha256": digest, "golden": {**graph["golden"], "sha256": golden_digest}}
    listed = {
        key: {"file": f"{key}.npz", "sha256": _written(folder / f"{key}.npz", npz_bytes(values))}
        for key, values in (arrays or {}).items()
    }
    whole = {**document, "graphs": sealed, "arrays": listed}
    (folder / "manifest.json").write_text(json.dumps(whole, indent=1), "utf-8")
    (folder / "card.md").write_text("# A model for tests\n", "utf-8")
    return folder


def _written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def write_tiny_variants(models: Path, name: str = "two-risk") -> Path:
    """Write a risk model of two graphs: `lab` is write_tiny_risk's, `no_lab` says age / 200 from age alone."""
    document = risk_document(name)
    (lab,), (variant,) = document["graphs"].values(), document["variants"]
    wide, narrow = lab["inputs"][0], {**lab["inputs"][0], "shape": ["batch", 1]}
    document["graphs"] = {
        key: {**lab, "file": f"{key}.onnx", "golden": {**lab["golden"], "file": f"{key}.npz"}, "inputs": [tensor]}
        for key, tensor in (("lab", wide), ("no_lab", narrow))
    }
    document["variants"] = [
        {**variant, "graph": "lab", "requires": ["age", "fasting_glucose_mg_dl"]},
        {**variant, "graph": "no_lab", "requires": ["age"], "features": ["age"]},
    ]
    node = helper.make_node("Div", ["features", "years"], ["probability"])
    by_age = onnx_bytes([node], [numpy_helper.from_array(np.array(200.0), "years")], document, "no_lab")
    graphs = {
        "lab": (tiny_risk_onnx(), tiny_risk_golden()),
        "no_lab": (by_age, {"in_features": np.array([[50.0]]), "out_probability": np.array([[0.25]])}),
    }
    return write_graphs(models, document, graphs, {"explain": {"base": np.array([0.2])}})


def write_tiny_risk(models: Path, **changes: Any) -> Path:
    """Write a risk model: P = 1 / (1 + exp(-(glucose - 126) / 20)), 0.2 when glucose is NaN."""
    return write_model(models, risk_document(**changes), tiny_risk_onnx(), tiny_risk_golden())


def tiny_risk_golden() -> dict[str, Array]:
    """Return two rows of `write_tiny_risk`'s model, without and with what it does not know."""
    features = np.full((2, len(DIABETES_FEATURES)), np.nan)
    features[0, -1] = 126.0
    return {"in_features": features, "out_probability": np.array([[0.5], [0.2]])}


def write_tiny_segmentation(models: Path, rows: int = 16, columns: int = 16, **changes: Any) -> Path:
    """Write a segmentation model whose probability is the grey value itself, cut to 0..1."""
    image = np.linspace(0, 1, rows * columns, dtype=np.float32).reshape(1, rows, columns, 1)
    golden = {"in_image": image, "out_probability": image}
    document = segmentation_document(rows=rows, columns=columns, **changes)
    return write_model(models, document, tiny_segmentation_onnx(rows, columns), golden)


def write_tiny_lesion(models: Path, size: int = 16, crop: int = 8, **changes: Any) -> Path:
    """Write a lesion model of three graphs with simple answers.

    outline: the probability is the grey value. image: token 0 and the probability are the mean grey value of the
    crop, the other tokens are 0. diagnosis: sigmoid(-2 + 4 * token 0 + 3 for BI-RADS 5 - 2 for BI-RADS 2).
    """
    document = lesion_document(size=size, crop=crop, **changes)
    picture = np.linspace(0, 1, size * size, dtype=np.float32).reshape(1, size, size, 1)
    square = np.full((1, crop, crop, 2), 0.5, np.float32)
    tokens = np.zeros((1, len(LESION_TOKENS)), np.float32)
    tokens[0, 0] = 0.5
    half = np.full((1, 1), 0.5, np.float32)
    record = np.zeros((1, record_columns(BREAST_RECORD)), np.float32)
    known = {"record_known": np.zeros((1, len(BREAST_RECORD)), np.float32), "image_known": half.repeat(2, 1) * 2}
    golden: dict[str, Mapping[str, Array]] = {
        OUTLINE: {"in_image": picture, "out_probability": picture},
        IMAGE: {
            "in_crop": square,
            "in_shape": np.zeros((1, len(SHAPE_NAMES)), np.float32),
            "out_tokens": tokens,
            "out_probability": half,
        },
        DIAGNOSIS: {
            "in_record": record,
            "in_image": tokens,
            **{f"in_{name}": value for name, value in known.items()},
            "out_probability": half,
            "out_record_probability": np.full((1, 1), 1 / (1 + np.exp(2)), np.float32),
        },
    }
    made = {
        OUTLINE: _clip_onnx(document, OUTLINE),
        IMAGE: _tiny_image_onnx(document),
        DIAGNOSIS: _tiny_diagnosis_onnx(document),
    }
    return write_graphs(models, document, {name: (made[name], golden[name]) for name in made})


def _tiny_image_onnx(document: Mapping[str, Any]) -> bytes:
    constants = {
        "grey_only": np.array([[1], [0]], np.float32),
        "axes": np.array([1, 2]),
        "spread": np.eye(1, len(LESION_TOKENS), dtype=np.float32),
        "nothing": np.zeros((len(SHAPE_NAMES), 1), np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["crop", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "grey_only"], ["grey"]),
        helper.make_node("MatMul", ["grey", "spread"], ["tokens"]),
        helper.make_node("MatMul", ["shape", "nothing"], ["zero"]),
        helper.make_node("Add", ["grey", "zero"], ["probability"]),
    ]
    return onnx_bytes(nodes, _constants(constants), document, IMAGE)


def _tiny_diagnosis_onnx(document: Mapping[str, Any]) -> bytes:
    columns = columns_of(BREAST_RECORD)["birads"]
    names = [value.name for value in BREAST_RECORD[-1].values]
    weights = np.zeros((record_columns(BREAST_RECORD), 1), np.float32)
    weights[columns.start + names.index("5")] = 3
    weights[columns.start + names.index("2")] = -2
    constants = {
        "weights": weights,
        "base": np.full((1, 1), -2, np.float32),
        "of_record": np.zeros((len(BREAST_RECORD), 1), np.float32),
        "of_image": np.eye(len(LESION_TOKENS), 1, dtype=np.float32) * 4,
        "there": np.array([[1], [0]], np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["record", "weights"], ["told"]),
        helper.make_node("MatMul", ["record_known", "of_record"], ["zero"]),
        helper.make_node("Sum", ["told", "zero", "base"], ["record_score"]),
        helper.make_node("MatMul", ["image", "of_image"], ["seen"]),
        helper.make_node("MatMul", ["image_known", "there"], ["is_there"]),
        helper.make_node("Mul", ["seen", "is_there"], ["image_score"]),
        helper.make_node("Add", ["record_score", "image_score"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["probability"]),
        helper.make_node("Sigmoid", ["record_score"], ["record_probability"]),
    ]
    return onnx_bytes(nodes, _constants(constants), document, DIAGNOSIS)


def _constants(values: Mapping[str, Array]) -> list[Any]:
    return [numpy_helper.from_array(value, name) for name, value in values.items()]


def tiny_risk_onnx() -> bytes:
    """Return the ONNX bytes of `write_tiny_risk`'s model."""
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
    return _clip_onnx(segmentation_document(rows=rows, columns=columns), MODEL)


def _clip_onnx(document: Mapping[str, Any], graph: str) -> bytes:
    limits = {"low": np.array(np.float32(0)), "high": np.array(np.float32(1))}
    nodes = [helper.make_node("Clip", ["image", "low", "high"], ["probability"])]
    return onnx_bytes(nodes, _constants(limits), document, graph)


def onnx_bytes(
    nodes: list[Any], initializers: list[Any], document: Mapping[str, Any], graph: str = MODEL
) -> bytes:
    """Return an ONNX file of these nodes with the inputs and outputs of a graph of a manifest document."""

    def value(spec: Mapping[str, Any]) -> Any:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec["dtype"]))
        return helper.make_tensor_value_info(spec["name"], kind, spec["shape"])

    described = document["graphs"][graph]
    inputs = [value(spec) for spec in described["inputs"]]
    outputs = [value(spec) for spec in described["outputs"]]
    tiny = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    opsets = [helper.make_opsetid(domain, version) for domain, version in described["opset"].items()]
    model = helper.make_model(tiny, opset_imports=opsets, ir_version=9)
    return bytes(model.SerializeToString())
