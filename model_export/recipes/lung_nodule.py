"""The lung nodule model: what it is trained on, how it is chosen, what is measured.

Real projections of CT (LIDC-IDRI DRRs, reader outlines), nodules added to real and simulated radiographs,
and made-up chests. Pictures are split by patient into training, validation (checkpoint and thresholds) and
test (the numbers on the card, looked at once).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.errors import PreconditionMissing
from model_export import froc
from model_export.datasets import lidc_drr, nih_cxr
from model_export.datasets.crops import Crops, Mixture
from model_export.datasets.radiograph import Nodule, Radiograph, canvas, data_dir, split_by_patient
from model_export.recipes import segmentation_network as network
from model_runtime.transforms import image_spec, prepare, restore

NAME = "lung-nodule"
IMAGE = {
    "modalities": ["CR", "DX"],
    "rows": 512,
    "columns": 512,
    "fit": "letterbox",
    "normalise": {"percentiles": [1.0, 99.0], "local_radius_px": 24},
}
SPEC = image_spec(IMAGE)
SPLIT_SEED = 20261122
SPLIT = (0.65, 0.15, 0.20)  # training, validation, test
SELECT_AT = (0.5, 1.0, 2.0, 4.0)  # false marks per image at which a checkpoint is judged
JUDGED_FROM_MM = 10.0  # smaller nodules are hardly visible in any projection

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Sets:
    """Pictures by use; no patient stands in two of them.

    real_train: real radiographs without nodule label, backgrounds for added nodules.
    real_test, real_label: real radiographs never trained on, with their text label.
    """

    train: list[Radiograph]
    validation: list[Radiograph]
    test: list[Radiograph]
    real_train: list[Radiograph]
    real_test: list[Radiograph]
    real_label: dict[str, bool]


def load_sets() -> Sets:
    """Read and split the data. Raises PreconditionMissing when this machine does not hold the projections.

    Without the real radiographs the model is trained on the projections and made-up chests alone.
    """
    projections, real = data_dir(lidc_drr.NAME), data_dir(nih_cxr.NAME)
    if projections is None:
        raise PreconditionMissing("the lidc_drr data set is not here: set CONSILIUM_DATA_DIR")
    train, validation, test = split_by_patient(lidc_drr.load(projections), SPLIT, SPLIT_SEED)
    pictures, label = nih_cxr.load(real) if real else ([], {})
    without = [item for item in pictures if not label[item.name]]
    real_train, real_rest = split_by_patient(without, (0.6, 0.4), SPLIT_SEED)
    real_test = real_rest + [item for item in pictures if label[item.name]]
    return Sets(train, validation, test, real_train, real_test, label)


def train(
    work: Path, budget: network.Budget, *, seed: int, check_every: int = 250, log: Callable[[str], None]
) -> Path:
    """Train, keep the weights of the best validation score in `work`, return their path.

    log: takes one line of progress now and then.
    """
    sets = load_sets()
    crops = Crops(
        SPEC,
        [canvas(item, SPEC) for item in sets.train],
        [canvas(item, SPEC) for item in sets.real_train],
        Mixture(),
    )
    log(f"{len(sets.train)} train, {len(sets.validation)} validation, {len(sets.real_train)} real backgrounds")
    model = network.unet(crops.side, SPEC.channels)
    log(f"{model.count_params()} parameters")
    best = -1.0
    path = work / "best.weights.h5"

    def check(current: network.Network, step: int, recent: float) -> None:
        nonlocal best
        score = validation_score(sets.validation, keras_predict(current))
        log(f"step {step} loss {recent:.4f} validation {score:.4f}{' *' if score >= best else ''}")
        current.save_weights(work / "last.weights.h5")
        if score >= best:
            best = score
            current.save_weights(path)

    steps = network.learn(
        model, lambda rng: crops.batch(budget.batch, rng), budget, seed=seed, check_every=check_every, check=check
    )
    log(f"done after {steps} steps, best {best:.4f}")
    return path


def validation_score(pictures: Sequence[Radiograph], predict: Predict) -> float:
    """Return the mean sensitivity for visible nodules over SELECT_AT, without interval."""
    marked = mark(pictures, predict)
    return float(np.mean([froc.sensitivity(marked, at) for at in SELECT_AT]))


def mark(
    pictures: Sequence[Radiograph],
    predict: Predict,
    wanted: Callable[[Nodule], bool] = lambda n: n.is_truth and n.is_visible and n.diameter_mm >= JUDGED_FROM_MM,
) -> list[froc.Marked]:
    """Run the model over pictures; nodules that are not `wanted` are passed over, not counted as false."""
    marked = []
    for item in pictures:
        tensor, place = prepare(item.image, SPEC)
        probability = restore(predict(tensor)[0, :, :, 0], place)
        marked.append(
            froc.Marked(
                froc.peaks(probability),
                tuple(n.box for n in item.nodules if wanted(n)),
                tuple(n.box for n in item.nodules if not wanted(n)),
            )
        )
    return marked


def keras_predict(model: network.Network) -> Predict:
    """Return a prediction function on whole pictures with the weights that `model` has now."""
    import tensorflow as tf

    whole = network.with_size(model, SPEC.rows, SPEC.channels)
    compiled = tf.function(lambda x: whole(x, training=False))

    def predict(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(compiled(tf.constant(tensor)))

    return predict
