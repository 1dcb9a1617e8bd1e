"""From the last image's acknowledgement to the archive's acknowledgement of the SEG, and to the result in FHIR.

    python -m benchmarks.study --studies 21 --json

Milliseconds beyond the quiet time; "less_model" is without the step that decodes the image and runs the model as
well. The first study is the cold one and stands apart. Ends with one JSON object.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from pydicom.uid import ComprehensiveSRStorage, SegmentationStorage
from pynetdicom import AE, evt
from sqlalchemy import select

from benchmarks.crash import make_studies
from consilium.demo.server import running_server
from dicom_node.peer_library import prepare_pynetdicom
from dicom_node.testing import send_files
from record_store.audit import digest
from record_store.database import open_database
from record_store.tables import audit, study
from record_store.times import from_text

QUIET_S = 0.5
WITHIN_S = 120.0


class Archive:
    """A PACS that notes when it has answered for a SEG, and waits for nothing else."""

    def __init__(self) -> None:
        self.port = 0
        self._answered = threading.Condition()
        self._at: list[float] = []

    def on_sent(self, event: evt.Event) -> None:
        """Note a C-STORE response: this event comes just before its bytes go out."""
        command = event.message.command_set
        if command.CommandField == 0x8001 and command.AffectedSOPClassUID == SegmentationStorage:
            with self._answered:
                self._at.append(time.monotonic())
                self._answered.notify_all()

    def segmentation(self, number: int) -> float:
        """Return when the SEG of this number (from 0) was answered for, waiting for it."""
        with self._answered:
            if not self._answered.wait_for(lambda: len(self._at) > number, WITHIN_S):
                raise TimeoutError("no segmentation came")
            return self._at[number]


@contextmanager
def listening() -> Iterator[Archive]:
    """Run the archive on a free port."""
    prepare_pynetdicom()
    archive, ae = Archive(), AE(ae_title="PACS")
    ae.maximum_pdu_size = 0
    for sop_class in (SegmentationStorage, ComprehensiveSRStorage):
        ae.add_supported_context(sop_class)
    handlers = [(evt.EVT_C_STORE, lambda _event: 0x0000), (evt.EVT_DIMSE_SENT, archive.on_sent)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    archive.port = int(server.server_address[1])
    try:
        yield archive
    finally:
        server.shutdown()


def run(studies: int) -> dict[str, object]:
    """Push studies one after the other and return the figures."""
    with tempfile.TemporaryDirectory() as name, listening() as archive:
        folder = Path(name)
        files = make_studies(folder, studies)
        settings = {
            "STUDY_QUIET_S": str(QUIET_S),
            "WEB_WORKERS": "1",
            "PATIENT_ISSUERS": '{"": "urn:consilium:bench"}',
            "PACS": json.dumps([{"name": "pacs", "host": "127.0.0.1", "port": archive.port, "ae_title": "PACS"}]),
        }
        with (
            running_server(folder, settings) as server,
            httpx.Client(base_url=server.base_url, trust_env=False) as http,
        ):
            acknowledged, model, steps = [], [], _steps(http)
            for number, path in enumerate(files.values()):
                send_files([path], server.dicom_port)
                began = time.monotonic()
                acknowledged.append(archive.segmentation(number) - began - QUIET_S)
                now = _steps_of(http, number + 1)
                model.append(now["infer"] - steps["infer"])
                steps = now
        others = {step: round(1000 * seconds / studies, 1) for step, seconds in steps.items()}
        ready_ms, decided = server.started_ms, _decisions(folder / "data" / "consilium.db")
    less = [one - other for one, other in zip(acknowledged, model, strict=True)]
    return {
        "start_to_ready_ms": ready_ms,
        "seg_acknowledged_ms": figures(acknowledged),
        "seg_acknowledged_less_model_ms": figures(less),
        "step_ms_mean": others,
        "decided_after_quiet_time_ms": decided,
    }


def _decisions(path: Path) -> dict[str, object]:
    """Return how long after its quiet time each study was found complete, from the store's own times."""
    db = open_database(f"sqlite:///{path}")
    try:
        with db.read() as conn:
            received = conn.execute(select(study.c.study_uid, study.c.last_received_at)).all()
            closed = conn.execute(
                select(audit.c.subject, audit.c.at).where(audit.c.action == "study-closed")
            ).all()
    finally:
        db.dispose()
    at = {subject: from_text(when) for subject, when in closed}
    return figures([(at[digest(uid)] - from_text(last)).total_seconds() - QUIET_S for uid, last in received])


def figures(seconds: list[float]) -> dict[str, object]:
    """Return milliseconds: of the first one, and median and 95th percentile of the others."""
    millis = [round(1000 * value) for value in seconds]
    warm = sorted(millis[1:] or millis)
    p95 = warm[min(len(warm) - 1, -(-95 * len(warm) // 100) - 1)]
    return {"cold": millis[0], "p50": statistics.median(warm), "p95": p95, "all": millis}


def _steps(http: httpx.Client) -> dict[str, float]:
    """Return the seconds that each step has taken so far, 0 for one that was never begun."""
    found = dict.fromkeys(("read", "infer", "encode", "publish"), 0.0)
    for line in http.get("/metrics").text.splitlines():
        for step in found:
            if line.startswith(f'consilium_step_seconds_sum{{step="{step}"}} '):
                found[step] = float(line.rpartition(" ")[2])
    return found


def _steps_of(http: httpx.Client, published: int) -> dict[str, float]:
    """Return the same once so many studies have been published: the count is written just after the results."""
    wanted, until = f'consilium_step_seconds_count{{step="publish"}} {published:.1f}', time.monotonic() + WITHIN_S
    while wanted not in http.get("/metrics").text:
        if time.monotonic() > until:
            raise TimeoutError("the last study was not published")
        time.sleep(0.02)
    return _steps(http)


def main() -> None:
    """Run and print one JSON object at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=21)
    parser.add_argument("--json", action="store_true", help="Only the JSON object (it is all there is).")
    print(json.dumps(run(parser.parse_args().studies)))


if __name__ == "__main__":
    main()
