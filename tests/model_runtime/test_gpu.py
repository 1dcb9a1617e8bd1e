"""What only a GPU can show: sessions really run there and agree with the CPU. Skipped where none starts.

onnxruntime lists CUDA wherever its GPU build is installed; what counts is the first provider of a session.
"""

from pathlib import Path

import numpy as np
import pytest

from clinical.errors import Fault
from model_export.testing import write_tiny_segmentation
from model_runtime.engine import LocalEngine, Placement, Policy
from model_runtime.library import Library
from model_runtime.session import Device

pytestmark = pytest.mark.gpu

SHIPPED = Path(__file__).parents[2] / "models"
GRAPHS = [
    pytest.param(name, graph, id=f"{name} {graph}")
    for name in Library(SHIPPED).names()
    for graph in Library(SHIPPED).manifest(name).graphs
]


@pytest.fixture(scope="module", autouse=True)
def _cuda_is_first(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    write_tiny_segmentation(models)
    try:
        Library(models).verify("lung-nodule", Device.CUDA)
    except Fault as fault:
        pytest.skip(f"no GPU on this machine: {fault.message}")


@pytest.mark.parametrize(("model", "graph"), GRAPHS)
def test_a_shipped_graph_reproduces_its_golden_output_on_the_gpu_and_agrees_with_the_cpu(model, graph):
    library = Library(SHIPPED)
    gpu, cpu = (library.verify(model, device, graph) for device in (Device.CUDA, Device.CPU))
    inputs = library.golden(model, graph).inputs
    for name, found in gpu.run(inputs).items():
        assert np.abs(found.astype(float) - cpu.run(inputs)[name].astype(float)).max() <= 1e-4


def test_the_engine_runs_on_the_gpu_and_says_so():
    library = Library(SHIPPED)
    engine = LocalEngine(library, Placement(Policy.CUDA, cpu_fallback=False))
    graph = next(iter(library.manifest("lung-nodule").graphs))
    found = engine.run("lung-nodule", library.golden("lung-nodule", graph).inputs, graph=graph)
    assert (found.device, found.degraded) == (Device.CUDA, False)
