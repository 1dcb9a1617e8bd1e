"""The light U-Net of the image models and how it learns."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model_export.onnx.keras_network import Enlarge
from model_export.recipes import efficientnet_lite

Float = NDArray[np.float32]
Batch = tuple[Float, Float]
Network = Any  # a Keras model; TensorFlow carries no types
Tensor = Any
WIDTHS = (16, 32, 48, 64, 96)
LITE_WIDTHS = (48, 32, 24)
# Keras' default of 0.99 leaves the moving statistics of a short training far behind: the loss falls, the
# inference result stays at zero (reference/inference.md 2.1, trap 7).
BATCHNORM_MOMENTUM = 0.9


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to learn (whichever of steps and minutes ends first), and how.

    positive: weight of nodule pixels in the cross-entropy, background has the rest. Above 0.5 more nodules
    are found, but regions grow beyond their rims.
    """

    steps: int
    minutes: float
    batch: int = 10
    learning_rate: float = 2e-3
    positive: float = 0.8


def unet(size: int, channels: int, widths: tuple[int, ...] = WIDTHS) -> Network:
    """Return a Keras model (batch, size, size, channels) -> `probability` (batch, size, size, 1).

    The stem halves the picture, so the features of a 512 px radiograph are 256 px wide; the answer is
    brought back by one bilinear resize. Resizing is a layer of one operation (`keras_network.Enlarge`).
    """
    layers = keras.layers

    def convolve(x: Tensor, width: int, stride: int = 1) -> Tensor:
        x = layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=BATCHNORM_MOMENTUM)(x))

    entry = x = keras.Input((size, size, channels), name="image")
    x = convolve(convolve(x, widths[0], stride=2), widths[0])
    skips = []
    for width in widths[1:]:
        skips.append(x)
        x = convolve(convolve(layers.MaxPooling2D(2)(x), width), width)
    for skip, width in zip(reversed(skips), reversed(widths[:-1]), strict=True):
        x = layers.Concatenate()([Enlarge(2)(x), skip])
        x = convolve(convolve(x, width), width)
    bias = keras.initializers.Constant(-4.0)  # most pixels are background: start there
    x = layers.Conv2D(1, 1, bias_initializer=bias)(x)
    x = Enlarge(2, smooth=True)(x)
    return keras.Model(entry, layers.Activation("sigmoid", name="probability")(x), name="light_unet")


def lite_unet(size: int, channels: int) -> Network:
    """Return a U-Net on EfficientNet-Lite0: (batch, size, size, channels) -> `probability` (..., 1).

    size: a multiple of 64. The encoder sees half the resolution: a nodule of 15 mm is then ten pixels wide, and a
    training step costs a quarter. Two blocks of its fourth stage let a place see 170 pixels around it. The decoder
    ends at a quarter of the resolution; one bilinear resize brings the answer back.
    """
    layers = keras.layers

    def convolve(x: Tensor, width: int, name: str) -> Tensor:
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(momentum=BATCHNORM_MOMENTUM, name=f"{name}_norm")(x)
        return layers.ReLU(name=f"{name}_act")(x)

    entry = keras.Input((size, size, channels), name="image")
    found = efficientnet_lite.features(layers.AveragePooling2D(2)(entry), 4, last=2)
    x = found[-1]
    for skip, width in zip(found[-2::-1], LITE_WIDTHS, strict=True):
        x = convolve(layers.Concatenate()([Enlarge(2)(x), skip]), width, f"up{width}")
    bias = keras.initializers.Constant(-4.0)
    x = layers.Conv2D(1, 3, padding="same", bias_initializer=bias, name="head")(x)
    x = Enlarge(4, smooth=True)(x)
    return keras.Model(entry, layers.Activation("sigmoid", name="probability")(x), name="lite_unet")


class _Through(keras.layers.Layer):  # type: ignore[misc] # keras is untyped
    """Stands where a normalisation was; takes its arguments and changes nothing."""

    def call(self, x: Tensor, training: object = None, mask: object = None) -> Tensor:  # noqa: ARG002
        return x

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return shape


