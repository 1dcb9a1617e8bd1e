"""`explain` says of each stack whether it is a volume, although no model reads one yet."""

import pytest

from consilium.explain.reader import Explainer
from consilium.explain.volume_words import MOST_OBJECTS, volumes_in_words
from consilium.selection import Selecting
from model_runtime.testing import CannedEngine
from record_store.audit import digest
from record_store.instances import instances_of
from tests.consilium.nodule import radiograph


def a_slice(series, z, lean=0.0, modality="CT") -> dict:
    return {
        "SeriesInstanceUID": series,
        "Modality": modality,
        "ImagePositionPatient": [0, lean * z, z],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": ["0.7", "0.7"],
    }


@pytest.fixture
def study(make_study):
    return make_study("lung-nodule", CannedEngine({}, {}), radiograph)


def test_explain_says_what_each_stack_is_as_a_volume(study) -> None:
    for z in (0, 2, 4):
        study.arrives(f"even-{z}", **a_slice("1.5.1", z))
        study.arrives(f"lean-{z}", **a_slice("1.5.2", z, lean=0.5))
    study.arrives("scout", **a_slice("1.5.3", 0))
    study.arrives("film", **a_slice("1.5.4", 0, modality="DX"))
    selecting = Selecting(study.blobs, study.steps.issuers)
    _, stages = Explainer(study.db, selecting, list, 5.0).stages(study.uid)
    lines = next(stage.lines for stage in stages if stage.stage == "matched")
    even, leaning = (f"series {digest(uid)} (CT)" for uid in ("1.5.1", "1.5.2"))
    assert lines == (
        f"{even}: a volume of 3 slices 2 mm apart, pixels of 0.7 x 0.7 mm",
        f"{leaning}: no volume: gantry tilt: the stack leans against its slices (by 26.6 degrees)",
    )


def test_an_image_that_is_gone_is_a_place_that_is_not_known(study) -> None:
    study.arrives("a", **a_slice("1.5.1", 0))
    study.arrives("b", **a_slice("1.5.1", 2))
    with study.db.read() as conn:
        rows = instances_of(conn, study.uid)
    study.blobs.remove(rows[0].sha256)
    (line,) = volumes_in_words(rows, study.blobs)
    assert "does not say where it lies" in line
    (line,) = volumes_in_words(rows * MOST_OBJECTS, study.blobs)
    assert "not looked at" in line
