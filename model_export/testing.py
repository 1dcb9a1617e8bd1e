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

from model_export.onnx.gate import npz_bytes
from model_runtime.graphs import MODEL
from model_runtime.testing import DIABETES_FEATURES, risk_document, segmentation_document

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
    limits = {"low": np.float32(0), "high": np.float32(1)}
    nodes = [helper.make_node("Clip", ["image", "low", "high"], ["probability"])]
    initializers = [numpy_helper.from_array(np.array(value), name) for name, value in limits.items()]
    return onnx_bytes(nodes, initializers, segmentation_document(rows=rows, columns=columns))


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
