"""A lesion is found, looked at close up and cut out the same way for trainer and server."""

import numpy as np
import pytest

from clinical.errors import IncorrectInput
from clinical.image import GreyImage
from model_runtime.lesion_view import (
    CropRules,
    OutlineRules,
    Window,
    box_of,
    crop,
    cut,
    find_outline,
    paste,
    reader_outline,
    window_around,
)
from model_runtime.transforms import ImageSpec

SPEC = ImageSpec(("US",), 32, 32, 0.0, 100.0, None)
RULES = OutlineRules(mask=0.5, report=0.5, min_area_px=4, zoom=2.0, min_side_px=16)
SQUARE = CropRules(size=16, zoom=2.0, min_side_px=8, low_percentile=0.0, high_percentile=100.0)


def picture(*discs: tuple[int, int, int, float]) -> GreyImage:
    """Return 64 x 64 grey 100 with bright discs (row, column, radius, brightness above)."""
    rows, columns = np.indices((64, 64))
    grey = np.full((64, 64), 100, np.float32)
    for row, column, radius, more in discs:
        grey[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] += more
    return GreyImage(grey)


def bright(tensors):
    """A network that takes the brightest part of each tensor for a lesion."""
    return tensors


def test_the_outline_of_a_bright_disc_is_the_disc():
    found = find_outline(bright, picture((30, 40, 9, 100)), SPEC, RULES)
    truth = picture((30, 40, 9, 1)).pixels > 100
    assert found is not None
    assert 2 * (found.mask & truth).sum() / (found.mask.sum() + truth.sum()) > 0.95
    assert not found.by_reader


def test_a_picture_without_contrast_has_no_lesion():
    assert find_outline(bright, picture(), SPEC, RULES) is None


def test_of_two_lesions_the_larger_sum_of_probabilities_is_taken():
    found = find_outline(bright, picture((16, 16, 4, 100), (44, 44, 10, 100)), SPEC, RULES)
    assert found is not None
    assert found.mask[44, 44]
    assert not found.mask[16, 16]


def test_every_reading_is_the_mean_of_the_picture_and_its_mirror_image():
    seen = []

    def network(tensors):
        seen.append(tensors)
        return tensors

    find_outline(network, picture((20, 12, 8, 100)), SPEC, RULES)
    assert [len(tensors) for tensors in seen] == [2, 2]  # whole, then close up
    for tensors in seen:
        np.testing.assert_array_equal(tensors[0], tensors[1][:, ::-1])


def test_a_faint_lesion_is_looked_at_close_up_before_it_is_given_up():
    def close_is_clear(tensors):
        near = tensors.mean() > 0.15  # the disc fills more of the close-up
        return tensors * (1.0 if near else 0.45)

    assert find_outline(close_is_clear, picture((30, 30, 12, 100)), SPEC, RULES) is not None


def test_a_small_or_doubtful_region_is_no_lesion():
    rules = OutlineRules(mask=0.5, report=0.5, min_area_px=500, zoom=2.0, min_side_px=16)
    assert find_outline(bright, picture((30, 30, 6, 100)), SPEC, rules) is None
    doubtful = OutlineRules(mask=0.5, report=0.95, min_area_px=4, zoom=2.0, min_side_px=16)
    assert find_outline(lambda tensors: tensors * 0.9, picture((30, 30, 6, 100)), SPEC, doubtful) is None


def test_the_window_has_the_box_in_its_middle_and_may_leave_the_picture():
    assert window_around((10, 20, 20, 30), 2.0, 8) == Window(5, 15, 20)
    assert window_around((0, 0, 2, 2), 2.0, 8) == Window(-3, -3, 8)


def test_what_a_window_shows_beyond_the_picture_is_padding():
    square = cut(picture(), Window(-2, 60, 8))
    assert square.padding is not None
    assert square.padding.sum() == 64 - 6 * 4
    assert square.pixels[square.padding].max() == 0


def test_padding_of_the_picture_stays_padding():
    image = GreyImage(picture().pixels, padding=picture((5, 5, 2, 1)).pixels > 100)
    square = cut(image, Window(0, 0, 16))
    assert square.padding is not None
    assert square.padding[5, 5]


def test_a_pasted_square_changes_only_its_window():
    whole = np.zeros((20, 20), np.float32)
    answer = paste(np.ones((8, 8), np.float32), Window(16, -4, 8), whole)
    assert answer.sum() == 16
    assert whole.sum() == 0


def test_the_crop_shows_grey_values_and_the_mask_at_one_size():
    mask = picture((30, 40, 9, 1)).pixels > 100
    square = crop(picture((30, 40, 9, 50)), reader_outline(mask), SQUARE)
    assert square.shape == (1, 16, 16, 2)
    assert square[0, 8, 8].tolist() == pytest.approx([1.0, 1.0])  # bright, and inside
    assert square[0, 0, 0].tolist() == [0.0, 0.0]
    assert square[..., 1].mean() == pytest.approx(mask.sum() / 38**2, rel=0.01)  # twice as wide as the disc


def test_a_reader_must_have_drawn_something():
    with pytest.raises(IncorrectInput):
        reader_outline(np.zeros((4, 4), np.bool_))
    assert reader_outline(np.eye(4, dtype=np.bool_)).by_reader


def test_a_box_ends_behind_the_last_pixel():
    mask = np.zeros((6, 8), np.bool_)
    mask[2:4, 5] = True
    assert box_of(mask) == (2, 5, 4, 6)
