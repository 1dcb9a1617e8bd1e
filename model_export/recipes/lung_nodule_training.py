"""How the lung nodule network is trained. Needs the training stack."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model_export.datasets.crops import Crops, Mixture
from model_export.datasets.radiograph import Canvas, Radiograph, canvas
from model_export.onnx.keras_network import keras_model
from model_export.recipe import Progress
from model_export.recipes import efficientnet_lite
from model_export.recipes import segmentation_network as network
from model_export.recipes.lung_nodule import Fit, Fitted
from model_export.recipes.lung_nodule_data import SPEC, Sets
from model_export.recipes.lung_nodule_measure import Predict

Float = NDArray[np.float32]
# What each channel is to a network that was trained on photographs: the grey value 0..1, and the local contrast
# -1..1, which spreads about 1.5 times as wide once it is centred.
CHANNELS = (
    efficientnet_lite.Channel(0.5, 255 / 128, -127 / 128),
    efficientnet_lite.Channel(0.5, 1.5, 0.0),
)
CROP = 192
FULL_MIXTURE = Mixture()
CHECK_EVERY = 250
FOLD = network.Budget(steps=3000, minutes=24 * 60, batch=8, learning_rate=1.5e-3)
# The shipped model goes on from the first fold's, with everybody: a quarter of the time of a training of its own.
SHIPPED = network.Budget(steps=1200, minutes=24 * 60, batch=8, learning_rate=7e-4)
PHANTOMS = network.Budget(steps=2000, minutes=24 * 60, batch=8)
PHANTOM_CROP, PHANTOM_WIDTHS, QUICK_WIDTHS = 128, (8, 16, 24, 32), (2, 2, 4, 4)
QUICK = network.Budget(steps=2, minutes=1, batch=2, learning_rate=1e-3)


@dataclass(frozen=True, slots=True)
class Trained:
    """A network of crop size with its weights. loss: smoothed, one value every CHECK_EVERY steps."""

    model: network.Network
    loss: tuple[float, ...]
    minutes: float


def fit(
    sets: Sets,
    budget: network.Budget,
    *,
    seed: int,
    progress: Progress,
    stage: str = "training",
    start: network.Network | None = None,
    mixture: Mixture = FULL_MIXTURE,
) -> Trained:
    """Train from the weights of `start`, or from ImageNet's.

    The end of the schedule is taken and not the best check: among the few visible nodules that validation
    patients have, one more or less decides, and that is luck.
    """
    crops = Crops(
        SPEC,
        canvases(sets.projections),
        canvases(sets.backgrounds),
        mixture,
        canvases(sets.boxed),
        side=CROP,
    )
    model = network.lite_unet(CROP, SPEC.channels)
    if start is None:
        weights = efficientnet_lite.read_weights(efficientnet_lite.weights_file())
        efficientnet_lite.set_imagenet(model, weights, CHANNELS)
    else:
        model.set_weights(start.get_weights())
    losses: list[float] = []

    def check(_: network.Network, step: int, recent: float) -> None:
        losses.append(round(recent, 4))
        progress(f"{stage}: loss {recent:.3f}", step, budget.steps)

    started = time.monotonic()
    network.learn(
        model,
        lambda rng: crops.batch(budget.batch, rng),
        budget,
        seed=seed,
        check_every=CHECK_EVERY,
        check=check,
    )
    return Trained(model, tuple(losses), (time.monotonic() - started) / 60)


def fit_phantoms(*, seed: int, progress: Progress, quick: bool) -> Trained:
    """Train a small network on made-up chests alone, from random weights."""
    crops = Crops(
        SPEC, (), (), Mixture(nodule=0.0, boxed=0.0, real=0.0, chest=1.0, inserted=0.7), side=PHANTOM_CROP
    )
    # The gate looks at 256 whole pictures: that, and not the two steps, is what a quick run takes its time for.
    model = network.unet(PHANTOM_CROP, SPEC.channels, QUICK_WIDTHS if quick else PHANTOM_WIDTHS)
    budget = QUICK if quick else PHANTOMS
    losses: list[float] = []

    def check(_: network.Network, step: int, recent: float) -> None:
        losses.append(round(recent, 4))
        progress(f"training: loss {recent:.3f}", step, budget.steps)

    started = time.monotonic()
    network.learn(
        model, lambda rng: crops.batch(budget.batch, rng), budget, seed=seed, check_every=CHECK_EVERY, check=check
    )
    return Trained(model, tuple(losses), (time.monotonic() - started) / 60)


def fitter(seed: int, progress: Progress, *, quick: bool = False) -> Fit:
    """Return the function that trains for the recipe: on a fold, or for the shipped model."""

    first: list[Trained] = []

    def fit_one(sets: Sets, shipped: bool, stage: str) -> Fitted:
        budget = QUICK if quick else SHIPPED if shipped else FOLD
        start = first[0].model if shipped and first else None
        trained = fit(sets, budget, seed=seed + int(shipped), progress=progress, stage=stage, start=start)
        if not first:
            first.append(trained)
        return fitted(trained)

    return fit_one


def fitted(trained: Trained) -> Fitted:
    """Return a trained network as the recipe takes it: the graph to export and the trainer's own prediction."""
    whole = network.with_size(trained.model, SPEC.rows, SPEC.channels)
    return Fitted(
        graph=keras_model(network.folded(whole)),
        reference=keras_predict(trained.model),
        loss=trained.loss,
        minutes=trained.minutes,
        keep=lambda folder: save(trained.model, folder),
    )


def canvases(pictures: Sequence[Radiograph]) -> list[Canvas]:
    """Return the pictures on the tensor's grid with what is to be learnt."""
    return [canvas(item, SPEC) for item in pictures]


def keras_predict(model: network.Network) -> Predict:
    """Return a prediction function on whole pictures with the weights that `model` has now."""
    whole = network.with_size(model, SPEC.rows, SPEC.channels)
    compiled = tf.function(lambda x: whole(x, training=False), reduce_retracing=True)

    def predict(tensor: Float) -> Float:
        return np.asarray(compiled(tf.constant(tensor)))

    return predict


def save(model: network.Network, folder: Path) -> None:
    """Keep the trainer's own file, at the size that the server uses."""
    folder.mkdir(parents=True, exist_ok=True)
    network.with_size(model, SPEC.rows, SPEC.channels).save(folder / "model.keras")
