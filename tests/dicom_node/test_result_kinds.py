"""The further kinds of results: what viewers make of them, and that none says another number than FHIR does."""

import io
from datetime import UTC, datetime

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from clinical.codes import AREA, DICOM_SCHEME
from dicom_node.results import (
    encode_fractional,
    encode_structured_report,
    encode_viewer_report,
)
from fhir_adapters.resources.observation import observation

ISSUED = datetime(2026, 3, 4, tzinfo=UTC)


def file_bytes(ds):
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def read_back(ds):
    return dcmread(io.BytesIO(file_bytes(ds)))


def under(node, name):
    """Return the child items of a content item with this concept name."""
    return [
        item
        for item in node.get("ContentSequence", [])
        if "ConceptNameCodeSequence" in item and item.ConceptNameCodeSequence[0].CodeValue == name
    ]


def groups_of(report):
    (measurements,) = under(report, "126010")
    return under(measurements, "125007")


def numbers_of(group):
    """Return (scheme, code, value, UCUM unit) of every number in a group."""
    said = set()
    for item in group.ContentSequence:
        if item.ValueType == "NUM":
            what, (value,) = item.ConceptNameCodeSequence[0], item.MeasuredValueSequence
            unit = value.MeasurementUnitsCodeSequence[0]
            assert unit.CodingSchemeDesignator == "UCUM"
            said.add((what.CodingSchemeDesignator, what.CodeValue, float(value.NumericValue), unit.CodeValue))
    return said


def in_fhir(resource):
    """Return the same of an Observation's components."""
    said = set()
    for part in resource["component"]:
        (coding,), value = part["code"]["coding"], part["valueQuantity"]
        said.add((DICOM_SCHEME[coding["system"]], coding["code"], float(value["value"]), value["code"]))
    return said


@pytest.mark.parametrize("encode", [encode_structured_report, encode_viewer_report])
@pytest.mark.parametrize("case", ["spaced", "pixels", "assessed"])
def test_every_number_of_the_sr_equals_the_observation(
    source, reading_of, with_lesions, half_millimetre, result_context, encode, case
):
    reading, mask = reading_of(source, 2, None if case == "pixels" else half_millimetre)
    reading = with_lesions(reading) if case == "assessed" else reading
    kind = "SR" if encode is encode_structured_report else "SR-VIEWER"
    context = result_context(kind)
    groups = groups_of(read_back(encode(reading, mask, source, context)))
    assert len(groups) == len(reading.findings) == 2
    for finding, group in zip(reading.findings, groups, strict=True):
        resource = observation(
            reading,
            finding,
            resource_id="o",
            tracking_uid=context.tracking_uids[finding.number],
            patient_id="p",
            device_id="d",
            imaging_study_id="i",
            issued=ISSUED,
        )
        assert numbers_of(group) == in_fhir(resource)
        assert len(numbers_of(group)) == (5 if case == "assessed" else 4)
        assert [f"urn:oid:{item.UID}" for item in under(group, "112040")] == [resource["identifier"][0]["value"]]
        (said,), (site,) = under(group, "121071"), under(group, "363698007")
        assert said.ConceptCodeSequence[0].CodeValue == resource["code"]["coding"][0]["code"]
        assert site.ConceptCodeSequence[0].CodeValue == resource["bodySite"]["coding"][0]["code"]


def test_the_viewers_report_has_the_form_that_ohif_turns_into_measurements(source, reading_of, result_context):
    report = read_back(encode_viewer_report(*reading_of(source), source, result_context("SR-VIEWER")))
    for group in groups_of(report):
        (tool,) = under(group, "112039")
        assert tool.TextValue == "Cornerstone3DTools@^0.1.0:PlanarFreehandROI"
        assert not [
            item for item in group.ContentSequence if item.ValueType == "SCOORD"
        ]  # "No spatial coordinates"
        numbers = [item for item in group.ContentSequence if item.ValueType == "NUM"]
        assert numbers[0].ConceptNameCodeSequence[0].CodeValue == AREA.code
        for number in numbers:
            (shape,) = number.ContentSequence
            (image,) = shape.ContentSequence
            assert (shape.ValueType, shape.RelationshipType) == ("SCOORD", "INFERRED FROM")
            assert (image.ValueType, image.RelationshipType) == ("IMAGE", "SELECTED FROM")
            assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_the_viewers_outline_goes_around_the_finding_and_encloses_its_area(source, reading_of, result_context):
    reading, mask = reading_of(source)
    report = read_back(encode_viewer_report(reading, mask, source, result_context("SR-VIEWER")))
    for finding, group in zip(reading.findings, groups_of(report), strict=True):
        number = next(item for item in group.ContentSequence if item.ValueType == "NUM")
        points = np.reshape(number.ContentSequence[0].GraphicData, (-1, 2))
        assert (points[0] == points[-1]).all()
        x, y = points[:-1].T
        enclosed = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
        said = float(number.MeasuredValueSequence[0].NumericValue)
        assert said == reading.area(finding).value == pytest.approx(enclosed * 0.5 * 0.5, abs=0.051)
        # As an order around, each step is along one side of the square; across it would be longer.
        assert max(np.hypot(*np.diff(points, axis=0).T)) == 7


def test_a_fractional_segmentation_says_how_sure_in_its_pixels(source, reading_of, result_context):
    reading, mask = reading_of(source)
    ds = read_back(encode_fractional(reading, mask, source, result_context("SEG-FRACTIONAL")))
    assert (ds.SegmentationType, ds.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    frames = hd.seg.segread(io.BytesIO(file_bytes(ds))).pixel_array
    for finding, frame in zip(reading.findings, frames, strict=True):
        assert np.array_equal(frame > 0, mask.of(finding.number))
        assert frame.max() / ds.MaximumFractionalValue == pytest.approx(finding.probability, abs=0.5 / 255)
    assert encode_fractional(*reading_of(source, 0), source, result_context("SEG-FRACTIONAL")) is None
