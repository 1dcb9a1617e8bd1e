"""The trainer's own way to answer, timed beside the exported graph: Keras' predict and call, or predict_proba.

The files are those that a recipe keeps on request, from one's own training: a joblib file is code, and nobody
else's may be opened here.
"""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmarks.cases import Case

# What registers the layers of our own that a file may hold.
OWN_LAYERS = (
    "model_export.onnx.keras_network",
    "model_export.recipes.breast_outline",
    "model_export.recipes.breast_diagnosis",
)
Predict = Callable[[Mapping[str, NDArray[Any]]], object]


def ways(case: Case, folders: list[Path]) -> list[tuple[str, Predict]]:
    """Return the ways to ask the trainer of a graph: `<model>/trainer/<graph>` in one of the folders, or none."""
    name = case.model.split()[0]
    for folder in folders:
        file = folder / name / "trainer" / case.graph
        if file.with_suffix(".keras").is_file():
            return _keras(file.with_suffix(".keras"))
        if (file / "saved_model.pb").is_file():
            return [_saved_model(file)]
        if file.with_suffix(".joblib").is_file():
            return [_sklearn(file.with_suffix(".joblib"))]
    return []


def _keras(file: Path) -> list[tuple[str, Predict]]:
    import keras  # noqa: PLC0415 - two seconds and a gigabyte
    import tensorflow as tf  # noqa: PLC0415

    for module in OWN_LAYERS:
        importlib.import_module(module)
    model = keras.models.load_model(file, compile=False)
    names = [tensor.name for tensor in model.inputs]

    def arranged(inputs: Mapping[str, NDArray[Any]]) -> Any:
        if isinstance(model.input, dict):
            return dict(inputs)
        values = [inputs[name] for name in names] if set(names) == set(inputs) else list(inputs.values())
        return values[0] if len(values) == 1 else values

    compiled = tf.function(lambda values: model(values, training=False), reduce_retracing=True)
    return [
        ("Keras predict", lambda inputs: model.predict(arranged(inputs), verbose=0)),
        ("TensorFlow, compiled function", lambda inputs: compiled(arranged(inputs))),
    ]


def _saved_model(folder: Path) -> tuple[str, Predict]:
    import tensorflow as tf  # noqa: PLC0415 - as above

    loaded = tf.saved_model.load(folder)
    names = [spec.name for spec in tf.nest.flatten(loaded.serve.input_signature or ())]

    def serve(inputs: Mapping[str, NDArray[Any]]) -> object:
        ordered = [inputs[name] for name in names] if set(names) == set(inputs) else list(inputs.values())
        return loaded.serve(ordered if len(ordered) > 1 else ordered[0])

    return "TensorFlow, SavedModel", serve


def _sklearn(file: Path) -> tuple[str, Predict]:
    import joblib  # noqa: PLC0415

    estimator = joblib.load(file)
    return "scikit-learn predict_proba", lambda inputs: estimator.predict_proba(next(iter(inputs.values())))
