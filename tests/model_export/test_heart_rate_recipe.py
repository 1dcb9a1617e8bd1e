"""heart-rate-simulated, made in seconds: gate, manifest, card, figures; and the GRU written as one node."""

import importlib
import json
from types import SimpleNamespace

import numpy as np
import pytest

from model_runtime.library import Library
from model_runtime.session import onnxruntime
from model_runtime.tasks.forecast import Forecast

pytestmark = [pytest.mark.export, pytest.mark.slow]


@pytest.fixture(scope="module")
def stack():
    """The training stack, imported once."""
    pytest.importorskip("tensorflow", reason="needs the training stack")
    load = importlib.import_module
    return SimpleNamespace(
        keras=load("keras"),
        writer=load("model_export.onnx.recurrent").GraphWriter,
        network=load("model_export.recipes.heart_rate_network"),
        graph=load("model_export.recipes.heart_rate_graph").graph,
        settings=load("model_export.recipes.heart_rate_settings"),
        simulated=load("model_export.recipes.heart_rate_simulated"),
        options=load("model_export.recipe").TrainOptions,
        quiet=load("model_export.recipe").quiet,
    )


@pytest.fixture(scope="module")
def folder(stack, tmp_path_factory):
    out = tmp_path_factory.mktemp("models")
    return stack.simulated.train(None, out, seed=1, progress=stack.quiet, options=stack.options(quick=True))


@pytest.mark.parametrize("reset_after", [True, False])
def test_a_keras_gru_is_one_node_with_the_same_numbers(stack, reset_after):
    layers = stack.keras.layers
    entry = stack.keras.Input((7, 3))
    layer = layers.GRU(5, reset_after=reset_after)
    model = stack.keras.Model(entry, layer(entry))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    write = stack.writer()
    state = write.last_state_of_gru("series", layer.get_weights())
    write.op("Identity", state, output="state")
    graph = write.model("gru", {"series": (7, 3)}, {"state": (5,)})
    assert [node.op_type for node in graph.graph.node].count("GRU") == 1
    assert not {"Loop", "Scan"} & {node.op_type for node in graph.graph.node}
    session = onnxruntime().InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    x = rng.normal(0, 1, (4, 7, 3)).astype(np.float32)
    assert np.abs(session.run(None, {"series": x})[0] - np.asarray(model(x))).max() < 1e-6


def test_several_members_are_averaged_in_one_graph_whose_quantiles_cannot_cross(stack):
    network = stack.network
    stack.keras.utils.set_random_seed(0)
    members = [network.member(stack.settings.Settings(units=4, dense=8)) for _ in range(2)]
    scales = np.array([[1.2, 0.8], [1.0, 1.0], [0.5, 2.0]])
    graph = stack.graph(members, scales)
    session = onnxruntime().InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    rows = {
        name: rng.uniform(20, 250, (64, *shape)).astype(np.float32)
        for name, shape in stack.settings.INPUTS.items()
    }
    for values in rows.values():
        values[rng.random(values.shape) < 0.4] = np.nan
    rows["recent"][:, -1, 0] = 70
    change, trend = session.run(["change", "trend"], rows)
    wanted = network.together(members, scales)(rows)
    assert np.abs(change - np.asarray(wanted["change"])).max() < 1e-6
    assert np.abs(trend - np.asarray(wanted["trend"])).max() < 1e-6
    assert (np.diff(change, axis=2) >= 0).all()
    assert trend.sum(axis=2) == pytest.approx(np.ones((64, 3)), abs=1e-5)


def test_the_folder_is_what_the_server_verifies_and_names_itself_synthetic(folder):
    library = Library(folder.parent)
    library.verify_all("heart-rate-simulated")
    manifest = library.manifest("heart-rate-simulated")
    assert manifest.notice
    assert len(manifest.require(Forecast).subjects) == 2
    card = (folder / "card.md").read_text("utf-8")
    assert "31. **" in card
    assert not [line for line in card.splitlines() if line.endswith(": ")]


def test_figures_of_cross_validation_stand_in_the_manifest_beside_their_baselines(folder):
    found = json.loads((folder / "manifest.json").read_text("utf-8"))["metrics"]["cross_validation"]
    for part in ("known", "unseen"):
        for key in ("skill_mae_60", "ridge_skill_mae_60", "direction_60", "coverage_p10_p90", "mape_complement"):
            assert key in found[part]
        assert 0.6 < found[part]["coverage_p10_p90"] <= 1


def test_plots_of_the_card_are_in_the_folder(folder):
    card = (folder / "card.md").read_text("utf-8")
    for name in ("skill", "coverage", "learning", "forecast", "confusion", "calibration"):
        assert f"plots/{name}.png" in card
        assert (folder / "plots" / f"{name}.png").stat().st_size > 1000
        assert (folder / "plots" / f"{name}.svg").stat().st_size <= 60_000


def test_evaluation_knows_whom_it_learnt_from_and_calls_others_unseen(stack, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(stack.simulated, "LEARN_DAYS", 1)
    monkeypatch.setattr(stack.simulated, "LATER_DAYS", 1)
    found = stack.simulated.evaluate(folder, None, progress=stack.quiet, plots=tmp_path / "plots")
    assert found["known"]["wearers"] + found["unseen"]["wearers"] == 10
    assert found["known"]["wearers"] == 2
    assert (tmp_path / "plots" / "skill.png").exists()
