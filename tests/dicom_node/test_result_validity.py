"""No kind of result has an error, whatever image it is made from and lacks, and other archives take them all."""

import shutil
import subprocess

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from clinical.image import PixelSpacing, SpacingOrigin
from dicom_node.compressing import in_syntax
from dicom_node.destinations import Destination
from dicom_node.preflight import preflight
from dicom_node.results import ENCODERS, encoders_of, normalise_source
from dicom_node.scu import send
from dicom_node.testing import cr_dataset, dicom_from_png, dx_dataset, listening_ae, ultrasound_region, us_dataset
from tests.orthanc import orthanc_program, running_orthanc
from tests.ports import free_port

pytestmark = pytest.mark.slow


def bare(ds):
    """Return the image with every attribute of patient and study gone that is not an identity."""
    kept = {"SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns"}
    kept |= {"BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"}
    kept |= {"PhotometricInterpretation", "PixelData", "Modality"}
    made = Dataset()
    made.file_meta = ds.file_meta
    for element in ds:
        if element.keyword in kept:
            made.add(element)
    return made


def odd(ds):
    ds.StudyDate, ds.StudyTime, ds.PatientBirthDate, ds.PatientSex = "2026.01.02", "10:11", "unknown", "X"
    return ds


def undeclared(ds):
    ds.SpecificCharacterSet, ds.PatientName = None, "Müller^Jörg"
    return ds


def mg_dataset(pixels, **attributes):
    return dx_dataset(
        pixels,
        SOPClassUID=DigitalMammographyXRayImageStorageForPresentation,
        Modality="MG",
        BodyPartExamined="BREAST",
        ImageLaterality="L",
        PatientOrientation=["A", "R"],
        **attributes,
    )


def ct_dataset(_):
    return dcmread(get_testdata_file("CT_small.dcm"))


def without(ds, keyword):
    delattr(ds, keyword)
    return ds


def grey_bytes(pixels):
    return (pixels >> 4).astype(np.uint8)


def mr_dataset(_):
    ds = dcmread(get_testdata_file("MR_small.dcm"))
    ds.Rows = ds.Columns = 128
    return ds


SOURCES = {
    "DX": lambda pixels: dx_dataset(pixels, spacing_mm=0.123456789),
    "CR": cr_dataset,
    "CR without spacing": lambda pixels: cr_dataset(pixels, spacing_mm=None),
    "CR with dates that are none": lambda pixels: odd(cr_dataset(pixels)),
    "CR with a name in a character set that it does not declare": lambda pixels: undeclared(cr_dataset(pixels)),
    "DX in a frame of reference": lambda pixels: dx_dataset(pixels, FrameOfReferenceUID="1.2.3.99"),
    "MG": mg_dataset,
    "CT": ct_dataset,
    "CT without thickness": lambda pixels: without(ct_dataset(pixels), "SliceThickness"),
    "CT without position": lambda pixels: without(ct_dataset(pixels), "ImagePositionPatient"),
    "MR": mr_dataset,
    "DX whose patient was removed": lambda pixels: dx_dataset(pixels, PatientIdentityRemoved="YES"),
    "US": lambda pixels: us_dataset(grey_bytes(pixels), regions=[ultrasound_region((0, 0, 128, 128), 0.1)]),
    "US in colour": lambda pixels: us_dataset(np.stack([grey_bytes(pixels)] * 3, axis=2)),
    "DX with nothing but identities": lambda pixels: bare(dx_dataset(pixels)),
    "CR with nothing but identities": lambda pixels: bare(cr_dataset(pixels)),
    "MG with nothing but identities": lambda pixels: bare(mg_dataset(pixels)),
    "CT with nothing but identities": lambda pixels: bare(ct_dataset(pixels)),
    "US with nothing but identities": lambda pixels: bare(us_dataset(grey_bytes(pixels))),
}


def spacing_of(ds):
    """Return the spacing that our decoder would find, None when the image states none."""
    if "SequenceOfUltrasoundRegions" in ds:
        return PixelSpacing(0.1, 0.1, SpacingOrigin.ULTRASOUND_REGION)
    for keyword, origin in (
        ("PixelSpacing", SpacingOrigin.PIXEL_SPACING),
        ("ImagerPixelSpacing", SpacingOrigin.IMAGER_PIXEL_SPACING),
    ):
        if keyword in ds:
            return PixelSpacing(*(float(one) for one in ds[keyword].value), origin)
    return None


