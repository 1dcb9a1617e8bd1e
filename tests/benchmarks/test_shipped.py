"""What the shipped files must keep to: few nodes without chains, small folders, risk rows in double precision."""

from collections import Counter
from pathlib import Path

import onnx
import pytest

from benchmarks.unet31m import MAX_NODES
from model_runtime.library import Library

MODELS = Path(__file__).parents[2] / "models"
MAX_MB, MAX_MB_OF_IMAGE_MODELS = 10, 20
U_NETS = [("lung-nodule", "model"), ("breast-lesion", "outline")]


def kinds_of(model: str, graph: str) -> Counter[str]:
    data = Library(MODELS).model_bytes(model, graph)
    return Counter(node.op_type for node in onnx.load_from_string(data).graph.node)


def megabytes(model: str) -> float:
    return sum(file.stat().st_size for file in (MODELS / model).rglob("*") if file.is_file()) / 1e6


@pytest.mark.parametrize(("model", "graph"), U_NETS)
def test_a_u_net_has_few_nodes(model, graph):
    assert kinds_of(model, graph).total() <= MAX_NODES


@pytest.mark.parametrize("model", Library(MODELS).names())
def test_no_graph_holds_a_chain_of_tiles_or_a_loop_and_each_folder_is_small(model):
    for graph in Library(MODELS).manifest(model).graphs:
        kinds = kinds_of(model, graph)
        assert not kinds["Tile"] + kinds["Loop"] + kinds["Scan"]
    assert megabytes(model) < MAX_MB


def test_the_image_models_are_small_together():
    assert sum(megabytes(model) for model, _ in U_NETS) < MAX_MB_OF_IMAGE_MODELS


def test_the_decisions_of_the_risk_model_are_computed_in_double_precision():
    graphs = Library(MODELS).manifest("diabetes-risk").graphs
    assert {graph.precision for graph in graphs.values()} == {"float64"}
