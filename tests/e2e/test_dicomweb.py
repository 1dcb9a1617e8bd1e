"""DICOMweb of a running server: a large image goes in by HTTP and comes back, and the study is found."""

import json
import time
from io import BytesIO

import httpx
import numpy as np
import pytest
from pydicom import dcmread, uid
from sqlalchemy import select

from consilium.demo.server import RunningServer
from dicom_node.testing import cr_dataset
from record_store.database import Database
from record_store.tables import audit

pytestmark = pytest.mark.slow


def test_an_image_of_18_mb_goes_in_and_comes_back_and_is_found(house: RunningServer) -> None:
    pixels = np.random.default_rng(1).integers(0, 4096, (3000, 3000)).astype(np.uint16)
    ds = cr_dataset(pixels, seed="dicomweb", PatientID="DICOMWEB-1", BodyPartExamined="KNEE")
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    root = f"{house.base_url}/dicom-web"
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + buffer.getvalue() + b"\r\n--b--\r\n"
    kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    stored = httpx.post(f"{root}/studies", content=body, headers=kind, timeout=30)
    assert stored.status_code == 200
    address = stored.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    back = httpx.get(address, headers={"Accept": "application/dicom"}, timeout=30)
    assert dcmread(BytesIO(back.content)) == ds
    frames = httpx.get(f"{address}/frames/1", timeout=30)
    assert pixels.tobytes() in frames.content
    (row,) = httpx.get(f"{root}/studies", params={"PatientID": "DICOMWEB-1"}, timeout=60).json()
    assert row["0020000D"]["Value"] == [ds.StudyInstanceUID]
    # What stores images may be large; a call of a hook or of FHIR may not.
    fhir = {"Content-Type": "application/fhir+json"}
    assert httpx.post(f"{house.base_url}/fhir/Patient", content=body, headers=fhir, timeout=30).status_code == 413


def test_a_served_image_is_rendered_and_encoded_anew_and_each_request_is_in_the_audit(
    house: RunningServer, store: Database
) -> None:
    ds = cr_dataset(np.arange(4096, dtype=np.uint16).reshape(64, 64), seed="served", PatientID="DICOMWEB-2")
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    root = f"{house.base_url}/dicom-web"
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + buffer.getvalue() + b"\r\n--b--\r\n"
    kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    stored = httpx.post(f"{root}/studies", content=body, headers=kind, timeout=30)
    address = stored.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    asked = {"Accept": f"application/dicom; transfer-syntax={uid.JPEG2000Lossless}"}
    packed = dcmread(BytesIO(httpx.get(address, headers=asked, timeout=60).content))
    assert packed.file_meta.TransferSyntaxUID == uid.JPEG2000Lossless
    picture = httpx.get(f"{address}/rendered", params={"window": "2048,4096,linear"}, timeout=60)
    assert (picture.status_code, picture.content[:2]) == (200, b"\xff\xd8")
    assert httpx.get(address, headers={"If-None-Match": picture.headers["ETag"]}, timeout=30).status_code == 200
    again = httpx.get(f"{address}/rendered", params={"window": "2048,4096,linear"}, headers={
        "If-None-Match": picture.headers["ETag"]}, timeout=30)  # fmt: skip
    assert again.status_code == 304
    wanted = {
        ("exchange:transferred", "STOW-RS"),
        ("exchange:transferred", "WADO-RS"),
        ("exchange:accessed", "WADO-RS"),
    }
    deadline = time.monotonic() + 30  # rows are written behind the act
    while not wanted <= _noted(store, str(ds.StudyInstanceUID)):
        assert time.monotonic() < deadline, "not in the audit"
        time.sleep(0.1)


def _noted(store: Database, study: str) -> set[tuple[str, str]]:
    with store.read() as conn:
        rows = conn.execute(select(audit.c.action, audit.c.detail).where(audit.c.action.like("exchange:%"))).all()
    told = [(action, json.loads(detail)) for action, detail in rows]
    return {(action, one["what"]) for action, one in told if one.get("study_uid") == study}
