"""What the server imports: nothing that trains, and nothing that opens anything."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TRAINING = {"tensorflow", "keras", "tf2onnx", "skl2onnx", "sklearn", "pandas", "onnx", "matplotlib", "scipy"}


SERVING = ("consilium.app", "dicom_node.results", "consilium.worker_role", "consilium.web")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Return what is imported after each of SERVING, one after another in one process."""
    code = "import sys, importlib\nfor one in sys.argv[1:]: importlib.import_module(one); print(one, *sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code, *SERVING],
        cwd=Path(__file__).parents[2],
        env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path_factory.mktemp("metrics")), "PATH": ""},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return {line.split()[0]: {name.partition(".")[0] for name in line.split()[1:]} for line in out.splitlines()}


@pytest.mark.parametrize("module", SERVING)
def test_no_training_library_is_imported(module: str, imported: dict[str, set[str]]) -> None:
    assert module.partition(".")[0] in imported[module]
    assert not TRAINING & imported[module]


@pytest.mark.parametrize("module", ["consilium.cli", "consilium.supervise"])
def test_the_parent_and_the_command_line_start_light(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True
    ).stdout
    assert not {"sqlalchemy", "pydicom", "numpy", "flask", "dbos", "onnxruntime"} & set(out.split())


def test_the_web_process_starts_without_what_runs_models_or_talks_to_archives() -> None:
    code = "import sys, consilium.web; print(*sorted(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True
    ).stdout
    # DICOMweb reads pydicom in when it is first asked, after the ready line.
    assert not {"pydicom", "PIL", "pynetdicom", "highdicom", "imagecodecs", "onnxruntime"} & set(out.split())


def test_the_dicom_process_starts_without_what_reads_models() -> None:
    code = "import sys, consilium.roles, consilium.node_services, dicom_node.scp; print(*sorted(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True
    ).stdout
    assert not {"model_runtime.library", "highdicom", "imagecodecs", "onnxruntime", "flask"} & set(out.split())
