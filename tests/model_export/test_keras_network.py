"""Keras to ONNX: what comes out, and what is not let out. Needs the training stack."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest

from model_runtime.session import onnxruntime

pytestmark = [pytest.mark.export, pytest.mark.slow]
SIZE = 32
THRESHOLDS = {"mask": 0.4, "report": 0.5, "min_area_px": 1}


@pytest.fixture(scope="module")
def stack():
    """The training stack, imported once; TensorFlow's own import warnings are not ours to fail on."""
    pytest.importorskip("tensorflow", reason="needs the training stack")
    load = importlib.import_module
    export = load("model_export.onnx.keras_network")
    return SimpleNamespace(
        keras=load("keras"),
        onnx=load("onnx"),
        gate=load("model_export.onnx.gate"),
        export=export.keras_model,
        enlarge=export.Enlarge,
        network=load("model_export.recipes.segmentation_network"),
        recipe=load("model_export.recipes.lung_nodule"),
        sets=load("model_export.recipes.lung_nodule_data").Sets,
    )


@pytest.fixture(scope="module")
def model(stack):
    """A small U-Net whose every weight, the batch normalisation's too, has a telling value."""
    model = stack.network.unet(SIZE, 2, widths=(4, 6, 8))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "moving_variance" in weight.path or "gamma" in weight.path:
            weight.assign(rng.uniform(0.7, 1.4, weight.shape))
        elif len(weight.shape) == 1:
            weight.assign(rng.normal(0, 0.1, weight.shape))
        elif weight.shape[0] == 1:  # the head: wide enough that the answers differ
            weight.assign(rng.normal(0, 4, weight.shape))
    spread = np.std(np.asarray(model(rng.uniform(-1, 1, (4, SIZE, SIZE, 2)).astype(np.float32))))
    assert spread > 0.02, "a network that says the same everywhere would prove nothing"
    return model


@pytest.fixture(scope="module")
def graph(stack, model):
    return stack.export(model)


@pytest.fixture
def candidate(stack, model, graph):
    one = {"lidc_drr": 1}
    sets = stack.sets(digest={"lidc_drr": "0" * 64}, subjects=one, rows=one)
    document = stack.recipe.manifest_document(sets, THRESHOLDS, {}, seed=1)
    document["image"] = {**document["image"], "rows": SIZE, "columns": SIZE}
    copy = stack.onnx.ModelProto()
    copy.CopyFrom(graph)
    whole = stack.gate.Candidate(document, {"model": released(stack, copy, model)}, card=lambda _: "# A card\n")
    return SimpleNamespace(model=copy, whole=whole)


def released(stack, graph, model):
    return stack.gate.GraphCandidate(
        model=graph,
        reference=lambda inputs: {"probability": np.asarray(model(inputs["image"], training=False))},
        rows={"image": np.random.default_rng(1).uniform(-1, 1, (256, SIZE, SIZE, 2)).astype(np.float32)},
        limits=stack.gate.NETWORKS,
        output="probability",
        decide=lambda values: values.max(axis=(1, 2, 3)),
        thresholds=(THRESHOLDS["report"],),
        tensors=stack.recipe.TENSORS,
        golden_rows=1,
    )


def operations(graph):
    return [node.op_type for node in graph.graph.node]


def test_the_graph_has_one_node_a_resize_and_no_tile_chains(graph):
    found = operations(graph)
    assert found.count("Resize") == 3  # two levels up, and to the size of the picture
    assert not {"Tile", "Loop", "Erfc", "BatchNormalization"} & set(found)
    assert found.count("Transpose") <= 2


def test_axes_and_names_are_those_of_the_manifest(graph):
    (entry,), (out,) = graph.graph.input, graph.graph.output
    assert (entry.name, out.name) == ("image", "probability")
    for value in (entry, out):
        axes = value.type.tensor_type.shape.dim
        assert axes[0].dim_param == "batch"
        assert [axis.dim_value for axis in axes][1:3] == [SIZE, SIZE]
    assert [o.version for o in graph.opset_import if o.domain == ""] == [18]


def test_the_gate_lets_the_true_network_through(stack, candidate, tmp_path):
    folder, found = stack.gate.release(candidate.whole, tmp_path)
    (parity,) = found.values()
    assert parity.rows == 256
    assert parity.difference <= 1e-5
    assert {file.name for file in folder.iterdir()} == {"model.onnx", "manifest.json", "card.md", "golden.npz"}


