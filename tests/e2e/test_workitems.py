"""A whole server performs a step: Orthanc has the study, the worklist is not ours, the worker is killed."""

import json
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from dicom_node.testing import dx_dataset, radiograph_phantom, write_dicom
from tests.dicom_node.ups.peer import Book, dimse, step
from tests.orthanc import orthanc_program, running_orthanc
from tests.ports import free_port
from tests.serving import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

UID = "2.25.100"
RULES = 'version = 1\n[[workitem]]\nname = "chest"\nwhen.code = ["110004^DCM"]\n'


def worker_of(pid: int) -> int | None:
    """Return the process of the worker that a server runs."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"worker" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    return None


def until(true, book, server=None, within_s=200) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, (book.state(), book.changes, server and server.said_last())
        time.sleep(0.05)


def test_a_step_is_performed_from_orthanc_to_orthanc_although_the_worker_is_killed(tmp_path) -> None:
    program = orthanc_program() or pytest.skip("Orthanc is not on this machine")
    pixels, _ = radiograph_phantom(7)
    image = dx_dataset(
        pixels, seed="ups", PatientName="Quillon^Zzcanary", PatientID="P1", BodyPartExamined="CHEST"
    )
    file = write_dicom(image, tmp_path / "image.dcm")
    study = str(image.StudyInstanceUID)
    book, port = (
        Book(step(UID, study, objects=(str(image.SOPInstanceUID),), retrieve_ae="ARCHIVE", patient_id="P1")),
        free_port(),
    )
    (tmp_path / "rules.toml").write_text(RULES)
    with dimse(book) as worklist_port:
        settings = {
            "STUDY_QUIET_S": "1",
            "WEB_WORKERS": "1",
            "LOW_WATER_MB": "0",
            "PATIENT_ISSUERS": json.dumps({"": "urn:consilium:ups-test"}),
            "PACS": json.dumps([{"name": "orthanc", "host": "127.0.0.1", "port": port, "ae_title": "ARCHIVE"}]),
            "RULES_FILE": str(tmp_path / "rules.toml"),
            "UPS": json.dumps(
                [{"name": "ai", "host": "127.0.0.1", "port": worklist_port, "ae_title": "WORKLIST", "poll_s": 0.5}]
            ),
        }
        with (
            running_orthanc(tmp_path / "orthanc", program, {}, port=port) as orthanc,
            serving(tmp_path, settings) as server,
        ):
            orthanc.post("/instances", file.read_bytes())
            orthanc_knows(orthanc, server.dicom_port)
            until(lambda: book.state() == "IN PROGRESS", book)
            os.kill(worker_of(server.pid), signal.SIGKILL)
            until(lambda: book.state() in {"COMPLETED", "CANCELED"}, book, server)
            made = book.performed().OutputInformationSequence
            kept = {
                uid for one in made for uid in (ref.ReferencedSOPInstanceUID for ref in one.ReferencedSOPSequence)
            }
            found = [
                orthanc.post("/tools/find", {"Level": "Instance", "Query": {"SOPInstanceUID": uid}})
                for uid in kept
            ]
            log = server.log.read_text(encoding="utf-8")
    assert book.state() == "COMPLETED", book.progress()
    assert len(kept) == 2  # SEG and SR
    assert all(found)
    assert {one.DICOMRetrievalSequence[0].RetrieveAETitle for one in made} == {"ARCHIVE"}
    assert len({transaction for *_, transaction in book.changes}) == 1
    assert "Quillon" not in log
    assert study not in log


def orthanc_knows(orthanc, port) -> None:
    """Tell Orthanc where we are, as an archive's administrator does."""
    with httpx.Client(base_url=orthanc.rest, trust_env=False, timeout=60) as http:
        http.put("/modalities/us", json=["CONSILIUM", "127.0.0.1", port]).raise_for_status()
