"""What the benchmark of a whole server with a shadow makes of the shipped model and of the worker's metrics."""

import json

from benchmarks.shadow import NEXT, devices, next_version
from model_runtime.library import Library


def test_the_shipped_model_is_its_own_next_version_and_nothing_else_of_it_is_changed(tmp_path):
    shipped = next_version(tmp_path)
    stated = json.loads((tmp_path / "next" / "manifest.json").read_text())
    assert stated["version"] == NEXT != shipped
    library = Library(tmp_path, by_version=True)
    assert library.names() == (f"lung-nodule@{NEXT}",)
    assert library.verify(f"lung-nodule@{NEXT}") is not None


def test_a_device_is_told_where_a_model_runs_and_not_where_it_could():
    metrics = (
        'consilium_model_device{device="cuda",model="a"} 1.0\nconsilium_model_device{device="cpu",model="a"} 0.0\n'
    )
    assert devices(metrics) == ['consilium_model_device{device="cuda",model="a"} 1.0']
