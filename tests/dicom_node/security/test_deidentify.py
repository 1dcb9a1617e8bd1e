"""What leaves under a pseudonym names nobody, is valid, and comes home under its own name."""

import copy
import datetime as dt
import re
import subprocess
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import generate_uid

from clinical.destination_pseudonyms import Pseudonyms
from clinical.errors import Denied, Unsupported
from dicom_node.confidentiality.actions import Action, Options, action_of, basic_profile
from dicom_node.confidentiality.deidentify import deidentify
from dicom_node.confidentiality.files import disguise
from dicom_node.confidentiality.reidentify import reidentify, uids_in
from dicom_node.confidentiality.values import age_kept, cleaned, shifted
from dicom_node.results import ENCODERS
from dicom_node.testing import CANARY_ID, CANARY_NAME, dx_dataset, write_dicom

NAMES, OTHERS = Pseudonyms(b"a" * 32), Pseudonyms(b"b" * 32)
PEOPLE = {
    "PatientName": CANARY_NAME,
    "PatientID": CANARY_ID,
    "IssuerOfPatientID": "GENERAL-HOSPITAL",
    "PatientBirthDate": "19511103",
    "PatientSex": "F",
    "PatientAge": "074Y",
    "PatientAddress": "12 Harbour Lane",
    "AccessionNumber": "ACC-998877",
    "StudyID": "ST-5512",
    "StudyDate": "20260102",
    "StudyTime": "101112.5",
    "SeriesDate": "20260102",
    "AcquisitionDate": "20260102",
    "ContentDate": "20260103",
    "ReferringPhysicianName": "Oldcastle^Bertrand",
    "OperatorsName": "Pettibone^Lou",
    "InstitutionName": "Saint Elsewhere",
    "StationName": "XRAYROOM7",
    "DeviceSerialNumber": "SN-0042-77",
    "StudyDescription": "CHEST PA Zzcanary room 4711",
    "SeriesDescription": "AP portable 120 kV Pettibone",
    "PatientComments": "lives with daughter Wilhelmina",
    "ImageComments": "Wilhelmina called 5550199",
    "OtherPatientIDs": "OLD-31337",
}
SECRETS = [
    "zzcanary",
    "quillon",
    "4711",
    "general-hospital",
    "19511103",
    "harbour",
    "998877",
    "5512",
    "20260102",
    "20260103",
    "oldcastle",
    "bertrand",
    "pettibone",
    "elsewhere",
    "xrayroom7",
    "0042-77",
    "wilhelmina",
    "5550199",
    "31337",
    "secretvendor",
]


@pytest.fixture
def named(small_phantom):
    """A radiograph in which many attributes name its patient and its people, some of them private or nested."""
    ds = dx_dataset(small_phantom[0], **PEOPLE)
    ds.private_block(0x0009, "SECRETVENDOR", create=True).add_new(0x01, "LO", CANARY_NAME)
    request = Dataset()
    request.RequestedProcedureDescription, request.RequestingPhysician = "for Zzcanary", "Oldcastle^Bertrand"
    ds.RequestAttributesSequence = Sequence([request])
    region = ds.AnatomicRegionSequence[0]
    region.private_block(0x0011, "SECRETVENDOR", create=True).add_new(0x01, "LO", CANARY_NAME)
    return ds


def bytes_without_pixels(path: Path) -> bytes:
    ds = dcmread(path)
    pixels = ds.PixelData if "PixelData" in ds else b"\0no pixels\0"
    return path.read_bytes().replace(pixels, b"")


def secrets_in(path: Path, *more: str) -> list[str]:
    text = bytes_without_pixels(path).decode("latin-1").lower()
    return [one for one in (*SECRETS, *more) if one in text]


@pytest.mark.parametrize(
    "options", [Options(), Options("removed", "removed", device=False, characteristics=False)]
)
def test_no_byte_of_a_copy_names_the_patient_or_anybody(named, tmp_path, options):
    made = disguise(write_dicom(named, tmp_path / "source.dcm"), tmp_path, NAMES, options)
    assert secrets_in(made.path, *uids_of(named)) == []
    assert made.path.read_bytes()[:128] == bytes(128)


def uids_of(ds):
    return sorted({uid for uid in uids_in(ds) if not uid.startswith("1.2.840.10008.")})


