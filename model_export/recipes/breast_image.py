"""The image network of the breast lesion model: what a lesion looks like, in a few numbers, and how it learns.

The first five stages of EfficientNet-Lite0 from its ImageNet weights, the first three of them left as they are:
with about a thousand patients more would be learnt by heart. Beside malignancy it learns the reader's category,
which says more than yes or no. It sees only crops around outlines that the outline network drew itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from model_export.recipe import Progress
from model_export.recipes import efficientnet_lite, ultrasound_views
from model_export.recipes.breast_outline import BATCH, REPORT_EVERY, compiled_step, rate
from model_runtime.lesion_view import Box, CropRules
from model_runtime.transforms import Float

Network = Any  # a Keras model; TensorFlow carries no types
Tensor = Any
SIZE = 128
STAGES, FIXED = 5, 3
DROPOUT = 0.4
SMOOTHING = 0.03  # labels are 0.03 and 0.97: a biopsy can miss, and a reader can err
LOOKS = ("malignant", "category_3_up", "category_4_up", "category_5")
WEIGHTS = (1.0, 0.25, 0.25, 0.25)
CHANNELS = (*efficientnet_lite.UNIT_GREY, efficientnet_lite.Channel(0.0))


@dataclass(frozen=True, slots=True)
class Course:
    """How long to learn: passes over the pictures."""

    epochs: float = 9
    learning_rate: float = 1e-3


@dataclass(frozen=True, slots=True)
class Example:
    """A picture with the outline that the outline network drew, and what is to be said of it, in LOOKS' order."""

    layers: ultrasound_views.Layers
    box: Box
    truth: tuple[bool, ...]


def network(weights: Mapping[str, Float] | None, size: int = SIZE) -> Network:
    """Return a Keras model (batch, size, size, 2) -> `logits` (batch, len(LOOKS)).

    weights: of ImageNet (efficientnet_lite.read_weights), None for random ones. Channel 1, the outline, says where
    to look: features are averaged inside it, and over the whole square beside that.
    """
    layers, ops = keras.layers, keras.ops
    entry = keras.Input((size, size, 2), name="crop")
    stages = efficientnet_lite.features(entry, STAGES)
    features = stages[-1]
    share = layers.AveragePooling2D(size // features.shape[1])(entry)[..., 1:]
    share /= ops.sum(share, axis=(1, 2), keepdims=True) + 1e-3
    pooled = [
        ops.sum(features * share, axis=(1, 2)),
        layers.GlobalAveragePooling2D()(features),
        layers.GlobalMaxPooling2D()(features),
    ]
    x = layers.Dropout(DROPOUT)(layers.Concatenate()(pooled))
    x = layers.Dense(64, activation="gelu", kernel_regularizer=keras.regularizers.L2(1e-4))(x)
    x = layers.Dense(len(LOOKS), name="logits")(layers.Dropout(DROPOUT / 2)(x))
    model = keras.Model(entry, x, name="image")
    if weights is not None:
        efficientnet_lite.set_imagenet(model, weights, CHANNELS)
    _fix(model, stages[FIXED - 1])
    return model


def _fix(model: Network, last: Tensor) -> None:
    """Keep the layers up to a tensor as they are, their normalisation too."""
    for layer in model.layers:
        if layer.name.startswith("lite0_"):
            layer.trainable = False
        if layer.output is last:
            return


def learn(
    examples: Sequence[Example],
    rules: CropRules,
    course: Course,
    weights: Mapping[str, Float] | None,
    *,
    seed: int,
    progress: Progress,
) -> tuple[Network, list[float]]:
    """Return a trained network and the running loss every REPORT_EVERY steps."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    model = network(weights, rules.size)
    optimiser = keras.optimizers.AdamW(course.learning_rate, weight_decay=1e-3, clipnorm=5.0)
    step = compiled_step(model, optimiser, _loss)
    steps = max(1, round(course.epochs * len(examples) / BATCH))
    history, recent, order = [], None, np.zeros(0, np.intp)
    for done in range(steps):
        optimiser.learning_rate.assign(course.learning_rate * rate(done / steps, warm_up=0.08))
        while len(order) < BATCH:
            order = np.concatenate([order, rng.permutation(len(examples))])
        chosen, order = [examples[int(n)] for n in order[:BATCH]], order[BATCH:]
        squares = np.stack([varied(one, rules, rng) for one in chosen])
        truth = np.array([one.truth for one in chosen], np.float32)
        value = float(step(tf.constant(squares), tf.constant(truth)))
        recent = value if recent is None else 0.98 * recent + 0.02 * value
        if (done + 1) % REPORT_EVERY == 0 or done + 1 == steps:
            history.append(recent)
            progress(f"image network, loss {recent:.3f}", done + 1, steps)
    return model, history


def varied(one: Example, rules: CropRules, rng: np.random.Generator) -> Float:
    """Return a crop as the server makes it, varied at random, (size, size, 2)."""
    view = ultrasound_views.crop_view(one.box, rules.zoom, rules.min_side_px, rng)
    grey, mask, inside = ultrasound_views.look(one.layers, view, rules.size)
    grey = ultrasound_views.retone(ultrasound_views.normalise(grey, inside), inside, rng, strength=0.8)
    if rng.random() < 0.25:
        grey = ultrasound_views.blot(grey, rng)
    return np.stack([grey, mask], axis=-1)


def _loss(truth: Tensor, logits: Tensor) -> Tensor:
    soft = truth * (1 - 2 * SMOOTHING) + SMOOTHING
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(soft, logits) * tf.constant(WEIGHTS))


def truth_of(malignant: bool, category: str) -> tuple[bool, ...]:
    """Return what the network should say, in LOOKS' order. category: BI-RADS, such as "3" or "4a"."""
    grade = int(category[0])
    return malignant, grade >= 3, grade >= 4, grade >= 5
