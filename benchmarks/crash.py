"""Kill web, dicom and worker at random while images arrive; then count what was lost and what was doubled.

    python -m benchmarks.crash --kills 50                       SQLite
    python -m benchmarks.crash --kills 50 --postgres            a PostgreSQL database of its own

The sender keeps a log of what was acknowledged with 0x0000. When everything has come to rest: every
acknowledged object is in the store with its bytes, every study has one finished job, one report, one SR, and
the archive holds exactly the objects that were made.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sqlalchemy import func, select

from consilium.demo.server import RunningServer, running_server
from consilium.supervise import children_state
from dicom_node.testing import ReceivedByAe, dx_dataset, listening_ae, radiograph_phantom, send_files, write_dicom
from record_store.blobs import open_blobs
from record_store.database import Database, open_database
from record_store.tables import delivery, instance, reading, resource, result_object, study, study_job
from record_store.testing import postgres_url

SETTLE_S = 180.0
PAUSE_S = 0.5


@dataclass(slots=True)
class Report:
    """What was counted. The lists name faults and are empty when all is well."""

    database: str
    kills: dict[str, int] = field(default_factory=dict)
    sent: int = 0
    acknowledged: int = 0
    attempts: int = 0
    lost: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def well(self) -> bool:
        """True when nothing was lost, doubled or left undone."""
        return not (self.lost or self.duplicates or self.unfinished) and self.acknowledged == self.sent


def make_studies(folder: Path, count: int) -> dict[str, Path]:
    """Write small synthetic radiographs, a study each; return SOP instance UID -> file."""
    files = {}
    for seed in range(count):
        pixels, truth = radiograph_phantom(seed, rows=256, columns=256)
        ds = dx_dataset(pixels, spacing_mm=truth.spacing_mm, seed=f"crash-{seed}")
        files[str(ds.SOPInstanceUID)] = write_dicom(ds, folder / f"{seed:04d}.dcm")
    return files


def push(files: dict[str, Path], port: int, report: Report, stop: threading.Event) -> None:
    """Send each file until it is acknowledged, as a modality would."""
    for path in files.values():
        while not stop.is_set():
            report.attempts += 1
            try:
                status = send_files([path], port)[0]
            except (ConnectionRefusedError, RuntimeError, OSError, ValueError):
                status = -1
            if status == 0:
                report.acknowledged += 1
                break
            time.sleep(0.1)
        stop.wait(PAUSE_S)  # so that the arrivals last as long as the killing


def kill_children(data_dir: Path, kills: int, rng: random.Random, report: Report) -> None:
    """SIGKILL a serving child at a time, chosen at random."""
    done: Counter[str] = Counter()
    while sum(done.values()) < kills:
        time.sleep(rng.uniform(0.05, 0.6))
        serving = [
            (role, child) for role, child in (children_state(data_dir) or {}).items() if child["state"] == "ready"
        ]
        if not serving:
            continue
        role, child = rng.choice(serving)
        try:
            os.kill(int(str(child["pid"])), signal.SIGKILL)
        except ProcessLookupError:
            continue
        done[role] += 1
    report.kills = dict(done)


def wait_until_settled(db: Database, expected: int) -> None:
    """Return when every study's job is finished and every delivery sent, or when the time is over."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        with db.read() as conn:
            done = conn.execute(select(func.count()).where(study_job.c.state == "done")).scalar_one()
            waiting = conn.execute(select(func.count()).where(delivery.c.state == "pending")).scalar_one()
        if done >= expected and not waiting:
            return
        time.sleep(0.2)


