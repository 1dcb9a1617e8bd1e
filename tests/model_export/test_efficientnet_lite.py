"""EfficientNet-Lite0: the file of weights is read without running it, and the layers compute what they should."""

import hashlib
import pickle
import struct
from typing import ClassVar

import numpy as np
import pytest

from clinical.errors import IncorrectInput, PreconditionMissing
from tests.model_export.lazily import NEEDS_TENSORFLOW, Lazily

pytestmark = [pytest.mark.export, NEEDS_TENSORFLOW]
keras = Lazily("keras")
lite = Lazily("model_export.recipes.efficientnet_lite")


class Call:
    """Pickles as a call of a function by name."""

    def __init__(self, module, name, *arguments):
        self.function = type(name, (), {"__module__": module, "__qualname__": name})
        self.arguments = arguments

    def __reduce__(self):
        return self.function, self.arguments


class Writer(pickle._Pickler):
    """Writes names that are not there, and storages as torch does."""

    def persistent_id(self, obj):
        return obj.identity if isinstance(obj, Storage) else None

    def save_global(self, obj, name=None):
        self.write(pickle.GLOBAL + f"{obj.__module__}\n{obj.__qualname__}\n".encode())

    dispatch: ClassVar = {**pickle._Pickler.dispatch, type: save_global}


class Storage:
    def __init__(self, key, count, kind="FloatStorage"):
        self.identity = (
            "storage",
            type(kind, (), {"__module__": "torch", "__qualname__": kind}),
            key,
            "cpu",
            count,
        )


def state_file(path, table, storages):
    """Write the older torch layout: three headers, the table, the order of storages, the storages."""
    with path.open("wb") as file:
        for header in (1, 2, {}):
            pickle.dump(header, file, protocol=2)
        Writer(file, protocol=2).dump(table)
        pickle.dump(list(storages), file, protocol=2)
        for values in storages.values():
            file.write(struct.pack("<q", values.size) + values.tobytes())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tensor(key, count, shape, steps, offset=0):
    return Call("torch._utils", "_rebuild_tensor_v2", Storage(key, count), offset, shape, steps, False, None)


def test_a_tensor_is_a_view_of_its_storage_with_torch_s_steps(tmp_path):
    numbers = np.arange(6, dtype="<f4")
    digest = state_file(tmp_path / "w.pth", {"turned": tensor("a", 6, (2, 3), (1, 2))}, {"a": numbers})
    assert lite.read_weights(tmp_path / "w.pth", digest)["turned"].tolist() == [[0, 2, 4], [1, 3, 5]]


def test_a_file_with_another_digest_is_not_even_opened(tmp_path):
    state_file(tmp_path / "w.pth", {}, {})
    with pytest.raises(IncorrectInput, match="not the published file"):
        lite.read_weights(tmp_path / "w.pth")


def test_a_file_that_asks_for_code_is_refused(tmp_path):
    digest = state_file(tmp_path / "w.pth", {"x": Call("os", "system", "true")}, {})
    with pytest.raises(IncorrectInput, match="asks for code"):
        lite.read_weights(tmp_path / "w.pth", digest)


@pytest.mark.parametrize("steps", [(1, 4), (-1, 2)], ids=["beyond the end", "backwards"])
def test_a_tensor_that_leaves_its_storage_is_refused(tmp_path, steps):
    digest = state_file(tmp_path / "w.pth", {"x": tensor("a", 6, (2, 3), steps)}, {"a": np.zeros(6, "<f4")})
    with pytest.raises(IncorrectInput, match="beyond its storage"):
        lite.read_weights(tmp_path / "w.pth", digest)


def network(channels, stages, last=None):
    entry = keras.Input((64, 64, channels))
    return keras.Model(entry, lite.features(entry, stages, last=last))


def made_up(stages, last):
    """Weights in torch's names and axes for a network cut after `last` blocks of stage `stages`."""
    model = network(1, stages, last)
    rng = np.random.default_rng(0)
    weights = {"_conv_stem.weight": rng.normal(0, 0.1, (32, 3, 3, 3)).astype(np.float32)}
    names = {
        "expand": ("_expand_conv", "_bn0"),
        "depth": ("_depthwise_conv", "_bn1"),
        "project": ("_project_conv", "_bn2"),
    }
    norms = {"_bn0": 32}
    for layer in model.layers:
        if layer.name == "lite0_stem" or not layer.weights or layer.name.endswith("_norm"):
            continue
        _, number, kind = layer.name.split("_")
        kernel = layer.kernel.shape
        axes = (kernel[2], 1, *kernel[:2]) if kind == "depth" else (kernel[3], kernel[2], *kernel[:2])
        weights[f"_blocks.{number}.{names[kind][0]}.weight"] = rng.normal(0, 0.2, axes).astype(np.float32)
        norms[f"_blocks.{number}.{names[kind][1]}"] = axes[0]
    for name, width in norms.items():
        for part in ("weight", "running_var"):
            weights[f"{name}.{part}"] = rng.uniform(0.5, 1.5, width).astype(np.float32)
        for part in ("bias", "running_mean"):
            weights[f"{name}.{part}"] = rng.normal(0, 0.1, width).astype(np.float32)
    return model, weights


def test_a_grey_picture_gives_what_the_same_picture_in_colour_gives_inside_the_border():
    grey, weights = made_up(1, None)
    colour = network(3, 1)
    lite.set_imagenet(colour, weights, (lite.Channel(1 / 3), lite.Channel(1 / 3), lite.Channel(1 / 3)))
    assert lite.set_imagenet(grey, weights) == 6  # stem, depthwise, projection, and their normalisations
    pixels = np.random.default_rng(1).random((1, 64, 64, 1)).astype(np.float32)
    one = np.asarray(grey(pixels, training=False))
    seen = np.repeat(pixels * 255 / 128 - 127 / 128, 3, axis=-1).astype(np.float32)
    three = np.asarray(colour(seen, training=False))
    assert np.abs(one - three)[..., 4:-4, 4:-4, :].max() < 1e-4


def test_every_layer_up_to_the_cut_gets_its_weights_and_the_stem_asks_for_its_channels():
    model, weights = made_up(2, 1)
    assert [int(t.shape[-1]) for t in model.outputs] == [16, 24]
    assert [int(t.shape[1]) for t in model.outputs] == [32, 16]
    assert lite.set_imagenet(model, weights) == sum(bool(layer.weights) for layer in model.layers)
    with pytest.raises(IncorrectInput, match="one Channel for each channel"):
        lite.set_imagenet(model, weights, (lite.Channel(0.5), lite.Channel(0.5)))


def test_the_published_file_holds_4_7_million_numbers_when_its_package_is_here():
    try:
        path = lite.weights_file()
    except PreconditionMissing as missing:
        pytest.skip(missing.message)
    weights = lite.read_weights(path)
    assert sum(values.size for values in weights.values()) == 4_694_024
    assert all(np.isfinite(values).all() for values in weights.values())