def folded(model: Network) -> Network:
    """Return the same network with each normalisation `<layer>_norm` folded into its convolution `<layer>`.

    tf2onnx does that for ordinary convolutions only; a depthwise one would keep a Mul of its own.
    """
    norms = {layer.name.removesuffix("_norm"): layer for layer in model.layers if layer.name.endswith("_norm")}

    def without(layer: Network) -> Network:
        config = layer.get_config()
        if layer.name.endswith("_norm"):
            return _Through(name=layer.name)
        return layer.__class__.from_config({**config, "use_bias": True} if layer.name in norms else config)

    plain = keras.models.clone_model(model, clone_function=without)
    for layer in model.layers:
        if not layer.weights or layer.name.endswith("_norm"):
            continue
        values = layer.get_weights()
        if layer.name in norms:
            gain, offset, mean, variance = norms[layer.name].get_weights()
            gain = gain / np.sqrt(variance + norms[layer.name].epsilon)
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            values = [values[0] * (gain[:, None] if depthwise else gain), offset - mean * gain]
        plain.get_layer(layer.name).set_weights(values)
    return plain


def with_size(model: Network, size: int, channels: int) -> Network:
    """Return the same network (`unet` or `lite_unet`) with the same weights for pictures of another size."""
    if model.name == "lite_unet":
        other = lite_unet(size, channels)
    else:
        steps = [layer for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)]
        convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
        widths = tuple(convolutions[2 * level].filters for level in range(len(steps) + 1))
        other = unet(size, channels, widths)
    other.set_weights(model.get_weights())
    return other


def loss(truth: Tensor, probability: Tensor, positive: float) -> Tensor:
    """Focal cross-entropy plus soft Dice; truth plane 1 is the weight of each pixel."""
    target, weight = truth[..., :1], truth[..., 1:]
    p = tf.clip_by_value(probability, 1e-6, 1 - 1e-6)
    inside = -positive * target * (1 - p) ** 2 * tf.math.log(p)
    outside = -(1 - positive) * (1 - target) * p**2 * tf.math.log(1 - p)
    focal = tf.reduce_sum(weight * (inside + outside)) / (tf.reduce_sum(weight * target) + 200.0)
    overlap = tf.reduce_sum(weight * p * target)
    dice = 1 - (2 * overlap + 50) / (tf.reduce_sum(weight * (p + target)) + 50)
    return 4 * focal + dice


def learn(
    model: Network,
    draw: Callable[[np.random.Generator], Batch],
    budget: Budget,
    *,
    seed: int,
    check_every: int,
    check: Callable[[Network, int, float], None],
) -> int:
    """Train in place and return the number of steps; `check(model, step, loss)` is called now and then.

    The learning rate rises for 3 % of the budget, then falls to zero as a cosine.
    """
    keras.utils.set_random_seed(seed)
    optimiser = keras.optimizers.Adam(budget.learning_rate, clipnorm=5.0)
    optimiser.build(model.trainable_variables)

    def step(tensors: Tensor, truth: Tensor) -> Tensor:
        with tf.GradientTape() as tape:
            value = loss(truth, model(tensors, training=True), budget.positive)
        gradients = tape.gradient(value, model.trainable_variables)
        optimiser.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return value

    compiled = tf.function(step)
    started, done, recent = time.monotonic(), 0, 0.0
    for tensors, truth in _ahead(draw, seed, budget.steps):
        share = max(done / budget.steps, (time.monotonic() - started) / (60 * budget.minutes))
        if share >= 1:
            break
        optimiser.learning_rate.assign(budget.learning_rate * schedule(share))
        value = float(compiled(tf.constant(tensors), tf.constant(truth)))
        recent = value if done == 0 else 0.98 * recent + 0.02 * value
        done += 1
        if done % check_every == 0:
            check(model, done, recent)
    check(model, done, recent)
    return done


def schedule(share: float, warm_up: float = 0.03) -> float:
    """Return the factor on the learning rate after this share of the budget."""
    if share < warm_up:
        return 0.05 + 0.95 * share / warm_up
    return max(0.01, 0.5 * (1 + float(np.cos(np.pi * (share - warm_up) / (1 - warm_up)))))


def _ahead(draw: Callable[[np.random.Generator], Batch], seed: int, count: int) -> Iterator[Batch]:
    """Draw batches one thread ahead of the training step, in a fixed order."""
    queue: Queue[Batch | BaseException] = Queue(maxsize=4)
    stop = Event()

    def work() -> None:
        rng = np.random.default_rng(seed)
        try:
            for _ in range(count):
                item = draw(rng)
                while not stop.is_set():
                    try:
                        queue.put(item, timeout=0.5)
                        break
                    except Full:
                        continue
        except (ArithmeticError, LookupError, ValueError, TypeError) as problem:
            queue.put(problem)

    thread = Thread(target=work, daemon=True, name="crops")
    thread.start()
    try:
        for _ in range(count):
            item = queue.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
