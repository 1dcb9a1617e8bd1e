"""The further kinds of results: what viewers make of them, and that none says another number than FHIR does."""

import io
import re
from datetime import UTC, datetime

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from clinical.codes import AREA, DICOM_SCHEME
from clinical.errors import IncorrectInput
from dicom_node.results import (
    ENCODERS,
    Predecessor,
    encode_fractional,
    encode_key_object,
    encode_parametric_map,
    encode_pdf_report,
    encode_secondary_capture,
    encode_structured_report,
    encode_viewer_report,
)
from dicom_node.results.pdf_text import pdf
from dicom_node.testing import CANARY_ID, CANARY_NAME
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
        assert group.ConceptNameCodeSequence[0].CodeValue in {
            coding["code"] for category in resource["category"] for coding in category["coding"]
        }
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


@pytest.fixture
def picture(source):
    return (source.pixel_array >> 4).astype(np.uint8)


def test_a_secondary_capture_shows_image_outlines_and_a_warning_and_cannot_be_measured_in(
    source, reading_of, result_context, picture
):
    reading, mask = reading_of(source)
    ds = read_back(encode_secondary_capture(reading, mask, source, result_context("SC", picture=picture)))
    shown, rows = ds.pixel_array, picture.shape[0]
    # The squares' edges, half a pixel inside the outline's pixels, are drawn; their middles are still the image.
    for finding in reading.findings:
        top, left, _, _ = finding.box_px
        assert tuple(shown[top + 4, left]) == (255, 210, 0)
        assert set(shown[top + 4, left + 3]) == {picture[top + 4, left + 3]}
    assert np.array_equal(shown[100:rows, :20, 0], picture[100:rows, :20])
    assert shown[rows:].max() > 200  # words, below the image
    assert (ds.BurnedInAnnotation, ds.SeriesNumber) == ("YES", 9005)
    assert "NOT FOR DIAGNOSIS" in ds.DerivationDescription
    assert ds.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert not {"PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"} & set(ds.dir())


def test_the_outline_in_a_reduced_picture_is_where_the_finding_is(source, reading_of, result_context, picture):
    reading, mask = reading_of(source, 1)
    half = np.zeros_like(picture[::2, ::2])
    ds = encode_secondary_capture(reading, mask, source, result_context("SC", picture=half))
    yellow = (read_back(ds).pixel_array == (255, 210, 0)).all(axis=2)
    drawn = np.argwhere(yellow[:, :20])  # the number stands to the right of it
    top, left, bottom, right = reading.findings[0].box_px
    assert drawn.min(axis=0).tolist() == [top // 2, left // 2]
    assert drawn.max(axis=0).tolist() == [(bottom - 1) // 2, (right - 1) // 2]


def test_a_secondary_capture_without_its_picture_is_refused(source, reading_of, result_context):
    with pytest.raises(IncorrectInput):
        encode_secondary_capture(*reading_of(source), source, result_context("SC"))


def test_a_key_object_marks_the_image_when_something_was_found(source, reading_of, result_context):
    ds = read_back(encode_key_object(*reading_of(source), source, result_context("KO")))
    assert ds.ConceptNameCodeSequence[0].CodeMeaning == "Of Interest"
    (image,) = [item for item in ds.ContentSequence if item.ValueType == "IMAGE"]
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    (words,) = under(ds, "113012")
    assert words.TextValue == "2 lung nodules found by lung-nodule 0.1.0. NOT FOR DIAGNOSIS."
    assert encode_key_object(*reading_of(source, 0), source, result_context("KO")) is None


def test_a_parametric_map_holds_each_findings_probability(source, reading_of, result_context):
    reading, mask = reading_of(source)
    ds = read_back(encode_parametric_map(reading, mask, source, result_context("PM")))
    values = np.frombuffer(ds.FloatPixelData, "<f4").reshape(ds.Rows, ds.Columns)
    for finding in reading.findings:
        assert set(values[mask.of(finding.number)]) == {np.float32(finding.probability)}
    assert not values[mask.labels == 0].any()
    assert encode_parametric_map(*reading_of(source, 0), source, result_context("PM")) is None
    # A plane of its own: another image's map can never be laid over it.
    assert ds.FrameOfReferenceUID.startswith("2.25.")


def test_the_pdf_says_the_numbers_of_the_reading_and_whose_it_is(source, reading_of, result_context):
    reading, mask = reading_of(source)
    ds = read_back(encode_pdf_report(reading, mask, source, result_context("PDF", revision=3)))
    document = ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength]
    assert (document[:5], document[-6:]) == (b"%PDF-", b"%%EOF\n")
    said = " ".join(text_of(document))
    for finding in reading.findings:
        for one in reading.measurements(finding):
            assert f"{one.what.display} {one.value} {one.unit}" in said
    for words in ("NOT FOR DIAGNOSIS", CANARY_ID, CANARY_NAME, "2 lung nodules found", "Revision 3"):
        assert words in said
    nothing = encode_pdf_report(*reading_of(source, 0), source, result_context("PDF"))
    assert b"No lung nodule found" in nothing.EncapsulatedDocument


RUN = re.compile(
    rb"(?:ActualText <feff([0-9a-f]*)> >> BDC )?/(F\d) \d+ Tf (?:\(((?:[^()\\]|\\.)*)\)|<([0-9a-f]*)>) Tj"
)


def text_of(document):
    """Return the text of each line as a reader copies it: ActualText, else what the codes of the fonts mean."""
    lines = []
    for line in re.findall(rb"BT (.*) ET\n", document):
        said = ""
        for exact, font, literal, codes in RUN.findall(line):
            if exact or font != b"F1":
                said += bytes.fromhex((exact or codes).decode()).decode("utf-16-be")
            else:
                said += re.sub(rb"\\(.)", rb"\1", literal).decode("cp1252")
        lines.append(said)
    return lines


@pytest.mark.parametrize(
    ("name", "fonts"),
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", {b"F1", b"F3"}),
        ("Hong^Gildong=洪^吉洞=홍^길동", {b"F1", b"F4"}),
        ("王^小东", {b"F5"}),
        ("Παπαδόπουλος^Γιώργος", {b"F1", b"F2"}),
        ("Иванов^Пётр", {b"F3"}),
        ("Müller^Jörg", {b"F1"}),
        ("राम^सीता", {b"F1"}),  # drawn as "?", and copied as it is
    ],
)
def test_a_name_in_any_writing_can_be_copied_out_of_the_pdf_and_is_drawn_where_readers_have_a_font(name, fonts):
    document = pdf([(10, name)], "a title")
    assert text_of(document) == [name]
    (line,) = re.findall(rb"BT (.*) ET\n", document)
    assert set(re.findall(rb"/(F\d) 10 Tf", line)) == fonts
    assert (b"(?" in line) == name.startswith("रा")
    for font, cmap in ((b"F3", b"UniJIS-UTF16-H"), (b"F4", b"UniKS-UTF16-H"), (b"F5", b"UniGB-UTF16-H")):
        number = re.search(rb"/%b (\d+) 0 R" % font, document)[1]
        described = document.split(b"\n%b 0 obj\n" % number)[1].split(b"endobj")[0]
        assert b"/Subtype /Type0" in described
        assert b"/Encoding /%b " % cmap in described


