"""What the trainer learns from: who is in which part, what counts as a nodule, what is added."""

import gzip

import numpy as np
import pytest
from PIL import Image

from model_export.datasets import lidc_drr, nih_chestxdet, nih_cxr
from model_export.datasets.crops import Crops, Mixture
from model_export.datasets.radiograph import (
    Nodule,
    Radiograph,
    background,
    canvas,
    contrast,
    data_dir,
    outline_of,
    visibility_grade,
)
from model_export.datasets.synthetic import chest, insert_nodule, nodule_profile, phantom
from model_runtime.transforms import ImageSpec, prepare

SPEC = ImageSpec(("DX",), 128, 128, 0.0, 100.0, 8)


def lung(nodules=(), mask=None, bright=0.0, size=100):
    pixels = np.random.default_rng(5).normal(100, 2, (size, size)).astype(np.float32)
    for nodule in nodules:
        r0, c0, r1, c1 = (int(v) for v in nodule.box)
        pixels[r0:r1, c0:c1] += bright
    return Radiograph("case", "patient", pixels, tuple(nodules), mask)


def nodule(box=(40, 40, 56, 56), diameter_mm=12.0, readers=4, contrast_value=2.0):
    return Nodule(box, diameter_mm, readers, contrast_value)


def test_a_bright_nodule_is_visible_and_a_hidden_one_is_not():
    box = (40.0, 40.0, 56.0, 56.0)
    assert contrast(lung([nodule(box)], bright=10).pixels, box) > 1
    assert abs(contrast(lung().pixels, box)) < 0.5


def test_a_slope_across_the_nodule_neither_makes_nor_hides_it():
    box = (40.0, 40.0, 56.0, 56.0)
    slope = np.linspace(0, 60, 100, dtype=np.float32)[None, :]
    flat, steep = lung([nodule(box)], bright=10).pixels, lung([nodule(box)], bright=10).pixels + slope
    assert contrast(steep, box) == pytest.approx(contrast(flat, box), rel=0.02)


def test_the_grade_follows_contrast_size_and_surroundings():
    assert [visibility_grade(value, 12.0) for value in (0.49, 0.5, 1.0, 1.5)] == [0, 1, 2, 3]
    assert visibility_grade(3.0, 5.9) == 1  # too small to be above faint
    assert [visibility_grade(value, 12.0, 0.5) for value in (0.5, 1.0, 3.0)] == [0, 1, 1]  # behind the heart
    assert visibility_grade(3.0, float("nan")) == 3  # a picture without scale


def test_the_background_is_that_of_the_ring_in_parts_of_the_grey_range():
    pixels = np.zeros((100, 100), np.float32)
    pixels[:, 50:] = 200
    assert background(pixels, (40, 15, 50, 25)) == pytest.approx(0, abs=0.01)
    assert background(pixels, (40, 75, 50, 85)) == pytest.approx(1, abs=0.01)


def test_a_cut_outline_is_replaced_by_the_ellipse_of_the_box():
    mask = np.zeros((100, 100), np.bool_)
    mask[44:52, 44:52] = True
    whole = lung([nodule((44, 44, 52, 52))], mask)
    assert outline_of(whole, whole.nodules[0]).sum() == 64
    cut = lung([nodule((30, 30, 66, 66))], mask)
    assert outline_of(cut, cut.nodules[0]).sum() == pytest.approx(np.pi * 18**2 * 0.81, rel=0.03)


@pytest.mark.parametrize(
    "left_out",
    [nodule(readers=2), nodule(diameter_mm=5.0), nodule(contrast_value=0.0)],
    ids=["two readers", "five millimetres", "not visible"],
)
def test_what_nobody_can_be_asked_to_see_is_neither_nodule_nor_background(left_out):
    made = canvas(lung([left_out]), SPEC)
    assert not (made.target == 1).any()
    assert made.target[int(48 * 1.28), int(48 * 1.28)] == 2
    assert made.centres == ()


def test_a_nodule_by_four_readers_is_a_target_at_its_place_in_the_tensor():
    made = canvas(lung([nodule()]), SPEC)
    rows, columns = np.nonzero(made.target == 1)
    assert (rows.mean(), columns.mean()) == pytest.approx((47.5 * 1.28 + 0.14, 47.5 * 1.28 + 0.14), abs=0.7)
    # 100 pixels become 128; the ellipse at 0.9 of the 16 pixel box covers pi/4 * 14.4^2 * 1.28^2 = 267.
    assert (made.target == 1).sum() == pytest.approx(267, rel=0.15)


def test_the_trainer_sees_the_same_grey_values_as_the_server():
    view = lung([nodule()], bright=20)
    served, _ = prepare(view.image, SPEC)
    assert np.abs(canvas(view, SPEC).grey - served[0, :, :, 0]).max() < 1e-3


def test_an_added_nodule_brightens_its_target_in_a_lung_between_brighter_walls():
    rng = np.random.default_rng(2)
    grey = np.full((160, 160), 0.8, np.float32)
    grey[20:140, 30:130] = 0.3 + rng.normal(0, 0.01, (120, 100))
    before, target = grey.copy(), np.zeros(grey.shape, np.uint8)
    assert insert_nodule(grey, target, np.ones(grey.shape, np.bool_), rng, diameter_mm=(10, 15))
    assert target.sum() > 50
    assert (grey - before)[target == 1].min() > 0
    assert (grey - before)[target == 0].max() < (grey - before)[target == 1].max()