@pytest.fixture
def errors_of(tmp_path, program, result_context, small_phantom):
    """errors_of(encoder, reading, mask, ds) -> the lines in which dciodvfy says "Error"."""
    dciodvfy, picture = program("dciodvfy"), grey_bytes(small_phantom[0])

    def check(encoder, reading, mask, ds):
        made = encoder.encode(reading, mask, ds, result_context(encoder.kind, picture=picture, revision=2))
        if made is None:
            assert not reading.findings
            return []
        made.save_as(tmp_path / "made.dcm", enforce_file_format=True)
        said = subprocess.run(
            [dciodvfy, tmp_path / "made.dcm"], capture_output=True, text=True, errors="replace", check=False
        )
        assert "Media Storage" not in said.stderr
        return [(encoder.kind, line) for line in said.stderr.splitlines() if "Error" in line]

    return check


def test_dates_and_times_in_the_form_of_acr_nema_are_written_in_todays(small_phantom):
    made = normalise_source(odd(cr_dataset(small_phantom[0])))
    assert (made.StudyDate, made.StudyTime, made.PatientBirthDate, made.PatientSex) == ("20260102", "1011", "", "")
    never = normalise_source(cr_dataset(small_phantom[0], StudyDate="20260230", StudyTime="10:61"))
    assert (never.StudyDate, never.StudyTime) == ("", "")
    whole = cr_dataset(small_phantom[0], StudyDate="20260102", StudyTime="101112.5", PatientSex="F")
    made = normalise_source(whole)
    assert (made.StudyDate, made.StudyTime, made.PatientSex) == ("20260102", "101112.5", "F")
    whole.StudyTime = "10:11:12.5"
    assert normalise_source(whole).StudyTime == "101112.5"


@pytest.mark.parametrize("name", SOURCES)
def test_no_kind_of_result_has_an_error_whatever_the_source_is_and_lacks(
    small_phantom, reading_of, with_lesions, errors_of, name
):
    ds = SOURCES[name](small_phantom[0])
    assessed = with_lesions if name.startswith(("US", "MG")) else (lambda reading: reading)
    reading, mask = reading_of(ds, 2, spacing_of(ds))
    for encoder in ENCODERS:
        assert errors_of(encoder, assessed(reading), mask, ds) == []


def test_dcmtk_renders_the_reports_and_the_key_object(
    tmp_path, program, small_phantom, reading_of, result_context
):
    ds = dx_dataset(small_phantom[0])
    reading, mask = reading_of(ds)
    for encoder in encoders_of(("SR", "SR-VIEWER", "KO")):
        path = tmp_path / f"{encoder.kind}.dcm"
        encoder.encode(reading, mask, ds, result_context(encoder.kind)).save_as(path, enforce_file_format=True)
        said = subprocess.run([program("dsrdump"), path], capture_output=True, text=True, check=True)
        # What dcmtk says it does not look into (UTF-8, templates) is a warning; it finds nothing wrong.
        assert [line for line in said.stderr.splitlines() if not line.startswith("W: ")] == []
        assert ("13.3" in said.stdout) == (encoder.kind != "KO")


@pytest.mark.parametrize("count", [0, 1])
def test_no_kind_of_result_has_an_error_with_one_finding_or_none(small_phantom, reading_of, errors_of, count):
    ds = dx_dataset(small_phantom[0])
    reading, mask = reading_of(ds, count)
    for encoder in ENCODERS:
        assert errors_of(encoder, reading, mask, ds) == []


