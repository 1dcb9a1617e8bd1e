"""The diagnosis network of the breast lesion model: small Transformers over record and image tokens, a committee.

Each member reads the record's tokens and the image's tokens apart, each with a Transformer encoder beside a
linear score, and adds the image's score to the record's through a gate that sees both: late fusion, the record
first. Beside descriptors, which a radiologist read off the same picture, the image counts with a small fixed
share: with fewer than 200 described lesions a learnt gate did worse than the record alone. Beside a mere category
a linear score over everything is averaged with that. What is absent is masked out of the attention and adds
nothing. Members differ in their starts and in the patients that they see; the members of every cross-validation
fold learn in the same run as the final ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from clinical.lesion import RecordFeature
from model_export.recipe import Progress
from model_export.recipes.breast_outline import REPORT_EVERY, rate
from model_runtime.lesion_shape import NAMES
from model_runtime.lesion_tensors import columns_of
from model_runtime.tasks.lesion import CATEGORY_FEATURE

Network = Any  # a Keras model; TensorFlow carries no types
Tensor = Any
Array = NDArray[np.float32]
INPUTS = ("record", "record_known", "image", "image_known")
# Tokens of the image: what the image network says, and groups of numbers of the outline (lesion_shape.NAMES).
LOOKS = 4
IMAGE_TOKENS: Mapping[str, tuple[str, ...]] = {
    "size": ("size",),
    "form": (
        "height_to_width",
        "axis_ratio",
        "tilt",
        "solidity",
        "convexity",
        "circularity",
        "extent",
    ),
    "rim": ("radial_spread", "radial_roughness", "lobes_low", "lobes_high"),
    "echo": ("contrast", "inside_mean", "inside_spread", "inside_dark", "inside_texture"),
    "edge": ("edge_sharpness", "edge_unevenness", "halo", "softness"),
    "posterior": ("posterior", "posterior_contrast"),
}
# Looks are log10 of the odds: numbers near 1, so that rounding in the convolutions stays below the gate's 1e-5.
LOG_10 = float(np.log(10))
# Chosen out of fold among 0, 0.15, 0.25, 0.35, 0.5 and 0.75 on breast_usg: AUROC 0.8995, 0.9000, 0.8989, 0.8964,
# 0.8940, 0.8873.
DESCRIBED_SHARE = 0.15
CLIP = 4.0  # standardised image numbers are cut here: an odd outline is no proof
EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class Design:
    """width: of a token. heads, layers: of each encoder. dropout: of what attention and feed-forward add."""

    width: int = 16
    heads: int = 2
    layers: int = 1
    dropout: float = 0.3


@dataclass(frozen=True, slots=True)
class Course:
    """How to learn. Shares of the rows in a batch that lose what they have, so that every combination is learnt.

    category_drop: rows without their BI-RADS category. feature_drop: mean share of features dropped in a row.
    image_only, record_only: rows that lose the other side. token_drop: image tokens dropped.
    """

    steps: int = 800
    batch: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 1e-1
    linear_l2: float = 1e-3
    category_drop: float = 0.5
    feature_drop: float = 0.35
    image_only: float = 0.15
    record_only: float = 0.25
    token_drop: float = 0.25


@dataclass(frozen=True, slots=True)
class Rows:
    """What the committee learns from. tensors: INPUTS by name, (rows, ...). truth: malignant.

    drawn: how often a row is drawn, relative. weight: of each row in the loss of each member, (rows, members).
    """

    tensors: Mapping[str, Array]
    truth: NDArray[np.bool_]
    drawn: NDArray[np.float64]
    weight: Array


@keras.saving.register_keras_serializable("consilium")
class Encoder(keras.layers.Layer):  # type: ignore[misc] # keras is untyped
    """Transformer encoders side by side, one a member, over tokens made of groups of columns.

    groups: (tokens, columns), 1 where a column belongs to a token. Members are the first axis throughout: their
    matrices multiply in one operation.
    """

    def __init__(self, groups: Array, members: int, design: Design, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.groups, self.members, self.design = np.asarray(groups, np.float32), members, design

    def build(self, *_: object) -> None:
        members, width = self.members, self.design.width
        tokens, columns = self.groups.shape

        def weight(name: str, *shape: int, spread: float | None = None) -> Tensor:
            deviation = shape[-2] ** -0.5 if spread is None else spread
            start = keras.initializers.RandomNormal(stddev=deviation)
            return self.add_weight(name=name, shape=(members, *shape), initializer=start)

        def constant(name: str, value: float, size: int = width) -> Tensor:
            start = keras.initializers.Constant(value)
            return self.add_weight(name=name, shape=(members, 1, size), initializer=start)

        self.embed = weight("embed", columns, width, spread=0.3)
        self.place = weight("place", tokens, width, spread=0.3)
        self.summary = weight("summary", 1, width, spread=0.3)
        self.blocks = [
            {
                "query_key_value": weight(f"qkv_{n}", width, 3 * width),
                "out": weight(f"out_{n}", width, width, spread=0.5 * width**-0.5),
                "scale_1": constant(f"scale_1_{n}", 1.0),
                "shift_1": constant(f"shift_1_{n}", 0.0),
                "scale_2": constant(f"scale_2_{n}", 1.0),
                "shift_2": constant(f"shift_2_{n}", 0.0),
                "up": weight(f"up_{n}", width, 2 * width),
                "up_bias": constant(f"up_bias_{n}", 0.0, 2 * width),
                "down": weight(f"down_{n}", 2 * width, width, spread=0.5 * (2 * width) ** -0.5),
                "down_bias": constant(f"down_bias_{n}", 0.0),
            }
            for n in range(self.design.layers)
        ]
        self.scale, self.shift = constant("scale", 1.0), constant("shift", 0.0)

    def call(self, values: Tensor, known: Tensor, marks: Tensor = None, training: bool = False) -> Tensor:
        """Return the summary token, (members, batch, width). values: (batch, columns); known: (batch, tokens)."""
        tokens, columns = self.groups.shape
        width, rows = self.design.width, tf.shape(values)[0]
        spread = tf.reshape(values[:, None, :] * self.groups, [1, -1, columns])
        x = tf.reshape(tf.matmul(spread, self.embed), [self.members, -1, tokens, width]) + self.place[:, None]
        if marks is not None:
            x += marks
        first = tf.zeros([self.members, rows, 1, width]) + self.summary[:, None]
        x = tf.reshape(tf.concat([first, x], 2), [self.members, -1, width])
        shown = tf.concat([tf.ones_like(known[:, :1]), known], 1)
        bias = ((shown - 1) * 1e4)[None, :, None, None, :]
        for block in self.blocks:
            x += self._dropped(self._attend(x, bias, block), training)
            y = _normal(x, block["scale_2"], block["shift_2"])
            y = keras.activations.gelu(tf.matmul(y, block["up"]) + block["up_bias"])
            x += self._dropped(tf.matmul(y, block["down"]) + block["down_bias"], training)
        summary = tf.reshape(x, [self.members, -1, tokens + 1, width])[:, :, 0]
        return _normal(summary, self.scale, self.shift)

    def _attend(self, x: Tensor, bias: Tensor, block: Mapping[str, Tensor]) -> Tensor:
        heads, width, length = self.design.heads, self.design.width, self.groups.shape[0] + 1
        y = tf.matmul(_normal(x, block["scale_1"], block["shift_1"]), block["query_key_value"])
        y = tf.reshape(y, [self.members, -1, length, 3, heads, width // heads])
        query, key, value = (tf.transpose(y[:, :, :, n], [0, 1, 3, 2, 4]) for n in range(3))
        score = tf.matmul(query, key, transpose_b=True) * (width // heads) ** -0.5
        seen = tf.transpose(tf.matmul(tf.nn.softmax(score + bias), value), [0, 1, 3, 2, 4])
        return tf.matmul(tf.reshape(seen, [self.members, -1, width]), block["out"])

    def _dropped(self, x: Tensor, training: bool) -> Tensor:
        return tf.nn.dropout(x, self.design.dropout) if training else x


def _normal(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    centred = x - tf.reduce_mean(x, -1, keepdims=True)
    return centred * tf.math.rsqrt(tf.reduce_mean(centred * centred, -1, keepdims=True) + EPSILON) * scale + shift


@keras.saving.register_keras_serializable("consilium")
class Committee(keras.layers.Layer):  # type: ignore[misc] # keras is untyped
    """All members. mean, deviation: of the image's numbers over the training pictures."""

    def __init__(
        self,
        features: Sequence[RecordFeature],
        members: int,
        design: Design,
        mean: Array,
        deviation: Array,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.members, self.design = members, design
        self.mean, self.deviation = np.asarray(mean, np.float32), np.asarray(deviation, np.float32)
        self.describes = np.array(
            [[one.of_lesion and one.name != CATEGORY_FEATURE] for one in features], np.float32
        )
        self.categorised = np.array([[one.name == CATEGORY_FEATURE] for one in features], np.float32)
        self.record = Encoder(record_groups(features), members, design, name="record_encoder")
        self.image = Encoder(image_groups(), members, design, name="image_encoder")

    def build(self, *_: object) -> None:
        def weight(name: str, *shape: int, spread: float = 0.0) -> Tensor:
            start = keras.initializers.RandomNormal(stddev=spread) if spread else "zeros"
            return self.add_weight(name=name, shape=(self.members, *shape), initializer=start)

        tokens, columns = self.record.groups.shape
        width = self.design.width
        self.record.build()
        self.image.build()
        self.by_reader = weight("by_reader", 1, 1, width, spread=0.1)
        self.record_head, self.record_bias = (
            weight("record_head", width, 1, spread=0.1),
            weight("record_bias", 1, 1),
        )
        self.image_head, self.image_bias = weight("image_head", width, 1, spread=0.1), weight("image_bias", 1, 1)
        self.gate_head, self.gate_bias = weight("gate_head", 2 * width, 1, spread=0.02), weight("gate_bias", 1, 1)
        self.record_line, self.record_base = (
            weight("record_line", columns + tokens, 1),
            weight("record_base", 1, 1),
        )
        self.image_line = weight("image_line", len(self.mean) + 1, 1)
        everything = columns + tokens + len(self.mean) + 1
        self.joint_line, self.joint_base = weight("joint_line", everything, 1), weight("joint_base", 1, 1)

    def call(self, inputs: Sequence[Tensor], training: bool = False, token_drop: float = 0.0) -> dict[str, Tensor]:
        """Return log odds, each (members, batch, 1): joint, record, image, the linear parts of the last two."""
        record, known, image, image_known = inputs
        there, has = image_known[:, :1], tf.reduce_max(known, 1, keepdims=True)
        numbers = tf.clip_by_value((image - self.mean) / self.deviation, -CLIP, CLIP) * there
        shown = there * tf.ones([1, self.image.groups.shape[0]])
        if training:
            shown *= tf.cast(tf.random.uniform(tf.shape(shown)) >= token_drop, tf.float32)
        of_record = self.record(record, known, training=training)
        marks = (image_known[:, 1:] * there)[None, :, :, None] * self.by_reader
        of_image = self.image(numbers, shown, marks=marks, training=training)
        record_line = tf.matmul(tf.concat([record, known], 1)[None], self.record_line) + self.record_base
        image_line = tf.matmul(tf.concat([numbers, image_known[:, 1:]], 1)[None], self.image_line)
        record_score = (tf.matmul(of_record, self.record_head) + self.record_bias + record_line) / 2 * has
        image_score = (tf.matmul(of_image, self.image_head) + self.image_bias + 2 * image_line) / 3 * there
        both = tf.concat([of_record, of_image], -1)
        gate = tf.sigmoid(tf.matmul(both, self.gate_head) + self.gate_bias + 1.0)
        described = tf.cast(tf.matmul(known, self.describes) > 0, tf.float32)
        gate = described * DESCRIBED_SHARE + (1 - described) * gate
        joint_line = self.joint_base + tf.matmul(
            tf.concat([record, known, numbers, image_known[:, 1:]], 1)[None], self.joint_line
        )
        late = record_score + (gate * has + 1 - has) * image_score
        lined = tf.matmul(known, self.categorised) * there * (1 - described)
        return {
            "joint": late * (1 - lined / 2) + joint_line * lined / 2,
            "joint_line": joint_line,
            "lined": lined,
            "record": record_score,
            "image": image_score,
            "record_line": record_line,
            "image_line": image_line,
        }


def record_groups(features: Sequence[RecordFeature]) -> Array:
    """Return which columns of the record belong to which feature, (features, columns)."""
    parts = columns_of(features)
    groups = np.zeros((len(parts), max(part.stop for part in parts.values())), np.float32)
    for n, part in enumerate(parts.values()):
        groups[n, part] = 1
    return groups


def image_groups() -> Array:
    """Return which image numbers belong to which token, (tokens, numbers): the looks, then the outline."""
    groups = np.zeros((2 + len(IMAGE_TOKENS), LOOKS + len(NAMES)), np.float32)
    groups[0, 0], groups[1, 1:LOOKS] = 1, 1
    for n, names in enumerate(IMAGE_TOKENS.values(), start=2):
        groups[n, [LOOKS + NAMES.index(name) for name in names]] = 1
    return groups


def learn(
    committee: Committee,
    rows: Rows,
    features: Sequence[RecordFeature],
    course: Course,
    *,
    seed: int,
    progress: Progress,
) -> list[float]:
    """Train all members in place; return the mean loss of a member every REPORT_EVERY steps."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    committee([tf.constant(rows.tensors[name][:2]) for name in INPUTS])
    optimiser = keras.optimizers.AdamW(course.learning_rate, weight_decay=course.weight_decay)
    optimiser.exclude_from_weight_decay(var_names=["line", "bias", "base", "scale", "shift"])
    optimiser.build(committee.trainable_variables)

    def step(tensors: Sequence[Tensor], truth: Tensor, weight: Tensor) -> Tensor:
        with tf.GradientTape() as tape:
            scores = committee(tensors, training=True, token_drop=course.token_drop)
            value = _loss(scores, tensors, truth, weight)
            lines = (committee.record_line, committee.image_line, committee.joint_line)
            value += course.linear_l2 * tf.add_n([tf.reduce_sum(line**2) for line in lines])
        gradients = tape.gradient(value, committee.trainable_variables)
        optimiser.apply_gradients(zip(gradients, committee.trainable_variables, strict=True))
        return value / committee.members

    compiled, history, recent = tf.function(step), [], None
    groups, category = record_groups(features), [one.name for one in features].index("birads")
    chance = rows.drawn / rows.drawn.sum()
    for done in range(course.steps):
        optimiser.learning_rate.assign(course.learning_rate * rate(done / course.steps, warm_up=0.1))
        chosen = rng.choice(len(rows.truth), course.batch, p=chance)
        tensors = _thinned({name: rows.tensors[name][chosen] for name in INPUTS}, groups, category, course, rng)
        truth = tf.constant(rows.truth[chosen, None], tf.float32)
        value = float(
            compiled([tf.constant(one) for one in tensors], truth, tf.constant(rows.weight[chosen].T[..., None]))
        )
        recent = value if recent is None else 0.98 * recent + 0.02 * value
        if (done + 1) % REPORT_EVERY == 0 or done + 1 == course.steps:
            history.append(recent)
            progress(f"diagnosis network, loss {recent:.3f}", done + 1, course.steps)
    return history


def _loss(scores: Mapping[str, Tensor], tensors: Sequence[Tensor], truth: Tensor, weight: Tensor) -> Tensor:
    """Sum over members: cross-entropy of the joint score, and of each part where it has something to read."""
    has, there = tf.reduce_max(tensors[1], 1, keepdims=True), tensors[3][:, :1]
    parts = (
        ("joint", 1.0, 1.0),
        ("record", 0.5, has),
        ("image", 0.5, there),
        ("record_line", 0.25, has),
        ("image_line", 0.25, there),
        ("joint_line", 0.5, scores["lined"]),
    )
    total = 0.0
    for name, share, where in parts:
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.zeros_like(scores[name]) + truth, scores[name])
        counted = weight * where
        total += share * tf.reduce_sum(tf.reduce_sum(entropy * counted, 1) / (tf.reduce_sum(counted, 1) + 1))
    return total


def _thinned(
    tensors: dict[str, Array], groups: Array, category: int, course: Course, rng: np.random.Generator
) -> list[Array]:
    """Take away features, categories, records and images at random; return INPUTS in order."""
    had, there = tensors["record_known"], tensors["image_known"].copy()
    share = 2 * course.feature_drop * rng.random((len(had), 1))
    known = had * (rng.random(had.shape) >= share)
    known[:, category] = had[:, category] * (rng.random(len(had)) >= course.category_drop)
    lot = rng.random(len(had))
    there[(lot < course.record_only) & (had.max(axis=1) > 0)] = 0
    known[(lot > 1 - course.image_only) & (tensors["image_known"][:, 0] > 0)] = 0
    record = tensors["record"] * (known @ groups)
    return [np.asarray(one, np.float32) for one in (record, known, tensors["image"] * there[:, :1], there)]


def scores(committee: Committee, tensors: Mapping[str, Array], part: str = "joint") -> NDArray[np.float64]:
    """Return the log odds of every member, (members, rows)."""
    rows = len(tensors[INPUTS[0]])
    pieces = [slice(start, start + 256) for start in range(0, rows, 256)]
    found = [committee([tf.constant(tensors[name][piece]) for name in INPUTS])[part] for piece in pieces]
    nothing = np.zeros((committee.members, 0))
    return np.concatenate([nothing, *(np.asarray(one, np.float64)[:, :, 0] for one in found)], axis=1)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Factor and offset of the log odds (Platt), by what an answer is made from."""

    record: tuple[float, float] = (1.0, 0.0)
    image: tuple[float, float] = (1.0, 0.0)
    both: tuple[float, float] = (1.0, 0.0)


def chosen_members(committee: Committee, features: Sequence[RecordFeature], members: slice) -> Committee:
    """Return a committee of some of the members."""
    count = len(range(committee.members)[members])
    part = Committee(features, count, committee.design, committee.mean, committee.deviation)
    columns, tokens = committee.record.groups.shape[1], committee.record.groups.shape[0]
    part([tf.zeros([1, size]) for size in (columns, tokens, len(committee.mean), 2)])
    for to, source in zip(part.weights, committee.weights, strict=True):
        to.assign(source[members])
    return part


class Answer(keras.layers.Layer):  # type: ignore[misc] # keras is untyped
    """The mean of the members' log odds as calibrated probabilities."""

    def __init__(self, committee: Committee, calibration: Calibration, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.committee, self.calibration = committee, calibration

    def call(self, record: Tensor, known: Tensor, image: Tensor, image_known: Tensor) -> dict[str, Tensor]:
        said = self.committee([record, known, image, image_known])
        has, there = tf.reduce_max(known, 1, keepdims=True), image_known[:, :1]
        joint, alone = tf.reduce_mean(said["joint"], 0), tf.reduce_mean(said["record"], 0)
        parts = (
            (self.calibration.record, 1 - there),
            (self.calibration.image, (1 - has) * there),
            (self.calibration.both, has * there),
        )
        factor = tf.add_n([pair[0] * where for pair, where in parts])
        offset = tf.add_n([pair[1] * where for pair, where in parts])
        slope, base = self.calibration.record
        return {
            "probability": tf.sigmoid(factor * joint + offset),
            "record_probability": tf.sigmoid(slope * alone + base),
        }


def diagnosis_network(committee: Committee, calibration: Calibration) -> Network:
    """Return graph `diagnosis` as a Keras model: INPUTS -> probability, record_probability, (batch, 1)."""
    sizes = (committee.record.groups.shape[1], committee.record.groups.shape[0], len(committee.mean), 2)
    entries = [keras.Input((size,), name=name) for name, size in zip(INPUTS, sizes, strict=True)]
    return keras.Model(entries, Answer(committee, calibration)(*entries), name="diagnosis")


class Look(keras.layers.Layer):  # type: ignore[misc] # keras is untyped
    """A crop and its outline's numbers as tokens; with a committee, also what they say by themselves."""

    def __init__(self, looks: Network, answer: Answer | None, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.looks, self.answer = looks, answer

    def call(self, crop: Tensor, shape: Tensor) -> dict[str, Tensor]:
        mirrored = tf.gather(crop, list(range(crop.shape[2]))[::-1], axis=2)
        both = tf.reshape(self.looks(tf.concat([crop, mirrored], 0), training=False), [2, -1, LOOKS])
        tokens = tf.concat([tf.reduce_mean(both, 0) / LOG_10, shape], 1)
        if self.answer is None:
            return {"tokens": tokens}
        groups = self.answer.committee.record.groups
        nothing = [tf.zeros_like(tokens[:, :1]) + tf.zeros([1, size]) for size in groups.shape[::-1]]
        there = tf.zeros_like(tokens[:, :1]) + tf.constant([[1.0, 0.0]])
        return {"tokens": tokens, "probability": self.answer(*nothing, tokens, there)["probability"]}


def image_network(looks: Network, answer: Answer | None) -> Network:
    """Return graph `image` as a Keras model: crop, shape -> tokens, with an answer also its probability."""
    crop = keras.Input(looks.inputs[0].shape[1:], name="crop")
    shape = keras.Input((len(NAMES),), name="shape")
    return keras.Model([crop, shape], Look(looks, answer)(crop, shape), name="image")
