"""Ultrasound: which images a model reads, where the pictures on a screen lie, their scale, and grey in colour."""

import io
import subprocess

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ComprehensiveSRStorage,
    JPEGBaseline8Bit,
    RLELossless,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from clinical.errors import IncorrectInput, Unsupported
from clinical.image import SpacingOrigin
from dicom_node.anatomy import BodyPartRule, with_anatomic_regions, with_site_knowledge
from dicom_node.header import Header, read_stored_header
from dicom_node.pixels import Decoder
from dicom_node.series import ANOTHER_PART, NO_PART, UltrasoundRule, eligible
from dicom_node.testing import (
    BreastLesion,
    on_screen,
    ultrasound_phantom,
    ultrasound_region,
    us_dataset,
    write_dicom,
)
from dicom_node.ultrasound import grey_from_colour, regions_of, spacing_of_regions

RULE = UltrasoundRule(("US",), ("BREAST",), frozenset({"SCT 76752008", "SCT 80248007"}))
BREAST = Header(UltrasoundImageStorage, modality="US", body_part="BREAST")


def header(sop_class=UltrasoundImageStorage, modality="US", part="BREAST", **more):
    return Header(sop_class_uid=sop_class, modality=modality, body_part=part, **more)


@pytest.mark.parametrize(
    "image",
    [
        header(),
        header(part="breast"),
        header(part="", anatomic_regions="SCT 76752008"),
        header(part="CHEST", anatomic_regions="SCT 39607008\\SCT 80248007"),
        header(image_type="ORIGINAL\\PRIMARY\\BREAST\\0001"),
        header(image_type="DERIVED\\PRIMARY\\\\"),
    ],
)
def test_still_b_mode_images_of_the_breast_are_read(image):
    assert RULE.why_not(image) is None


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (header(part=""), NO_PART),
        (header(part="ABDOMEN"), ANOTHER_PART),
        (header(part="BREAST", anatomic_regions="SCT 91470000"), ANOTHER_PART),
        (header(modality="MG"), "modality"),
        (header(UltrasoundMultiFrameImageStorage), "cine loop"),
        (header(image_type="ORIGINAL\\PRIMARY\\BREAST\\0011"), "Doppler"),
        (header(image_type="ORIGINAL\\PRIMARY\\\\0002"), "M-mode"),
        (header(SecondaryCaptureImageStorage), "no ultrasound image"),
        (header("1.2.840.10008.5.1.4.1.1.6"), "no ultrasound image"),  # retired
        (header(ComprehensiveSRStorage, "SR"), "no ultrasound image"),
    ],
)
def test_everything_else_is_left_out_with_a_reason(image, reason):
    ((left_out, why),) = eligible([image, BREAST], RULE).left_out
    assert left_out == image
    assert reason in why


@pytest.mark.parametrize(
    ("rule", "part"),
    [
        (BodyPartRule("BREAST", calling_ae="MAMMO_US"), "BREAST"),
        (BodyPartRule("BREAST", description="breast"), "BREAST"),
        (BodyPartRule("BREAST", calling_ae="MAMMO_US", description="mamma"), "ABDOMEN"),
        (BodyPartRule("BREAST", calling_ae="OTHER"), "ABDOMEN"),
    ],
)
def test_what_the_site_knows_of_a_sender_comes_before_what_the_machine_writes(rule, part):
    written = header(part="ABDOMEN", study_description="US BREAST LEFT", anatomic_regions="SCT 818983003")
    assert with_site_knowledge(written, "MAMMO_US", [rule]).body_part == part


@pytest.mark.parametrize(
    ("scheme", "code", "read"),
    [("SCT", "76752008", "SCT 76752008"), ("SNM3", "T-04030", "SCT 80248007"), ("SRT", "T-28000", "SRT T-28000")],
)
def test_the_anatomic_region_is_read_from_a_stored_image_also_in_older_codes(tmp_path, scheme, code, read):
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = code, scheme, "Region"
    path = write_dicom(us_dataset(np.zeros((4, 4), np.uint8), AnatomicRegionSequence=[region]), tmp_path / "a.dcm")
    described = with_anatomic_regions(read_stored_header(path), path)
    assert described.anatomic_regions == read
    assert (described.study_description, described.image_type.split("\\")[-1]) == ("US breast", "0001")


def test_a_region_gives_the_spacing_of_rows_and_columns_in_millimetres():
    ds = us_dataset(np.zeros((100, 200), np.uint8))
    ds.SequenceOfUltrasoundRegions = [
        ultrasound_region((10, 20, 60, 120), 0.1, PhysicalDeltaX=0.02, PhysicalDeltaY=-0.01)
    ]
    (region,) = regions_of(ds)
    assert region.box == (10, 20, 60, 120)
    assert region.spacing == pytest.approx((0.1, 0.2))
    assert spacing_of_regions((region,))[2] is SpacingOrigin.ULTRASOUND_REGION


