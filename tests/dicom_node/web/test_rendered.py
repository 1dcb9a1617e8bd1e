"""Rendered images: what a browser shows is what the image's own window, or the client's, says. Never a 5xx."""

import importlib.util
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.testing import us_dataset
from record_store import quarantine

_spec = importlib.util.spec_from_file_location("poison", Path(__file__).parents[1] / "poison.py")
poison = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(poison)

RAMP = np.arange(256).reshape(16, 16)  # the pixels of `radiograph`


def picture(answer, mode="L"):
    assert answer.status_code == 200, answer.text
    with Image.open(BytesIO(answer.data)) as image:
        return image.format, np.asarray(image.convert(mode)).astype(int)


def shown(decoding, path, mode="L", **query):
    return picture(decoding.get(path, "image/png", **query), mode)[1]


def test_an_image_is_rendered_in_its_window_as_the_client_wants_it(decoding, radiograph, path_to):
    ds = radiograph(WindowCenter=128, WindowWidth=256)  # pixels 0 to 255
    decoding.put(ds)
    kind, pixels = picture(decoding.get(path_to(ds, "rendered"), "image/png"))
    assert kind == "PNG"
    assert np.array_equal(pixels, RAMP)
    assert picture(decoding.get(path_to(ds, "rendered"), "*/*"))[0] == "JPEG"
    asked = f"/dicom-web{path_to(ds, 'rendered')}?accept=image%2Fpng"  # as a browser's img element must
    assert picture(decoding.client.get(asked))[0] == "PNG"
    assert decoding.get(path_to(ds, "rendered"), "video/mp4").status_code == 406


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        # PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5) * 255
        ("100,51,linear", [0, 0, 128, 255, 255]),
        # C.11.2.1.3.2: ((x - c) / w + 0.5) * 255
        ("100,50,linear-exact", [0, 0, 128, 255, 255]),
        # C.11.2.1.3.1: 255 / (1 + exp(-4 (x - c) / w))
        ("100,50,sigmoid", [0, 30, 128, 225, 255]),
    ],
)
def test_the_client_s_window_is_applied_by_its_function(decoding, radiograph, path_to, window, expected):
    ds = radiograph(WindowCenter=10, WindowWidth=3)
    ds.PixelData = np.resize(np.uint16([0, 75, 100, 125, 255]), 256).tobytes()
    decoding.put(ds)
    pixels = shown(decoding, path_to(ds, "rendered"), window=window)
    assert np.abs(pixels.ravel()[:5] - expected).max() <= 3  # linear's half step is 2.55 at this width


def test_monochrome1_is_shown_with_its_smallest_value_white_whoever_s_window_it_is(decoding, radiograph, path_to):
    ds = radiograph(
        PhotometricInterpretation="MONOCHROME1", BitsStored=8, HighBit=7, WindowCenter=128, WindowWidth=256
    )
    decoding.put(ds)
    assert np.array_equal(shown(decoding, path_to(ds, "rendered")), 255 - RAMP)
    narrow = shown(decoding, path_to(ds, "rendered"), window="64,1,linear-exact").ravel()
    assert (narrow[:63] == 255).all()
    assert (narrow[66:] == 0).all()


COLOURS = np.uint8([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 200, 90]]])


def by_plane():
    ds = us_dataset(COLOURS, PlanarConfiguration=1)
    ds.PixelData = np.moveaxis(COLOURS, 2, 0).tobytes()
    return ds


def palette():
    ds = us_dataset(np.uint8([[0, 1], [2, 3]]), PhotometricInterpretation="PALETTE COLOR")
    for number, name in enumerate(("Red", "Green", "Blue")):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [4, 0, 16])
        table = COLOURS.reshape(4, 3)[:, number].astype("<u2") * 257
        setattr(ds, f"{name}PaletteColorLookupTableData", table.tobytes())
    return ds


def ybr():
    # PS3.3 C.7.6.3.1.2, rounded
    red, green, blue = np.moveaxis(COLOURS.astype(float), 2, 0)
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    cb = -0.1687 * red - 0.3313 * green + 0.5 * blue + 128
    cr = 0.5 * red - 0.4187 * green - 0.0813 * blue + 128
    stored = np.rint(np.clip(np.stack([y, cb, cr], axis=2), 0, 255)).astype(np.uint8)
    return us_dataset(stored, PhotometricInterpretation="YBR_FULL")


def rle():
    ds = us_dataset(COLOURS)
    ds.compress(uid.RLELossless, generate_instance_uid=False)
    return ds


@pytest.mark.parametrize("made", [lambda: us_dataset(COLOURS), by_plane, palette, ybr, rle])
def test_colour_is_shown_as_colour_however_it_is_stored(decoding, path_to, made):
    ds = made()
    decoding.put(ds)
    assert np.abs(shown(decoding, path_to(ds, "rendered"), "RGB") - COLOURS).max() <= 2


