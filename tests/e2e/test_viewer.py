"""The OHIF Viewer over our DICOMweb, in a browser: image, SEG and the SR's measurements without a click."""

import json
import shutil
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from consilium.demo.server import RunningServer, running_server
from dicom_node.testing import dx_dataset, radiograph_phantom, send_files, write_dicom
from tests.e2e.browser import browser

pytestmark = pytest.mark.slow

SEGMENT_PX = 500  # the nodule is a disc of about 40 pixels
MEASUREMENT_PX = 300
VIEWER = Path(__file__).parents[2] / "build" / "viewer"


@pytest.fixture(scope="module")
def read_study(tmp_path_factory: pytest.TempPathFactory):
    """A server with the viewer, and the UID of a radiograph that it has read."""
    if not (VIEWER / "index.html").is_file():
        pytest.skip("the viewer is not fetched (make viewer)")
    folder = tmp_path_factory.mktemp("viewer")
    settings = {
        "STUDY_QUIET_S": "0.5",
        "WEB_WORKERS": "1",
        "PATIENT_ISSUERS": json.dumps({"": "urn:consilium:test-hospital"}),
        "RESULTS": json.dumps(["SEG", "SR-VIEWER"]),
    }
    with running_server(folder, settings) as server:
        pixels, truth = radiograph_phantom(5, rows=600, columns=480)
        ds = dx_dataset(pixels, spacing_mm=truth.spacing_mm, seed="viewer", PatientID="VIEWER-1")
        assert send_files([write_dicom(ds, folder / "1.dcm")], server.dicom_port) == [0]
        _wait_for_results(server, str(ds.StudyInstanceUID))
        yield server, str(ds.StudyInstanceUID)


def _wait_for_results(server: RunningServer, study: str) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        answer = httpx.get(f"{server.base_url}/dicom-web/studies/{study}/series")
        found = {row["00080060"]["Value"][0] for row in answer.json()} if answer.status_code == 200 else set()
        if {"DX", "SEG", "SR"} <= found:
            return
        time.sleep(0.2)
    raise AssertionError("no SEG and SR appeared")


def test_a_study_opens_with_image_segment_and_measurement(read_study, tmp_path) -> None:
    server, study = read_study
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with browser(chromium, tmp_path) as page:
        page.call("Page.navigate", url=f"{server.base_url}/viewer/viewer?StudyInstanceUIDs={study}")
        picture = page.until(_is_drawn, 90)
    Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "viewer.png")  # for who wants to look
    grey = np.ptp(picture, axis=2) < 12
    assert np.count_nonzero(grey & (picture[:, :, 0] > 60)) > 20_000, "no image"
    assert _red(picture) > SEGMENT_PX, "no segment"
    assert _yellow(picture) > MEASUREMENT_PX, "no measurement"
    assert not [url for url in page.urls if not url.startswith((server.base_url, "data:", "blob:", "about:"))]
    assert not [text for text in page.problems if "Content Security Policy" in text]


def _is_drawn(picture: np.ndarray) -> bool:
    return _red(picture) > SEGMENT_PX and _yellow(picture) > MEASUREMENT_PX


def _red(picture: np.ndarray) -> int:
    """Count the pixels of the filled segment; nothing else of the viewer's page is red."""
    red, green, blue = (picture[:, :, channel] for channel in range(3))
    return int(np.count_nonzero((red > green + 50) & (red > blue + 50)))


def _yellow(picture: np.ndarray) -> int:
    """Count the pixels of the dashed outline and of the measurement's text."""
    red, green, blue = (picture[:, :, channel] for channel in range(3))
    return int(np.count_nonzero((red > blue + 50) & (green > blue + 50)))
