"""The network behind heart-rate-trend: a GRU over the quarters of two hours, beside coarser and finer history.

A model is several such members, each from its own seed, averaged within one graph. The middle quantile is a change
from the newest mean; the outer ones lie a softplus away on either side, so quantiles cannot cross. The graph gives
changes as shares of the newest mean: in beats per minute, float32 itself would be coarser than the gate's limit.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from numpy.typing import NDArray

from clinical.trend import SHARES
from model_export.recipes.heart_rate_settings import (
    BAND,
    COARSE,
    INPUTS,
    LIMIT,
    QUARTERS,
    RATE,
    RESTING,
    SPREAD,
    STEP_RATE,
    STEPS,
    UNIT,
    WEEK_HOURS,
    Settings,
)
from model_export.recipes.heart_rate_windows import Examples
from model_runtime.tasks.forecast import CHANGE, CLASSES, TREND

Network = Any  # a Keras model; neither Keras nor onnx carries types


def member(settings: Settings) -> Network:
    """Return an untrained member: four inputs (clinical.trend.Windows) -> middle, widths, trend logits.

    middle: (rows, 3) in units of ten beats a minute; widths: (rows, 6), three below and three above it, positive.
    """
    entries = {name: keras.Input(shape, name=name) for name, shape in INPUTS.items()}
    series, rest = _prepared(**entries)
    decay = keras.regularizers.L2(settings.l2)
    quarters = layers.Reshape(QUARTERS)(series)
    state = layers.GRU(settings.units, kernel_regularizer=decay, name="gru")(quarters)
    x = layers.Concatenate()([state, rest])
    for name in ("dense_1", "dense_2"):
        x = layers.Dropout(settings.dropout)(x)
        x = layers.Dense(settings.dense, activation="relu", kernel_regularizer=decay, name=name)(x)
    middle = layers.Dense(STEPS, name="middle")(x)
    widths = layers.Dense(2 * STEPS, activation="softplus", name="widths")(x)
    trend = layers.Dense(STEPS * CLASSES, name="trend")(x)
    return keras.Model(list(entries.values()), [middle, widths, trend])


def _prepared(recent: Any, minutes: Any, hours: Any, person: Any) -> tuple[Any, Any]:  # noqa: ANN401
    """Return the series (rows, bins, 5) and everything else (rows, n), NaN replaced and marked."""
    newest = recent[:, -1, 0:1]
    rate, spread, steps = (recent[:, :, channel] for channel in range(3))
    series = ops.stack(
        [
            _near(rate, newest, RATE),
            _known(rate),
            _near(spread, 0.0, SPREAD),
            _near(steps, 0.0, STEP_RATE),
            _known(steps),
        ],
        axis=2,
    )
    rest = [
        part
        for values, scale in (
            (minutes, RATE),
            (hours, COARSE),
            (person[:, : len(SHARES)], COARSE),
            (person[:, 6:10], COARSE),
        )
        for part in (_near(values, newest, scale), _known(values))
    ]
    rest += [_near(person[:, 5:6], 0.0, WEEK_HOURS), _near(person[:, 10:], 0.0, 1.0), _known(person[:, 10:])]
    return series, ops.concatenate([*rest, _near(newest, RESTING, COARSE)], axis=1)


def _near(values: Any, origin: Any, scale: float) -> Any:  # noqa: ANN401
    """Return (values - origin) / scale, cut to +-LIMIT, 0 where not known."""
    moved = ops.clip((values - origin) / scale, -LIMIT, LIMIT)
    return ops.where(ops.isnan(values), 0.0, moved)


def _known(values: Any) -> Any:  # noqa: ANN401
    return 1.0 - ops.cast(ops.isnan(values), "float32")


def compiled(network: Network) -> Any:  # noqa: ANN401 - tensorflow is untyped
    """Return the network as one TensorFlow function for any batch length; called eagerly a GRU takes its time."""
    signature = {name: tf.TensorSpec([None, *shape], tf.float32) for name, shape in INPUTS.items()}
    return tf.function(lambda inputs: network(inputs, training=False), input_signature=[signature])


def together(members: Sequence[Network], scales: NDArray[np.float64]) -> Network:
    """Return one Keras model: inputs -> change, trend. scales: (horizons, 2), of the widths below and above."""
    entries = {name: keras.Input(shape, name=name) for name, shape in INPUTS.items()}
    found = [each(list(entries.values())) for each in members]
    count = float(len(members))
    middle = sum(one[0] for one in found) * (UNIT / count)
    widths = sum(one[1] for one in found) * (UNIT / count) * flat(scales)
    below, above = widths[:, :STEPS], widths[:, STEPS:]
    newest = entries["recent"][:, -1:, 0:1]
    change = ops.stack([middle - below, middle, middle + above], axis=2) / newest
    chances = [ops.softmax(ops.reshape(one[2], (-1, STEPS, CLASSES)), axis=2) for one in found]
    return keras.Model(entries, {CHANGE: change, TREND: sum(chances) / count})


def flat(scales: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the scales of the widths as one row: below, then above."""
    return scales.T.reshape(1, -1).astype(np.float32)