def test_an_enhanced_image_has_the_window_of_each_frame(decoding, radiograph, path_to):
    ds = radiograph(NumberOfFrames=2, WindowCenter=None, WindowWidth=None)
    ds.PixelData = np.tile(RAMP.astype(np.uint16), (2, 1)).tobytes()
    frames = []
    for centre in (64, 192):
        voi, groups = Dataset(), Dataset()
        voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction = centre, 1, "LINEAR_EXACT"
        groups.FrameVOILUTSequence = Sequence([voi])
        frames.append(groups)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    decoding.put(ds)
    white = [(shown(decoding, path_to(ds, "frames", number, "rendered")) == 255).sum() for number in "12"]
    assert white == [191, 63]


def test_a_viewport_is_a_part_of_the_image_scaled_into_a_size_and_turned_over(decoding, radiograph, path_to):
    ds = radiograph(WindowCenter=128, WindowWidth=256)
    decoding.put(ds)
    path = path_to(ds, "rendered")
    assert np.array_equal(shown(decoding, path, viewport="4,4,8,0,4,4"), RAMP[:4, 8:12])
    assert np.array_equal(shown(decoding, path, viewport="16,16,,,-16,"), RAMP[:, ::-1])
    assert shown(decoding, path, viewport="64,32").shape == (32, 32)  # proportions stay


def test_a_thumbnail_is_small_and_a_frame_is_rendered_alone(decoding, radiograph, path_to):
    ds = radiograph(NumberOfFrames=2, Rows=600, Columns=300, WindowCenter=50, WindowWidth=100)
    ds.PixelData = np.repeat(np.uint16([0, 100]), 600 * 300).tobytes()
    decoding.put(ds)
    study, series = f"/studies/{ds.StudyInstanceUID}", f"/series/{ds.SeriesInstanceUID}"
    for path in (path_to(ds, "thumbnail"), f"{study}/thumbnail", f"{study}{series}/thumbnail"):
        assert picture(decoding.get(path))[1].shape == (256, 128)
    assert picture(decoding.get(path_to(ds, "frames", "2", "rendered")))[1].min() == 255
    assert decoding.get(path_to(ds, "frames", "3", "rendered")).status_code == 404


def test_a_series_is_rendered_in_parts_and_leaves_out_what_has_no_picture(decoding, radiograph, parts_of):
    for number in range(3):
        ds = radiograph()
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.{number}"
        if number == 1:
            del ds.PixelData
        decoding.put(ds)
    parts = parts_of(decoding.get(f"/studies/{ds.StudyInstanceUID}/rendered"))
    assert [headers["Content-Type"] for headers, _ in parts] == ["image/jpeg"] * 2
    where = [headers["Content-Location"].rpartition("/instances/")[2] for headers, _ in parts]
    assert where == ["1.2.0/rendered", "1.2.2/rendered"]


@pytest.mark.parametrize(
    "query",
    [
        {"window": "1,2"}, {"window": "1,2,cubic"}, {"window": "1,0,linear"}, {"window": "nan,1,linear"},
        {"window": "1e9,1,linear"}, {"viewport": "0,4"}, {"viewport": "5000,4"}, {"viewport": "4"},
        {"viewport": "4,4,x"}, {"viewport": "4,4,1,1,1,1,1"}, {"viewport": "4,4,99,0"}, {"quality": "0"},
        {"quality": "101"},
    ],
)  # fmt: skip
def test_what_is_malformed_or_too_large_is_refused(decoding, radiograph, path_to, query):
    ds = radiograph()
    decoding.put(ds)
    assert decoding.get(path_to(ds, "rendered"), **query).status_code in {400, 406}


def test_annotations_are_said_to_be_left_out_and_a_picture_that_is_known_is_not_made_again(
    decoding, radiograph, path_to
):
    ds = radiograph()
    decoding.put(ds)
    answer = decoding.get(path_to(ds, "rendered"), annotation="patient")
    assert "annotations are not drawn" in answer.headers["Warning"]
    again = decoding.client.get(
        f"/dicom-web{path_to(ds, 'rendered')}", headers={"If-None-Match": answer.headers["ETag"]}
    )
    assert (again.status_code, again.data) == (304, b"")
    other = decoding.get(path_to(ds, "rendered"), window="1,2,linear")
    assert other.headers["ETag"] != answer.headers["ETag"]


def test_poison_is_refused_in_words_and_the_next_image_is_shown(decoding, radiograph, path_to):
    refused = 0
    for count, (name, data) in enumerate([*poison.malformed(), *poison.bombs()], 1):
        ds = radiograph(str(count))
        decoding.put_as(ds, data)
        for rest in (("rendered",), ("thumbnail",)) if count < 5 else (("rendered",),):
            answer = decoding.get(path_to(ds, *rest))
            assert answer.status_code in {200, 406}, name  # what is wrong with some is not their pixels
            refused += answer.status_code == 406
    assert refused >= 40
    good = radiograph("good")
    decoding.put(good)
    assert decoding.get(path_to(good, "rendered")).status_code == 200


def test_an_image_that_is_set_aside_costs_no_decoder(decoding, radiograph, path_to):
    ds = radiograph()
    decoding.put(ds)
    (sha256,) = decoding.blobs.stored
    with decoding.db.write() as conn:
        for _ in range(quarantine.MOST_TRIES):
            quarantine.record_try(conn, sha256, "it ended", decoding.archive.now())
    answer = decoding.get(path_to(ds, "rendered"))
    assert answer.status_code == 406
    assert "set aside" in answer.text
