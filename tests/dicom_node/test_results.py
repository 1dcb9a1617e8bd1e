"""SEG and SR are encodings of one reading: same numbers, same names, valid, and the same bytes every time."""

import io
import subprocess
import time
from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from clinical.errors import IncorrectInput, Unsupported
from clinical.finding import ReadingMask
from clinical.image import PixelSpacing, SpacingOrigin
from dicom_node.results import encode_segmentation, encode_structured_report, encoders_of
from dicom_node.testing import (
    CANARY_ID,
    CANARY_NAME,
    cr_dataset,
    dicom_from_png,
    dx_dataset,
    ultrasound_region,
    us_dataset,
)

# What is sent unless a setting says otherwise; the other kinds have a file of their own.
USUAL = encoders_of(("SEG", "SR"))


def file_bytes(ds):
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_results_for_which_the_cpu_stood_in_for_a_lost_gpu_say_so(source, reading_of, result_context):
    reading, mask = reading_of(source)
    said = "Computed on the CPU, because the GPU was away."
    for degraded in (False, True):
        made = replace(reading, degraded=degraded)
        segments = encode_segmentation(made, mask, source, result_context()).SegmentSequence
        algorithms = [one.SegmentationAlgorithmIdentificationSequence[0] for one in segments]
        assert [said in str(one.get("AlgorithmParameters", "")) for one in algorithms] == [degraded] * 2
        report = encode_structured_report(made, mask, source, result_context("SR"))
        texts = [element.value for element in report.iterall() if element.keyword == "TextValue"]
        assert texts.count(said) == 2 * degraded


def test_the_pixels_of_segment_n_are_those_of_finding_n(source, reading_of, result_context):
    reading, mask = reading_of(source)
    ds = encode_segmentation(reading, mask, source, result_context())
    read_back = hd.seg.segread(io.BytesIO(file_bytes(ds)))
    for number in (1, 2):
        frames = read_back.get_pixels_by_source_instance(
            [source.SOPInstanceUID], segment_numbers=[number], ignore_spatial_locations=True
        )
        assert np.array_equal(frames[0, :, :, 0].astype(bool), mask.of(number))


@pytest.mark.parametrize("count", [1, 2])
def test_every_frame_says_its_segment_and_the_groups_that_viewers_read_are_there(
    source, reading_of, count, result_context
):
    reading, mask = reading_of(source, count)
    ds = encode_segmentation(reading, mask, source, result_context())
    frames = ds.PerFrameFunctionalGroupsSequence
    assert [f.SegmentIdentificationSequence[0].ReferencedSegmentNumber for f in frames] == list(
        range(1, count + 1)
    )
    shared = ds.SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.5, 0.5]
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert all("RecommendedDisplayCIELabValue" in one for one in ds.SegmentSequence)
    assert ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == (
        source.SOPInstanceUID
    )


def test_without_a_spacing_the_segmentation_states_none(source, reading_of, result_context):
    reading, mask = reading_of(source, 1, spacing=None)
    measures = encode_segmentation(reading, mask, source, result_context()).SharedFunctionalGroupsSequence[0]
    assert "PixelSpacing" not in measures.PixelMeasuresSequence[0]


def items(ds, name):
    """Return the content items of this concept name, depth first."""
    found = []
    for item in ds.get("ContentSequence", []):
        concept = item.get("ConceptNameCodeSequence")
        if concept and concept[0].CodeValue == name:
            found.append(item)
        found += items(item, name)
    return found


@pytest.mark.parametrize("spaced", [True, False])
def test_every_number_of_the_reading_stands_in_the_report_unchanged(
    source, reading_of, half_millimetre, spaced, result_context
):
    reading, mask = reading_of(source, spacing=half_millimetre if spaced else None)
    report = dcmread(io.BytesIO(file_bytes(encode_structured_report(reading, mask, source, result_context("SR")))))
    for code, wanted, unit in (
        ("103339001", [f.long_axis.value for f in reading.findings], "mm" if spaced else "{pixel}"),
        ("103340004", [f.short_axis.value for f in reading.findings], "mm" if spaced else "{pixel}"),
        ("42798000", [reading.area(f).value for f in reading.findings], "mm2" if spaced else "{pixel}"),
        ("111012", [f.certainty.value for f in reading.findings], "%"),
    ):
        values = [item.MeasuredValueSequence[0] for item in items(report, code)]
        assert [float(one.NumericValue) for one in values] == wanted
        assert {one.MeasurementUnitsCodeSequence[0].CodeValue for one in values} == {unit}


