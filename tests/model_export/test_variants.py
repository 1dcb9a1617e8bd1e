from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_export.onnx.gate import ExportRefused, check_graph
from model_export.onnx.variants import accepted, as_stored, half_storage, quantised, runner

SIZE = 24


def network():
    """Finds bright squares: means over 5 x 5 pixels in sixteen channels that differ a little, put together."""
    rng = np.random.default_rng(0)
    mean = np.full((16, 1, 5, 5), 1 / 25, np.float32) * rng.uniform(0.8, 1.2, (16, 1, 1, 1)).astype(np.float32)
    together = np.full((1, 16, 1, 1), 40 / 16, np.float32)
    weights = {"mean": mean, "together": together, "bias": np.array([-16.0], np.float32)}
    nodes = [
        helper.make_node("Transpose", ["image"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "mean"], ["wide"], pads=[2] * 4, kernel_shape=[5, 5], name="first"),
        helper.make_node("Relu", ["wide"], ["positive"]),
        helper.make_node("Conv", ["positive", "together", "bias"], ["logit"], kernel_shape=[1, 1], name="head"),
        helper.make_node("Sigmoid", ["logit"], ["chance"]),
        helper.make_node("Transpose", ["chance"], ["probability"], perm=[0, 2, 3, 1]),
    ]
    boundary = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", SIZE, SIZE, 1])
        for name in ("image", "probability")
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "squares", boundary[:1], boundary[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def pictures(count, seed):
    """Return images with one bright square each, and where it is."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 0.3, (count, SIZE, SIZE, 1)).astype(np.float32)
    truth = np.zeros(images.shape, bool)
    for number, (row, column) in enumerate(rng.integers(2, SIZE - 11, (count, 2))):
        truth[number, row : row + 9, column : column + 9] = True
    return np.where(truth, images + 0.6, images).astype(np.float32), truth


def dice(run):
    images, truth = pictures(40, seed=2)
    found = run({"image": images})["probability"] >= 0.5
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


@pytest.fixture(scope="module")
def full():
    return network()


@pytest.fixture(scope="module")
def int8(full):
    images, _ = pictures(16, seed=1)
    return quantised(full, [{"image": image[None]} for image in images])


def test_the_network_of_this_test_finds_its_squares(full):
    assert dice(runner(full.SerializeToString())) > 0.85


def test_weights_in_half_precision_take_half_the_room_and_the_metric_stays(full):
    variant = accepted(full, half_storage(full), dice)
    assert abs(variant.loss) < 0.001
    stored = {tensor.name: tensor.data_type for tensor in variant.model.graph.initializer}
    assert stored["mean_half"] == TensorProto.FLOAT16
    assert stored["bias"] == TensorProto.FLOAT, "what is small stays"
    assert variant.in_words("Dice").startswith(f"Dice {variant.before:.4f} before and ")


def test_a_large_network_in_half_precision_is_half_the_file():
    big = network()
    big.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((16, 1, 65, 65), np.float32), "mean"))
    assert len(half_storage(big).SerializeToString()) < 0.51 * len(big.SerializeToString())


def test_weights_rounded_beforehand_give_the_very_same_answers(full):
    rounded = onnx.ModelProto()
    rounded.CopyFrom(full)
    for tensor in rounded.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(as_stored(numpy_helper.to_array(tensor)), tensor.name))
    images, _ = pictures(4, seed=3)
    one, other = (
        runner(model.SerializeToString())({"image": images})["probability"]
        for model in (rounded, half_storage(rounded))
    )
    assert np.array_equal(one, other)


@pytest.mark.parametrize("weight", [70_000.0, -70_000.0, np.inf, np.nan])
def test_a_weight_that_float16_cannot_hold_is_refused(weight):
    with pytest.raises(ExportRefused, match="too large"):
        as_stored(np.array([0.5, weight]))


def test_the_smaller_files_pass_the_gate_s_look_at_the_graph_and_the_original_is_untouched(full, int8):
    before = full.SerializeToString()
    check_graph(half_storage(full))
    check_graph(int8)
    assert full.SerializeToString() == before


def test_int8_is_unsigned_activations_and_signed_weights_a_scale_for_each_channel(int8):
    kinds = Counter(node.op_type for node in int8.graph.node)
    assert kinds["QuantizeLinear"] > 0
    assert kinds["DequantizeLinear"] > kinds["QuantizeLinear"]
    tensors = {tensor.name: tensor for tensor in int8.graph.initializer}
    assert tensors["mean_quantized"].data_type == TensorProto.INT8
    assert list(tensors["mean_scale"].dims) == [16]
    zero_points = {tensors[n.input[2]].data_type for n in int8.graph.node if n.op_type == "QuantizeLinear"}
    assert zero_points == {TensorProto.UINT8}


def test_int8_is_accepted_where_the_metric_hardly_notices(full, int8):
    assert accepted(full, int8, dice).loss <= 0.005


def test_int8_is_refused_where_the_metric_falls(full):
    """Calibrated on dark images only, every bright square is cut to their range."""
    images, _ = pictures(8, seed=1)
    dark = quantised(full, [{"image": image[None] * 0.01} for image in images])
    with pytest.raises(ExportRefused, match=r"loses 0\.\d+ of the metric"):
        accepted(full, dark, dice)


def test_a_metric_that_is_no_number_is_refused(full):
    with pytest.raises(ExportRefused, match="nan"):
        accepted(full, full, lambda _: float("nan"))


def test_nodes_that_are_left_stay_in_float32(full):
    images, _ = pictures(8, seed=1)
    left = quantised(full, [{"image": image[None]} for image in images], leave=["head"])
    names = {tensor.name for tensor in left.graph.initializer}
    assert {"mean_quantized", "together"} <= names
