"""The numbers of an outline say what a reader would say of it."""

import numpy as np
import pytest

from clinical.image import GreyImage
from model_runtime.lesion_shape import NAMES, shape_numbers
from model_runtime.lesion_view import CropRules, Outline, box_of, crop, reader_outline

SQUARE = CropRules(size=96, zoom=2.0, min_side_px=8, low_percentile=0.0, high_percentile=100.0)
ROWS, COLUMNS = np.indices((200, 200)) - 100.0


def numbers(mask, grey=None):
    grey = np.where(mask, 40.0, 120.0) if grey is None else grey
    outline = reader_outline(mask)
    found = shape_numbers(crop(GreyImage(grey.astype(np.float32)), outline, SQUARE), outline)
    return dict(zip(NAMES, found.tolist(), strict=True))


def ellipse(height, width):
    return (ROWS / height) ** 2 + (COLUMNS / width) ** 2 <= 1


def star(points, depth):
    angle, radius = np.arctan2(ROWS, COLUMNS), np.hypot(ROWS, COLUMNS)
    return radius <= 40 * (1 + depth * np.cos(points * angle))


def test_a_disc_is_round_and_smooth():
    found = numbers(ellipse(40, 40))
    assert found["circularity"] == pytest.approx(1, abs=0.08)
    assert found["solidity"] == pytest.approx(1, abs=0.03)
    assert found["height_to_width"] == pytest.approx(0, abs=0.03)
    assert found["axis_ratio"] == pytest.approx(0, abs=0.05)
    assert found["radial_spread"] < 0.05


def test_taller_than_wide_is_above_zero():
    assert numbers(ellipse(50, 25))["height_to_width"] == pytest.approx(np.log(2), abs=0.06)
    assert numbers(ellipse(25, 50))["height_to_width"] == pytest.approx(-np.log(2), abs=0.06)


def test_an_upright_lesion_tilts_against_the_skin_and_a_flat_one_does_not():
    assert numbers(ellipse(25, 50))["tilt"] == pytest.approx(0, abs=0.05)
    assert numbers(ellipse(50, 25))["tilt"] == pytest.approx(0.5, abs=0.05)  # sine 1, elongation 1 - 25 / 50
    slanted = ((ROWS + COLUMNS) / 30) ** 2 + ((ROWS - COLUMNS) / 60) ** 2 <= 1
    assert numbers(slanted)["tilt"] == pytest.approx(0.5 * np.sqrt(0.5), abs=0.05)


def test_spikes_lower_solidity_and_circularity_and_raise_the_lobes():
    smooth, spiky = numbers(ellipse(40, 40)), numbers(star(9, 0.35))
    assert spiky["solidity"] < smooth["solidity"] - 0.1
    assert spiky["circularity"] < smooth["circularity"] - 0.3
    assert spiky["lobes_high"] > smooth["lobes_high"] + 0.3
    assert spiky["radial_roughness"] > smooth["radial_roughness"]


def test_numbers_of_form_do_not_depend_on_the_size_in_pixels():
    small, large = (
        numbers(star(4, 0.2) & ellipse(99, 99)),
        numbers(np.hypot(ROWS, COLUMNS) <= 80 * (1 + 0.2 * np.cos(4 * np.arctan2(ROWS, COLUMNS)))),
    )
    for name in ("solidity", "circularity", "lobes_low", "axis_ratio"):
        assert small[name] == pytest.approx(large[name], abs=0.06), name


def test_a_lesion_darker_than_its_surroundings_has_contrast():
    mask = ellipse(40, 40)
    assert numbers(mask)["contrast"] > 1
    assert numbers(mask, np.where(mask, 120.0, 40.0))["contrast"] < -1


def test_shadow_behind_is_below_zero_and_enhancement_above():
    mask = ellipse(30, 30)
    behind = (ROWS > 32) & (np.abs(COLUMNS) < 25)
    grey = np.where(mask, 60.0, 100.0)
    assert numbers(mask, np.where(behind, 20.0, grey))["posterior"] < -0.5
    assert numbers(mask, np.where(behind, 180.0, grey))["posterior"] > 0.5


def test_a_sharp_edge_is_sharper_than_a_blurred_one():
    mask = ellipse(40, 40)
    blurred = 40 + 80 / (1 + np.exp(-(np.hypot(ROWS, COLUMNS) - 40) / 12))
    assert numbers(mask)["edge_sharpness"] > numbers(mask, blurred)["edge_sharpness"]


def test_doubt_about_the_rim_counts_for_the_network_and_not_for_a_reader():
    mask = ellipse(40, 40)
    soft = (1 / (1 + np.exp((np.hypot(ROWS, COLUMNS) - 40) / 8))).astype(np.float32)
    outline = Outline(soft, mask, box_of(mask), 1.0, by_reader=False)
    grey = GreyImage(np.where(mask, 40, 120).astype(np.float32))
    found = dict(zip(NAMES, shape_numbers(crop(grey, outline, SQUARE), outline), strict=True))
    assert found["softness"] > 0.5
    assert numbers(mask)["softness"] == 0


@pytest.mark.parametrize("grey", [0.0, 1.0])
def test_any_outline_gives_finite_numbers(grey):
    for mask in (np.ones((200, 200), np.bool_), ellipse(1, 1), ellipse(1, 90), ellipse(90, 2), star(30, 0.9)):
        values = np.array(list(numbers(mask, np.full((200, 200), grey)).values()))
        assert np.isfinite(values).all()
        assert np.abs(values).max() <= 8
