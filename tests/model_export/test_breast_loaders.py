"""Ultrasound sets are read as published; what tells the diagnosis never becomes a record."""

import csv

import numpy as np
import pytest
from PIL import Image

from clinical.breast_codes import BREAST_RECORD
from clinical.errors import IncorrectInput
from model_export.datasets import breast_usg, bus_bra, wdbc
from model_export.datasets.folders import data_dir

LESION = {
    "image": "bus_0001-l",
    "patient": "1",
    "pathology": "malignant",
    "birads": "4",
    "histology": "invasive ductal carcinoma",
    "device": "GE",
    "view": "left",
    "published_fold5": "3",
}
CASE = {
    "CaseID": "7",
    "Image_filename": "case007.png",
    "Mask_tumor_filename": "case007_tumor.png",
    "Age": "57",
    "Tissue_composition": "lactating&homogeneous: fibroglandular",
    "Signs": "redness&warmth&palpable",
    "Symptoms": "not available",
    "Shape": "irregular",
    "Margin": "not circumscribed - spiculated&indistinct",
    "Echogenicity": "complex cystic/solid",
    "Posterior_features": "shadowing",
    "Halo": "no",
    "Calcifications": "in a mass",
    "Skin_thickening": "yes",
    "BIRADS": "4b",
    "Verification": "confirmed by biopsy",
    "Interpretation": "Suspicion of malignancy",
    "Diagnosis": "Invasive carcinoma",
    "Classification": "malignant",
}


def write(folder, table, rows, pictures, masks, *, empty_mask=False):
    for name in ("images", "masks"):
        (folder / name).mkdir(exist_ok=True)
    mask = np.zeros((12, 10), np.uint8)
    if not empty_mask:
        mask[4:8, 3:7] = 255
    for name in pictures:
        Image.fromarray(np.full((12, 10), 90, np.uint8)).save(folder / "images" / name)
    for name in masks:
        Image.fromarray(mask).save(folder / "masks" / name)
    with (folder / table).open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def bus(folder, *rows, **how):
    names = {row["image"] for row in rows}
    return write(folder, "lesions.csv", rows, [f"{n}.jpg" for n in names], [f"{n}.png" for n in names], **how)


def usg(folder, *rows):
    return write(
        folder,
        "clinical.csv",
        rows,
        [row["Image_filename"] for row in rows],
        [row["Mask_tumor_filename"] for row in rows if row["Mask_tumor_filename"]],
    )


def test_a_picture_of_bus_bra_has_its_category_and_nothing_of_its_histology_as_record(tmp_path):
    (picture,) = bus_bra.load(bus(tmp_path, LESION))
    assert picture.record == {"birads": frozenset({"4"})}
    assert (picture.malignant, picture.fold, picture.patient) == (True, 3, "1")
    assert picture.mask.sum() == 16
    assert picture.image.pixels.dtype == np.float32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pathology": "unknown"}, "line 2: pathology"),
        ({"birads": "6"}, "line 2: birads"),
        ({"published_fold5": "9"}, "line 2: published_fold5"),
    ],
)
def test_a_field_that_is_not_what_it_must_be_is_named_with_its_line(tmp_path, change, words):
    with pytest.raises(IncorrectInput, match=words):
        bus_bra.load(bus(tmp_path, LESION | change))


def test_a_picture_may_not_stand_twice_and_a_patient_not_in_two_folds(tmp_path):
    with pytest.raises(IncorrectInput, match="twice"):
        bus_bra.load(bus(tmp_path, LESION, LESION))
    other = LESION | {"image": "bus_0001-r"}
    with pytest.raises(IncorrectInput, match="differ in fold"):
        bus_bra.load(bus(tmp_path, LESION, other | {"published_fold5": "4"}))
    with pytest.raises(IncorrectInput, match="differ in malignant"):
        bus_bra.load(bus(tmp_path, LESION, other | {"pathology": "benign"}))
    assert len(bus_bra.load(bus(tmp_path, LESION, other))) == 2


def test_a_lesion_without_an_outline_is_refused(tmp_path):
    with pytest.raises(IncorrectInput, match="empty"):
        bus_bra.load(bus(tmp_path, LESION, empty_mask=True))


def test_a_row_of_breast_usg_becomes_a_record_in_the_words_of_the_server(tmp_path):
    (picture,) = breast_usg.load(usg(tmp_path, CASE))
    assert picture.malignant
    assert picture.record == {
        "age": 57.0,
        "tissue_composition": frozenset({"homogeneous_fibroglandular"}),
        "signs": frozenset({"redness", "warmth", "palpable"}),
        "shape": frozenset({"irregular"}),
        "margin": frozenset({"spiculated", "indistinct"}),
        "echogenicity": frozenset({"complex"}),
        "posterior_features": frozenset({"shadowing"}),
        "halo": frozenset({"no"}),
        "calcifications": frozenset({"in_mass"}),
        "skin_thickening": frozenset({"yes"}),
        "birads": frozenset({"4b"}),
    }


@pytest.mark.parametrize("leak", breast_usg.LEAKS)
def test_a_column_that_tells_the_diagnosis_is_refused_as_record(leak):
    with pytest.raises(IncorrectInput, match=leak):
        breast_usg.record_of(CASE, breast_usg.COLUMN_OF | {"shape": leak}, 2)


def test_words_that_nobody_knows_make_a_descriptor_unknown(tmp_path):
    (picture,) = breast_usg.load(usg(tmp_path, CASE | {"Calcifications": "like stars", "Halo": "not applicable"}))
    assert not {"calcifications", "halo"} & set(picture.record)


def test_an_impossible_age_is_refused(tmp_path):
    for age in ("old", "-3", "400"):
        with pytest.raises(IncorrectInput, match="line 2: Age"):
            breast_usg.load(usg(tmp_path, CASE | {"Age": age}))


def test_normal_breasts_have_no_lesion_and_are_left_out(tmp_path):
    normal = CASE | {"CaseID": "8", "Classification": "normal", "Mask_tumor_filename": ""}
    assert [one.patient for one in breast_usg.load(usg(tmp_path, normal, CASE))] == ["7"]


def test_wdbc_is_the_published_table():
    table = wdbc.load()
    assert table.features.shape == (569, 30)
    assert table.malignant.sum() == 212
    assert table.names[0] == "mean_radius"


@pytest.mark.skipif(data_dir("breast_usg") is None, reason="breast_usg is not on this machine")
def test_every_word_of_the_real_descriptors_is_known():
    folder = data_dir("breast_usg")
    assert folder is not None
    with (folder / "clinical.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    for line, row in enumerate(rows, start=2):
        record = breast_usg.record_of(row, breast_usg.COLUMN_OF, line)
        for feature in BREAST_RECORD:
            text = row[breast_usg.COLUMN_OF[feature.name]].strip()
            assert (feature.name in record) == (text not in breast_usg.NOT_KNOWN), (line, feature.name, text)