def test_no_kind_of_result_has_an_error_for_a_picture_of_a_radiograph(
    tmp_path, pictures, small_phantom, reading_of, errors_of
):
    made_here = tmp_path / "phantom.png"
    Image.fromarray(grey_bytes(small_phantom[0])).save(made_here)
    for picture in [made_here, *pictures[:1]]:
        ds = dicom_from_png(picture)
        for encoder in encoders_of(("SEG", "SR", "SC")):
            assert errors_of(encoder, *reading_of(ds, 2, None), ds) == []


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Yield (name, port) of Orthanc and of dcmtk's storescp, each called ARCHIVE."""
    folder, storescp, orthanc = tmp_path_factory.mktemp("archives"), shutil.which("storescp"), orthanc_program()
    if storescp is None or orthanc is None:
        pytest.skip("Orthanc and storescp are not on this machine")
    port = free_port()
    (folder / "dcmtk").mkdir()
    command = [storescp, "-aet", "ARCHIVE", "-od", str(folder / "dcmtk"), "+xa", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with running_orthanc(folder / "orthanc", orthanc, {}) as one:
            yield (("Orthanc", one.port), ("storescp", port))
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("name", ["DX", "CR", "MG", "CT", "US", "CR with nothing but identities"])
def test_orthanc_and_dcmtk_take_every_kind_of_result(
    archives, tmp_path, small_phantom, reading_of, result_context, name
):
    ds, picture = SOURCES[name](small_phantom[0]), grey_bytes(small_phantom[0])
    reading, mask = reading_of(ds, 2, spacing_of(ds))
    paths = []
    for encoder in ENCODERS:
        made = encoder.encode(reading, mask, ds, result_context(encoder.kind, picture=picture))
        paths.append(tmp_path / f"{encoder.kind}.dcm")
        made.save_as(paths[-1], enforce_file_format=True)
    for archive, port in archives:
        outcomes = send(paths, Destination(archive, "127.0.0.1", port, "ARCHIVE"), "CONSILIUM")
        assert {path.stem: (one.status, one.problem) for path, one in zip(paths, outcomes, strict=True)} == {
            path.stem: (0x0000, None) for path in paths
        }


@pytest.mark.parametrize("name", ["DX", "US in colour"])
def test_a_picture_and_a_map_go_compressed_to_archives_that_take_them_so_and_lose_nothing(
    archives, tmp_path, program, small_phantom, reading_of, result_context, name
):
    ds, picture = SOURCES[name](small_phantom[0]), grey_bytes(small_phantom[0])
    reading, mask = reading_of(ds, 2, spacing_of(ds))
    paths, made = [], {}
    for encoder in encoders_of(("SC", "PM", "SEG")):
        made[encoder.kind] = encoder.encode(reading, mask, ds, result_context(encoder.kind, picture=picture))
        paths.append(tmp_path / f"{encoder.kind}.dcm")
        made[encoder.kind].save_as(paths[-1], enforce_file_format=True)
    with listening_ae(sop_classes=[one.SOPClassUID for one in made.values()]) as plain:
        outcomes = send(paths, Destination("plain", "127.0.0.1", plain.port, "PACS", compress=True), "CONSILIUM")
    assert [one.status for one in outcomes] == [0, 0, 0]
    came = {one.SOPClassUID: one.file_meta.TransferSyntaxUID for one in plain.objects}
    assert came[made["SC"].SOPClassUID] in {
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
    }  # no JPEG 2000
    assert came[made["PM"].SOPClassUID] == DeflatedExplicitVRLittleEndian
    for archive, port in archives:
        to = Destination(archive, "127.0.0.1", port, "ARCHIVE", compress=True)
        assert JPEG2000Lossless in preflight(to, "CONSILIUM").accepted[made["SC"].SOPClassUID]
        assert [one.status for one in send(paths, to, "CONSILIUM")] == [0, 0, 0]
    for kind, syntax in (("SC", JPEG2000Lossless), ("PM", DeflatedExplicitVRLittleEndian)):
        smaller = in_syntax(dcmread(tmp_path / f"{kind}.dcm"), syntax)
        smaller.save_as(tmp_path / "smaller.dcm", enforce_file_format=True)
        assert (tmp_path / "smaller.dcm").stat().st_size < (tmp_path / f"{kind}.dcm").stat().st_size / 2
        back = dcmread(tmp_path / "smaller.dcm")
        if kind == "SC":
            command = [program("dciodvfy"), tmp_path / "smaller.dcm"]
            said = subprocess.run(command, capture_output=True, text=True, check=False)
            assert [line for line in said.stderr.splitlines() if "Error" in line] == []
            pixels = imagecodecs.jpeg2k_decode(next(generate_frames(back.PixelData, number_of_frames=1)))
            assert np.array_equal(pixels, made[kind].pixel_array)
        else:  # dciodvfy reads nothing deflated, dcmtk does; every element is as it was
            subprocess.run([program("dcmdump"), "-q", tmp_path / "smaller.dcm"], capture_output=True, check=True)
            assert back == dcmread(tmp_path / "PM.dcm")
