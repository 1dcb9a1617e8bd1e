"""DICOMweb of a running server: a large image goes in by HTTP and comes back, and the study is found."""

from io import BytesIO

import httpx
import numpy as np
import pytest
from pydicom import dcmread

from consilium.demo.server import RunningServer
from dicom_node.testing import cr_dataset

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
    (row,) = httpx.get(f"{root}/studies", params={"PatientID": "DICOMWEB-1"}).json()
    assert row["0020000D"]["Value"] == [ds.StudyInstanceUID]
    # What stores images may be large; a call of a hook or of FHIR may not.
    fhir = {"Content-Type": "application/fhir+json"}
    assert httpx.post(f"{house.base_url}/fhir/Patient", content=body, headers=fhir, timeout=30).status_code == 413