def test_a_finding_has_one_tracking_identity_in_both_objects(source, reading_of, result_context):
    reading, mask = reading_of(source)
    seg = encode_segmentation(reading, mask, source, result_context())
    report = encode_structured_report(reading, mask, source, result_context("SR"))
    in_seg = [(one.TrackingID, one.TrackingUID) for one in seg.SegmentSequence]
    in_sr = list(
        zip(
            [one.TextValue for one in items(report, "112039")],
            [one.UID for one in items(report, "112040")],
            strict=True,
        )
    )
    assert in_seg == in_sr == [("lung nodule 1", "2.25.71"), ("lung nodule 2", "2.25.72")]


def test_the_outline_counts_from_the_corner_of_the_first_pixel_and_is_closed(source, reading_of, result_context):
    reading, mask = reading_of(source, 1)
    region = items(encode_structured_report(reading, mask, source, result_context("SR")), "111030")[0]
    assert region.GraphicType == "POLYLINE"
    # column, row: the vertices (20, 30) (20, 35) (27, 35) (27, 30), half a pixel further
    assert region.GraphicData == [30.5, 20.5, 35.5, 20.5, 35.5, 27.5, 30.5, 27.5, 30.5, 20.5]


def test_when_nothing_was_found_the_report_says_so_and_there_is_no_segmentation(
    source, reading_of, result_context
):
    reading, mask = reading_of(source, 0)
    assert encode_segmentation(reading, mask, source, result_context()) is None
    report = encode_structured_report(reading, mask, source, result_context("SR"))
    (finding,) = items(report, "121071")
    assert finding.ConceptCodeSequence[0].CodeMeaning == reading.terms.observation.display
    (presence,) = items(report, "121052")
    assert presence.ConceptCodeSequence[0].CodeMeaning == "Absent"
    assert items(report, "111001")[0].TextValue == "lung-nodule"


def test_the_report_is_preliminary_and_nobody_has_verified_it(source, reading_of, result_context):
    report = encode_structured_report(*reading_of(source), source, result_context("SR"))
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert report.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID == source.StudyInstanceUID


@pytest.mark.parametrize("encoder", USUAL, ids=lambda one: one.kind)
def test_results_belong_to_the_patient_and_study_of_the_image(source, reading_of, encoder, result_context):
    source.AccessionNumber, source.IssuerOfPatientID = "ACC-1", "HOSPITAL"
    ds = encoder.encode(*reading_of(source), source, result_context(encoder.kind))
    assert (ds.PatientID, ds.PatientName, ds.PatientBirthDate) == (CANARY_ID, CANARY_NAME, "19601231")
    assert (ds.StudyInstanceUID, ds.AccessionNumber) == (source.StudyInstanceUID, "ACC-1")
    assert (ds.IssuerOfPatientID, ds.StudyDate, ds.StudyTime) == ("HOSPITAL", "20260102", "101112")
    assert (ds.Modality, ds.SeriesNumber) == (encoder.kind, encoder.series_number)
    assert ds.SeriesDescription.startswith("lung-nodule 0.1.0")


@pytest.mark.slow
@pytest.mark.parametrize("encoder", USUAL, ids=lambda one: one.kind)
def test_encoding_again_later_gives_the_same_bytes(source, reading_of, encoder, result_context):
    first = encoder.encode(*reading_of(source), source, result_context(encoder.kind))
    time.sleep(1.1)  # highdicom writes seconds
    again = encoder.encode(*reading_of(source), source, result_context(encoder.kind))
    assert file_bytes(first) == file_bytes(again)
    assert b"20260304" in file_bytes(first)


def test_a_mask_without_the_finding_is_refused(source, reading_of, result_context):
    reading, mask = reading_of(source)
    with pytest.raises(IncorrectInput):
        encode_segmentation(reading, ReadingMask(np.zeros_like(mask.labels)), source, result_context())


def test_an_image_without_identity_cannot_be_referred_to(source, reading_of, result_context):
    reading, mask = reading_of(source)
    del source.StudyInstanceUID
    with pytest.raises(Unsupported):
        encode_structured_report(reading, mask, source, result_context("SR"))


