"""The synthetic radiographs are reproducible, labelled, and valid DICOM."""

import subprocess

import numpy as np
import pytest
from PIL import Image

from dicom_node.testing import (
    SYNTHETIC,
    Nodule,
    cr_dataset,
    dicom_from_png,
    dx_dataset,
    radiograph_phantom,
    write_dicom,
)


def test_the_same_seed_gives_the_same_pixels():
    first, _ = radiograph_phantom(7, 2, rows=64, columns=64)
    again, _ = radiograph_phantom(7, 2, rows=64, columns=64)
    other, _ = radiograph_phantom(8, 2, rows=64, columns=64)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_nodule_stands_where_the_truth_says_and_is_brighter_than_without_it():
    nodule = Nodule(row=0.4, column=0.3, diameter_mm=30)
    with_nodule, truth = radiograph_phantom(3, [nodule], rows=128, columns=160)
    without, _ = radiograph_phantom(3, [], rows=128, columns=160)
    one = truth.nodules[0]
    assert (one.row_px, one.column_px) == (0.4 * 128 - 0.5, 0.3 * 160 - 0.5)
    assert one.diameter_px == pytest.approx(30 / 2.5)
    inside = truth.masks[0]
    assert np.argwhere(inside).mean(axis=0) == pytest.approx([one.row_px, one.column_px], abs=0.5)
    assert np.count_nonzero(inside) == pytest.approx(np.pi * 6**2, rel=0.05)
    change = with_nodule.astype(float) - without.astype(float)
    assert change[inside].mean() > 10 * abs(change[~inside].mean())


def test_random_nodules_lie_in_the_lungs(small_phantom):
    _, truth = small_phantom
    assert all(truth.lungs[round(one.row_px), round(one.column_px)] for one in truth.nodules)


def test_every_synthetic_object_says_that_it_is_synthetic(small_phantom):
    pixels, _ = small_phantom
    for ds in (dx_dataset(pixels), cr_dataset(pixels)):
        assert ds.SeriesDescription == SYNTHETIC
        assert ds.ImageComments == SYNTHETIC


def test_a_picture_without_a_spacing_becomes_an_image_without_one(tmp_path):
    Image.fromarray(np.arange(35, dtype=np.uint8).reshape(5, 7)).save(tmp_path / "a.png")
    ds = dicom_from_png(tmp_path / "a.png")
    assert (ds.Modality, ds.Rows, ds.Columns) == ("CR", 5, 7)
    assert "ImagerPixelSpacing" not in ds
    assert "PixelSpacing" not in ds
    assert len(ds.PixelData) == 36
    assert np.array_equal(ds.pixel_array, np.arange(35).reshape(5, 7))


@pytest.mark.slow
def test_dciodvfy_finds_no_error_in_what_we_make(tmp_path, program, small_phantom):
    pixels, truth = small_phantom
    Image.fromarray((pixels >> 4).astype(np.uint8)).save(tmp_path / "a.png")
    made = {
        "dx": dx_dataset(pixels, spacing_mm=truth.spacing_mm),
        "cr": cr_dataset(pixels),
        "cr without spacing": dicom_from_png(tmp_path / "a.png"),
        "dx of a picture": dicom_from_png(tmp_path / "a.png", spacing_mm=0.7),
    }
    for name, ds in made.items():
        path = write_dicom(ds, tmp_path / "a.dcm")
        said = subprocess.run([program("dciodvfy"), str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in said.stderr, name