@pytest.mark.parametrize(
    ("changes", "spaced"),
    [
        ({}, True),
        ({"PhysicalUnitsXDirection": 4}, False),  # seconds
        ({"PhysicalUnitsYDirection": 0}, False),
        ({"PhysicalDeltaX": 0.0}, False),
        ({"PhysicalDeltaX": float("nan")}, False),
    ],
)
def test_only_centimetres_in_both_directions_are_a_spacing(changes, spaced):
    ds = us_dataset(np.zeros((100, 200), np.uint8))
    ds.SequenceOfUltrasoundRegions = [ultrasound_region((0, 0, 50, 50), 0.1, **changes)]
    assert (spacing_of_regions(regions_of(ds)) is not None) is spaced


@pytest.mark.parametrize("other", [None, 0.2])
def test_two_pictures_of_different_scales_have_no_common_spacing(other):
    ds = us_dataset(np.zeros((100, 200), np.uint8))
    boxes = ((0, 0, 50, 50), (0, 100, 50, 150))
    ds.SequenceOfUltrasoundRegions = [ultrasound_region(boxes[0], 0.1), ultrasound_region(boxes[1], other)]
    regions = regions_of(ds)
    assert [region.box for region in regions] == list(boxes)
    assert spacing_of_regions(regions) is None
    same = [ultrasound_region(boxes[0], 0.1), ultrasound_region(boxes[1], 0.1005)]
    ds.SequenceOfUltrasoundRegions = same
    assert spacing_of_regions(regions_of(ds)) is not None


def test_a_spectrum_or_a_waveform_beside_the_picture_is_no_picture():
    ds = us_dataset(np.zeros((100, 200), np.uint8))
    ds.SequenceOfUltrasoundRegions = [
        ultrasound_region((0, 0, 50, 50), 0.1),
        ultrasound_region((50, 0, 99, 50), 0.1, RegionSpatialFormat=3, RegionDataType=3),
        Dataset(),
    ]
    assert len(regions_of(ds)) == 1


def test_a_region_beyond_the_image_is_cut_and_one_outside_is_none():
    ds = us_dataset(np.zeros((100, 200), np.uint8))
    ds.SequenceOfUltrasoundRegions = [
        ultrasound_region((90, 150, 400, 900), 0.1),
        ultrasound_region((300, 300, 400, 400), 0.1),
    ]
    assert [region.box for region in regions_of(ds)] == [(90, 150, 100, 200)]


def test_a_region_of_colour_flow_is_refused():
    ds = us_dataset(np.zeros((100, 200), np.uint8))
    ds.SequenceOfUltrasoundRegions = [ultrasound_region((0, 0, 50, 50), 0.1, RegionDataType=2)]
    with pytest.raises(Unsupported, match="colour"):
        regions_of(ds)


def in_colour(grey):
    return np.stack([grey] * 3, axis=2)


def test_grey_in_colour_stays_the_grey_it_is():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(grey_from_colour(in_colour(grey), us_dataset(in_colour(grey)), ()), grey)


def test_coloured_callipers_are_let_through_and_flow_is_not():
    picture = in_colour(np.full((100, 100), 90, np.uint8))
    picture[50, 20:60] = (255, 255, 0)  # 0.4 %
    grey = grey_from_colour(picture, us_dataset(picture), ())
    assert grey[50, 20] == round(255 * (0.299 + 0.587))
    picture[20:40, 20:40] = (255, 0, 0)  # 4 %
    with pytest.raises(Unsupported, match="Doppler"):
        grey_from_colour(picture, us_dataset(picture), ())


def test_only_colour_within_the_pictures_counts():
    picture = in_colour(np.full((100, 200), 90, np.uint8))
    picture[:, 150:] = (0, 0, 255)  # a coloured frame beside the picture
    ds = us_dataset(picture, regions=[ultrasound_region((0, 0, 100, 100), 0.1)])
    assert grey_from_colour(picture, ds, regions_of(ds))[0, 0] == 90
    with pytest.raises(Unsupported):
        grey_from_colour(picture, ds, ())


def test_a_palette_of_greys_is_looked_up_and_a_damaged_one_is_an_error():
    stored = np.array([[0, 1, 2, 3]], np.uint8)
    ds = us_dataset(stored, PhotometricInterpretation="PALETTE COLOR")
    ramp = np.array([0, 60, 120, 255], "<u2") * 257
    for colour in ("Red", "Green", "Blue"):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 16])
        setattr(ds, f"{colour}PaletteColorLookupTableData", ramp.tobytes())
    assert grey_from_colour(stored, ds, ()).tolist() == [[0, 60, 120, 255]]
    del ds.RedPaletteColorLookupTableData
    with pytest.raises(IncorrectInput):
        grey_from_colour(stored, ds, ())


