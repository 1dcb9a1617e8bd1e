"""What the network sees of a radiograph, and where its answer lands in the source image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.errors import IncorrectInput
from clinical.image import GreyImage
from model_runtime.transforms import ImageSpec, image_spec, placement, prepare, resize, restore

SPEC = ImageSpec(("CR", "DX"), 64, 48, 1.0, 99.0, 8)
NODE = {
    "modalities": ["CR", "DX"],
    "rows": 64,
    "columns": 48,
    "fit": "letterbox",
    "normalise": {"percentiles": [1.0, 99.0], "local_radius_px": 8},
}
SIZES = st.tuples(st.integers(1, 300), st.integers(1, 300))


def grey(rows, columns, seed=0):
    return np.random.default_rng(seed).uniform(-1000, 4000, (rows, columns)).astype(np.float32)


def test_a_manifest_says_how_a_picture_becomes_a_tensor():
    assert image_spec(NODE) == SPEC
    assert image_spec({**NODE, "normalise": {"percentiles": [1, 99], "local_radius_px": None}}).channels == 1


@pytest.mark.parametrize(
    "change",
    [
        {"fit": "stretch"},
        {"rows": 0},
        {"rows": "many"},
        {"gamma": 2},
        {"normalise": {"percentiles": [1, 99]}},
        {"normalise": {"percentiles": [99, 1], "local_radius_px": 8}},
        {"normalise": {"percentiles": [1], "local_radius_px": 8}},
        {"normalise": {"percentiles": [1, 99], "local_radius_px": 0}},
        {"normalise": "none"},
    ],
)
def test_a_manifest_with_anything_else_is_refused(change):
    with pytest.raises(IncorrectInput):
        image_spec({**NODE, **change})


@given(SIZES)
def test_every_size_fits_centred_with_its_aspect_ratio(size):
    rows, columns = size
    place = placement(rows, columns, SPEC)
    assert place.inner_rows == SPEC.rows or place.inner_columns == SPEC.columns
    assert 0 <= place.top <= SPEC.rows - place.inner_rows <= 2 * place.top + 1
    assert 0 <= place.left <= SPEC.columns - place.inner_columns <= 2 * place.left + 1
    scale = min(SPEC.rows / rows, SPEC.columns / columns)
    assert abs(place.inner_rows - max(rows * scale, 1)) <= 0.5
    assert abs(place.inner_columns - max(columns * scale, 1)) <= 0.5


@settings(max_examples=settings.default.max_examples // 2)
@given(SIZES)
def test_the_tensor_has_the_manifest_s_shape_and_zeros_around_the_image(size):
    tensor, place = prepare(GreyImage(grey(*size)), SPEC)
    assert tensor.shape == (1, 64, 48, 2)
    assert tensor.dtype == np.float32
    assert np.isfinite(tensor).all()
    assert tensor[..., 0].min() >= 0
    assert np.abs(tensor).max() <= 1
    outside = np.ones((64, 48), bool)
    outside[place.top : place.top + place.inner_rows, place.left : place.left + place.inner_columns] = False
    assert not tensor[0, outside].any()
    assert restore(tensor[0, :, :, 0], place).shape == size


@settings(max_examples=settings.default.max_examples * 3 // 5)
@given(st.integers(40, 400), st.integers(40, 400), st.floats(0.2, 0.8), st.floats(0.2, 0.8))
def test_a_spot_comes_back_where_it_was_to_one_pixel(rows, columns, down, right):
    place = placement(rows, columns, SPEC)
    row, column = down * (rows - 1), right * (columns - 1)
    there = place.to_tensor(row, column)
    assert place.to_source(*there) == pytest.approx((row, column), abs=1e-6)
    y, x = np.mgrid[:64, :48]
    spot = np.exp(-((y - there[0]) ** 2 + (x - there[1]) ** 2) / 8).astype(np.float32)
    back = restore(spot, place)
    weight = back / back.sum()
    centre = (weight.sum(axis=1) @ np.arange(rows), weight.sum(axis=0) @ np.arange(columns))
    pixel = max(1.0, rows / place.inner_rows)  # a pixel of the coarser of the two grids
    assert abs(centre[0] - row) <= pixel
    assert abs(centre[1] - column) <= pixel


def test_a_spot_in_the_image_is_where_to_tensor_says():
    pixels = np.zeros((256, 200), np.float32)
    pixels[150:158, 60:68] = 100
    tensor, place = prepare(GreyImage(pixels), ImageSpec(("DX",), 64, 64, 0.0, 100.0, None))
    row, column = np.unravel_index(int(tensor[0, :, :, 0].argmax()), (64, 64))
    wanted = place.to_tensor(153.5, 63.5)
    assert abs(row - wanted[0]) <= 1
    assert abs(column - wanted[1]) <= 1


@pytest.mark.parametrize("value", [0.0, 7.0, -1e6, 1e30])
def test_a_constant_image_becomes_zeros_and_divides_by_nothing(value):
    tensor, _ = prepare(GreyImage(np.full((30, 90), value, np.float32)), SPEC)
    assert not tensor.any()


def test_padding_has_no_say_in_the_grey_scale_and_does_not_bleed():
    pixels = grey(120, 90)
    padding = np.zeros(pixels.shape, bool)
    padding[:, :30] = True
    other = pixels.copy()
    pixels[padding], other[padding] = -32000, 32000
    first, _ = prepare(GreyImage(pixels, padding=padding), SPEC)
    second, _ = prepare(GreyImage(other, padding=padding), SPEC)
    assert np.array_equal(first, second)
    assert first[0, :, 20:, 0].std() > 0.05


def test_pixels_that_are_no_numbers_are_treated_as_padding():
    pixels = grey(100, 75)
    pixels[10:20, 10:20] = np.nan
    tensor, _ = prepare(GreyImage(pixels), SPEC)
    assert np.isfinite(tensor).all()


def test_an_image_of_padding_only_is_refused():
    with pytest.raises(IncorrectInput):
        prepare(GreyImage(grey(9, 9), padding=np.ones((9, 9), bool)), SPEC)


@settings(max_examples=settings.default.max_examples // 2)
@given(st.floats(0.01, 100), st.floats(-1000, 1000))
def test_slope_and_offset_of_the_grey_scale_do_not_matter(slope, offset):
    pixels = np.random.default_rng(3).random((80, 60)).astype(np.float32)
    first, _ = prepare(GreyImage(pixels), SPEC)
    second, _ = prepare(GreyImage((pixels * slope + offset).astype(np.float32)), SPEC)
    # Single precision of value / contrast limits what can be asked for.
    assert np.abs(first[..., 0] - second[..., 0]).max() <= 1e-5 + 1e-5 * abs(offset) / slope


def test_a_map_of_another_size_is_not_restored():
    with pytest.raises(IncorrectInput):
        restore(np.zeros((10, 10), np.float32), placement(20, 20, SPEC))


def test_shrinking_averages_and_growing_keeps_values_in_range():
    board = (np.indices((64, 64)).sum(axis=0) % 2).astype(np.float32)
    assert np.abs(resize(board, 8, 8) - 0.5).max() < 0.02
    # 0 1 at twice the size: quarter steps between the two centres (half-pixel centres).
    assert resize(np.array([[0, 1]], np.float32), 1, 4).tolist() == [[0.0, 0.25, 0.75, 1.0]]
