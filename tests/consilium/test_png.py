"""The overlay page's picture: a PNG that an independent reader opens, windowed as the image asks."""

import io

import numpy as np
import pytest
from PIL import Image

from clinical.display import for_display
from clinical.image import GreyImage
from consilium.pages.png import encode_png


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 48)])
def test_another_reader_sees_the_same_pixels(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    with Image.open(io.BytesIO(encode_png(pixels))) as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture), pixels)


def test_the_images_own_window_decides_what_is_black_and_white() -> None:
    image = GreyImage(np.array([[0, 100, 200, 300]], np.float32), window=(150.0, 100.0))
    assert for_display(image).tolist() == [[0, 0, 255, 255]]


def test_without_a_window_the_tissue_decides_and_padding_does_not() -> None:
    pixels = np.full((10, 10), -9999, np.float32)
    pixels[2:8, 2:8] = np.linspace(100, 200, 36).reshape(6, 6)
    shown = for_display(GreyImage(pixels, padding=pixels == -9999))
    assert shown[2, 2] == 0
    assert shown[7, 7] == 255


def test_a_large_image_is_reduced_for_the_page() -> None:
    assert max(for_display(GreyImage(np.zeros((3000, 2000), np.float32))).shape) <= 1024


def test_a_constant_image_is_shown_and_does_not_divide_by_zero() -> None:
    assert for_display(GreyImage(np.full((4, 4), 7, np.float32))).shape == (4, 4)
