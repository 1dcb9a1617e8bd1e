"""The user's document's own network: a U-Net of 31 million parameters (64 to 1024 channels) with random weights.

    python -m benchmarks.unet31m FILE.onnx

Written straight as an ONNX graph with numpy and onnx, so that a GPU machine needs no TensorFlow. Image (batch,
256, 256, 3) in, probability (batch, 256, 256, 1) out, channels last. Five levels of two 3 x 3 convolutions with
ReLU, 2 x 2 max pooling down, one nearest-neighbour Resize up, skip concatenation: 31,378,945 parameters, 55.7e9
multiplications an image.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper

CHANNELS = (64, 128, 256, 512, 1024)
SIZE = 256
PARAMETERS = 31_378_945
MAX_NODES = 60


class _Graph:
    """Nodes and weights as they are added; each `add` returns the name of what it makes."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def convolution(self, source: str, channels: int, filters: int, size: int) -> str:
        """Add a convolution that keeps rows and columns, with He's weights."""
        spread = np.sqrt(2 / (channels * size * size))
        kernel = (self.rng.standard_normal((filters, channels, size, size)) * spread).astype(np.float32)
        names = (f"kernel_{len(self.nodes)}", f"bias_{len(self.nodes)}")
        inputs = (self.constant(names[0], kernel), self.constant(names[1], np.zeros(filters, np.float32)))
        return self.add("Conv", source, *inputs, kernel_shape=[size, size], pads=[size // 2] * 4)

    def double(self, source: str, channels: int, filters: int) -> str:
        """Add two 3 x 3 convolutions with ReLU."""
        inner = self.add("Relu", self.convolution(source, channels, filters, 3))
        return self.add("Relu", self.convolution(inner, filters, filters, 3))


def build(size: int = SIZE, seed: int = 0, channels: tuple[int, ...] = CHANNELS) -> Any:
    """Return the checked model. size: rows and columns, a multiple of 2 to the number of levels less one."""
    graph = _Graph(seed)
    scales = graph.constant("twice", np.array([1, 1, 2, 2], np.float32))
    last = graph.add("Transpose", "image", perm=[0, 3, 1, 2])
    before, skips = 3, []
    for filters in channels[:-1]:
        skips.append((graph.double(last, before, filters), filters))
        last = graph.add("MaxPool", skips[-1][0], kernel_shape=[2, 2], strides=[2, 2])
        before = filters
    last, before = graph.double(last, before, channels[-1]), channels[-1]
    for skip, filters in reversed(skips):
        up = graph.add(
            "Resize",
            last,
            "",
            scales,
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )
        last = graph.double(graph.add("Concat", up, skip, axis=1), before + filters, filters)
        before = filters
    logits = graph.convolution(last, before, 1, 1)
    graph.add("Transpose", graph.add("Sigmoid", logits), perm=[0, 2, 3, 1], output="probability")
    boundary = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size, size, depth])
        for name, depth in (("image", 3), ("probability", 1))
    ]
    whole = helper.make_graph(graph.nodes, "unet31m", boundary[:1], boundary[1:], graph.weights)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model, full_check=True)
    return model


def parameters(model: Any) -> int:
    """Return how many numbers are learnt: kernels and biases."""
    return sum(
        int(np.prod(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.name.startswith(("kernel", "bias"))
    )


def main() -> None:
    """Write the file and say what it holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    model = build()
    file.write_bytes(model.SerializeToString())
    nodes, size_mb = len(model.graph.node), file.stat().st_size / 1e6
    print(f"{file}: {parameters(model):,} parameters, {nodes} nodes, {size_mb:.1f} MB")


if __name__ == "__main__":
    main()
