"""Objects in a vendor's own transfer syntax by DICOMweb: taken where named, found, given out as stored."""

from dataclasses import replace

import pytest

from dicom_node.file_intake import open_file
from dicom_node.syntaxes import EXPLICIT
from dicom_node.web.testing import app_of
from record_store.quarantine_folder import Quarantine, QuarantineBounds
from tests.dicom_node.test_private_syntaxes import (
    CR,
    DS,
    GE_BIG_ENDIAN_PIXELS,
    NAMED,
    UID,
    data_set,
    file_beginning,
)
from tests.dicom_node.web.conftest import NOW
from tests.dicom_node.web.test_store import post, reasons

STUDY = f"/studies/{DS.StudyInstanceUID}"
PATH = f"{STUDY}/series/{DS.SeriesInstanceUID}/instances/{UID}"


@pytest.fixture
def quarantine(tmp_path):
    return Quarantine(tmp_path / "quarantine", QuarantineBounds(), lambda: NOW)


@pytest.fixture
def named(held, decoder, quarantine):
    held.archive = replace(
        held.archive, private_syntaxes=NAMED, decoder=lambda: decoder, set_aside=quarantine.keep_bytes
    )
    held.client = app_of(held.archive).test_client()
    return held


@pytest.mark.parametrize("syntax", NAMED)
def test_it_is_taken_found_and_given_out_bit_for_bit(named, syntax):
    file = file_beginning(CR, UID, syntax) + data_set(syntax)
    assert post(named, file).status_code == 200
    (found,) = named.get("/studies", PatientID=str(DS.PatientID)).get_json()
    assert found["0020000D"]["Value"] == [DS.StudyInstanceUID]
    answer = named.get(PATH, "application/dicom; transfer-syntax=*")
    assert answer.data == file
    assert open_file(memoryview(answer.data)).syntax == syntax


@pytest.mark.parametrize("syntax", NAMED)
def test_it_is_put_into_no_other_syntax_and_nothing_of_it_is_shown(named, syntax):
    post(named, file_beginning(CR, UID, syntax) + data_set(syntax))
    assert named.get(PATH, f"application/dicom; transfer-syntax={EXPLICIT}").status_code == 406
    shown = named.get(f"{PATH}/rendered", "image/png")
    assert shown.status_code in {406, 422, 415, 501}
    assert b"private to a vendor" in shown.data


@pytest.mark.parametrize("syntax", NAMED)
def test_its_metadata_is_told(named, syntax):
    post(named, file_beginning(CR, UID, syntax) + data_set(syntax))
    (found,) = named.get(f"{PATH}/metadata", "application/dicom+json").get_json()
    assert found["00080018"]["Value"] == [UID]
    assert found["00083002"]["Value"] == [syntax]


def test_it_is_not_taken_where_nobody_has_named_it(held):
    answer = post(held, file_beginning(CR, UID, GE_BIG_ENDIAN_PIXELS) + data_set(GE_BIG_ENDIAN_PIXELS))
    assert (answer.status_code, reasons(answer)) == (409, [[0xC122]])


def test_one_that_is_not_encoded_as_was_said_is_refused_and_kept(named, quarantine):
    wrong, right = NAMED
    answer = post(named, file_beginning(CR, UID, wrong) + data_set(right))
    assert (answer.status_code, reasons(answer)) == (409, [[0xA900]])
    assert len(quarantine.entries()) == 1
