"""From a card to the images: the hook's link opens the OHIF Viewer over our DICOMweb, its results drawn.

Nobody clicks: image, every segment of the SEG and every measurement of the SR are there, and the other objects are
listed. Everything but the viewer's files is closed; what the link carries is all that the browser has.
"""

import json
import shutil
import time
import uuid
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from consilium.demo.server import RunningServer
from consilium.viewer.mount import configuration
from dicom_node.testing import dx_dataset, radiograph_phantom, send_files, write_dicom
from tests.e2e.browser import browser
from tests.serving import serving

pytestmark = pytest.mark.slow

SEGMENT_PX = 200  # a nodule is a disc of about 30 pixels
MEASUREMENT_PX = 600  # two dashed outlines with their texts
NODULES, PHANTOM = 2, 5
VIEWER = Path(__file__).parents[2] / "build" / "viewer"
TOKEN = "a-token-that-the-browser-never-sees"
SYSTEM, NUMBER = "urn:consilium:test-hospital", "VIEWER-1"
ADMITTED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def read_study(tmp_path_factory: pytest.TempPathFactory):
    """A closed server with the viewer, and the UID of a radiograph that it has read."""
    if not (VIEWER / "index.html").is_file():
        pytest.skip("the viewer is not fetched (make viewer)")
    folder = tmp_path_factory.mktemp("viewer")
    settings = {
        "STUDY_QUIET_S": "0.5",
        "WEB_WORKERS": "1",
        "HOOK_BUDGET_MS": "10000",
        "VIEWER_LINKS": "true",
        "BEARER_TOKEN": TOKEN,
        "PATIENT_ISSUERS": json.dumps({"": SYSTEM}),
        # The fractional SEG is the newest one, and the viewer draws none of its kind.
        "RESULTS": json.dumps(["SEG", "SR-VIEWER", "SC", "PDF", "SEG-FRACTIONAL"]),
        "VIEWER_DIR": str(_viewer(folder)),
    }
    with serving(folder, settings) as server:
        pixels, truth = radiograph_phantom(PHANTOM, NODULES, rows=600, columns=480)
        ds = dx_dataset(pixels, spacing_mm=truth.spacing_mm, seed="viewer", PatientID=NUMBER)
        assert send_files([write_dicom(ds, folder / "1.dcm")], server.dicom_port) == [0]
        study = str(ds.StudyInstanceUID)
        _until(lambda: len(_objects(server, study)) == 1 + 5, "the results did not appear")
        yield server, study


def _viewer(folder: Path) -> Path:
    """Return the viewer with the configuration of today, whenever it was fetched."""
    shutil.copytree(VIEWER, folder / "viewer")
    (folder / "viewer" / "app-config.js").write_bytes(configuration(b"/viewer"))
    (folder / "viewer" / "app-config.js.gz").unlink(missing_ok=True)
    return folder / "viewer"


def _objects(server: RunningServer, study: str) -> list[dict]:
    answer = httpx.get(f"{server.base_url}/dicom-web/studies/{study}/instances", headers=ADMITTED, timeout=60)
    return answer.json() if answer.status_code == 200 else []


def _until(found, otherwise: str, within_s: float = 90.0):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.1)
    raise AssertionError(otherwise)


def _link(server: RunningServer) -> str:
    """Call the hook as an EHR does, and return where the card leads to."""
    patient = {"resourceType": "Patient", "id": "p1", "identifier": [{"system": SYSTEM, "value": NUMBER}]}
    body = {
        "hook": "patient-view",
        "hookInstance": str(uuid.uuid4()),
        "context": {"userId": "Practitioner/1", "patientId": "p1"},
        "prefetch": {"patient": patient},
    }

    def link() -> str | None:
        answer = httpx.post(
            f"{server.base_url}/cds-services/imaging-findings", json=body, headers=ADMITTED, timeout=60
        )
        links = [one["url"] for card in answer.json().get("cards", []) for one in card.get("links", [])]
        return next((url for url in links if "/viewer/" in url), None)

    return _until(link, "no card leads to the viewer")


def test_a_card_s_link_opens_the_study_with_every_segment_and_measurement_drawn(read_study, tmp_path) -> None:
    server, study = read_study
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    assert httpx.get(f"{server.base_url}/dicom-web/studies/{study}/metadata", timeout=60).status_code == 401
    with browser(chromium, tmp_path) as page:
        page.call("Page.navigate", url=_link(server))
        picture = page.until(_is_drawn, 90)
        text = page.text()
    Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "viewer.png")  # for who wants to look
    grey = np.ptp(picture, axis=2) < 12
    assert np.count_nonzero(grey & (picture[:, :, 0] > 60)) > 20_000, "no image"
    assert _red(picture) > SEGMENT_PX, "the first segment is not drawn"
    assert _other(picture) > SEGMENT_PX, "the second segment is not drawn"
    assert _yellow(picture) > MEASUREMENT_PX, "no measurements"
    for modality in ("DX", "SEG", "SR", "OT", "DOC"):
        assert modality in text, f"{modality} is not listed"
    assert TOKEN not in text
    assert not [url for url in page.urls if not url.startswith((server.base_url, "data:", "blob:", "about:"))]
    assert not [problem for problem in page.problems if "Content Security Policy" in problem]


def _is_drawn(picture: np.ndarray) -> bool:
    segments = _red(picture) > SEGMENT_PX and _other(picture) > SEGMENT_PX
    return segments and _yellow(picture) > MEASUREMENT_PX


def _red(picture: np.ndarray) -> int:
    """Count the pixels of the first segment; nothing else of the viewer's page is red."""
    red, green, blue = (picture[:, :, channel] for channel in range(3))
    return int(np.count_nonzero((red > green + 50) & (red > blue + 50)))


def _other(picture: np.ndarray) -> int:
    """Count the pixels of the second segment."""
    red, green, blue = (picture[:, :, channel] for channel in range(3))
    return int(np.count_nonzero((green > red + 50) & (green > blue + 50)))


def _yellow(picture: np.ndarray) -> int:
    """Count the pixels of the dashed outlines and of the measurements' texts."""
    red, green, blue = (picture[:, :, channel] for channel in range(3))
    return int(np.count_nonzero((red > blue + 50) & (green > blue + 50)))