def test_no_nodule_is_added_to_the_air_beside_the_body():
    grey, target = np.full((160, 160), 0.8, np.float32), np.zeros((160, 160), np.uint8)
    grey[:, :100] = 0.1  # open to the left: no wall there
    assert not insert_nodule(grey, target, np.ones(grey.shape, np.bool_), np.random.default_rng(1))


def test_no_nodule_is_added_outside_the_picture():
    grey, target = np.full((90, 90), 0.3, np.float32), np.zeros((90, 90), np.uint8)
    assert not insert_nodule(grey, target, np.zeros((90, 90), np.bool_), np.random.default_rng(1))
    assert not target.any()


def test_profiles_and_chests_stay_in_range():
    rng = np.random.default_rng(0)
    for made in (nodule_profile(30, rng), chest(96, rng)):
        assert 0 <= made.min() <= made.max() <= 1


def test_a_profile_is_as_wide_as_the_nodule_it_stands_for():
    widths = []
    for seed in range(12):
        thick = nodule_profile(20.0, np.random.default_rng(seed)) > 0.25
        widths.append(np.sqrt(thick.any(axis=1).sum() * thick.any(axis=0).sum()) * 0.75)
    assert np.median(widths) == pytest.approx(20, rel=0.2)  # millimetres


def test_a_phantom_depends_on_its_number_alone():
    first, again = phantom(3, 256), phantom(3, 256)
    assert np.array_equal(first[0], again[0])
    assert first[1].sum() > 20


def test_crops_repeat_with_the_seed_and_weigh_nothing_where_nobody_knows():
    source = [canvas(lung([nodule(), nodule((70, 70, 84, 84), readers=1)], bright=15), SPEC)]
    crops = Crops(SPEC, source, source, Mixture(), side=64)
    tensors, truth = crops.batch(6, np.random.default_rng(9))
    again, _ = crops.batch(6, np.random.default_rng(9))
    assert np.array_equal(tensors, again)
    assert tensors.shape == (6, 64, 64, 2)
    assert truth.shape == (6, 64, 64, 2)
    assert np.isfinite(tensors).all()
    assert (truth[..., 0] <= truth[..., 1]).all()  # a nodule always counts
    assert truth[..., 0].any()
    assert (truth[..., 1] == 0).any()


def write_projection(folder):
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.full((20, 30), 120, np.uint8)).save(folder / name / "one.png")
    (folder / "cases.csv").write_text("case,patient\none,P1\n", encoding="utf-8")
    header = "case,readers,x0,y0,x1,y1,diameter_mm\n"
    (folder / "nodules.csv").write_text(header + "one,3,4,5,14,16,9.5\n", encoding="utf-8")


def test_projections_are_read_with_rows_and_columns_in_the_right_order(tmp_path):
    write_projection(tmp_path / "set")
    (view,) = lidc_drr.load(tmp_path / "set")
    assert view.pixels.shape == (20, 30)
    assert view.patient == "P1"
    assert view.mask.all()
    (only,) = view.nodules
    assert only.box == (5.0, 4.0, 16.0, 14.0)  # y0, x0, y1, x1
    assert (only.diameter_mm, only.readers) == (9.5, 3)
    assert only.is_truth


def test_real_radiographs_are_read_with_their_label(tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "images" / "a.png")
    (tmp_path / "labels.csv").write_text("image,patient,nodule_or_mass\na.png,7,1\n", encoding="utf-8")
    (view,), label = nih_cxr.load(tmp_path)
    assert view.patient == "7"
    assert label["a.png"].nodule_or_mass
    assert np.isnan(label["a.png"].chexnet)  # a table without that column still can be read


def test_expert_boxes_are_halved_with_the_picture_and_measured_in_millimetres(tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((512, 512), np.uint8)).save(tmp_path / "images" / "a.png")
    header = "image,patient,orig_w,orig_h,mm_x,has_pixels\n"
    (tmp_path / "images.csv").write_text(header + "a.png,7,2048,1024,0.2,1\nb.png,8,1,1,1,0\n", encoding="utf-8")
    rows = "a.png,Nodule,100,200,150,230,[]\na.png,Mass,10,10,90,90,[]\na.png,Effusion,0,0,9,9,[]\n"
    with gzip.open(tmp_path / "findings.csv.gz", "wt", encoding="utf-8") as table:
        table.write("image,finding,x0,y0,x1,y1,polygon\n" + rows)
    (view,) = nih_chestxdet.load(tmp_path)
    small, large = view.nodules
    assert (small.box, small.kind, large.kind) == ((100.0, 50.0, 115.0, 75.0), "nodule", "mass")
    # 30 rows of 0.2 mm and 50 columns of 0.4 mm in the 1024 release: sqrt(6 x 20)
    assert small.diameter_mm == pytest.approx(np.sqrt(120))
    assert small.is_truth


def test_data_is_looked_for_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("CONSILIUM_DATASETS_DIR", str(tmp_path))
    assert data_dir("some") is None
    (tmp_path / "some").mkdir()
    assert data_dir("some") == tmp_path / "some"
