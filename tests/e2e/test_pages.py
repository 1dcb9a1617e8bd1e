"""The pages as a browser shows them: headless Chromium takes a picture, and the picture is looked at."""

import os
import re
import shutil
import subprocess
import time
import uuid
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from consilium.demo.server import RunningServer
from dicom_node.testing import dx_dataset, radiograph_phantom, send_files, write_dicom

pytestmark = pytest.mark.slow

MARK = (0xFF, 0xD5, 0x4A)  # the colour of an outline, consilium.css
OVERRIDDEN = (0xFF, 0x9E, 0x40)  # the colour of overridden cards, consilium.css
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def _picture(url: str, folder: Path, size: str = "1200,900") -> np.ndarray:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    shot = folder / "page.png"
    subprocess.run(
        [
            chromium,
            *FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={size}",
            f"--screenshot={shot}",
            url,
        ],
        check=True,
        capture_output=True,
        timeout=90,
        env=os.environ | {"HOME": str(folder)},
    )
    with Image.open(shot) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def overlay_url(house: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The link on the card of a radiograph that was just sent and read."""
    pixels, truth = radiograph_phantom(5, rows=600, columns=480)
    ds = dx_dataset(pixels, spacing_mm=truth.spacing_mm, seed="pages", PatientID="PAGES-1")
    assert send_files([write_dicom(ds, tmp_path_factory.mktemp("pages") / "1.dcm")], house.dicom_port) == [0]
    patient = {
        "resourceType": "Patient",
        "id": "pages",
        "identifier": [{"system": "urn:consilium:test-hospital", "value": "PAGES-1"}],
    }
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        # A card without a link says that the radiograph is not read yet.
        if links := [link for card in _cards(house, patient) for link in card.get("links", ())]:
            return str(links[0]["url"])
        time.sleep(0.1)
    raise AssertionError("no card appeared")


def _cards(house: RunningServer, patient: dict) -> list[dict]:
    body = {
        "hook": "patient-view",
        "hookInstance": str(uuid.uuid4()),
        "context": {"userId": "Practitioner/1", "patientId": patient["id"]},
        "prefetch": {"patient": patient},
    }
    answer = httpx.post(f"{house.base_url}/cds-services/imaging-findings", json=body, trust_env=False, timeout=60)
    return list(answer.json()["cards"])


@pytest.mark.parametrize("size", ["1200,900", "420,900"])
def test_the_overlay_shows_the_radiograph_with_the_outline(overlay_url: str, tmp_path: Path, size: str) -> None:
    pixels = _picture(overlay_url, tmp_path, size)
    outline = (np.abs(pixels - MARK).max(axis=2) < 24).sum()
    # The picture came through the content security policy: many different greys, and not a flat ground.
    greys = {int(value) for value in pixels[..., 0][np.ptp(pixels, axis=2) == 0].ravel()}
    assert outline > 50
    assert len(greys) > 100


def _with_feedback(house: RunningServer) -> str:
    """The address of the feedback page, after a card of this server was sent and overridden through HTTP."""
    patient = {
        "resourceType": "Patient",
        "id": "pages",
        "identifier": [{"system": "urn:consilium:test-hospital", "value": "PAGES-1"}],
    }
    card = _cards(house, patient)[0]
    report = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": "2026-11-22T09:00:00Z"}
    report["overrideReason"] = {"reason": card["overrideReasons"][0], "userComment": "Zzcanary"}
    url = f"{house.base_url}/cds-services/imaging-findings/feedback"
    answer = httpx.post(url, json={"feedback": [report]}, trust_env=False, timeout=60)
    assert (answer.status_code, answer.json()) == (200, {})
    return f"{house.base_url}/feedback?service=imaging-findings"


@pytest.mark.parametrize("size", ["1200,900", "420,900"])
def test_the_feedback_page_shows_what_became_of_the_cards(
    house: RunningServer, overlay_url: str, tmp_path: Path, size: str
) -> None:
    url = _with_feedback(house)
    pixels = _picture(url, tmp_path, size)
    # The bar of the overridden card, in its colour of consilium.css: the drawing came through the security policy.
    assert (np.abs(pixels - OVERRIDDEN).max(axis=2) < 8).sum() > 50
    assert pixels.mean() < 80
    text = httpx.get(url, trust_env=False, timeout=60).text
    assert "imaging-findings" in text
    assert "Zzcanary" not in text


def test_the_status_page_says_that_all_is_well(house: RunningServer, tmp_path: Path) -> None:
    pixels = _picture(f"{house.base_url}/", tmp_path)
    assert pixels.mean() < 80, "the page is dark; a white one has lost its style sheet"
    text = httpx.get(f"{house.base_url}/", trust_env=False, timeout=60).text
    assert ">ready<" in text
    # The house is shared, and a study of two patients may be waiting in it for somebody to look.
    held = re.compile(r'<tr class="bad"><th>studies</th><td>held</td>.*?</tr>')
    assert 'class="bad"' not in held.sub("", text)