def inspect(db: Database, folder: Path, files: dict[str, Path], archive: ReceivedByAe, report: Report) -> None:
    """Compare what was acknowledged with what is there."""
    blobs = open_blobs(f"file://{folder / 'data' / 'blobs'}", folder / "data" / "incoming")
    with db.read() as conn:
        stored = {row[0]: row[1] for row in conn.execute(select(instance.c.sop_instance_uid, instance.c.sha256))}
        jobs = conn.execute(select(study_job.c.study_uid, study_job.c.state)).all()
        studies = set(conn.execute(select(study.c.study_uid)).scalars())
        readings = Counter(conn.execute(select(reading.c.job_key)).scalars())
        made = conn.execute(select(result_object.c.sop_instance_uid, result_object.c.kind)).all()
        reports = conn.execute(select(func.count()).where(resource.c.type == "DiagnosticReport")).scalar_one()
        unsent = conn.execute(select(delivery.c.state).where(delivery.c.state != "sent")).scalars().all()
    for sop in files:
        if sop not in stored:
            report.lost.append(f"instance {sop[-8:]} has no row")
            continue
        with blobs.local_path(stored[sop]):  # raises when the bytes are not those of the hash
            pass
    by_study = Counter(uid for uid, _ in jobs)
    report.duplicates += [f"study {uid[-8:]} has {n} jobs" for uid, n in by_study.items() if n != 1]
    report.duplicates += [f"job {key[:8]} has {n} readings" for key, n in readings.items() if n != 1]
    report.unfinished += [f"study {uid[-8:]} is {state}" for uid, state in jobs if state != "done"]
    report.unfinished += [f"study {uid[-8:]} has no job" for uid in studies - set(by_study)]
    report.unfinished += [f"a delivery is {state}" for state in unsent]
    reports_of_sr = sum(kind == "SR" for _, kind in made)
    if not reports == reports_of_sr == len(files):
        report.duplicates.append(f"{len(files)} studies, {reports} DiagnosticReports, {reports_of_sr} SRs")
    arrived = {str(ds.SOPInstanceUID) for ds in archive.objects}
    if arrived != {sop for sop, _ in made}:
        report.lost.append(f"{len(made)} results made, {len(arrived)} at the archive")


@contextmanager
def _database_setting(postgres: bool) -> Iterator[str | None]:
    if not postgres:
        yield None
        return
    with postgres_url() as url:
        yield url


def run(*, kills: int, studies: int, postgres: bool, seed: int = 1) -> Report:
    """Carry out one run and return what was counted."""
    report = Report("postgresql" if postgres else "sqlite", sent=studies)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name, _database_setting(postgres) as url, listening_ae() as archive:
        folder = Path(name)
        files = make_studies(folder, studies)
        settings = {
            "STUDY_QUIET_S": "0.5",
            "WEB_WORKERS": "1",
            "EXECUTOR_SILENCE_S": "3",
            "DELIVERY_FIRST_WAIT_S": "0.2",
            "DELIVERY_ATTEMPTS": "50",
            "PATIENT_ISSUERS": '{"": "urn:consilium:crash-test"}',
            "PACS": json.dumps([{"name": "pacs", "host": "127.0.0.1", "port": archive.port, "ae_title": "PACS"}]),
        } | ({"DATABASE_URL": url} if url else {})
        with running_server(folder, settings) as server:
            _storm(server, folder, files, kills, seed, report)
            db = open_database(url or f"sqlite:///{folder / 'data' / 'consilium.db'}")
            try:
                wait_until_settled(db, studies)
                inspect(db, folder, files, archive, report)
            finally:
                db.dispose()
        if not report.well:
            sys.stderr.write(server.log.read_text(encoding="utf-8", errors="replace")[-6000:])
    report.seconds = round(time.monotonic() - began, 1)
    return report


def _storm(
    server: RunningServer, folder: Path, files: dict[str, Path], kills: int, seed: int, report: Report
) -> None:
    stop = threading.Event()
    sender = threading.Thread(target=push, args=(files, server.dicom_port, report, stop))
    sender.start()
    kill_children(folder / "data", kills, random.Random(seed), report)
    sender.join(120)
    stop.set()
    sender.join()


def main() -> None:
    """Run and print the counts as JSON; exit code 1 when something was lost, doubled or left undone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    report = run(kills=given.kills, studies=given.studies, postgres=given.postgres, seed=given.seed)
    print(json.dumps(asdict(report)))
    sys.exit(0 if report.well else 1)


if __name__ == "__main__":
    main()
