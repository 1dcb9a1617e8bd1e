"""The process that receives images holds what receiving needs: objects go through it and do not stay in it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from pynetdicom import AE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import StorageCommitmentPushModel

from benchmarks.dicom_receivers import processes_of, used
from benchmarks.raw_peer import RawPeer, message, store_command
from consilium.settings import load_settings
from consilium.wiring import prepare_storage
from dicom_node.testing import cr_dataset

pytestmark = pytest.mark.slow

CR, EXPLICIT = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.1.2.1"
OF_OTHERS = {"PIL", "alembic", "gdcm", "numpy", "onnxruntime", "pydicom", "pygments", "pynetdicom", "typer"}
SENDERS, OBJECTS, SIDE = 4, 20, 512
# The goal is 64 MB and a buffer of 1 MB for each association; numpy and pydicom alone would be 60 more. Processes
# that receive for it each write to what they share with the one that they were forked from.
MOST_MB = {0: 64 + SENDERS + 12, 4: 64 + SENDERS + 4 * 16}


@contextmanager
def receiver(folder: Path, *options: str):
    """Yield its process id and port, on a database that is up to date."""
    prepare_storage(load_settings(data_dir=folder))
    reading, writing = os.pipe()
    environ = os.environ | {"CONSILIUM_STATUS_FD": str(writing), "CONSILIUM_LOW_WATER_MB": "0"}
    command = [sys.executable, *options, "-m", "consilium", "dicom", "--data-dir", folder, "--dicom-port", "0"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, pass_fds=(writing,), stderr=log)
    os.close(writing)
    try:
        yield process.pid, json.loads(os.read(reading, 4096))["port"]
    finally:
        os.close(reading)
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@contextmanager
def sender(port: int):
    with RawPeer(port) as peer:
        peer.associate({1: (CR, (EXPLICIT,))})
        yield peer


def store(peer: RawPeer, seed: str) -> int:
    ds = cr_dataset(np.zeros((SIDE, SIDE), np.uint16), seed=seed, PatientID=f"Müller-{seed}")
    data = encode(ds, is_implicit_vr=False, is_little_endian=True)
    peer.send(message(1, store_command(CR, str(ds.SOPInstanceUID)), data, peer.maximum_length))
    return peer.read_status()


def imported(folder: Path) -> set[str]:
    """Return the packages of which `-X importtime` says that they were imported."""
    return set(re.findall(r"^import time:.*\| +(\w+)", (folder / "log").read_text(), re.MULTILINE))


def test_storing_needs_no_library_of_others_and_the_first_service_beside_it_loads_its_own(tmp_path):
    with receiver(tmp_path, "-X", "importtime") as (_, port):
        with sender(port) as peer:
            assert store(peer, "one") == 0
        assert imported(tmp_path) & OF_OTHERS == set()
        ae = AE("ASKS")
        ae.add_requested_context(StorageCommitmentPushModel)
        association = ae.associate("127.0.0.1", port, ae_title="CONSILIUM")
        assert association.is_established
        association.release()
        assert imported(tmp_path) & OF_OTHERS >= {"pydicom", "pynetdicom"}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("receivers", MOST_MB)
def test_objects_on_four_associations_take_no_more_memory_than_a_buffer_for_each(tmp_path, monkeypatch, receivers):
    monkeypatch.setenv("CONSILIUM_DICOM_RECEIVERS", str(receivers))
    with receiver(tmp_path) as (pid, port), ExitStack() as stack, ThreadPoolExecutor(SENDERS) as threads:
        peers = [stack.enter_context(sender(port)) for _ in range(SENDERS)]

        def bring(number: int) -> list[int]:
            return [store(peers[number], f"{number}-{one}") for one in range(OBJECTS)]

        assert [*threads.map(bring, range(SENDERS))] == [[0] * OBJECTS] * SENDERS
        assert 20 < used(pid).own_mb < MOST_MB[receivers]


def who_is_there(pid: int, known: set[int], number: int) -> list[int]:
    """Return the processes beside some known ones, when there are so many."""
    until = time.monotonic() + 30
    while len(there := [one for one in processes_of(pid)[1:] if one not in known]) != number:
        assert time.monotonic() < until, there
        time.sleep(0.02)
    return there


@pytest.mark.skipif(sys.platform != "linux", reason="processes are read from /proc")
def test_receivers_come_again_although_the_process_that_forks_them_was_killed_too(tmp_path, monkeypatch):
    monkeypatch.setenv("CONSILIUM_DICOM_RECEIVERS", "2")
    with receiver(tmp_path) as (pid, port), sender(port) as peer:
        first = set(processes_of(pid)[1:])
        assert store(peer, "before") == 0
        zygote = processes_of(pid)[1]
        os.kill(zygote, signal.SIGKILL)
        assert store(peer, "while nobody forks") == 0
        for one in first - {zygote}:
            os.kill(one, signal.SIGKILL)
        there = who_is_there(pid, first, 3)
        with sender(port) as another:
            assert store(another, "after") == 0
    assert not any(Path(f"/proc/{one}").exists() for one in there)
    assert "who forks receiving processes was replaced" in (tmp_path / "log").read_text()
