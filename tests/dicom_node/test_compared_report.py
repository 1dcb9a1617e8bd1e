"""The comparison with an earlier image: the same numbers in the SR and in FHIR, and an SR without an error."""

import subprocess
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from clinical.comparison import compare
from clinical.finding import Reading
from clinical.image import PixelSpacing, SpacingOrigin
from dicom_node.confidentiality.actions import Options
from dicom_node.confidentiality.deidentify import deidentify
from dicom_node.results import encode_pdf_report, encode_structured_report, encode_viewer_report
from fhir_adapters.resources.comparison import comparison
from fhir_adapters.resources.diagnostic_report import conclusion
from tests.dicom_node.security.test_deidentify import NAMES
from tests.dicom_node.test_result_kinds import groups_of, read_back, under
from tests.fhir_adapters.r4 import check_r4

TRUE = PixelSpacing(0.5, 0.5, SpacingOrigin.PIXEL_SPACING)
TIME_POINT_ORDER = "126073"
REPORT = ("2.25.9001", "2.25.9002")


@pytest.fixture
def compared(source, reading_of):
    """compared(count, then, report) -> a reading beside one of another study, and its mask."""

    def make(count=2, then=1, spacing=TRUE, report=REPORT) -> tuple[Reading, object]:
        reading, mask = reading_of(source, count, spacing)
        prior, _ = reading_of(source, then, spacing)
        image = replace(prior.image, study_uid="2.25.801", series_uid="2.25.802", sop_instance_uid="2.25.803")
        prior = replace(prior, image=image)
        made = compare(reading, prior, day=date(2026, 3, 4), prior_day=date(2025, 3, 4))
        made = replace(made, reading_id="r0" if report else "", report=report)
        return replace(reading, comparison=made), mask

    return make


def times_of(report) -> dict:
    """Return the groups of the comparison by their time point."""
    return {time.TextValue: group for group in groups_of(report) for time in under(group, "C2348792")}


def numbers(group) -> dict:
    found = {}
    for item in group.ContentSequence:
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue != TIME_POINT_ORDER:
            (measured,) = item.MeasuredValueSequence
            unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
            found[item.ConceptNameCodeSequence[0].CodeValue] = (float(measured.NumericValue), unit)
    return found


def in_fhir(reading) -> Reading:
    return comparison(
        reading, reading.comparison, resource_id="c", patient_id="p", device_id="d",
        issued=datetime(2026, 3, 4, tzinfo=UTC), effective="2026-03-04",
    )  # fmt: skip


@pytest.mark.parametrize(("count", "then", "spacing"), [(2, 1, TRUE), (1, 0, TRUE), (0, 2, TRUE), (2, 1, None)])
def test_every_number_of_the_comparison_is_the_same_in_sr_and_fhir(
    source, compared, result_context, count, then, spacing
) -> None:
    reading, mask = compared(count, then, spacing)
    times = times_of(read_back(encode_structured_report(reading, mask, source, result_context("SR"))))
    assert set(times) == {"prior", "current"}
    resource = in_fhir(reading)
    check_r4(resource)
    said = {"now": {}, "then": {}}
    for one in resource["component"]:
        (code,) = one["code"]["coding"]
        side = "then" if code["system"] == "urn:consilium:prior" else "now"
        said[side][code["code"]] = (one["valueQuantity"]["value"], one["valueQuantity"]["code"])
    said["then"]["385673002"] = said["now"].pop("385673002")
    assert (numbers(times["current"]), numbers(times["prior"])) == (said["now"], said["then"])
    assert numbers(times["prior"])["385673002"] == (365, "d")
    assert numbers(times["current"])["246206008"] == (count, "1")
    assert ("103339001" in numbers(times["current"])) == (spacing is not None and count > 0)


def test_the_sr_refers_to_the_prior_image_and_its_report_as_evidence_of_another_study(
    source, compared, result_context
) -> None:
    report = read_back(encode_structured_report(*compared(), source, result_context("SR")))
    (study,) = report.PertinentOtherEvidenceSequence
    assert study.StudyInstanceUID == "2.25.801"
    referred = {
        one.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert referred == {"2.25.803", "2.25.9001"}
    prior = times_of(report)["prior"]
    assert {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in prior.ContentSequence
        if item.ValueType in {"IMAGE", "COMPOSITE"}
    } == referred
    (comment,) = under(prior, "121106")
    assert "not matched one to one" in comment.TextValue


def test_the_words_are_the_same_in_report_observation_and_pdf(source, compared, result_context) -> None:
    reading, mask = compared()
    words = reading.comparison.in_words
    assert conclusion(reading).endswith(words)
    assert in_fhir(reading)["note"][0]["text"].endswith(words)
    assert encode_pdf_report(reading, mask, source, result_context("PDF")) != encode_pdf_report(
        replace(reading, comparison=None), mask, source, result_context("PDF")
    )


def test_fhir_refers_to_the_prior_study_and_the_findings_of_its_published_reading(compared) -> None:
    here, prior, *findings = in_fhir(compared(2, 3)[0])["derivedFrom"]
    assert (here["reference"].split("/")[0], prior["reference"].split("/")[0]) == ("ImagingStudy", "ImagingStudy")
    assert prior["identifier"]["value"] == "urn:oid:2.25.801"
    assert [one["reference"].split("/")[0] for one in findings] == ["Observation"] * 3
    unpublished = in_fhir(compared(2, 3, report=None)[0])["derivedFrom"]
    assert len(unpublished) == 2
    assert "reference" not in unpublished[1]


def test_a_de_identified_report_keeps_the_numbers_and_loses_the_day(source, compared, result_context) -> None:
    reading, mask = compared()
    made, _ = deidentify(encode_structured_report(reading, mask, source, result_context("SR")), NAMES, Options())
    orders = [
        one.MeasuredValueSequence[0].NumericValue
        for group in groups_of(made)
        for one in under(group, TIME_POINT_ORDER)
    ]
    assert orders == [1, 2]  # tells the groups apart, as free text is gone
    assert "2025-03-04" not in str(made)


def test_a_viewer_gets_no_group_without_a_place_in_the_image(source, compared, result_context) -> None:
    reading, mask = compared()
    report = read_back(encode_viewer_report(reading, mask, source, result_context("SR-VIEWER")))
    assert len(groups_of(report)) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("count", "then", "report"), [(2, 1, REPORT), (0, 1, None), (1, 0, REPORT)])
def test_dciodvfy_finds_no_error_in_a_report_with_a_comparison(
    tmp_path, program, source, compared, result_context, count, then, report
) -> None:
    reading, mask = compared(count, then, report=report)
    made = encode_structured_report(reading, mask, source, result_context("SR"))
    made.save_as(tmp_path / "made.dcm", enforce_file_format=True)
    said = subprocess.run(
        [program("dciodvfy"), tmp_path / "made.dcm"], capture_output=True, text=True, check=False
    )
    assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == []
