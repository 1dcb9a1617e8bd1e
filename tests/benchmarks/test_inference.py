"""The benchmarks measure what they say: the document's network is that network, and every way runs."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu, inference
from benchmarks.cases import Case, cpu_session, shipped, thresholds_of
from benchmarks.timing import timed
from benchmarks.unet31m import MAX_NODES, PARAMETERS, build, parameters
from clinical.errors import Fault
from model_export.testing import write_tiny_risk, write_tiny_segmentation, write_tiny_variants
from model_runtime.library import Library
from model_runtime.session import Device, onnxruntime


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for write in (write_tiny_risk, write_tiny_segmentation, write_tiny_variants):
        write(folder)
    return folder


@pytest.fixture(scope="module")
def library(models):
    return Library(models)


def small_unet():
    """The document's network with two levels of four channels."""
    data = build(size=16, channels=(4, 8)).SerializeToString()
    image = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
    return Case("document's U-Net", "small", data, {"image": image}, (0.5,), "float32", 1, heavy=True)


def test_the_document_s_network_has_31_million_parameters_few_nodes_and_no_chain():
    model = build()
    kinds = Counter(node.op_type for node in model.graph.node)
    assert parameters(model) == PARAMETERS == 31_378_945
    assert kinds.total() <= MAX_NODES
    assert (kinds["Tile"], kinds["Loop"], kinds["Resize"], kinds["Conv"]) == (0, 0, 4, 19)


def test_a_small_one_answers_with_a_probability_for_each_pixel():
    case = small_unet()
    (found,) = cpu_session(case.data, 1).run(None, case.batch(3))
    assert found.shape == (3, 16, 16, 1)
    assert ((found > 0) & (found < 1)).all()
    assert found.std() > 0


def test_every_graph_of_every_model_is_a_case_with_its_thresholds(library):
    cases = {case.title: case for case in shipped(library)}
    assert set(cases) == {
        "diabetes-risk 0.1.0 / model",
        "lung-nodule 0.1.0 / model",
        "two-risk 0.1.0 / lab",
        "two-risk 0.1.0 / no_lab",
    }
    assert thresholds_of(library.manifest("two-risk"), "lab") == (0.2, 0.4)
    assert cases["lung-nodule 0.1.0 / model"].batch(5)["image"].shape == (5, 16, 16, 1)


def test_a_batch_is_made_of_the_golden_rows(library):
    case = next(iter(shipped(library)))
    assert np.array_equal(case.batch(5)["features"][:2], case.rows["features"], equal_nan=True)


def test_a_call_is_timed_as_often_as_its_time_allows():
    calls = []
    found = timed(lambda: calls.append(1), seconds=60, at_most=50)
    assert found["calls"] == 50
    assert len(calls) == 53
    assert found["p10_us"] <= found["median_us"] <= found["p90_us"]


@pytest.mark.parametrize("device", [Device.CPU])
def test_every_way_and_precision_gives_a_figure_and_agrees(library, device, monkeypatch):
    monkeypatch.setattr(gpu, "BATCHES", (1, 8))
    found = gpu.check(small_unet(), device, seconds=0.01)
    assert found["agrees"]
    assert set(found["precisions"]) == {"fp32", "tf32", "fp16"}
    for name, figures in found["precisions"].items():
        limit = 1e-2 if name == "fp16" else 1e-6
        assert figures["difference"] <= limit
        for way in ("plain", "io binding", "cuda graph"):
            assert figures[way][8]["difference"] <= limit
            assert figures[way][1]["per_s"] > 0


def test_a_precision_that_does_not_run_is_told_and_does_not_agree(monkeypatch):
    def broken(*_, **__):
        raise Fault("the session does not run where it was asked to")

    monkeypatch.setattr(gpu, "open_session", broken)
    found = gpu.check(small_unet(), Device.CPU, 0.01)
    assert found["precisions"]["fp32"] == {"problem": "Fault"}
    assert not found["agrees"]


def test_a_session_that_would_run_elsewhere_is_refused():
    if Device.CUDA.provider in onnxruntime().get_available_providers():
        return  # it may start there
    with pytest.raises(Fault, match="does not run where"):
        gpu.open_session(small_unet().data, Device.CUDA)


def test_a_machine_without_cuda_is_said_in_one_line_and_exit_status_3(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "why_no_cuda", lambda _: "no driver")
    monkeypatch.setattr("sys.argv", ["gpu", "--models", str(Path(__file__).parents[2] / "models")])
    assert gpu.main() == 3
    assert capsys.readouterr().out == "no GPU on this machine: no driver\n"


def test_a_risk_row_over_its_budget_and_a_network_with_a_chain_are_named():
    row = {"model": "m", "graph": "g", "way": "onnxruntime", "batch": 1, "threads": 1, "per_row_us": 51.0}
    risk = Case("m", "g", b"", {}, (), "float64", 1, heavy=False, is_risk=True)
    assert len(list(inference.over_budget(risk, [row]))) == 1
    assert not list(inference.over_budget(risk, [row | {"per_row_us": 49.0}]))
    assert not list(inference.over_budget(small_unet(), []))
    deep = Case(
        "document", "deep", build(size=64, channels=(2,) * 7).SerializeToString(), {}, (), "float32", 1, True
    )
    assert "nodes" in next(inference.over_budget(deep, []))


def test_the_table_has_a_line_for_each_thread_count_batch_and_way(models, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["inference", "--models", str(models), "--seconds", "0.01"])
    monkeypatch.setattr("structlog.configure", lambda **_: None)  # the suite watches the log
    monkeypatch.setattr(inference, "RISK_ROW_BUDGET_US", 1e6)  # whatever else this machine does now
    assert inference.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| two-risk 0.1.0 | lab | onnxruntime |") for line in lines) == 4
    assert sum(line.startswith("| two-risk 0.1.0 | lab | our engine |") for line in lines) == 2