@pytest.fixture(scope="module")
def decoder():
    with Decoder() as child:
        yield child


@pytest.fixture(scope="module")
def screen():
    """Return a screen with two pictures, their regions, and the spacing."""
    one, truth = ultrasound_phantom(1, rows=96, columns=120)
    other, _ = ultrasound_phantom(2, [BreastLesion(roughness=1, posterior_db=-9)], rows=96, columns=120)
    pixels, boxes = on_screen([one, other])
    return pixels, [ultrasound_region(box, truth.spacing_mm) for box in boxes], boxes, truth.spacing_mm


@pytest.mark.slow
@pytest.mark.parametrize("colour", [False, True])
def test_a_screen_is_decoded_with_its_pictures_and_their_scale(decoder, tmp_path, screen, colour):
    pixels, regions, boxes, spacing = screen
    ds = us_dataset(in_colour(pixels) if colour else pixels, regions=regions)
    decoded = decoder.read(write_dicom(ds, tmp_path / "a.dcm"))
    assert np.array_equal(decoded.image.pixels, pixels)
    assert decoded.regions == boxes
    assert decoded.image.spacing.row_mm == pytest.approx(spacing)
    assert (decoded.ref.modality, decoded.image.window) == ("US", None)


@pytest.mark.slow
@pytest.mark.parametrize(("colour", "syntax"), [("RGB", RLELossless), ("YBR_FULL_422", JPEGBaseline8Bit)])
def test_compressed_colour_is_the_same_grey(decoder, tmp_path, screen, colour, syntax):
    pixels, regions, _, _ = screen
    ds = us_dataset(in_colour(pixels), regions=regions)
    if syntax == RLELossless:
        ds.compress(syntax, generate_instance_uid=False)
    else:
        _compress_as_a_scanner_does(ds, pixels)
    decoded = decoder.read(write_dicom(ds, tmp_path / "a.dcm")).image.pixels
    assert ds.PhotometricInterpretation == colour
    assert np.abs(decoded - pixels).mean() < (0.01 if syntax == RLELossless else 8)


def _compress_as_a_scanner_does(ds, pixels):
    buffer = io.BytesIO()
    Image.fromarray(in_colour(pixels)).save(buffer, "JPEG", quality=90, subsampling=1)
    ds.PixelData = encapsulate([buffer.getvalue()])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PhotometricInterpretation = "YBR_FULL_422"


@pytest.mark.slow
@pytest.mark.parametrize(
    "attributes",
    [
        {"UltrasoundColorDataPresent": 1},
        {"NumberOfFrames": 3},
        {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15},
    ],
)
def test_what_declares_itself_as_something_else_is_refused(decoder, tmp_path, screen, attributes):
    ds = us_dataset(in_colour(screen[0]), regions=screen[1], **attributes)
    with pytest.raises(Unsupported):
        decoder.read(write_dicom(ds, tmp_path / "a.dcm"))


@pytest.mark.slow
def test_colour_of_other_modalities_is_refused_as_before(decoder, tmp_path, screen):
    ds = us_dataset(in_colour(screen[0]), SOPClassUID=SecondaryCaptureImageStorage)
    with pytest.raises(Unsupported, match="colour images are not read"):
        decoder.read(write_dicom(ds, tmp_path / "a.dcm"))


def test_the_phantom_is_reproducible_and_dark_where_its_lesion_is():
    pixels, truth = ultrasound_phantom(3, rows=96, columns=120)
    again, _ = ultrasound_phantom(3, rows=96, columns=120)
    assert np.array_equal(pixels, again)
    assert not np.array_equal(pixels, ultrasound_phantom(4, rows=96, columns=120)[0])
    (mask,) = truth.masks
    assert pixels[mask].mean() < pixels[~mask].mean() - 40
    assert np.count_nonzero(mask) * truth.spacing_mm**2 == pytest.approx(np.pi * 7 * 4.5, rel=0.05)


@pytest.mark.slow
def test_dciodvfy_finds_no_error_in_the_phantom(tmp_path, program, screen):
    pixels, regions, _, _ = screen
    for made in (us_dataset(pixels, regions=regions), us_dataset(in_colour(pixels)), us_dataset(pixels)):
        path = write_dicom(made, tmp_path / "a.dcm")
        said = subprocess.run([program("dciodvfy"), path], capture_output=True, text=True, check=False)
        assert "Error" not in said.stderr