def test_a_copy_says_what_was_done_with_it(named):
    made, _ = deidentify(named, NAMES, Options())
    assert made.PatientIdentityRemoved == "YES"
    codes = [item.CodeValue for item in made.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113104", "113105", "113107", "113108"]
    assert made.LongitudinalTemporalInformationModified == "MODIFIED"


def test_what_a_model_needs_is_kept(named):
    made, _ = deidentify(named, NAMES, Options())
    assert (made.PatientSex, made.PatientAge) == ("F", "074Y")
    assert (made.StudyDescription, made.SeriesDescription) == ("CHEST PA", "AP portable 120 kV")
    assert made.PixelData == named.PixelData
    assert made.ImagerPixelSpacing == named.ImagerPixelSpacing


def test_dates_keep_their_distance_and_are_no_longer_those_of_the_visit(named):
    made, _ = deidentify(named, NAMES, Options())
    moved = day(named.StudyDate) - day(made.StudyDate)
    assert dt.timedelta(1) <= moved <= dt.timedelta(3650)
    assert day(named.ContentDate) - day(made.ContentDate) == moved
    assert made.StudyTime == named.StudyTime
    assert made.PatientBirthDate in (None, "")


def day(value):
    return dt.datetime.strptime(str(value), "%Y%m%d").replace(tzinfo=dt.UTC)


def test_two_objects_of_a_study_stay_one_study_of_one_patient(named):
    other = copy.deepcopy(named)
    other.SOPInstanceUID = generate_uid()
    first, uids = deidentify(named, NAMES, Options())
    second, _ = deidentify(other, NAMES, Options())
    assert first.StudyInstanceUID == second.StudyInstanceUID == uids[named.StudyInstanceUID]
    assert first.PatientID == second.PatientID
    assert first.StudyDate == second.StudyDate
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_two_destinations_cannot_join_what_they_have(named):
    one, _ = deidentify(named, NAMES, Options())
    two, _ = deidentify(named, OTHERS, Options())
    assert not set(uids_of(one)) & set(uids_of(two))
    assert one.PatientID != two.PatientID
    assert one.StudyDate != two.StudyDate


def test_the_same_number_of_another_issuer_is_another_patient(named):
    other = copy.deepcopy(named)
    other.IssuerOfPatientID = "OTHER"
    assert deidentify(named, NAMES, Options())[0].PatientID != deidentify(other, NAMES, Options())[0].PatientID


# ---------------------------------------------------------------- what is refused
def test_words_in_the_pixels_are_refused(small_phantom):
    with pytest.raises(Unsupported, match="Burned In Annotation"):
        deidentify(dx_dataset(small_phantom[0], BurnedInAnnotation="YES"), NAMES, Options())


def test_an_ultrasound_that_does_not_say_that_it_has_no_words_is_refused(small_phantom):
    ds = dx_dataset(small_phantom[0], Modality="US", BurnedInAnnotation=None)
    with pytest.raises(Unsupported, match="Burned In Annotation"):
        deidentify(ds, NAMES, Options())


@pytest.mark.parametrize("keyword", ["EncapsulatedDocument", "GraphicAnnotationSequence"])
def test_documents_and_drawings_are_refused(named, keyword):
    setattr(named, keyword, b"%PDF" if keyword == "EncapsulatedDocument" else Sequence([Dataset()]))
    with pytest.raises(Unsupported, match="documents and drawings"):
        deidentify(named, NAMES, Options())


def test_a_name_where_no_table_looks_for_one_is_found_and_refused(named):
    named.AnatomicRegionSequence[0].CodeMeaning = "Chest of Zzcanary"
    with pytest.raises(Unsupported, match="names the patient") as refused:
        deidentify(named, NAMES, Options())
    assert "anary" not in str(refused.value)


# ---------------------------------------------------------------- our results
@pytest.mark.parametrize("kind", ["SEG", "SR", "SR-VIEWER", "SEG-FRACTIONAL", "PM"])
def test_results_are_disguised_with_their_references_whole(
    named, reading_of, result_context, tmp_path, program, kind
):
    reading, mask = reading_of(named)
    result = encoded(kind, named, reading, mask, result_context(kind))
    path = tmp_path / "result.dcm"
    result.save_as(path, enforce_file_format=True)
    made = disguise(path, tmp_path, NAMES, Options())
    assert secrets_in(made.path, *uids_of(named), *uids_of(result)) == []
    image, _ = deidentify(named, NAMES, Options())
    assert str(image.SOPInstanceUID) in set(uids_in(dcmread(made.path)))
    assert complaints(program, made.path) <= complaints(program, path)


def encoded(kind, source, reading, mask, context):
    encoder = next(one for one in ENCODERS if one.kind == kind)
    return encoder.encode(reading, mask, source, context)


def complaints(program, path):
    told = subprocess.run([program("dciodvfy"), path], capture_output=True, text=True, check=False)
    return set(re.findall(r"^Error.*", told.stdout + told.stderr, re.M))


@pytest.mark.parametrize("options", [Options(), Options("removed", "removed", device=True, characteristics=False)])
def test_a_disguised_radiograph_is_as_valid_as_it_was(named, tmp_path, program, options):
    path = write_dicom(named, tmp_path / "source.dcm")
    made = disguise(path, tmp_path, NAMES, options)
    assert complaints(program, made.path) <= complaints(program, path)


# ---------------------------------------------------------------- the way back
@pytest.fixture
def sent_and_returned(named, reading_of, result_context):
    """What we sent under a pseudonym, and the segmentation that a model far away made of it."""
    sent, uids = deidentify(named, NAMES, Options())
    sent.SpecificCharacterSet = named.get("SpecificCharacterSet", "ISO_IR 100")
    reading, mask = reading_of(sent)
    return encoded("SEG", sent, reading, mask, result_context("SEG")), {made: one for one, made in uids.items()}


def test_a_result_comes_home_under_its_own_name(named, sent_and_returned):
    returned, originals = sent_and_returned
    home = reidentify(returned, originals, named, NAMES)
    for keyword in (
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "AccessionNumber",
        "StudyDate",
    ):
        assert home[keyword].value == named[keyword].value
    assert home.StudyInstanceUID == named.StudyInstanceUID
    assert str(named.SOPInstanceUID) in set(uids_in(home))
    assert not set(originals) & set(uids_in(home))
    assert home.SOPInstanceUID == returned.SOPInstanceUID
    assert "PatientIdentityRemoved" not in home


def test_a_result_that_names_another_patient_is_refused(named, sent_and_returned):
    returned, originals = sent_and_returned
    returned.PatientID = "P-SOMEBODY"
    with pytest.raises(Denied, match="another patient"):
        reidentify(returned, originals, named, NAMES)


# ---------------------------------------------------------------- values and the table
@pytest.mark.parametrize(
    ("value", "vr", "made"),
    [
        ("20260301", "DA", "20260228"),
        ("2026.03.01", "DA", "20260228"),
        ("20260301101112.5+0100", "DT", "20260228101112.5+0100"),
        ("101112", "TM", "101112"),
        ("born 1951", "DA", ""),
        ("Zzcanary", "TM", ""),
        ("20261301", "DA", ""),
        ("00010101", "DA", ""),
    ],
)
def test_a_date_is_moved_and_what_is_none_is_taken_out(value, vr, made):
    assert shifted(value, vr, 1) == made


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("CHEST PA", "CHEST PA"),
        ("Müller, Chest 12.03.1951", "Chest 12 03"),
        ("Left knee AP/LAT, Dr. Oldcastle", "Left knee AP"),
        ("T2 sag spine 3mm id 123456", "T2 spine 3 mm"),
        ("Zzcanary", ""),
    ],
)
def test_a_description_keeps_plain_words_and_short_numbers_only(text, left):
    assert cleaned(text) == left


@pytest.mark.parametrize(("age", "kept"), [("074Y", "074Y"), ("093Y", "090Y"), ("011M", "011M"), ("old", "")])
def test_ages_above_89_are_one(age, kept):
    assert age_kept(age) == kept


def test_the_table_is_whole():
    profile = basic_profile()
    assert len(profile) == 652
    assert profile[0x00100010] is Action.EMPTY
    assert profile[0x00100020] is Action.DUMMY
    assert profile[0x0020000D] is Action.MAP_UID
    assert profile[0x00104000] is Action.REMOVE


def test_private_curves_and_overlays_go():
    for tag in (0x00091001, 0x50003000, 0x60003000, 0x60020010):
        assert action_of(Tag(tag), "LO", Options()) is Action.REMOVE