def test_greek_letters_are_those_of_the_symbol_font_without_their_accents():
    document = pdf([(10, "Άγγελος")], "a title")
    assert b"/F2 10 Tf <%b> Tj" % b"AggeloV".hex().encode() in document


def test_every_object_of_a_pdf_is_where_its_table_says_and_text_cannot_leave_its_string():
    document = pdf([(10, f"line {number} ) Tj \\ ( é 漢") for number in range(200)], "a (title)")
    assert document.count(b"/Type /Page ") == 4
    start = int(document.split(b"startxref\n")[1].split()[0])
    table = re.findall(rb"(\d{10}) 00000 n ", document[start:])
    assert document[start:].startswith(b"xref\n0 %d\n" % (len(table) + 1))
    for number, place in enumerate(table, start=1):
        assert document[int(place) :].startswith(b"%d 0 obj\n" % number)
    assert rb"(line 0 \) Tj \\ \( \351 ) Tj".replace(rb"\351", b"\xe9") in document
    assert text_of(document)[0] == "line 0 ) Tj \\ ( é 漢"


def test_a_second_reading_says_what_it_replaces(source, reading_of, result_context):
    before = Predecessor("2.25.8", "2.25.9")
    ds = read_back(
        encode_structured_report(*reading_of(source), source, result_context("SR", revision=2, predecessor=before))
    )
    (study,) = ds.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (source.StudyInstanceUID, "2.25.9")
    assert (instance.ReferencedSOPInstanceUID, instance.ReferencedSOPClassUID) == ("2.25.8", ds.SOPClassUID)
    assert ds.InstanceNumber == 2
    assert ds.SeriesDescription == "lung-nodule 0.1.0 report (revision 2)"
    first = encode_structured_report(*reading_of(source), source, result_context("SR"))
    assert "PredecessorDocumentsSequence" not in first
    assert "revision" not in first.SeriesDescription


@pytest.mark.parametrize("characters", ["ISO_IR 100", ["", "ISO 2022 IR 87"], "GB18030"])
@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda one: one.kind)
def test_a_name_in_another_character_set_is_the_same_name_in_every_result(
    source, reading_of, result_context, picture, characters, encoder
):
    name = {"ISO_IR 100": "Müller^Jörg", "GB18030": "王^小东"}.get(str(characters), "Yamada^Tarou=山田^太郎")
    source.SpecificCharacterSet, source.PatientName = characters, name
    sent = read_back(source)
    context = result_context(encoder.kind, picture=picture)
    made = read_back(encoder.encode(*reading_of(sent), sent, context))
    assert made.PatientName == sent.PatientName == name
