"""Grey and colour as dcmtk shows them: another program's arithmetic, from the same file, value by value."""

import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.frames import read_image, stored_frame
from dicom_node.functional_groups import of_frame
from dicom_node.grey import grey_of
from dicom_node.testing import cr_dataset, write_dicom
from dicom_node.ultrasound import rgb_of

pytestmark = pytest.mark.slow
LIMIT = 1 << 24
ROWS, COLUMNS = 40, 50
ONE_LEVEL = 1.2  # dcmtk cuts off what we keep as a fraction, and reckons windows in steps of its own


def ramp(low, high, dtype):
    return np.linspace(low, high, ROWS * COLUMNS).round().astype(dtype).reshape(ROWS, COLUMNS)


def grey_image(pixels, bits, **attributes):
    ds = cr_dataset(pixels.view(f"u{pixels.itemsize}"), bits=bits, WindowCenter=None, WindowWidth=None)
    ds.BitsAllocated, ds.PixelData = pixels.itemsize * 8, pixels.tobytes()
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in attributes.items():
        if keyword.startswith("Overlay"):
            element, kind = _OVERLAY[keyword]
            ds.add_new((0x6000, element), kind, value)
        else:
            setattr(ds, keyword, value)
    return ds


_OVERLAY = {
    "OverlayRows": (0x0010, "US"),
    "OverlayColumns": (0x0011, "US"),
    "OverlayType": (0x0040, "CS"),
    "OverlayOrigin": (0x0050, "SS"),
    "OverlayBitsAllocated": (0x0100, "US"),
    "OverlayBitPosition": (0x0102, "US"),
    "OverlayData": (0x3000, "OW"),
}


def table(first, entries, bits, keyword="ModalityLUTType"):
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.LUTData = np.asarray(entries, "<u2").tobytes()
    if keyword:
        setattr(item, keyword, "US")
    return Sequence([item])


def shown_by_dcmtk(program, path, *options, frame=1):
    """Return the 8-bit picture that dcmtk makes: (rows, columns), or (rows, columns, 3)."""
    command = [program("dcm2pnm"), "-q", "-O", "-S", "+F", str(frame), "+op", *options, path]
    out = path.with_suffix(".pnm")
    subprocess.run([*command, out], check=True, capture_output=True)
    magic, size, _, data = (
        out.read_bytes().split(b"\n", 3) if b"#" not in out.read_bytes()[:40] else _no_comment(out)
    )
    columns, rows = map(int, size.split())
    return np.frombuffer(data, np.uint8).reshape((rows, columns) if magic == b"P5" else (rows, columns, 3))


def _no_comment(out):
    magic, _, rest = out.read_bytes().split(b"\n", 2)
    return [magic, *rest.split(b"\n", 2)]


def shown_by_us(path, index=0):
    """Return our grey values through their window as PS3.3 C.11.2.1.2.1 draws it, in 8 bits."""
    ds = read_image(path, LIMIT)
    grey = grey_of(stored_frame(ds, index), of_frame(ds, index))
    centre, width = grey.window
    shown = (grey.pixels.astype(np.float64) - (centre - 0.5)) / (width - 1) + 0.5
    return np.clip(shown, 0, 1) * 255


WINDOW = {"WindowCenter": 1000, "WindowWidth": 1500}
GREY = {
    "unsigned 12 bits": (ramp(0, 4095, "u2"), 12, WINDOW),
    "unsigned 8 bits": (ramp(0, 255, "u1"), 8, {"WindowCenter": 100, "WindowWidth": 120}),
    "unsigned 10 bits": (ramp(0, 1023, "u2"), 10, {"WindowCenter": 500, "WindowWidth": 700}),
    "unsigned 16 bits": (ramp(0, 65535, "u2"), 16, {"WindowCenter": 30000, "WindowWidth": 50000}),
    "signed 16 bits": (ramp(-32768, 32767, "i2"), 16, {"WindowCenter": -500, "WindowWidth": 30000}),
    "signed 12 bits": (ramp(-2048, 2047, "i2"), 12, {"WindowCenter": 40, "WindowWidth": 400}),
    "signed 8 bits": (ramp(-128, 127, "i1"), 8, {"WindowCenter": 0, "WindowWidth": 100}),
    "unsigned 32 bits": (ramp(0, 9_000_000, "u4"), 32, {"WindowCenter": 4_000_000, "WindowWidth": 6_000_000}),
    "signed 32 bits": (
        ramp(-4_000_000, 4_000_000, "i4"),
        32,
        {"WindowCenter": 100_000, "WindowWidth": 6_000_000},
    ),
    "rescale by a fraction": (
        ramp(0, 4095, "u2"),
        12,
        {"WindowCenter": 1650.5, "WindowWidth": 3000, "RescaleSlope": "0.81", "RescaleIntercept": "-0.4"},
    ),
    "two windows, the first counts": (
        ramp(0, 4095, "u2"),
        12,
        {"WindowCenter": [1000, 3000], "WindowWidth": [1500, 200], "WindowCenterWidthExplanation": ["A", "B"]},
    ),
    "inverse shape of monochrome1": (
        ramp(0, 4095, "u2"),
        12,
        WINDOW | {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
    ),
    "an overlay plane of its own": (
        ramp(0, 4095, "u2"),
        12,
        WINDOW
        | {
            "OverlayRows": ROWS,
            "OverlayColumns": COLUMNS,
            "OverlayType": "G",
            "OverlayOrigin": [1, 1],
            "OverlayBitsAllocated": 1,
            "OverlayBitPosition": 0,
            "OverlayData": b"\xff" * (ROWS * COLUMNS // 8),
        },
    ),
    "signed, stored in the high bits": (
        ramp(-2048, 2047, "i2") << 4,
        12,
        {"WindowCenter": 40, "WindowWidth": 400, "HighBit": 15},
    ),
    "rescale": (ramp(0, 4095, "u2"), 12, WINDOW | {"RescaleSlope": "1.5", "RescaleIntercept": "-1024"}),
    "negative slope": (
        ramp(0, 4095, "u2"),
        12,
        {"WindowCenter": -1000, "WindowWidth": 1500, "RescaleSlope": "-0.5", "RescaleIntercept": "100"},
    ),
    "monochrome1": (ramp(0, 4095, "u2"), 12, WINDOW | {"PhotometricInterpretation": "MONOCHROME1"}),
    "monochrome1, signed": (
        ramp(-2048, 2047, "i2"),
        12,
        {"WindowCenter": 40, "WindowWidth": 400, "PhotometricInterpretation": "MONOCHROME1"},
    ),
    "monochrome1, rescale": (
        ramp(0, 4095, "u2"),
        12,
        WINDOW | {"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": "2", "RescaleIntercept": "-1024"},
    ),
    "modality table": (
        ramp(0, 300, "u2"),
        12,
        {
            "WindowCenter": 2000,
            "WindowWidth": 3000,
            "ModalityLUTSequence": table(20, np.linspace(0, 4095, 256) ** 2 / 4095, 12),
        },
    ),
    "overlay in high bits": (ramp(0, 4095, "u2") | np.uint16(0x8000), 12, WINDOW),
    "stored in the high bits": (ramp(0, 4095, "u2") << 4, 12, WINDOW | {"HighBit": 15}),
}


@pytest.mark.parametrize("case", GREY)
def test_grey_values_and_windows_are_those_of_dcmtk(case, program, tmp_path):
    pixels, bits, attributes = GREY[case]
    path = write_dicom(grey_image(pixels, bits, **attributes), tmp_path / "image.dcm")
    theirs = shown_by_dcmtk(program, path, "+Wi", "1")
    assert len(np.unique(theirs)) > 60
    assert np.abs(shown_by_us(path) - theirs).max() < ONE_LEVEL


@pytest.mark.parametrize("case", ["unsigned 12 bits", "signed 12 bits", "signed 16 bits", "unsigned 10 bits"])
@pytest.mark.parametrize("encoder", [["dcmcjpeg", "+e1"], ["dcmcrle"], ["dcmcjpls"]])
def test_the_sign_and_the_unused_bits_survive_compression(case, encoder, program, tmp_path):
    pixels, bits, attributes = GREY[case]
    path = write_dicom(grey_image(pixels, bits, **attributes), tmp_path / "image.dcm")
    packed = tmp_path / "packed.dcm"
    subprocess.run([program(encoder[0]), *encoder[1:], path, packed], check=True, capture_output=True)
    ds = read_image(packed, LIMIT)
    assert np.array_equal(grey_of(stored_frame(ds, 0), ds).pixels, pixels)


def test_a_voi_table_shows_what_dcmtk_shows_through_it(program, tmp_path):
    entries = np.linspace(0, 255, 4096) ** 1.5 / 16
    voi = table(0, entries, 8, keyword=None)
    path = write_dicom(grey_image(ramp(0, 4095, "u2"), 12, VOILUTSequence=voi), tmp_path / "image.dcm")
    assert np.abs(shown_by_us(path) - shown_by_dcmtk(program, path, "+Wl", "1")).max() < ONE_LEVEL


def test_a_voi_table_of_monochrome1_is_inverted_after_it(program, tmp_path):
    voi = table(0, np.linspace(0, 255, 4096) ** 1.5 / 16, 8, keyword=None)
    ds = grey_image(ramp(0, 4095, "u2"), 12, VOILUTSequence=voi, PhotometricInterpretation="MONOCHROME1")
    path = write_dicom(ds, tmp_path / "image.dcm")
    assert np.abs(shown_by_us(path) - shown_by_dcmtk(program, path, "+Wl", "1")).max() < ONE_LEVEL


def test_one_bit_a_pixel_is_that_of_dcmtk(program, tmp_path):
    bits = (np.arange(ROWS * COLUMNS) % 7 < 3).reshape(ROWS, COLUMNS)
    ds = grey_image(bits.astype("u1"), 8)
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit, ds.PixelData = 0, np.packbits(bits.ravel(), bitorder="little").tobytes()
    path = write_dicom(ds, tmp_path / "image.dcm")
    assert np.array_equal(shown_by_dcmtk(program, path, "+Wm"), stored_frame(read_image(path, LIMIT), 0) * 255)


def test_every_frame_is_that_of_dcmtk(program, tmp_path):
    frames = np.stack([ramp(0, 4095, "u2"), ramp(4095, 0, "u2"), ramp(500, 900, "u2")])
    ds = grey_image(frames[0], 12, **WINDOW, NumberOfFrames=3, PixelData=frames.tobytes())
    path = write_dicom(ds, tmp_path / "image.dcm")
    for index in range(3):
        theirs = shown_by_dcmtk(program, path, "+Wi", "1", frame=index + 1)
        assert np.abs(shown_by_us(path, index) - theirs).max() < ONE_LEVEL


def test_one_bit_an_image_with_frames_that_end_within_a_byte():
    bits = (np.arange(3 * 5 * 5) % 3 == 0).reshape(3, 5, 5)
    ds = cr_dataset(np.zeros((5, 5), np.uint8), bits=8, WindowCenter=None, WindowWidth=None)
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit, ds.NumberOfFrames = 0, 3
    ds.PixelData = np.packbits(bits.ravel(), bitorder="little").tobytes()
    for index in range(3):
        assert np.array_equal(grey_of(stored_frame(ds, index), ds).pixels, bits[index])


@pytest.mark.parametrize(("keyword", "kind"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
def test_floating_point_pixels_are_themselves_and_what_is_no_number_is_padding(keyword, kind):
    values = np.array([[0.25, -3.5], [np.nan, 1e6]])
    ds = cr_dataset(np.zeros((2, 2), np.uint16), WindowCenter=None, WindowWidth=None, PixelData=None)
    ds.BitsAllocated = np.dtype(kind).itemsize * 8
    for name in ("BitsStored", "HighBit", "PixelRepresentation"):
        delattr(ds, name)
    setattr(ds, keyword, values.astype(kind).tobytes())
    grey = grey_of(stored_frame(ds, 0), ds)
    assert grey.pixels.tolist() == [[0.25, -3.5], [-3.5, 1e6]]
    assert grey.padding.tolist() == [[False, False], [True, False]]


def colour_image(pixels, interpretation, planar=0):
    ds = cr_dataset(pixels[:, :, 0], bits=8, WindowCenter=None, WindowWidth=None)
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, interpretation, planar
    ds.PixelData = (np.moveaxis(pixels, 2, 0) if planar else pixels).tobytes()
    return ds


def colours():
    return np.random.default_rng(3).integers(0, 256, (ROWS, COLUMNS, 3), np.uint8)


def test_colour_is_that_of_dcmtk(program, tmp_path):
    for interpretation, planar in (("RGB", 0), ("RGB", 1), ("YBR_FULL", 0), ("YBR_FULL", 1)):
        path = write_dicom(colour_image(colours(), interpretation, planar), tmp_path / "image.dcm")
        ds = read_image(path, LIMIT)
        off = np.abs(rgb_of(stored_frame(ds, 0), ds).astype(int) - shown_by_dcmtk(program, path))
        # Either side rounds the products of PS3.3 C.7.6.3.1.2 in its own way.
        assert off.max() <= (0 if interpretation == "RGB" else 2), (interpretation, planar)


def palette_image(pixels, bits, first, tables):
    """tables: colour -> (keyword's ending, number of entries, bits of one, encoded entries)."""
    ds = cr_dataset(pixels, bits=bits, WindowCenter=None, WindowWidth=None)
    ds.PhotometricInterpretation = "PALETTE COLOR"
    for name, (ending, count, width, entries) in tables.items():
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [count, first, width])
        segmented = "Segmented" if ending == "segmented" else ""
        setattr(ds, f"{segmented}{name}PaletteColorLookupTableData", entries)
    return ds


def _rolled(count, by, kind="<u2"):
    return (np.roll(np.arange(count), by) * (257 if kind == "<u2" else 1)).astype(kind).tobytes()


NAMES = ("Red", "Green", "Blue")
PALETTES = {
    "16 bits an entry": (
        ramp(0, 255, "u1"), 8, 0, {n: ("", 256, 16, _rolled(256, i * 60)) for i, n in enumerate(NAMES)},
    ),
    "8 bits an entry": (
        ramp(0, 255, "u1"), 8, 0, {n: ("", 256, 8, _rolled(256, i * 60, "u1")) for i, n in enumerate(NAMES)},
    ),
    "the first entry is not 0": (
        ramp(0, 255, "u1"), 8, 40, {n: ("", 128, 16, _rolled(128, i * 30)) for i, n in enumerate(NAMES)},
    ),
    "indices of 16 bits": (
        ramp(0, 4095, "u2"), 12, 0,
        {n: ("", 4096, 16, (np.arange(4096) * (16 - 3 * i)).astype("<u2").tobytes()) for i, n in enumerate(NAMES)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PALETTES)
def test_a_palette_is_that_of_dcmtk(case, program, tmp_path):
    path = write_dicom(palette_image(*PALETTES[case]), tmp_path / "image.dcm")
    read = read_image(path, LIMIT)
    assert np.array_equal(rgb_of(stored_frame(read, 0), read), shown_by_dcmtk(program, path))


def test_a_segmented_palette_is_the_straight_lines_that_it_says():
    # Opcode 0: one entry, 0. Opcode 1: a line of 255 entries to the last one (PS3.3 C.7.9.2). dcmtk reads none.
    tops = (65280, 33024, 16896)
    lines = {n: np.array([0, 1, 0, 1, 255, top], "<u2").tobytes() for n, top in zip(NAMES, tops, strict=True)}
    palette = {name: ("segmented", 256, 16, line) for name, line in lines.items()}
    index = np.arange(256, dtype="u1").reshape(16, 16)
    ds = palette_image(index, 8, 0, palette)
    said = rgb_of(stored_frame(ds, 0), ds).astype(int)
    for channel, top in enumerate(tops):
        assert np.abs(said[:, :, channel] - (index / 255 * top) / 256).max() <= 1


def test_half_the_colours_of_422_are_spread_as_dcmtk_spreads_them(program, tmp_path):
    luma = np.random.default_rng(4).integers(16, 235, (ROWS, COLUMNS), np.uint8)
    chroma = np.random.default_rng(5).integers(60, 190, (2, ROWS, COLUMNS // 2), np.uint8)
    stored = np.stack([luma[:, ::2], luma[:, 1::2], *chroma], axis=2)  # Y1 Y2 Cb Cr (PS3.3 C.7.6.3.1.2)
    ds = colour_image(np.repeat(stored[:, :, :1], 2, axis=1).repeat(3, axis=2), "YBR_FULL_422")
    ds.PixelData = stored.tobytes()
    path = write_dicom(ds, tmp_path / "image.dcm")
    read = read_image(path, LIMIT)
    assert np.abs(rgb_of(stored_frame(read, 0), read).astype(int) - shown_by_dcmtk(program, path)).max() <= 2


def test_an_enhanced_image_has_the_transform_and_spacing_of_each_frame():
    ds = grey_image(ramp(0, 4095, "u2"), 12)

    def groups(slope, spacing):
        values, measures, group = Dataset(), Dataset(), Dataset()
        values.RescaleSlope, values.RescaleIntercept = slope, 0
        measures.PixelSpacing = spacing
        group.PixelValueTransformationSequence = Sequence([values])
        group.PixelMeasuresSequence = Sequence([measures])
        return group

    ds.SharedFunctionalGroupsSequence = Sequence([groups(9, [0.9, 0.9])])
    ds.PerFrameFunctionalGroupsSequence = Sequence([groups(2, [0.2, 0.2]), groups(3, [0.3, 0.3])])
    assert (of_frame(ds, 0).RescaleSlope, of_frame(ds, 0).PixelSpacing) == (2, [0.2, 0.2])
    assert (of_frame(ds, 1).RescaleSlope, of_frame(ds, 1).PixelSpacing) == (3, [0.3, 0.3])
    del ds.PerFrameFunctionalGroupsSequence
    assert of_frame(ds, 1).RescaleSlope == 9
    assert "RescaleSlope" not in ds


def test_pydicom_s_grey_files_are_shown_as_dcmtk_shows_them(program, tmp_path, recwarn):
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    for name in ("CT_small", "MR_small", "MR_small_bigendian", "MR_small_RLE", "MR_small_jpeg_ls_lossless"):
        ds = dcmread(folder / f"{name}.dcm")
        ds.WindowCenter, ds.WindowWidth = "600", "1800"
        path = write_dicom(ds, tmp_path / f"{name}.dcm")
        plain = tmp_path / f"{name}-plain.dcm"
        decode = {uid.RLELossless: "dcmdrle", uid.JPEGLSLossless: "dcmdjpls"}
        tool = decode.get(ds.file_meta.TransferSyntaxUID, "dcmconv")
        subprocess.run([program(tool), path, plain], check=True, capture_output=True)
        assert np.abs(shown_by_us(path) - shown_by_dcmtk(program, plain, "+Wi", "1")).max() < ONE_LEVEL, name
