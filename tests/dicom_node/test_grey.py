"""Stored values become grey values as PS3.3 says; the expected numbers are worked out by hand."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from clinical.errors import IncorrectInput, Unsupported
from clinical.image import SpacingOrigin
from dicom_node.declared import check_declared
from dicom_node.grey import grey_of, spacing_of
from dicom_node.testing import cr_dataset

RAMP = np.array([[0, 1, 2], [100, 4094, 4095]], dtype=np.uint16)


def image(pixels=RAMP, bits=12, **attributes):
    return cr_dataset(pixels, bits=bits, WindowCenter=None, WindowWidth=None, **attributes)


def test_without_any_transform_the_stored_values_are_the_grey_values():
    grey = grey_of(RAMP, image())
    assert grey.pixels.dtype == np.float32
    assert grey.pixels.tolist() == RAMP.tolist()
    assert grey.window is None
    assert grey.padding is None


def test_rescale_slope_and_intercept_are_applied():
    grey = grey_of(RAMP, image(RescaleSlope="2", RescaleIntercept="-1024"))
    assert grey.pixels.tolist() == [[-1024, -1022, -1020], [-824, 7164, 7166]]


def test_monochrome1_is_inverted_within_its_range_so_that_larger_is_brighter():
    grey = grey_of(RAMP, image(PhotometricInterpretation="MONOCHROME1"))
    assert grey.pixels.tolist() == [[4095, 4094, 4093], [3995, 1, 0]]


def test_inverting_an_image_inverts_its_window_too():
    plain = image()
    plain.WindowCenter, plain.WindowWidth = ["1000", "7"], ["400", "3"]
    assert grey_of(RAMP, plain).window == (1000, 400)
    plain.PhotometricInterpretation = "MONOCHROME1"
    grey = grey_of(RAMP, plain)
    assert grey.window == (3096, 400)
    # The linear function of PS3.3 C.11.2.1.2.1, at stored value 1100: shown as 1 - what it was.
    shown = (1100 - (1000 - 0.5)) / 399 + 0.5
    inverted = ((4095 - 1100) - (3096 - 0.5)) / 399 + 0.5
    assert inverted == pytest.approx(1 - shown)


def test_signed_values_of_twelve_bits_get_their_sign_back():
    stored = np.array([[0x0001, 0x07FF, 0x0800], [0x0FFF, 0x0000, 0x0802]], dtype=np.int16)
    grey = grey_of(stored, image(PixelRepresentation=1))
    assert grey.pixels.tolist() == [[1, 2047, -2048], [-1, 0, -2046]]


def test_overlay_bits_above_the_high_bit_are_no_grey_values():
    assert grey_of(RAMP | np.uint16(0x8000), image()).pixels.tolist() == RAMP.tolist()


@pytest.mark.parametrize(("bits", "stored"), [(8, 255), (10, 1023), (12, 4095), (16, 65535)])
def test_the_full_range_of_every_depth_survives(bits, stored):
    pixels = np.array([[0, stored]], dtype=np.uint8 if bits == 8 else np.uint16)
    assert grey_of(pixels, image(pixels, bits=bits)).pixels.tolist() == [[0, stored]]


def test_a_lossy_codec_that_overshoots_is_clipped_and_does_not_wrap():
    ds = image(np.array([[0]], dtype=np.uint16), bits=10)
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.51"
    assert grey_of(np.array([[1027]], dtype=np.uint16), ds).pixels.tolist() == [[1023]]


def test_padding_is_marked_and_not_mistaken_for_tissue():
    assert grey_of(RAMP, image(PixelPaddingValue=4095)).padding.tolist() == [[False] * 3, [False, False, True]]
    ranged = grey_of(RAMP, image(PixelPaddingValue=1, PixelPaddingRangeLimit=2))
    assert ranged.padding.tolist() == [[False, True, True], [False] * 3]
    assert grey_of(RAMP, image(PixelPaddingValue=77)).padding is None


def lut(first, entries, bits):
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.LUTData = entries
    return [item]


def test_a_modality_table_takes_the_place_of_slope_and_intercept():
    pixels = np.array([[0, 5, 6, 7, 200]], dtype=np.uint8)
    grey = grey_of(pixels, image(pixels, bits=8, ModalityLUTSequence=lut(5, [10, 20, 40], 8)))
    assert grey.pixels.tolist() == [[10, 10, 20, 40, 40]]


def test_a_voi_table_is_used_when_there_is_no_window():
    pixels = np.array([[0, 1, 2, 3]], dtype=np.uint8)
    grey = grey_of(pixels, image(pixels, bits=8, VOILUTSequence=lut(0, [0, 1000, 3000, 4095], 12)))
    assert grey.pixels.tolist() == [[0, 1000, 3000, 4095]]
    assert grey.window == (2048, 4096)


def test_a_table_shorter_than_it_says_is_refused():
    item = lut(0, [0, 1], 8)
    item[0].LUTDescriptor = [200, 0, 8]
    with pytest.raises(IncorrectInput):
        grey_of(RAMP, image(VOILUTSequence=item))


def test_pixel_spacing_comes_before_imager_pixel_spacing_row_first():
    ds = image(PixelSpacing=["0.2", "0.3"], ImagerPixelSpacing=["0.4", "0.4"])
    assert spacing_of(ds) == (0.2, 0.3, SpacingOrigin.PIXEL_SPACING)
    assert spacing_of(image(PixelSpacing=["0", "0"])) == (0.4, 0.4, SpacingOrigin.IMAGER_PIXEL_SPACING)


def test_a_missing_or_impossible_spacing_is_none_and_never_guessed():
    assert spacing_of(cr_dataset(RAMP, spacing_mm=None)) is None
    assert spacing_of(cr_dataset(RAMP, spacing_mm=None, PixelSpacing=["-1", "-1"])) is None
    for keyword, value in (
        ("NominalScannedPixelSpacing", ["1", "1"]),
        ("PixelAspectRatio", ["1", "1"]),
        ("DetectorElementSpacing", ["0.1", "0.1"]),
        ("FieldOfViewDimensions", ["430", "350"]),
    ):
        assert spacing_of(cr_dataset(RAMP, spacing_mm=None, **{keyword: value})) is None


@pytest.mark.parametrize(
    ("attributes", "origin"),
    [
        ({"ImagerPixelSpacing": ["0.4", "0.4"]}, SpacingOrigin.IMAGER_PIXEL_SPACING),
        # Copied and not calibrated: it is the one at the detector still.
        (
            {"PixelSpacing": ["0.4", "0.4"], "ImagerPixelSpacing": ["0.40000", "0.4"]},
            SpacingOrigin.IMAGER_PIXEL_SPACING,
        ),
        ({"PixelSpacing": ["0.35", "0.35"], "ImagerPixelSpacing": ["0.4", "0.4"]}, SpacingOrigin.PIXEL_SPACING),
        ({"PixelSpacing": ["0.4", "0.4"], "PixelSpacingCalibrationType": "FIDUCIAL"}, SpacingOrigin.PIXEL_SPACING),
        ({"PixelSpacing": ["0.4", "0.4"]}, SpacingOrigin.UNCALIBRATED),
        ({"PixelSpacing": ["0.4", "0.4"], "Modality": "CT"}, SpacingOrigin.PIXEL_SPACING),
    ],
)
def test_what_a_millimetre_means_is_read_from_the_image_and_said(attributes, origin):
    assert spacing_of(cr_dataset(RAMP, spacing_mm=None, **attributes))[2] is origin


def test_a_magnification_factor_does_not_turn_the_detector_s_millimetres_into_the_patient_s():
    ds = cr_dataset(RAMP, spacing_mm=0.4, EstimatedRadiographicMagnificationFactor="1.5")
    assert spacing_of(ds) == (0.4, 0.4, SpacingOrigin.IMAGER_PIXEL_SPACING)


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ({"NumberOfFrames": 2}, Unsupported),
        ({"SamplesPerPixel": 3}, Unsupported),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Unsupported),
        ({"PixelData": None}, Unsupported),
        ({"BitsAllocated": 24}, Unsupported),
        ({"Rows": 0}, IncorrectInput),
        ({"Rows": 65535, "Columns": 65535}, IncorrectInput),
        ({"Rows": 3}, IncorrectInput),
        ({"BitsStored": 17}, IncorrectInput),
        ({"HighBit": 4}, IncorrectInput),
    ],
)
def test_what_is_not_a_plausible_grey_frame_is_refused_from_its_header(attributes, error):
    with pytest.raises(error):
        check_declared(image(**attributes), max_pixels=1_000_000)
