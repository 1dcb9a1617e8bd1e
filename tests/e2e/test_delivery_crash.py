"""A worker that is killed while it sends: what was answered is not sent again, and the rest arrives."""

import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import ComputedRadiographyImageStorage

from consilium.delivering import LEASE_S, Delivering
from dicom_node.destinations import Destination
from dicom_node.peer_library import prepare_pynetdicom
from dicom_node.scu import send_each
from dicom_node.testing import cr_dataset, write_dicom
from record_store import deliveries
from record_store.blobs import open_blobs
from record_store.database import open_database
from record_store.deliveries import RetryPolicy
from record_store.readings import ResultObject, add_result_object
from record_store.testing import database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def deliver(folder: str, port: int, later_s: float) -> None:
    """Send what is due in a worker's store, as the worker's lane does."""
    db = open_database(f"sqlite:///{folder}/consilium.db")
    delivering = Delivering(
        db=db,
        blobs=open_blobs(f"file://{folder}/blobs", Path(folder) / "incoming"),
        destinations={"pacs": Destination("pacs", "127.0.0.1", port, "PACS")},
        calling_ae="CONSILIUM",
        retry=RetryPolicy(),
        now=lambda: NOW + timedelta(seconds=later_s),
        send=send_each,
        observe=lambda destination, state: None,
    )
    delivering.deliver("pacs")
    db.dispose()


@pytest.fixture
def archive():
    """Yield (port, what arrived, third): an archive that keeps its third answer until told to give it."""
    prepare_pynetdicom()
    arrived, third, go_on = Counter(), threading.Event(), threading.Event()
    ae = AE(ae_title="PACS")
    ae.add_supported_context(ComputedRadiographyImageStorage)

    def on_store(event):
        arrived[str(event.request.AffectedSOPInstanceUID)] += 1
        if arrived.total() == 3:
            third.set()
            go_on.wait(60)
        return 0x0000

    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    yield server.server_address[1], arrived, third
    go_on.set()
    server.shutdown()


def test_a_killed_worker_leaves_each_answer_written_down_and_the_rest_due(tmp_path, archive) -> None:
    port, arrived, third = archive
    database(tmp_path).dispose()
    uids = _enqueue(tmp_path, 5)
    worker = subprocess.Popen([sys.executable, __file__, str(tmp_path), str(port)])
    try:
        assert third.wait(60)
    finally:
        worker.kill()
        worker.wait(20)
    assert _states(tmp_path) == dict(zip(uids, ["sent", "sent", "pending", "pending", "pending"], strict=True))
    deliver(str(tmp_path), port, LEASE_S - 1)  # the claim is the dead worker's until its lease is over
    assert arrived.total() == 3
    deliver(str(tmp_path), port, LEASE_S)
    assert set(_states(tmp_path).values()) == {"sent"}
    assert arrived == Counter(dict(zip(uids, [1, 1, 2, 1, 1], strict=True)))  # the third once without an answer


def _enqueue(folder, count: int) -> list[str]:
    db, blobs = (
        open_database(f"sqlite:///{folder}/consilium.db"),
        open_blobs(f"file://{folder}/blobs", Path(folder) / "incoming"),
    )
    uids = []
    for number in range(count):
        ds = cr_dataset(np.zeros((8, 8), np.uint16), seed=str(number))
        stored = blobs.put(write_dicom(ds, folder / "one.dcm").read_bytes())
        uids.append(str(ds.SOPInstanceUID))
        with db.write() as conn:
            row = ResultObject(uids[-1], "job", "SC", str(ds.SOPClassUID), "1.2.3", stored.sha256, NOW)
            add_result_object(conn, row)
            deliveries.enqueue(conn, uids[-1], "pacs", NOW)
    db.dispose()
    return uids


def _states(folder) -> dict[str, str]:
    db = open_database(f"sqlite:///{folder}/consilium.db")
    with db.read() as conn:
        found = {one.sop_instance_uid: one.state for one in deliveries.deliveries(conn)}
    db.dispose()
    return found


if __name__ == "__main__":  # the worker that is killed
    deliver(sys.argv[1], int(sys.argv[2]), 0)