def test_one_altered_weight_is_refused_and_nothing_is_written(stack, candidate, tmp_path):
    tensor = next(t for t in candidate.model.graph.initializer if len(t.dims) == 4)
    values = stack.onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] += 0.5
    tensor.CopyFrom(stack.onnx.numpy_helper.from_array(values, tensor.name))
    with pytest.raises(stack.gate.ExportRefused, match="differs from the trainer"):
        stack.gate.release(candidate.whole, tmp_path)
    assert not (tmp_path / stack.recipe.NAME).exists()


def test_one_altered_operation_is_refused(stack, candidate, tmp_path):
    node = next(n for n in candidate.model.graph.node if n.op_type == "Resize")
    for attribute in node.attribute:
        if attribute.name == "mode":
            attribute.s = b"linear" if attribute.s == b"nearest" else b"nearest"
    with pytest.raises(stack.gate.ExportRefused):
        stack.gate.release(candidate.whole, tmp_path)


def test_exact_gelu_becomes_erf_and_gives_the_same_numbers(stack):
    keras = stack.keras
    entry = keras.Input((8,), name="x")
    model = keras.Model(entry, keras.layers.Dense(4, activation="gelu", name="probability")(entry))
    graph = stack.export(model)
    assert "Erf" in operations(graph)
    x = np.random.default_rng(2).normal(0, 3, (5, 8)).astype(np.float32)
    session = onnxruntime().InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.abs(session.run(None, {"x": x})[0] - np.asarray(model(x))).max() < 1e-6


def test_a_recurrent_layer_that_would_become_a_loop_is_refused(stack):
    keras = stack.keras
    entry = keras.Input((6, 3), name="series")
    model = keras.Model(entry, keras.layers.GRU(4, name="forecast")(entry))
    with pytest.raises(ValueError, match="Loop"):
        stack.export(model)


@pytest.mark.parametrize("smooth", [False, True])
def test_enlarging_gives_what_upsampling_gives(stack, smooth):
    x = np.random.default_rng(3).random((2, 5, 7, 3)).astype(np.float32)
    wanted = stack.keras.layers.UpSampling2D(2, interpolation="bilinear" if smooth else "nearest")(x)
    assert np.abs(np.asarray(stack.enlarge(2, smooth)(x)) - np.asarray(wanted)).max() < 1e-6


@pytest.fixture(scope="module")
def lite(stack):
    """The nodule network, its normalisations with telling values."""
    model = stack.network.lite_unet(64, 2)
    rng = np.random.default_rng(4)
    for weight in model.weights:
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(rng.uniform(0.7, 1.4, weight.shape))
        elif "mean" in weight.path or "beta" in weight.path:
            weight.assign(rng.normal(0, 0.1, weight.shape))
    head = model.get_layer("head")
    head.set_weights([rng.normal(0, 0.5, head.kernel.shape), np.zeros(1)])
    return model


def test_folding_the_normalisations_changes_no_number(stack, lite):
    x = np.random.default_rng(5).uniform(-1, 1, (2, 64, 64, 2)).astype(np.float32)
    wanted, found = (np.asarray(net(x, training=False)) for net in (lite, stack.network.folded(lite)))
    assert wanted.std() > 0.01
    assert np.abs(wanted - found).max() < 1e-5


def test_the_nodule_network_has_at_most_60_nodes_and_none_of_the_slow_ones(stack, lite):
    found = operations(stack.export(stack.network.folded(lite)))
    assert len(found) <= 60
    assert set(found).isdisjoint({"Tile", "Loop", "Mul", "BatchNormalization"})


def test_the_network_learns_to_tell_bright_squares_from_none(stack):
    network = stack.network
    model = network.unet(SIZE, 2, widths=(4, 6, 8))
    losses = []

    def draw(rng):
        tensors = rng.uniform(0, 0.2, (4, SIZE, SIZE, 2)).astype(np.float32)
        truth = np.zeros((4, SIZE, SIZE, 2), np.float32)
        truth[..., 1] = 1
        for item in range(4):
            row, column = rng.integers(2, SIZE - 12, 2)
            tensors[item, row : row + 8, column : column + 8] += 0.8
            truth[item, row : row + 8, column : column + 8, 0] = 1
        return tensors, truth

    steps = network.learn(
        model,
        draw,
        network.Budget(steps=150, minutes=2, batch=4, learning_rate=1e-2),
        seed=1,
        check_every=15,
        check=lambda _model, _step, loss: losses.append(loss),
    )
    assert steps == 150
    assert losses[-1] < 0.5 * losses[0]


def test_the_learning_rate_rises_then_falls_to_almost_nothing(stack):
    rates = [stack.network.schedule(share) for share in np.linspace(0, 1, 101)]
    assert rates.index(max(rates)) == 3
    assert rates[-1] <= 0.011
    assert np.all(np.diff(rates[3:]) <= 1e-12)
