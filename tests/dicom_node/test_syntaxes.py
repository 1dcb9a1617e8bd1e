"""Every transfer syntax of an image is decoded to the right values, by all its decoders alike, or named."""

import struct
import zlib
from pathlib import Path

import gdcm
import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from clinical.errors import IncorrectInput, Unsupported
from dicom_node.codecs import use_imagecodecs
from dicom_node.frames import read_image, stored_frame
from dicom_node.syntaxes import (
    DEFLATED_FRAME,
    ENCAPSULATED_NATIVE,
    IMAGE_SYNTAXES,
    JPEG_XL,
    NATIVE,
    as_markdown,
)
from dicom_node.testing import cr_dataset, write_dicom

use_imagecodecs()
EIGHT, TWELVE, SIXTEEN = 8, 12, 16
LIMIT = 1 << 24
# Installed for the tests only.
WITNESSES = frozenset(("gdcm", "pylibjpeg"))


def picture(bits):
    """A smooth bright square on a dark ground with a little noise, from 0 to the largest value."""
    row, column = np.mgrid[0:48, 0:64]
    top = (1 << bits) - 1
    grey = np.clip(
        (row * 2 + column) / 150 * top + np.random.default_rng(5).normal(0, top / 400, (48, 64)), 0, top
    )
    grey[0, 0], grey[0, 1] = 0, top
    return grey.astype(np.uint8 if bits == EIGHT else np.uint16)


def with_frames(pixels, bits, syntax, *frames):
    ds = cr_dataset(pixels, bits=bits)
    ds.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2) for frame in frames])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = uid.UID(syntax)
    return ds


def by_pydicom(bits, syntax, **options):
    ds = cr_dataset(picture(bits), bits=bits)
    ds.compress(syntax, generate_instance_uid=False, **options)
    return ds


def by_imagecodecs(bits, syntax, encode, **options):
    pixels = picture(bits)
    return with_frames(pixels, bits, syntax, bytes(encode(pixels, **options)))


