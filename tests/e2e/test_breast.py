"""A breast ultrasound through the shipped model, over real sockets: every result says the same number."""

import json
import time
from pathlib import Path

import httpx
import pytest

from consilium.demo.agreement import agreement
from consilium.demo.material import Material, prepare_material
from consilium.demo.server import RunningServer
from consilium.demo.show import as_json_object
from consilium.demo.stages import Stages
from dicom_node.testing import ReceivedByAe

pytestmark = pytest.mark.slow

SYSTEM = "urn:consilium:test-hospital"
RECORD = Path(__file__).parents[2] / "consilium" / "demo" / "breast.json"


class _OfStudy:
    """What the archive received of one study: others use it at the same time."""

    def __init__(self, archive: ReceivedByAe, study_uid: str) -> None:
        self._archive, self._study_uid = archive, study_uid

    @property
    def objects(self) -> list:
        return [ds for ds in self._archive.objects if ds.StudyInstanceUID == self._study_uid]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """The demonstration's ultrasound and record, of a canary."""
    folder = tmp_path_factory.mktemp("breast")
    bundle = json.loads(RECORD.read_text())
    patient, lesion = (entry["resource"] for entry in bundle["entry"])
    patient["identifier"] = [{"system": SYSTEM, "value": "ZZCANARY-BREAST"}]
    patient["name"] = [{"family": "Zzcanary", "given": ["Quillon"]}]
    lesion["effectiveDateTime"] = time.strftime("%Y-%m-%d", time.gmtime())
    (folder / "record.json").write_text(json.dumps(bundle))
    return prepare_material(folder, None, folder / "record.json", breast=True)


@pytest.fixture(scope="module")
def result(house: RunningServer, archive: ReceivedByAe, material: Material) -> dict:
    outcome = Stages(house, _OfStudy(archive, material.study_uid), material, lambda _: None).run()
    return as_json_object(outcome, agreement(outcome, material))


def test_the_lesion_of_the_phantom_is_outlined_and_told_the_same_everywhere(result: dict) -> None:
    assert result["agreement"] == {"agrees": True, "problems": [], "truth_found": (1, 1)}
    (risk,) = result["risks"]
    assert risk["status"] == "preliminary"
    assert risk["meta"]["security"][0]["code"] == "AIAST"
    assert {one["reference"].split("/")[0] for one in risk["basis"]} >= {"Observation", "ImagingStudy"}


def test_the_card_says_what_it_was_made_from_and_links_to_the_overlay(result: dict) -> None:
    (card,) = [one for one in result["cards"] if one["summary"].startswith("Breast lesion")]
    assert "record and image" in card["summary"]
    assert "| Shape | irregular |" in card["detail"]
    assert "Research demonstration, not a medical device" in card["detail"]
    assert httpx.get(card["links"][0]["url"], trust_env=False, timeout=60).status_code == 200
