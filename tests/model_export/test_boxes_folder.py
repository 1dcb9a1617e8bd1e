import numpy as np
import pytest
from PIL import Image

from clinical.errors import IncorrectInput
from dicom_node.pixels import read_grey_image
from dicom_node.testing import cr_dataset, dx_dataset, write_dicom
from model_export.datasets import boxes_folder

HEADER = "image,x,y,width,height,label"


def picture(folder, name="a.png", *, rows=40, columns=50, value=100, dtype=np.uint8):
    pixels = np.full((rows, columns), value, dtype)
    pixels[12:18, 20:30] += 60
    (folder / name).parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / name)
    return pixels


def table(folder, *rows, header=HEADER):
    (folder / "boxes.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder


def test_boxes_of_a_picture_are_read_with_rows_and_columns_in_the_right_order(tmp_path):
    pixels = picture(tmp_path)
    (view,) = boxes_folder.load(table(tmp_path, "a.png,20,12,10,6,nodule", "a.png,0,0,5,5,mass"))
    assert view.pixels.tolist() == pixels.tolist()
    assert [n.box for n in view.nodules] == [(12, 20, 18, 30), (0, 0, 5, 5)]
    assert [n.kind for n in view.nodules] == ["nodule", "mass"]
    assert all(n.is_truth for n in view.nodules)
    assert view.nodules[0].contrast > 1
    assert np.isnan(view.nodules[0].diameter_mm)  # a PNG states no scale


def test_a_dicom_image_brings_its_scale_and_its_patient(tmp_path):
    pixels = np.zeros((40, 50), np.uint16)
    write_dicom(dx_dataset(pixels, spacing_mm=0.5, PatientID="p7"), tmp_path / "a.dcm")
    (view,) = boxes_folder.load(table(tmp_path, "a.dcm,20,12,16,9,nodule"))
    assert view.patient == "p7"
    assert view.nodules[0].diameter_mm == pytest.approx(6.0)  # sqrt(16 x 9) x 0.5


@pytest.mark.parametrize(
    "made",
    [
        dx_dataset,
        lambda pixels: dx_dataset(pixels, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE"),
        lambda pixels: cr_dataset(pixels, RescaleSlope=2, RescaleIntercept=-100, RescaleType="US"),
    ],
)
def test_the_trainer_sees_the_grey_values_of_the_server_up_to_their_origin(tmp_path, made):
    pixels = np.random.default_rng(1).integers(0, 4096, (32, 24), dtype=np.uint16)
    path = write_dicom(made(pixels), tmp_path / "a.dcm")
    (view,) = boxes_folder.load(table(tmp_path, "a.dcm,,,,,"))
    server = read_grey_image(path).image.pixels
    assert np.allclose(view.pixels - view.pixels.min(), server - server.min())


def test_sixteen_bits_of_a_png_are_not_cut_to_eight(tmp_path):
    picture(tmp_path, "images/deep.png", value=3000, dtype=np.uint16)
    (view,) = boxes_folder.load(table(tmp_path, "deep.png,,,,,"))
    assert view.pixels.max() == 3060


@pytest.mark.parametrize("line", ["a.png,,,,,", "a.png,0,0,0,0,0", "a.png,,,,,none"])
def test_an_image_without_finding_is_a_picture_without_boxes(tmp_path, line):
    picture(tmp_path)
    (view,) = boxes_folder.load(table(tmp_path, line))
    assert view.nodules == ()


def test_the_column_name_of_node21_is_read(tmp_path):
    picture(tmp_path)
    (view,) = boxes_folder.load(table(tmp_path, "a.png,20,12,10,6,1", header=HEADER.replace("image", "img_name")))
    assert view.nodules[0].kind == "1"


def test_two_images_of_a_patient_and_two_copies_of_an_image_stay_together(tmp_path):
    for name, value in (("a.png", 90), ("b.png", 100), ("c.png", 100), ("d.png", 120)):
        picture(tmp_path, name, value=value)
    rows = ("a.png,,,,,,P1", "b.png,,,,,,P1", "c.png,,,,,,P2", "d.png,,,,,,")
    views = boxes_folder.load(table(tmp_path, *rows, header=f"{HEADER},patient"))
    assert [view.patient for view in views] == ["P1", "P1", "P2", "d.png"]
    assert boxes_folder.groups(views).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("b.png,1,1,5,5,nodule", "line 2: image names a file that is not in this folder"),
        ("../a.png,1,1,5,5,nodule", "line 2: image must be the name of a file in this folder"),
        (",1,1,5,5,nodule", "line 2: image must be the name of a file"),
        ("a.png,46,1,5.5,5,nodule", "line 2: width or height: the box leaves its image of 50 x 40 pixels"),
        ("a.png,1,1,-5,5,nodule", "line 2: width is outside"),
        ("a.png,1,1,five,5,nodule", "line 2: width is not a number"),
        ("a.png,,1,5,5,nodule", "line 2: width and height must be positive, with x and y"),
        ("a.png,1,1,0,5,nodule", "line 2: width and height must be positive"),
        ("text.png,1,1,5,5,nodule", "line 2: image cannot be read: no picture"),
        ("text.dcm,1,1,5,5,nodule", "line 2: image cannot be read: no DICOM file"),
        ("colour.dcm,1,1,5,5,nodule", "line 2: image cannot be read: no grey image of one frame"),
        ("short.dcm,1,1,5,5,nodule", "line 2: image cannot be read: its pixels cannot be decoded"),
    ],
)
def test_what_cannot_be_a_box_or_an_image_is_named_with_its_line(tmp_path, row, words):
    picture(tmp_path)
    for name in ("text.png", "text.dcm"):
        (tmp_path / name).write_text("no image")
    pixels = np.zeros((8, 8), np.uint16)
    write_dicom(dx_dataset(pixels, NumberOfFrames=2), tmp_path / "colour.dcm")
    write_dicom(dx_dataset(pixels, Rows=800), tmp_path / "short.dcm")
    with pytest.raises(IncorrectInput, match=words):
        boxes_folder.load(table(tmp_path, row))


def test_one_image_is_of_one_patient(tmp_path):
    picture(tmp_path)
    rows = ("a.png,1,1,5,5,nodule,P1", "a.png,9,9,5,5,nodule,P2")
    with pytest.raises(IncorrectInput, match="line 3: patient is another one"):
        boxes_folder.load(table(tmp_path, *rows, header=f"{HEADER},patient"))


def test_a_folder_without_its_table_is_refused(tmp_path):
    with pytest.raises(IncorrectInput, match=r"boxes.csv cannot be read"):
        boxes_folder.load(tmp_path)
    with pytest.raises(IncorrectInput, match="lacks the columns height, label"):
        boxes_folder.load(table(tmp_path, "1,2,3,4", header="image,x,y,width"))