def fit(
    copies: Sequence[Examples], settings: Settings, seed: int, judge: Examples | None = None
) -> tuple[Network, NDArray[np.float64]]:
    """Train one member; return it with its losses (epochs, 2): of learning, and of `judge` (NaN without).

    Each epoch sees another copy of the recordings. Adam with a rate that falls to nothing, gradients cut at 1.
    """
    keras.utils.set_random_seed(seed)
    network = member(settings)
    data = [(one.windows.inputs(), _residual(one)) for one in copies]
    shown = None if judge is None else (judge.windows.inputs(), _residual(judge))
    steps = sum(len(one) // settings.batch for one in copies) * settings.epochs // len(copies)
    rate = keras.optimizers.schedules.CosineDecay(settings.rate, max(1, steps), alpha=0.02)
    step = _stepper(network, keras.optimizers.AdamW(rate, weight_decay=1e-4, clipnorm=1.0), settings)
    rng = np.random.default_rng(seed)
    losses = np.full((settings.epochs, 2), np.nan)
    for epoch in range(settings.epochs):
        inputs, residual = data[(epoch + seed) % len(data)]
        order = rng.permutation(len(residual))
        found = [
            float(step({name: values[rows] for name, values in inputs.items()}, residual[rows]))
            for rows in _batches(order, settings.batch)
        ]
        losses[epoch, 0] = np.mean(found)
        if shown is not None:
            losses[epoch, 1] = float(_loss(shown[1], network(list(shown[0].values())), settings.trend_weight))
    return network, losses


def _batches(order: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    """Return whole batches only: a batch of another length would be compiled anew."""
    return [order[start : start + size] for start in range(0, max(1, len(order) - size + 1), size)]


def _residual(examples: Examples) -> NDArray[np.float32]:
    """Return what is to be learnt: the change from the newest mean, in units of ten."""
    return ((examples.truth - examples.windows.last[:, None]) / UNIT).astype(np.float32)


def _stepper(network: Network, optimizer: Any, settings: Settings) -> Any:  # noqa: ANN401
    optimizer.build(network.trainable_variables)  # built within the step, the whole step would be traced twice

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator] # tensorflow is untyped
    def step(inputs: Any, residual: Any) -> Any:  # noqa: ANN401
        with tf.GradientTape() as tape:
            said = network([inputs[name] for name in INPUTS], training=True)
            loss = _loss(residual, said, settings.trend_weight) + tf.add_n(network.losses)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return loss

    return step


def _loss(residual: Any, said: Any, trend_weight: float) -> Any:  # noqa: ANN401
    """Return pinball losses at 0.1, 0.5 (twice: half the absolute error), 0.9, and cross-entropy of the trend."""
    middle, widths, trend = said
    known = tf.math.is_finite(residual)
    came = tf.where(known, residual, 0.0)
    weight = tf.cast(known, tf.float32) / tf.reduce_sum(tf.cast(known, tf.float32))
    total = 0.0
    for share, quantile, counts in (
        (0.5, middle, 2.0),
        (0.1, middle - widths[:, :STEPS], 1.0),
        (0.9, middle + widths[:, STEPS:], 1.0),
    ):
        error = came - quantile
        total += counts * tf.reduce_sum(tf.maximum(share * error, (share - 1) * error) * weight)
    classes = tf.where(came > BAND / UNIT, 2, tf.where(came < -BAND / UNIT, 0, 1))
    logits = tf.reshape(trend, (-1, STEPS, CLASSES))
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=classes, logits=logits)
    return total + trend_weight * tf.reduce_sum(entropy * weight)
