"""Rendered images: what a browser shows is what the image's own window says."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from dicom_node.pixels import Decoder
from dicom_node.testing import us_dataset
from dicom_node.web.testing import app_of


@pytest.fixture(scope="module")
def decoder():
    with Decoder() as child:
        yield child


@pytest.fixture
def rendering(held, decoder):
    """The archive with a decoder behind it."""
    held.client = app_of(replace(held.archive, decoder=lambda: decoder)).test_client()
    return held


def picture(answer):
    with Image.open(BytesIO(answer.data)) as image:
        return image.format, np.asarray(image.convert("L"))


def test_an_image_is_rendered_in_its_window_as_the_client_wants_it(rendering, radiograph, path_to):
    ds = radiograph(WindowCenter=128, WindowWidth=256)  # pixels 0 to 255
    rendering.put(ds)
    kind, pixels = picture(rendering.get(path_to(ds, "rendered"), "image/png"))
    assert kind == "PNG"
    assert np.abs(pixels.astype(int) - np.arange(256).reshape(16, 16)).max() <= 1
    assert picture(rendering.get(path_to(ds, "rendered"), "*/*"))[0] == "JPEG"
    asked = f"/dicom-web{path_to(ds, 'rendered')}?accept=image%2Fpng"  # as a browser's img element must
    assert picture(rendering.client.get(asked))[0] == "PNG"
    assert rendering.get(path_to(ds, "rendered"), "video/mp4").status_code == 406


def test_a_thumbnail_is_small_and_a_frame_is_rendered_alone(rendering, radiograph, path_to):
    ds = radiograph(NumberOfFrames=2, Rows=600, Columns=300, WindowCenter=50, WindowWidth=100)
    ds.PixelData = np.repeat(np.uint16([0, 100]), 600 * 300).tobytes()
    rendering.put(ds)
    assert max(picture(rendering.get(path_to(ds, "thumbnail")))[1].shape) <= 256
    assert picture(rendering.get(path_to(ds, "frames", "2", "rendered")))[1].min() == 255
    assert rendering.get(path_to(ds, "frames", "3", "rendered")).status_code in {400, 404}


def test_what_cannot_be_rendered_is_said_so(rendering, path_to):
    colour = us_dataset(np.arange(192, dtype=np.uint8).reshape(8, 8, 3) * np.uint8([1, 0, 2]))
    rendering.put(colour)
    answer = rendering.get(path_to(colour, "rendered"))
    assert (answer.status_code, answer.content_type) == (406, "application/json")
