"""Fit and export the lung nodule model; the only part of its recipe that needs TensorFlow."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model_export.datasets.crops import Crops, Mixture
from model_export.datasets.radiograph import canvas
from model_export.onnx.gate import release
from model_export.onnx.keras_network import keras_model
from model_export.recipe import Progress
from model_export.recipes import segmentation_network as network
from model_export.recipes.lung_nodule import candidate, gate_rows, manifest_document, onnx_predict
from model_export.recipes.lung_nodule_data import SPEC, Sets
from model_export.recipes.lung_nodule_measure import Predict, choose_thresholds, measure, selection_score

Float = NDArray[np.float32]
CHECK_EVERY = 300
WEIGHTS = "last.weights.h5"
# First find nodules, then draw them as large as they are: with equal weights the regions shrink to their rims.
PHASES = (
    network.Budget(steps=5600, minutes=24 * 60),
    network.Budget(steps=1700, minutes=24 * 60, learning_rate=5e-4, positive=0.5),
)


def fit(
    sets: Sets, work: Path, *, seed: int, progress: Progress, budgets: Sequence[network.Budget] = PHASES
) -> Path:
    """Train in phases and return the file of the last weights in `work`, rewritten at every check.

    The end of the schedule is taken and not the best check: among the few visible nodules of the validation
    patients one more or less decides, and that is luck.
    """
    crops = Crops(
        SPEC,
        [canvas(item, SPEC) for item in sets.train],
        [canvas(item, SPEC) for item in sets.real_train],
        Mixture(),
    )
    model = network.unet(crops.side, SPEC.channels)
    for number, budget in enumerate(budgets):
        train_phase(model, crops, sets, work, budget, seed=seed + number, progress=progress)
    return work / WEIGHTS


def train_phase(
    model: network.Network,
    crops: Crops,
    sets: Sets,
    work: Path,
    budget: network.Budget,
    *,
    seed: int,
    progress: Progress,
) -> None:
    """Train for one budget, in place; `work` holds the weights of the last check."""

    def check(current: network.Network, step: int, recent: float) -> None:
        current.save_weights(work / WEIGHTS)
        score = selection_score(sets.validation, keras_predict(current))
        progress(f"training: loss {recent:.3f}, validation sensitivity {score:.3f}", step, budget.steps)

    network.learn(
        model,
        lambda rng: crops.batch(budget.batch, rng),
        budget,
        seed=seed,
        check_every=CHECK_EVERY,
        check=check,
    )


def export(sets: Sets, weights: Path, out: Path, *, seed: int, progress: Progress) -> Path:
    """Export weights through the gate, with thresholds and metrics measured through the exported file."""
    model = network.unet(SPEC.rows, SPEC.channels)
    model.load_weights(weights)
    onnx_model = keras_model(model)
    reference = keras_predict(model)
    rows = gate_rows(seed)
    with tempfile.TemporaryDirectory() as scratch:
        progress("export gate, first pass", 0, 3)
        draft = manifest_document({"mask": 0.5, "report": 0.5, "min_area_px": 1}, {}, sets, seed)
        few = rows[: 2 * 8]
        folder = release(candidate(draft, onnx_model, reference, np.tile(few, (16, 1, 1, 1))), Path(scratch))[0]
        predict = onnx_predict(folder)
        progress("choosing thresholds", 1, 3)
        thresholds = choose_thresholds(sets.validation, predict)
        metrics = measure(sets, predict, thresholds, seed)
    progress("export gate", 2, 3)
    document = manifest_document(thresholds, metrics, sets, seed)
    folder, parity = release(candidate(document, onnx_model, reference, rows), out)
    progress(f"parity {parity.difference:.1e} over {parity.rows} images", 3, 3)
    return folder


def keras_predict(model: network.Network) -> Predict:
    """Return a prediction function on whole pictures with the weights that `model` has now."""
    whole = network.with_size(model, SPEC.rows, SPEC.channels)
    compiled = tf.function(lambda x: whole(x, training=False), reduce_retracing=True)

    def predict(tensor: Float) -> Float:
        return np.asarray(compiled(tf.constant(tensor)))

    return predict
