"""The outline network of the breast lesion model, and how it learns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model_export.recipe import Progress
from model_export.recipes import ultrasound_views as views
from model_runtime.lesion_view import Box, box_of
from model_runtime.transforms import Float

Network = Any  # a Keras model; TensorFlow carries no types
Tensor = Any
Optimiser = Any
SIZE = 128
WIDTHS = (24, 48, 64, 96, 128)
# Keras' default of 0.99 leaves the moving statistics of a short training far behind (inference.md 2.1, trap 7).
BATCHNORM_MOMENTUM = 0.9
BATCH = 16
REPORT_EVERY = 100


@dataclass(frozen=True, slots=True)
class Course:
    """How long to learn. falling: the rate falls to zero as a cosine, else it stays (a start to be shared)."""

    steps: int
    learning_rate: float = 2e-3
    falling: bool = True


@dataclass(frozen=True, slots=True)
class Example:
    """One picture with its expert outline, ready for `views.look`."""

    layers: views.Layers
    box: Box


@keras.saving.register_keras_serializable("consilium")
class FromDepth(keras.layers.Layer):  # type: ignore[misc] # keras is untyped
    """Turn four channels into a picture of twice the size: the network's last step costs nothing at full size."""

    def call(self, x: Tensor) -> Tensor:
        return tf.nn.depth_to_space(x, 2)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        rows, columns = (None if n is None else 2 * n for n in shape[1:3])
        return shape[0], rows, columns, None if shape[3] is None else shape[3] // 4


def example(grey: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Example:
    """Return a picture (rows, columns) and its outline as an example."""
    return Example(views.layers_of(grey, mask), box_of(mask))


def network(size: int = SIZE, widths: Sequence[int] = WIDTHS) -> Network:
    """Return a U-Net (batch, size, size, 1) -> `probability` (batch, size, size, 1).

    The stem halves the picture and transposed convolutions enlarge: both because a step at full size, and the
    gradient of a resize, would take most of the time on a CPU.
    """
    layers = keras.layers

    def convolve(x: Tensor, width: int, stride: int = 1) -> Tensor:
        x = layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=BATCHNORM_MOMENTUM)(x))

    entry = keras.Input((size, size, 1), name="image")
    x = convolve(convolve(entry, widths[0], stride=2), widths[0])
    skips = []
    for width in widths[1:]:
        skips.append(x)
        x = convolve(convolve(layers.MaxPooling2D(2)(x), width), width)
    for width, skip in zip(reversed(widths[:-1]), reversed(skips), strict=True):
        x = layers.Concatenate()([layers.Conv2DTranspose(width, 2, strides=2)(x), skip])
        x = convolve(convolve(x, width), width)
    # Most pixels are background: start there.
    x = FromDepth()(layers.Conv2D(4, 1, bias_initializer=keras.initializers.Constant(-2.0))(x))
    # float32 also under mixed precision: a probability of bfloat16 has two decimals.
    return keras.Model(entry, layers.Activation("sigmoid", dtype="float32", name="probability")(x), name="outline")


def draw(examples: Sequence[Example], rng: np.random.Generator, size: int) -> tuple[Float, Float]:
    """Return a batch of pictures and outlines, half of them whole, half close up."""
    pictures = np.zeros((BATCH, size, size, 1), np.float32)
    outlines = np.zeros_like(pictures)
    for n in range(BATCH):
        one = examples[int(rng.integers(len(examples)))]
        shape = one.layers.shape
        view = views.whole_view(shape, rng) if rng.random() < 0.5 else views.close_view(one.box, shape, rng)
        grey, mask, inside = views.look(one.layers, view, size)
        pictures[n, ..., 0] = views.retone(views.normalise(grey, inside), inside, rng, strength=1.0)
        outlines[n, ..., 0] = mask
    return pictures, outlines


def loss(truth: Tensor, probability: Tensor) -> Tensor:
    """Cross-entropy of the pixels plus 1 - Dice of each picture."""
    p = tf.clip_by_value(probability, 1e-6, 1 - 1e-6)
    entropy = -tf.reduce_mean(truth * tf.math.log(p) + (1 - truth) * tf.math.log(1 - p))
    shared = tf.reduce_sum(p * truth, [1, 2, 3])
    return entropy + tf.reduce_mean(1 - (2 * shared + 10) / (tf.reduce_sum(p + truth, [1, 2, 3]) + 10))


def learn(
    examples: Sequence[Example],
    course: Course,
    *,
    seed: int,
    progress: Progress,
    start: Path | None = None,
    size: int = SIZE,
) -> tuple[Network, list[float]]:
    """Return a trained network (float32) and the running loss every REPORT_EVERY steps.

    start: weights to go on from. Convolutions run in bfloat16 while learning: 2.6 times as fast where the CPU
    multiplies such matrices.
    """
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = network(size)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    if start is not None:
        model.load_weights(start)
    optimiser = keras.optimizers.AdamW(course.learning_rate, weight_decay=1e-4, clipnorm=5.0)
    step = compiled_step(model, optimiser, loss)
    history, recent = [], None
    for done in range(course.steps):
        optimiser.learning_rate.assign(course.learning_rate * rate(done / course.steps, falling=course.falling))
        pictures, outlines = draw(examples, rng, size)
        value = float(step(tf.constant(pictures), tf.constant(outlines)))
        recent = value if recent is None else 0.98 * recent + 0.02 * value
        if (done + 1) % REPORT_EVERY == 0 or done + 1 == course.steps:
            history.append(recent)
            progress(f"outline network, loss {recent:.3f}", done + 1, course.steps)
    exact = network(size)
    exact.set_weights(model.get_weights())
    return exact, history


def compiled_step(
    model: Network,
    optimiser: Optimiser,
    measure: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function (inputs, truth) -> loss that also improves the model."""
    optimiser.build(model.trainable_variables)

    def step(inputs: Tensor, truth: Tensor) -> Tensor:
        with tf.GradientTape() as tape:
            value = measure(truth, model(inputs, training=True))
            value += tf.add_n([tf.cast(one, tf.float32) for one in model.losses]) if model.losses else 0.0
        gradients = tape.gradient(value, model.trainable_variables)
        optimiser.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return value

    return tf.function(step)  # type: ignore[no-any-return] # tensorflow is untyped


def rate(share: float, *, falling: bool = True, warm_up: float = 0.04) -> float:
    """Return the factor on the learning rate after this share of the course."""
    if share < warm_up:
        return min(1.0, 0.05 + share / warm_up)
    return max(1e-3, 0.5 * (1 + float(np.cos(np.pi * (share - warm_up) / (1 - warm_up))))) if falling else 1.0
