"""SEG and SR are encodings of one reading: same numbers, same names, valid, and the same bytes every time."""

import io
import time
from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from clinical.errors import IncorrectInput, Unsupported
from clinical.finding import ReadingMask
from dicom_node.results import ENCODERS, encode_segmentation, encode_structured_report
from dicom_node.results.warming import warm
from dicom_node.testing import (
    CANARY_ID,
    CANARY_NAME,
)

MODALITY = {
    "SEG": "SEG",
    "SR": "SR",
    "SEG-FRACTIONAL": "SEG",
    "SR-VIEWER": "SR",
    "SC": "OT",
    "KO": "KO",
    "PDF": "DOC",
    "PM": "OT",
}


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


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda one: one.kind)
def test_results_belong_to_the_patient_and_study_of_the_image(source, reading_of, result_context, encoder):
    source.AccessionNumber, source.IssuerOfPatientID = "ACC-1", "HOSPITAL"
    picture = (source.pixel_array >> 4).astype(np.uint8)
    ds = encoder.encode(*reading_of(source), source, result_context(encoder.kind, picture=picture))
    assert (ds.PatientID, ds.PatientName, str(ds.PatientBirthDate)) == (CANARY_ID, CANARY_NAME, "19601231")
    assert (ds.StudyInstanceUID, ds.AccessionNumber) == (source.StudyInstanceUID, "ACC-1")
    assert (ds.IssuerOfPatientID, str(ds.StudyDate), str(ds.StudyTime)) == ("HOSPITAL", "20260102", "101112")
    assert (ds.Modality, ds.SeriesNumber) == (MODALITY[encoder.kind], encoder.series_number)
    assert ds.SeriesDescription.startswith("lung-nodule 0.1.0")


@pytest.mark.slow
def test_encoding_again_later_gives_the_same_bytes(source, reading_of, result_context):
    picture = (source.pixel_array >> 4).astype(np.uint8)

    def encoded():
        reading, mask = reading_of(source)
        return {
            one.kind: file_bytes(one.encode(reading, mask, source, result_context(one.kind, picture=picture)))
            for one in ENCODERS
        }

    first = encoded()
    time.sleep(1.1)  # highdicom writes seconds
    again = encoded()
    assert [kind for kind, data in first.items() if data != again[kind]] == []
    assert all(b"20260304" in data for data in first.values())


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


def test_what_warms_the_encoders_up_goes_through_them():
    warm()  # raises when a result of the smallest reading cannot be written
