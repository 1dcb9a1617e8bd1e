"""What STOW-RS refuses because it is malformed is set aside as it came; so is a file that was a program too."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from clinical.uids import uid_digest
from dicom_node.testing import CANARY_ID
from dicom_node.web.testing import app_of
from record_store.quarantine_folder import Quarantine, QuarantineBounds
from record_store.tables import instance
from tests.dicom_node.web.conftest import NOW
from tests.dicom_node.web.test_store import part10, post, reasons


@pytest.fixture
def quarantine(tmp_path):
    return Quarantine(tmp_path / "quarantine", QuarantineBounds(), lambda: NOW)


@pytest.fixture
def keeping(held, quarantine):
    held.archive = replace(held.archive, set_aside=quarantine.keep_bytes)
    held.client = app_of(held.archive).test_client()
    return held


def kept(quarantine):
    return [
        (quarantine.path(one).read_bytes(), hex(one.refusal.status), one.refusal.why)
        for one in quarantine.entries()
    ]


def test_a_torn_object_is_kept_byte_for_byte_with_its_own_preamble(keeping, quarantine, radiograph):
    ds = radiograph()
    ds.preamble = b"MZ".ljust(128, b"!")
    torn = part10(ds)[:-1]
    assert reasons(post(keeping, torn)) == [[0xA900]]
    assert kept(quarantine) == [(torn, "0xa900", "the data set is malformed")]
    (one,) = quarantine.entries()
    assert (one.refusal.service, one.refusal.address) == ("STOW-RS", "")
    assert one.refusal.instance == uid_digest(ds.SOPInstanceUID)
    assert list(keeping.blobs.staging.glob("*.part")) == []


def test_what_is_no_dicom_file_is_kept(keeping, quarantine):
    post(keeping, b"<html>")
    assert kept(quarantine) == [(b"<html>", "0xa900", "it is not a DICOM file")]


def test_nothing_of_it_is_found_or_served(keeping, quarantine, radiograph):
    ds = radiograph()
    post(keeping, part10(ds)[:-1])
    assert len(quarantine.entries()) == 1
    assert keeping.get("/studies").status_code == 204
    path = f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
    assert keeping.get(path).status_code == 404
    assert keeping.blobs.stored == {}
    with keeping.db.read() as conn:
        assert conn.execute(select(instance)).all() == []


@pytest.mark.parametrize("preamble", [b"MZ", b"\x7fELF", b"#!/bin/sh", b"<html>", b"PK\x03\x04", b"%PDF-1.7"])
def test_a_good_object_that_is_a_program_too_is_stored_and_the_original_is_kept(
    keeping, quarantine, radiograph, preamble
):
    ds = radiograph()
    ds.preamble = preamble.ljust(128, b"\0")
    assert post(keeping, part10(ds)).status_code == 200
    why = "it was taken without its preamble, which began as another kind of file"
    assert kept(quarantine) == [(part10(ds), "0x0", why)]


@pytest.mark.parametrize("preamble", [b"", b"II*\0\x08\0\0\0", b"MM\0*"])
def test_a_plain_object_or_one_that_is_a_tiff_too_is_stored_and_not_kept(
    keeping, quarantine, radiograph, preamble
):
    ds = radiograph()
    ds.preamble = preamble.ljust(128, b"\0")
    assert post(keeping, part10(ds)).status_code == 200
    assert quarantine.entries() == []


def test_what_is_well_and_not_taken_here_is_not_kept(keeping, quarantine, radiograph):
    ds = radiograph()
    post(keeping, part10(ds))
    assert reasons(post(keeping, part10(radiograph(PatientName="Else^Somebody")))) == [[0x0111]]
    other = radiograph("b")
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    assert reasons(post(keeping, part10(other))) == [[0x0122]]
    assert quarantine.entries() == []


def test_an_object_over_which_we_fail_is_kept_with_the_place_and_not_the_words_of_the_error(
    keeping, quarantine, radiograph
):
    def fail(*_more):
        raise ValueError(CANARY_ID)

    keeping.archive = replace(keeping.archive, classes=fail)
    keeping.client = app_of(keeping.archive).test_client()
    assert post(keeping, part10(radiograph())).status_code == 500
    ((_, status, why),) = kept(quarantine)
    assert status == "0xc000"
    assert why.startswith("ValueError at test_store_quarantine.py:")
