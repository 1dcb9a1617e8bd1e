"""The demonstration: a radiograph through every real door, and every encoding says the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node.testing import dx_dataset, radiograph_phantom, write_dicom

pytestmark = pytest.mark.slow

DATA = Path(os.environ.get("CONSILIUM_DATASETS_DIR") or Path(__file__).parents[3] / "shared" / "data")
REAL = (("nih_cxr621", 1), ("lidc_drr", 1))


def _demo(*arguments: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "consilium", "demo", "--json", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def _check(result: dict) -> None:
    assert result["agreement"]["agrees"], result["agreement"]["problems"]
    assert set(result) >= {"study", "observations", "report", "seg", "sr", "cards", "timings_ms"}
    assert result["report"]["status"] == "preliminary"
    assert result["sr"] is not None
    assert (result["seg"] is None) == (not result["observations"])
    ai = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "AIAST"}
    for resource in (result["report"], *result["observations"]):
        assert any(ai.items() <= label.items() for label in resource["meta"]["security"])


def test_the_phantoms_nodule_is_found_and_told_the_same_everywhere() -> None:
    result = _demo()
    _check(result)
    assert result["agreement"]["truth_found"] == [1, 1]
    assert any("nodule" in card["summary"] for card in result["cards"])
    assert any("diabetes" in card["summary"].lower() for card in result["cards"])


@pytest.mark.parametrize(("data_set", "count"), REAL)
def test_real_radiographs_go_all_the_way(data_set: str, count: int) -> None:
    images = sorted((DATA / data_set / "images").glob("*.png"))[:count]
    if not images:
        pytest.skip(f"data set {data_set} is not here (CONSILIUM_DATASETS_DIR)")
    for image in images:
        _check(_demo("--image", str(image)))


def test_an_image_of_another_patient_than_the_bundle_is_refused(tmp_path: Path) -> None:
    pixels, _ = radiograph_phantom(1, rows=128, columns=128)
    path = write_dicom(dx_dataset(pixels), tmp_path / "other.dcm")
    bundle = Path(__file__).parents[2] / "consilium" / "demo" / "patient.json"
    done = subprocess.run(
        [sys.executable, "-m", "consilium", "demo", "--image", str(path), "--patient", str(bundle)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "different patients" in done.stderr
