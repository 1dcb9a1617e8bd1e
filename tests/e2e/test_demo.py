"""The demonstration: a radiograph through every real door, and every encoding says the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset

from consilium.demo.agreement import agreement
from consilium.demo.material import prepare_material
from consilium.demo.server import RunningServer
from consilium.demo.show import as_json_object
from consilium.demo.stages import Stages
from dicom_node.testing import ReceivedByAe, dx_dataset, radiograph_phantom, write_dicom

pytestmark = pytest.mark.slow

DATA = Path(os.environ.get("CONSILIUM_DATASETS_DIR") or Path(__file__).parents[3] / "shared" / "data")
REAL = ("nih_cxr621", "lidc_drr")
RECORD = Path(__file__).parents[2] / "consilium" / "demo" / "patient.json"
SYSTEM = "urn:consilium:test-hospital"


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


class _OfStudy:
    """What the archive received of one study: others use it at the same time."""

    def __init__(self, archive: ReceivedByAe, study_uid: str) -> None:
        self._archive, self._study_uid = archive, study_uid

    @property
    def objects(self) -> list[FileDataset]:
        return [ds for ds in self._archive.objects if ds.StudyInstanceUID == self._study_uid]


@pytest.mark.parametrize("data_set", REAL)
def test_real_radiographs_go_all_the_way(
    house: RunningServer, archive: ReceivedByAe, tmp_path: Path, data_set: str
) -> None:
    # The stages of `consilium demo --image`, at a server that runs already.
    images = sorted((DATA / data_set / "images").glob("*.png"))[:1]
    if not images:
        pytest.skip(f"data set {data_set} is not here (CONSILIUM_DATASETS_DIR)")
    bundle = json.loads(RECORD.read_text())
    bundle["entry"][0]["resource"]["identifier"] = [{"system": SYSTEM, "value": f"ZZCANARY-{data_set}"}]
    bundle["entry"][0]["resource"]["name"] = [{"family": "Zzcanary", "given": ["Quillon"]}]
    record = tmp_path / "record.json"
    record.write_text(json.dumps(bundle))
    material = prepare_material(tmp_path, images[0], record)
    outcome = Stages(house, _OfStudy(archive, material.study_uid), material, lambda _: None).run()
    _check(as_json_object(outcome, agreement(outcome, material)))


def test_an_image_of_another_patient_than_the_bundle_is_refused(tmp_path: Path) -> None:
    pixels, _ = radiograph_phantom(1, rows=128, columns=128)
    path = write_dicom(dx_dataset(pixels), tmp_path / "other.dcm")
    done = subprocess.run(
        [sys.executable, "-m", "consilium", "demo", "--image", str(path), "--patient", str(RECORD)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "different patients" in done.stderr
