"""dcmtk pushes, the models read, Orthanc is the archive: every result arrives and is valid by dciodvfy."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, or_, select

from dicom_node.destinations import Destination
from dicom_node.find import instances_of_study
from dicom_node.preflight import CLASSES_OF_KIND, preflight
from dicom_node.testing import cr_dataset, dicom_from_png, dx_dataset, radiograph_phantom, write_dicom
from record_store.database import open_database
from record_store.tables import delivery, instance, result_object, study_job
from tests.orthanc import running_orthanc
from tests.ports import free_port
from tests.serving import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DATA = Path(os.environ.get("CONSILIUM_DATASETS_DIR") or Path(__file__).parents[3] / "shared" / "data")
COUNT = 8  # half of them real where the data sets are here; more of them teach nothing new


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not on this machine")
    return found


def radiographs(folder: Path, count: int) -> list[Path]:
    """Write real radiographs (where the data sets are here) and synthetic ones, a study each."""
    real = sorted((DATA / "nih_cxr621" / "images").glob("*.png"))[: count // 2]
    made = [
        write_dicom(dicom_from_png(path, seed=path.name), folder / f"{number:03d}.dcm")
        for number, path in enumerate(real)
    ]
    for seed in range(count - len(made)):
        pixels, truth = radiograph_phantom(seed, rows=400, columns=360)
        make = dx_dataset if seed % 2 else cr_dataset
        made.append(
            write_dicom(make(pixels, spacing_mm=truth.spacing_mm, seed=f"o{seed}"), folder / f"s{seed:03d}.dcm")
        )
    return made


def _until(condition: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


def push_and_check(tmp_path: Path, count: int) -> dict[str, int]:
    """Push `count` radiographs and return what arrived: instances, SEG, SR, objects with dciodvfy errors."""
    sent = tmp_path / "sent"
    sent.mkdir()
    (tmp_path / "house").mkdir()
    files = radiographs(sent, count)
    port = free_port()
    archive = {"name": "orthanc", "host": "127.0.0.1", "port": port, "ae_title": "ARCHIVE", "commitment": True}
    settings = {
        "STUDY_QUIET_S": "0.5",
        "WEB_WORKERS": "1",
        "PATIENT_ISSUERS": '{"": "urn:consilium:orthanc-test"}',
        "PACS": json.dumps([archive]),
    }
    with (
        serving(tmp_path / "house", settings) as server,
        # It reports commitment to the house.
        running_orthanc(
            tmp_path / "orthanc", _program("Orthanc"), {"house": ("CONSILIUM", server.dicom_port)}, port=port
        ) as peer,
    ):
        push = [
            _program("dcmsend"),
            "-aec",
            "CONSILIUM",
            "127.0.0.1",
            str(server.dicom_port),
            *map(str, files),
        ]
        subprocess.run(push, check=True, capture_output=True, timeout=120)
        _wait_for_deliveries(tmp_path / "house" / "data" / "consilium.db", count)
        counts = _counts(tmp_path / "house" / "data" / "consilium.db")
        said = preflight(Destination("orthanc", "127.0.0.1", port, "ARCHIVE"), "CONSILIUM")
        counts["usable"] = said.usable(CLASSES_OF_KIND) and said.commitment
        counts["known to Orthanc"] = _known(Destination("orthanc", "127.0.0.1", port, "ARCHIVE"), peer.rest)
        return counts | _archived(peer.rest, tmp_path / "fetched")


def _known(archive: Destination, rest: str) -> int:
    """Return how many instances Orthanc says by C-FIND that it holds of all studies."""
    uids = [one["MainDicomTags"]["StudyInstanceUID"] for one in _get(f"{rest}/studies?expand")]
    return sum(instances_of_study(archive, "CONSILIUM", uid) or 0 for uid in uids)


def _wait_for_deliveries(path: Path, count: int) -> None:
    """Wait until Orthanc has confirmed, on associations of its own, that it keeps every result."""
    db = open_database(f"sqlite:///{path}")

    def done() -> bool:
        with db.read() as conn:
            jobs = conn.execute(select(func.count()).where(study_job.c.state == "done")).scalar_one()
            unkept = or_(delivery.c.commitment.is_(None), delivery.c.commitment != "committed")
            waiting = conn.execute(select(func.count()).where(unkept)).scalar_one()
        return jobs == count and waiting == 0

    try:
        _until(done, 150)
    finally:
        db.dispose()


def _counts(path: Path) -> dict[str, int]:
    db = open_database(f"sqlite:///{path}")
    with db.read() as conn:
        stored = conn.execute(select(func.count()).select_from(instance)).scalar_one()
        made = {
            kind: conn.execute(select(func.count()).where(result_object.c.kind == kind)).scalar_one()
            for kind in ("SEG", "SR")
        }
    db.dispose()
    return {"instances": stored, "made SEG": made["SEG"], "made SR": made["SR"]}


def _archived(rest: str, folder: Path) -> dict[str, int]:
    folder.mkdir()
    counts = {"SEG": 0, "SR": 0, "invalid": 0}
    for series in _get(f"{rest}/series?expand"):
        kind = series["MainDicomTags"]["Modality"]
        for number in series["Instances"]:
            path = folder / f"{number}.dcm"
            with urllib.request.urlopen(f"{rest}/instances/{number}/file", timeout=60) as reply:
                path.write_bytes(reply.read())
            said = subprocess.run([_program("dciodvfy"), str(path)], capture_output=True, text=True, check=False)
            counts[kind] += 1
            counts["invalid"] += "Error" in said.stdout + said.stderr
    return counts


def _get(url: str) -> list[dict]:
    with urllib.request.urlopen(url, timeout=60) as reply:
        return json.load(reply)


def test_every_radiograph_is_read_and_its_results_are_valid_in_the_archive(tmp_path: Path) -> None:
    counts = push_and_check(tmp_path, COUNT)
    assert counts["instances"] == COUNT
    assert counts["SR"] == counts["made SR"] == COUNT
    assert counts["SEG"] == counts["made SEG"] > 0
    assert counts["invalid"] == 0
    assert counts["usable"]
    assert counts["known to Orthanc"] == counts["SEG"] + counts["SR"]
