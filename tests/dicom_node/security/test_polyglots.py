"""A DICOM file that is a program, a page or a picture as well is none of these any more once we have it.

The 128 bytes before DICM are free (PS3.10 7.1), and so is private information in the file meta group
(CVE-2019-11687).
"""

import subprocess
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from consilium.headers import harden
from dicom_node.testing import cr_dataset, write_dicom
from tests.dicom_node.web.conftest import Held

EVIL = {
    "a Windows program": b"MZ" + bytes(58) + b"\x40\0\0\0" + b"PE\0\0",
    "a Unix program": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\x3e\0",
    "a script": b"#!/bin/sh\necho zzevil\n",
    "a page": b"<html><script>alert('zzevil')</script>",
    "a TIFF": b"II*\0\x08\0\0\0",
    "a PDF": b"%PDF-1.7 zzevil",
    "an archive": b"PK\x03\x04zzevil",
}
STOW = 'multipart/related; type="application/dicom"; boundary=bb'


@pytest.fixture(params=sorted(EVIL))
def polyglot(request, small_phantom, tmp_path):
    """A radiograph in a file that begins as something else and has more in its meta group."""
    ds = cr_dataset(small_phantom[0])
    path = write_dicom(ds, tmp_path / "polyglot.dcm")
    meta = dcmread(path)
    meta.preamble = EVIL[request.param].ljust(128, b"\0")
    meta.file_meta.PrivateInformationCreatorUID = generate_uid()
    meta.file_meta.PrivateInformation = b"zzevil payload!!"
    meta.file_meta.SourceApplicationEntityTitle = "ZZEVIL"
    meta.save_as(path, enforce_file_format=True)
    return path


def assert_harmless(stored):
    assert stored[:128] == bytes(128)
    assert stored[128:132] == b"DICM"
    assert b"zzevil" not in stored
    assert b"ZZEVIL" not in stored
    assert dcmread(BytesIO(stored)).PixelData


@pytest.mark.slow
def test_by_c_store_from_dcmtk_only_the_object_comes_in(node, program, polyglot):
    node.start()
    command = [program("storescu"), "-aec", "CONSILIUM", "127.0.0.1", str(node.port), str(polyglot)]
    assert subprocess.run(command, timeout=60, check=False, capture_output=True).returncode == 0
    (stored,) = node.stored()
    assert_harmless(stored)


def test_by_stow_only_the_object_comes_in_and_it_goes_out_as_a_file_to_keep(tmp_path, polyglot):
    held = Held(tmp_path)
    harden(held.client.application, https=True)
    body = b"--bb\r\nContent-Type: application/dicom\r\n\r\n" + polyglot.read_bytes() + b"\r\n--bb--\r\n"
    assert held.client.post("/dicom-web/studies", data=body, content_type=STOW).status_code == 200
    (stored,) = held.blobs.stored.values()
    assert_harmless(bytes(stored))
    ds = dcmread(polyglot)
    path = f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
    answer = held.get(path, "application/dicom")
    assert_harmless(answer.data)
    assert answer.mimetype == "application/dicom"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    held.db.dispose()


def test_what_was_stored_otherwise_is_served_without_its_beginning(tmp_path, polyglot):
    held = Held(tmp_path)
    ds = dcmread(polyglot)
    held.put_as(ds, polyglot.read_bytes())
    path = f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
    assert held.get(path, "application/dicom").data[:128] == bytes(128)
    held.db.dispose()
