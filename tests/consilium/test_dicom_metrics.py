"""Each caller of the DICOM node is counted by its AE title, and ever new titles make no new series."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TOP = Path(__file__).parents[2]
SEEN = """
from consilium import drift_metrics
from consilium.dicom_metrics import DicomMetrics
from dicom_node.scp import AssociationSeen, ReceiversSeen, ReceivingBegun, RefusalSeen, StoreSeen

DicomMetrics(["MR1"])(ReceivingBegun())
observe = DicomMetrics(["CT1"])
for number in range(300):
    observe(AssociationSeen(f"SCANNER{number}", "accepted"))
observe(AssociationSeen("CT1", "released"))
observe(StoreSeen("CT1", "new", 0x0000, 1000, 0.004))
observe(StoreSeen("CT1", "busy", 0xA700, 500, 0.2))
observe(RefusalSeen("somebody"))
for ready, died in ((4, ""), (3, "SIGKILL"), (2, "SIGKILL"), (3, "")):
    observe(ReceiversSeen(ready, died))
print(drift_metrics.exposition([]).decode())
"""


@pytest.fixture(scope="module")
def exposed(tmp_path_factory) -> dict[str, float]:
    # In a process of its own: prometheus_client reads its folder when it is imported.
    folder = str(tmp_path_factory.mktemp("metrics"))
    out = subprocess.run(
        [sys.executable, "-c", SEEN],
        cwd=TOP,
        env={"PROMETHEUS_MULTIPROC_DIR": folder, "PATH": os.environ["PATH"]},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    rows = (line.rpartition(" ") for line in out.splitlines() if line.startswith("consilium_dicom_"))
    return {name: float(value) for name, _, value in rows}


def test_objects_bytes_and_time_to_the_answer_are_told_apart_by_caller(exposed) -> None:
    assert exposed['consilium_dicom_instances_total{calling_ae="CT1",dimse_status="0x0000"}'] == 1
    assert exposed['consilium_dicom_instances_total{calling_ae="CT1",dimse_status="0xA700"}'] == 1
    assert exposed['consilium_dicom_bytes_total{calling_ae="CT1"}'] == 1500
    assert exposed['consilium_dicom_store_seconds_count{calling_ae="CT1"}'] == 2
    assert exposed['consilium_dicom_associations_total{calling_ae="CT1",outcome="released"}'] == 1
    assert exposed['consilium_dicom_refused_total{why="somebody"}'] == 1


def test_how_many_receive_and_how_others_died_is_counted(exposed) -> None:
    assert exposed["consilium_dicom_receivers"] == 3
    assert exposed['consilium_dicom_receivers_died_total{how="SIGKILL"}'] == 2


def test_a_stranger_with_ever_new_titles_makes_a_hundred_series_and_no_more(exposed) -> None:
    accepted = {name: value for name, value in exposed.items() if 'outcome="accepted"' in name}
    assert len(accepted) == 100
    assert accepted['consilium_dicom_associations_total{calling_ae="(others)",outcome="accepted"}'] == 201
    assert sum(accepted.values()) == 300


def test_whoever_is_known_has_a_series_at_zero_before_anything_came(exposed) -> None:
    for caller in ("MR1", "(others)"):
        assert exposed[f'consilium_dicom_instances_total{{calling_ae="{caller}",dimse_status="0x0000"}}'] == 0
        assert exposed[f'consilium_dicom_store_seconds_count{{calling_ae="{caller}"}}'] == 0
