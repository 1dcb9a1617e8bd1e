"""What the demonstration is given: a file that cannot work is refused at once, with what to do."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from clinical.breast_codes import BREAST_RECORD
from consilium.demo.material import prepare_material
from consilium.demo.server import DemoFailed
from dicom_node.testing import dx_dataset, write_dicom
from fhir_adapters.features.breast_lesion import lesion_record

PATIENT = {"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "1"}]}


def _bundle(folder: Path, content: object) -> Path:
    path = folder / "bundle.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "exactly one Patient"),
        ({}, "exactly one Patient"),
        ({"entry": {}}, "exactly one Patient"),
        ({"entry": [1, None, {"resource": None}, {"resource": {"resourceType": 3}}]}, "exactly one Patient"),
        ({"entry": [{"resource": PATIENT}, {"resource": PATIENT}]}, "exactly one Patient"),
        ({"entry": [{"resource": {"resourceType": "Patient"}}]}, "needs an identifier"),
        ({"entry": [{"resource": PATIENT | {"identifier": "1"}}]}, "needs an identifier"),
        ({"entry": [{"resource": PATIENT | {"identifier": [{"value": "1"}]}}]}, "needs an identifier"),
    ],
)
def test_a_record_that_names_no_patient_is_refused(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(DemoFailed, match=said):
        prepare_material(tmp_path, None, _bundle(tmp_path, content))


def test_a_patient_without_an_id_gets_one_for_the_hook(tmp_path: Path) -> None:
    material = prepare_material(tmp_path, None, _bundle(tmp_path, {"entry": [None, {"resource": PATIENT}]}))
    assert material.patient["id"] == "demo"
    assert (material.system, material.value) == ("urn:x", "1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Modality": "CT"}, "CT.*CR or DX"),
        ({"NumberOfFrames": 3}, "single-frame"),
        ({"StudyInstanceUID": None}, "lacks StudyInstanceUID"),
    ],
)
def test_an_image_that_no_model_would_read_is_refused(tmp_path: Path, change: dict, said: str) -> None:
    ds = dx_dataset(np.zeros((8, 8), dtype=np.uint16))
    for name, value in change.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    with pytest.raises(DemoFailed, match=said):
        prepare_material(tmp_path, write_dicom(ds, tmp_path / "image.dcm"), None)


def test_a_breast_ultrasound_comes_with_a_record_of_today(tmp_path: Path) -> None:
    material = prepare_material(tmp_path, None, None, breast=True)
    ds = dcmread(material.file)
    assert (ds.Modality, ds.BodyPartExamined, ds.PatientID) == ("US", "BREAST", material.value)
    ((row, column, diameter),) = material.truth or ()
    assert ds.pixel_array[round(row), round(column)].max() < 100 < diameter * 10
    record = lesion_record(material.resources("Observation"), BREAST_RECORD, datetime.now(UTC))
    assert set(record.values) == {"shape", "margin", "echogenicity", "posterior_features"}


def test_a_picture_of_an_ultrasound_becomes_one_without_a_scale(tmp_path: Path) -> None:
    Image.fromarray(np.arange(35, dtype=np.uint8).reshape(5, 7)).save(tmp_path / "a.png")
    ds = dcmread(prepare_material(tmp_path, tmp_path / "a.png", None, breast=True).file)
    assert (ds.Modality, ds.Rows, "SequenceOfUltrasoundRegions" in ds) == ("US", 5, False)