def by_gdcm(bits, syntax, folder):
    kind = gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(write_dicom(cr_dataset(picture(bits), bits=bits), folder / "plain.dcm")))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(kind)
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(folder / "made.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return pydicom.dcmread(folder / "made.dcm")


def natively(syntax):
    ds = cr_dataset(picture(TWELVE))
    if syntax == uid.ExplicitVRBigEndian:
        ds.PixelData = picture(TWELVE).astype(">u2").tobytes()
    ds.file_meta.TransferSyntaxUID = syntax
    fresh = Dataset()  # one that was never read may be written in either byte order
    fresh.update(ds)
    fresh.file_meta = ds.file_meta
    return fresh


def deflated(data):
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


# syntax -> (bits, how far a lossy value may lie from the original, relative to the largest; a file in it)
MADE = {
    **{one: (TWELVE, 0, lambda _, one=one: natively(one)) for one in NATIVE},
    ENCAPSULATED_NATIVE: (
        TWELVE,
        0,
        lambda _: with_frames(picture(TWELVE), TWELVE, ENCAPSULATED_NATIVE, picture(TWELVE).tobytes()),
    ),
    DEFLATED_FRAME: (
        TWELVE,
        0,
        lambda _: with_frames(picture(TWELVE), TWELVE, DEFLATED_FRAME, deflated(picture(TWELVE).tobytes())),
    ),
    uid.JPEGBaseline8Bit: (
        EIGHT,
        0.02,
        lambda _: by_imagecodecs(EIGHT, uid.JPEGBaseline8Bit, imagecodecs.jpeg8_encode, level=95),
    ),
    uid.JPEGExtended12Bit: (
        TWELVE,
        0.02,
        lambda _: by_imagecodecs(
            TWELVE, uid.JPEGExtended12Bit, imagecodecs.jpeg8_encode, level=95, bitspersample=12
        ),
    ),
    uid.JPEGLossless: (
        SIXTEEN,
        0,
        lambda _: by_imagecodecs(SIXTEEN, uid.JPEGLossless, imagecodecs.ljpeg_encode, bitspersample=16),
    ),
    uid.JPEGLosslessSV1: (TWELVE, 0, lambda folder: by_gdcm(TWELVE, uid.JPEGLosslessSV1, folder)),
    uid.JPEGLSLossless: (TWELVE, 0, lambda _: by_pydicom(TWELVE, uid.JPEGLSLossless)),
    uid.JPEGLSNearLossless: (
        TWELVE,
        3 / 4095,
        lambda _: by_pydicom(TWELVE, uid.JPEGLSNearLossless, jls_error=3),
    ),
    uid.JPEG2000Lossless: (SIXTEEN, 0, lambda _: by_pydicom(SIXTEEN, uid.JPEG2000Lossless)),
    uid.JPEG2000: (TWELVE, 0.05, lambda _: by_pydicom(TWELVE, uid.JPEG2000, j2k_cr=[4])),
    **{
        one: (TWELVE, 0, lambda _, one=one: by_imagecodecs(TWELVE, one, imagecodecs.htj2k_encode, reversible=True))
        for one in (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL)
    },
    uid.HTJ2K: (
        TWELVE,
        0.05,
        lambda _: by_imagecodecs(TWELVE, uid.HTJ2K, imagecodecs.htj2k_encode, reversible=False, level=0.002),
    ),
    JPEG_XL[0]: (
        SIXTEEN,
        0,
        lambda _: by_imagecodecs(SIXTEEN, JPEG_XL[0], imagecodecs.jpegxl_encode, lossless=True),
    ),
    JPEG_XL[1]: (
        EIGHT,
        0.02,
        lambda _: with_frames(
            picture(EIGHT),
            EIGHT,
            JPEG_XL[1],
            imagecodecs.jpegxl_encode_jpeg(imagecodecs.jpeg8_encode(picture(EIGHT), level=95)),
        ),
    ),
    JPEG_XL[2]: (
        EIGHT,
        0.05,
        lambda _: by_imagecodecs(EIGHT, JPEG_XL[2], imagecodecs.jpegxl_encode, lossless=False, distance=0.5),
    ),
    uid.RLELossless: (SIXTEEN, 0, lambda _: by_pydicom(SIXTEEN, uid.RLELossless)),
}
DECODED = sorted(one for one, row in IMAGE_SYNTAXES.items() if row.decoders)


def off_by(values, bits):
    return np.abs(values.astype(np.int64) - picture(bits)).max() / ((1 << bits) - 1)


@pytest.mark.parametrize("syntax", DECODED)
def test_every_syntax_that_is_called_decoded_is_decoded_to_the_values_that_were_encoded(syntax, tmp_path):
    bits, tolerance, make = MADE[syntax]
    path = write_dicom(make(tmp_path), tmp_path / "image.dcm")
    ds = read_image(path, LIMIT)
    assert syntax == ds.file_meta.TransferSyntaxUID
    assert off_by(stored_frame(ds, 0), bits) <= tolerance


@pytest.mark.parametrize("syntax", [one for one in DECODED if len(IMAGE_SYNTAXES[one].decoders) > 1])
def test_two_decoders_agree_on_every_value(syntax, tmp_path):
    _, tolerance, make = MADE[syntax]
    ds = make(tmp_path)
    names = IMAGE_SYNTAXES[syntax].decoders + tuple(WITNESSES & set(get_decoder(syntax).available_plugins))
    seen = {one: get_decoder(syntax).as_array(ds, decoding_plugin=one)[0] for one in names}
    first = seen.popitem()[1]
    for name, other in seen.items():
        # Two inverse transforms of a lossy codec may round differently.
        assert np.abs(first.astype(int) - other).max() <= (1 if tolerance else 0), name


def test_the_table_names_every_decoder_that_is_there_and_no_other():
    for syntax in DECODED:
        named = set(IMAGE_SYNTAXES[syntax].decoders)
        if syntax in {uid.JPEGExtended12Bit, *NATIVE, ENCAPSULATED_NATIVE, DEFLATED_FRAME, *JPEG_XL}:
            continue  # pydicom's others refuse twelve bits, or it has no plugins for them
        assert named == set(get_decoder(syntax).available_plugins) - WITNESSES, uid.UID(syntax).name


def test_twelve_bit_jpeg_is_decoded_by_gdcm_s_own_reader_to_the_same_values(tmp_path):
    path = write_dicom(MADE[uid.JPEGExtended12Bit][2](tmp_path), tmp_path / "image.dcm")
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    theirs = np.frombuffer(reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape"), "<u2")
    ours = stored_frame(read_image(path, LIMIT), 0)
    assert ours.max() > 255
    assert np.abs(ours.ravel().astype(int) - theirs).max() <= 1


def test_twelve_bit_jpeg_that_overshoots_ten_stored_bits_is_white_and_not_black(tmp_path):
    pixels = np.where(np.arange(64 * 64).reshape(64, 64) % 7 < 3, 1023, 0).astype(np.uint16)
    encoded = imagecodecs.jpeg8_encode(pixels, level=60, bitspersample=12)
    assert imagecodecs.jpeg8_decode(encoded).max() > 1023
    ds = with_frames(pixels, 10, uid.JPEGExtended12Bit, bytes(encoded))
    values = stored_frame(ds, 0)
    assert values.max() == 1023
    assert values[pixels == 1023].min() > 700


def one_bit():
    """A picture whose 35 pixels fill no whole number of bytes."""
    return (np.arange(35).reshape(5, 7) % 3 == 0).astype(np.uint8)


def one_bit_image(syntax, frame):
    ds = with_frames(one_bit() * 255, EIGHT, syntax, frame)
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = 0
    return ds


@pytest.mark.parametrize("packed", [False, True], ids=["a byte a pixel", "eight pixels a byte"])
def test_one_bit_in_runs_is_read_as_both_kinds_of_writers_mean_it(packed, tmp_path):
    data = np.packbits(one_bit(), bitorder="little").tobytes() if packed else one_bit().tobytes()
    frame = struct.pack("<16L", 1, 64, *[0] * 14) + bytes(imagecodecs.packbits_encode(data))
    path = write_dicom(one_bit_image(uid.RLELossless, frame), tmp_path / "image.dcm")
    assert np.array_equal(stored_frame(read_image(path, LIMIT), 0), one_bit())


@pytest.mark.parametrize("syntax", [DEFLATED_FRAME, ENCAPSULATED_NATIVE])
def test_one_bit_in_a_native_frame_of_its_own_is_read(syntax, tmp_path):
    data = np.packbits(one_bit(), bitorder="little").tobytes()
    frame = deflated(data) if syntax == DEFLATED_FRAME else data
    path = write_dicom(one_bit_image(syntax, frame), tmp_path / "image.dcm")
    assert np.array_equal(stored_frame(read_image(path, LIMIT), 0), one_bit())


def test_one_bit_in_runs_of_another_length_is_refused():
    frame = struct.pack("<16L", 1, 64, *[0] * 14) + bytes(imagecodecs.packbits_encode(bytes(60)))
    with pytest.raises(IncorrectInput):
        stored_frame(one_bit_image(uid.RLELossless, frame), 0)


@pytest.mark.parametrize("syntax", sorted(one for one, row in IMAGE_SYNTAXES.items() if not row.decoders))
def test_what_is_not_decoded_says_why(syntax, tmp_path):
    ds = with_frames(picture(TWELVE), TWELVE, syntax, b"\0\0\1\xb3")
    with pytest.raises(Unsupported) as refused:
        read_image(write_dicom(ds, tmp_path / "image.dcm"), LIMIT)
    assert refused.value.message == IMAGE_SYNTAXES[syntax].why_not


def test_a_private_syntax_is_named_and_never_guessed(tmp_path):
    ds = with_frames(picture(TWELVE), TWELVE, "1.2.840.113619.5.2", b"\0\0")
    with pytest.raises(Unsupported, match=r"1\.2\.840\.113619\.5\.2 is private to a vendor"):
        read_image(write_dicom(ds, tmp_path / "image.dcm"), LIMIT)


def test_the_table_has_every_transfer_syntax_that_pydicom_knows():
    assert set(uid.AllTransferSyntaxes) <= set(IMAGE_SYNTAXES)


def test_the_page_for_people_holds_the_table_of_the_code():
    page = Path(__file__).parents[2] / "docs" / "conformance" / "transfer-syntaxes.md"
    assert page.read_text().endswith("\n\n" + as_markdown())


@pytest.mark.parametrize(
    "syntax", sorted(set(DECODED) - NATIVE - {ENCAPSULATED_NATIVE, DEFLATED_FRAME, uid.RLELossless, *JPEG_XL})
)
def test_a_frame_that_is_cut_is_refused_and_never_half_grey(syntax, tmp_path):
    bits, _, make = MADE[syntax]
    whole = next(pydicom.encaps.generate_frames(make(tmp_path).PixelData, number_of_frames=1))
    for kept in (len(whole) // 2, len(whole) - 4):
        with pytest.raises(IncorrectInput):
            stored_frame(with_frames(picture(bits), bits, syntax, whole[:kept]), 0)
