"""dcmtk sends, Orthanc counts, a modality steps: a study closes on what they tell, long before its quiet time."""

import json
import shutil
import subprocess
import time
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage
from pynetdicom import AE
from pynetdicom.sop_class import ModalityPerformedProcedureStep

from dicom_node.peer_library import prepare_pynetdicom
from dicom_node.testing import cr_dataset, write_dicom
from tests.orthanc import orthanc_program, running_orthanc
from tests.ports import free_port
from tests.serving import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

QUIET_S = 600  # nothing in this file may wait for it
PIXELS = np.arange(256, dtype=np.uint16).reshape(16, 16)
MPPS = ModalityPerformedProcedureStep


class Site:
    """A server, its archive, and the files of studies that no model reads."""

    def __init__(self, server, archive_port, folder) -> None:
        self.server, self.archive_port, self.folder = server, archive_port, folder

    def files(self, study, count):
        return [
            write_dicom(
                cr_dataset(PIXELS, seed=f"{study}.{n}", StudyInstanceUID=study, Modality="OT"),
                self.folder / f"{study}.{n}.dcm",
            )
            for n in range(count)
        ]

    def storescu(self, files, *, called="CONSILIUM", abort=False) -> None:
        program = shutil.which("storescu") or pytest.skip("storescu is not on this machine")
        port = self.server.dicom_port if called == "CONSILIUM" else self.archive_port
        how = ["--abort"] if abort else []
        command = [program, *how, "-xe", "-aet", "XRAY", "-aec", called, "127.0.0.1", str(port), *map(str, files)]
        subprocess.run(command, check=not abort, capture_output=True, timeout=60)

    def complete(self, study):
        """Return the state, the words and the lines of the study's stage `complete`."""
        answer = httpx.get(f"{self.server.base_url}/studies/{study}/explain.json", trust_env=False, timeout=60)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        stage = next(one for one in told["stages"] if one["stage"] == "complete")
        return stage["state"], stage["words"], stage["lines"]

    def until(self, study, true, within_s=150):
        deadline = time.monotonic() + within_s
        while not true(told := self.complete(study)):
            assert time.monotonic() < deadline, told
            time.sleep(0.1)
        return told


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    program = orthanc_program() or pytest.skip("Orthanc is not on this machine")
    folder, port = tmp_path_factory.mktemp("completion"), free_port()
    archive = {"name": "orthanc", "host": "127.0.0.1", "port": port, "ae_title": "ARCHIVE", "results": []}
    settings = {
        "STUDY_QUIET_S": str(QUIET_S),
        "RELEASE_GRACE_S": "0.5",
        "COUNT_ARCHIVE": "orthanc",
        "WEB_WORKERS": "1",
        "LOW_WATER_MB": "0",
        "PATIENT_ISSUERS": '{"": "urn:consilium:completion-test"}',
        "PACS": json.dumps([archive]),
    }
    with (
        serving(folder, settings) as server,
        running_orthanc(folder / "orthanc", program, {"consilium": ("CONSILIUM", server.dicom_port)}, port=port),
    ):
        yield Site(server, port, folder)


def test_a_release_and_orthanc_s_count_close_a_study_before_its_quiet_time(site) -> None:
    files = site.files("1.2.3.1", 2)
    site.storescu(files, called="ARCHIVE")
    site.storescu(files)
    _, words, lines = site.until("1.2.3.1", lambda told: told[0] == "done")
    assert words == (
        "closed as revision 1: the sender released its association, and the archive counts 2 objects, as are here"
    )
    assert any("its sender released the association" in line for line in lines)


def test_a_sender_that_aborts_halfway_leaves_the_study_open_until_the_rest_is_here(site) -> None:
    files = site.files("1.2.3.2", 2)
    site.storescu(files, called="ARCHIVE")
    site.storescu(files[:1], abort=True)
    state, _, lines = site.until(
        "1.2.3.2", lambda told: any("broke its association off" in one for one in told[2])
    )
    assert state == "waiting"
    assert not any("released" in line for line in lines)
    site.storescu(files[1:])
    _, words, _ = site.until("1.2.3.2", lambda told: told[0] == "done")
    assert words.endswith("the archive counts 2 objects, as are here")


def test_an_archive_that_has_more_is_asked_again_until_the_rest_has_come(site) -> None:
    files = site.files("1.2.3.3", 3)
    site.storescu(files, called="ARCHIVE")
    site.storescu(files[:2])
    state, *_ = site.until("1.2.3.3", lambda told: any("counted 3 objects" in one for one in told[2]))
    assert state == "waiting"
    site.storescu(files[2:])
    site.until("1.2.3.3", lambda told: told[0] == "done")


def test_a_completed_step_closes_its_study_at_the_last_image_without_any_archive(site) -> None:
    files = site.files("1.2.3.4", 2)
    with stepping(site) as step:
        step(MPPS, status="IN PROGRESS", files=[])
        site.storescu(files[:1])
        step(MPPS, status="COMPLETED", files=files)
    _, _, lines = site.until("1.2.3.4", lambda told: any("lists 2 objects" in line for line in told[2]))
    assert "MPPS of CT1, completed, lists 2 objects, 1 of them not here" in lines
    site.storescu(files[1:])
    _, words, _ = site.until("1.2.3.4", lambda told: told[0] == "done")
    assert words == "closed as revision 1: all 2 objects that MPPS of CT1 lists are here"


@contextmanager
def stepping(site):
    """A modality that tells of its step for the study 1.2.3.4."""
    prepare_pynetdicom()  # as it comes it loses an answer now and then on a busy machine
    ae = AE(ae_title="CT1")
    ae.add_requested_context(MPPS)
    association = ae.associate("127.0.0.1", site.server.dicom_port, ae_title="CONSILIUM")
    assert association.is_established

    def step(sop_class, status, files) -> None:
        ds = Dataset()
        ds.PerformedProcedureStepStatus = status
        ds.PerformedSeriesSequence = [series_of(files)] if files else []
        if status == "IN PROGRESS":
            scheduled = Dataset()
            scheduled.StudyInstanceUID = "1.2.3.4"
            ds.ScheduledStepAttributesSequence = [scheduled]
            answer, _ = association.send_n_create(ds, sop_class, "1.2.3.4.99")
        else:
            answer, _ = association.send_n_set(ds, sop_class, "1.2.3.4.99")
        assert answer.Status == 0x0000

    try:
        yield step
    finally:
        association.release()


def series_of(files) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = "1.2.3.4.1"
    series.ReferencedImageSequence = []
    for number in range(len(files)):
        item = Dataset()
        item.ReferencedSOPClassUID = ComputedRadiographyImageStorage
        item.ReferencedSOPInstanceUID = str(
            cr_dataset(PIXELS, seed=f"1.2.3.4.{number}", Modality="OT").SOPInstanceUID
        )
        series.ReferencedImageSequence.append(item)
    return series