def test_the_probability_of_malignancy_stands_beside_the_certainty_of_the_finding(
    source, reading_of, with_lesions, result_context
):
    reading, mask = reading_of(source, 2)
    report = encode_structured_report(with_lesions(reading), mask, source, result_context("SR"))
    said = [item.MeasuredValueSequence[0] for item in items(report, "111047")]
    assert [float(one.NumericValue) for one in said] == [63.1, 53.1]
    assert {one.MeasurementUnitsCodeSequence[0].CodeValue for one in said} == {"%"}
    assert len(items(report, "111012")) == 2
    assert items(encode_structured_report(reading, mask, source, result_context("SR")), "111047") == []


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


SOURCES = {
    "DX": lambda pixels: dx_dataset(pixels, spacing_mm=0.123456789),
    "CR": cr_dataset,
    "CR without spacing": lambda pixels: cr_dataset(pixels, spacing_mm=None),
    "DX with nothing but identities": lambda pixels: bare(dx_dataset(pixels)),
    "CR with nothing but identities": lambda pixels: bare(cr_dataset(pixels)),
    "CR with dates that are none": lambda pixels: odd(cr_dataset(pixels)),
    "DX in a frame of reference": lambda pixels: dx_dataset(pixels, FrameOfReferenceUID="1.2.3.99"),
}


def grey_bytes(pixels):
    return (pixels >> 4).astype(np.uint8)


ULTRASOUND = {
    "US": lambda pixels: us_dataset(grey_bytes(pixels), regions=[ultrasound_region((0, 0, 128, 128), 0.1)]),
    "US in colour": lambda pixels: us_dataset(np.stack([grey_bytes(pixels)] * 3, axis=2)),
    "US with nothing but identities": lambda pixels: bare(us_dataset(grey_bytes(pixels))),
}


def valid(ds, tmp_path, dciodvfy):
    path = tmp_path / "made.dcm"
    path.write_bytes(file_bytes(ds))
    said = subprocess.run([dciodvfy, path], capture_output=True, text=True, check=False)
    return [line for line in said.stderr.splitlines() if "Error" in line]


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_dciodvfy_finds_no_error_whatever_the_source_lacks(
    tmp_path, program, small_phantom, reading_of, name, result_context
):
    dciodvfy = program("dciodvfy")
    ds = SOURCES[name](small_phantom[0])
    stated = [float(one) for one in ds.get("ImagerPixelSpacing") or []]
    spacing = PixelSpacing(*stated, SpacingOrigin.IMAGER_PIXEL_SPACING) if stated else None
    for count in (0, 1, 2):
        for encoder in USUAL:
            made = encoder.encode(*reading_of(ds, count, spacing), ds, result_context(encoder.kind))
            assert made is None or valid(made, tmp_path, dciodvfy) == [], (encoder.kind, count)


@pytest.mark.slow
@pytest.mark.parametrize("name", ULTRASOUND)
def test_dciodvfy_finds_no_error_in_the_lesions_of_an_ultrasound(
    tmp_path, program, small_phantom, reading_of, with_lesions, name, result_context
):
    dciodvfy = program("dciodvfy")
    ds = ULTRASOUND[name](small_phantom[0])
    spacing = PixelSpacing(0.1, 0.1, SpacingOrigin.ULTRASOUND_REGION) if name == "US" else None
    for count in (0, 1, 2):
        reading, mask = reading_of(ds, count, spacing)
        for encoder in USUAL:
            made = encoder.encode(with_lesions(reading), mask, ds, result_context(encoder.kind))
            assert made is None or valid(made, tmp_path, dciodvfy) == [], (encoder.kind, count)


@pytest.mark.slow
def test_dciodvfy_finds_no_error_for_a_picture_of_a_radiograph(
    tmp_path, program, pictures, small_phantom, reading_of, result_context
):
    made_here = tmp_path / "phantom.png"
    Image.fromarray((small_phantom[0] >> 4).astype(np.uint8)).save(made_here)
    for picture in [made_here, *pictures[:2]]:
        ds = dicom_from_png(picture)
        for encoder in USUAL:
            made = encoder.encode(*reading_of(ds, 2, None), ds, result_context(encoder.kind))
            assert valid(made, tmp_path, program("dciodvfy")) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_other_modalities_get_valid_results_too(tmp_path, program, reading_of, a_reading, name, result_context):
    ds = dcmread(get_testdata_file(name))
    wide = Dataset()
    wide.update(ds)
    wide.file_meta = ds.file_meta
    wide.Rows = wide.Columns = 128
    for encoder in USUAL:
        made = encoder.encode(*reading_of(wide), wide, result_context(encoder.kind))
        assert valid(made, tmp_path, program("dciodvfy")) == []
