"""A header is read without trusting it: whatever the bytes, an answer or IncorrectInput, and soon."""

import contextlib
import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, config, dcmread, examples
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from clinical.errors import IncorrectInput
from dicom_node.header import header_of_beginning, read_header, read_stored_header
from dicom_node.testing import CANARY_ID, cr_dataset, write_dicom

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
PIXELS = np.zeros((4, 4), np.uint16)
VALID = {one: encode(cr_dataset(PIXELS), one.is_implicit_VR, one.is_little_endian) for one in SYNTAXES}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_attributes_are_found_in_every_encoding(tmp_path, syntax):
    (tmp_path / "a").write_bytes(b"before" + VALID[syntax])
    header = read_header(tmp_path / "a", 6, syntax)
    ds = cr_dataset(PIXELS)
    assert (header.study_uid, header.series_uid) == (ds.StudyInstanceUID, ds.SeriesInstanceUID)
    assert (header.sop_instance_uid, header.sop_class_uid) == (ds.SOPInstanceUID, ds.SOPClassUID)
    assert (header.modality, header.view_position, header.body_part) == ("CR", "PA", "CHEST")
    assert header.patient_id == CANARY_ID


def test_the_header_s_repr_does_not_name_the_patient(tmp_path):
    (tmp_path / "a").write_bytes(VALID[ExplicitVRLittleEndian])
    assert CANARY_ID not in repr(read_header(tmp_path / "a", 0, ExplicitVRLittleEndian))


def test_a_birth_date_in_the_form_of_acr_nema_is_compared_as_any_other(tmp_path):
    ds = cr_dataset(np.zeros((4, 4), np.uint16))
    data = encode(ds, False, True)
    written = data.replace(b"DA\x08\x00" + str(ds.PatientBirthDate).encode(), b"DA\x0a\x001969.12.31")
    assert written != data
    (tmp_path / "a").write_bytes(written)
    assert read_header(tmp_path / "a", 0, ExplicitVRLittleEndian).birth_date == "19691231"


def test_identifiers_are_decoded_with_the_character_set_that_they_declare(tmp_path):
    path = write_dicom(cr_dataset(PIXELS, SpecificCharacterSet="ISO_IR 100", PatientID="Ä-7"), tmp_path / "a")
    assert read_stored_header(path).patient_id == "Ä-7"


@pytest.mark.parametrize("character_set", [b"ISO_IR\0192", b"\0x", b"none such", b"\\\\\\", b"ISO_IR 999"])
def test_an_unknown_character_set_hides_no_identifier(tmp_path, character_set):  # found by fuzzing: a NUL within
    data = VALID[ExplicitVRLittleEndian].replace(b"ISO_IR 192", character_set.ljust(10))
    (tmp_path / "a").write_bytes(data)
    assert read_header(tmp_path / "a", 0, ExplicitVRLittleEndian).patient_id == CANARY_ID


@pytest.mark.parametrize("name", ["ct", "mr", "rt_plan", "jpeg2k", "ybr_color", "overlay"])
def test_real_objects_give_what_pydicom_reads_in_them(name):
    path = examples.get_path(name)
    ds = dcmread(path, stop_before_pixels=True)
    header = read_stored_header(path)
    assert header.sop_instance_uid == ds.SOPInstanceUID
    assert header.patient_id == (ds.get("PatientID") or "")


def test_a_file_that_is_not_dicom_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(os.urandom(1000))
    with pytest.raises(IncorrectInput):
        read_stored_header(tmp_path / "a")


@pytest.mark.parametrize("syntax", SYNTAXES)
@settings(max_examples=settings.default.max_examples * 3 // 5)
@given(data=st.data())
def test_damaged_data_sets_give_an_answer_or_incorrect_input(tmp_path_factory, syntax, data):
    whole = bytearray(VALID[syntax])
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(whole[: data.draw(st.integers(1, len(whole)))])
    with contextlib.suppress(IncorrectInput):
        read_header(path, 0, syntax)


SEQUENCE = struct.pack("<HH2sHL", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF)
ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
ENDS = struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


@pytest.mark.parametrize(
    ("tail", "whole"),
    [
        (b"", True),
        ((SEQUENCE + ITEM) * 60 + ENDS * 60, True),
        (struct.pack("<HH2sH", 0x0040, 0x0254, b"LO", 500) + b"cut", False),
        (b"\x40\0\x54", False),
        ((SEQUENCE + ITEM) * 70 + ENDS * 70, False),
        ((SEQUENCE + ITEM) * 2 + ENDS, False),
        (ENDS, False),
        (struct.pack("<HH2sH", 0x0040, 0x0254, b"?!", 2) + b"ab", False),
    ],
)
def test_a_header_hangs_together_to_its_end_and_not_only_as_far_as_it_is_used(tmp_path, tail, whole):
    good = encode(cr_dataset(PIXELS, PixelData=None), is_implicit_vr=False, is_little_endian=True)
    (tmp_path / "a").write_bytes(good + tail)
    if whole:
        assert read_header(tmp_path / "a", 0, ExplicitVRLittleEndian).modality == "CR"
    else:
        with pytest.raises(IncorrectInput):
            read_header(tmp_path / "a", 0, ExplicitVRLittleEndian)


def _with_sequences():
    ds = cr_dataset(PIXELS)
    plain, private, nested = Dataset(), Dataset(), Dataset()
    plain.CodeValue, plain.CodeMeaning = "T-D3000", "Chest"
    private.add_new(0x00091010, "OB", b"12345678")
    nested.ConceptNameCodeSequence = [plain]
    ds.AnatomicRegionSequence, ds.RequestAttributesSequence = [plain, private, Dataset()], []
    ds.ViewCodeSequence = [nested]
    return bytes(encode(ds, False, True))


SEQUENCES = _with_sequences()


def _outcome(read):
    try:
        return read()
    except IncorrectInput as error:
        return str(error)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(400, len(SEQUENCES) - 1), st.sampled_from((0, 1, 7, 8, 0xE0, 0xFE, 0xFF, 0x53))),
        max_size=3,
    )
)
def test_a_header_that_is_run_through_is_the_one_that_is_walked_to(tmp_path_factory, changes):
    data = bytearray(SEQUENCES)
    for place, value in changes:
        data[place] = value
    path = tmp_path_factory.getbasetemp() / "run-through"
    path.write_bytes(data)
    walked = _outcome(lambda: read_header(path, 0, ExplicitVRLittleEndian))
    assert _outcome(lambda: header_of_beginning(memoryview(data), len(data), ExplicitVRLittleEndian)) == walked


def test_importing_this_room_makes_pydicom_silent_about_values():
    assert config.settings.reading_validation_mode == config.IGNORE
    assert config.settings.writing_validation_mode == config.IGNORE
