"""kill -9 of the receiving processes at random moments while objects arrive on four associations; then the count.

    python -m benchmarks.dicom_crash --kills 1000        half a second each

The sender sends each object until it is answered, as a modality would, and keeps what was answered with Success.
Killed are, by chance: all processes, in any order (some before they are ready, while they restore and sweep what
was left before); one that receives or all that do, while the others go on, until as many receive again; the one
that forks those; the one that listens, so that the next starts beside what is left of it. After the last kill and
one more start: every acknowledged object has a row, every row has the bytes that were sent, and nothing lies in
the store that no row names.
"""

import argparse
import ctypes
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from pydicom.uid import ComputedRadiographyImageStorage
from pynetdicom.dsutils import encode
from sqlalchemy import select

from benchmarks.dicom_receivers import processes_of
from benchmarks.raw_peer import EXPLICIT, ConnectionEnded, RawPeer, message, store_command
from consilium.roles import run_dicom
from consilium.settings import Settings, load_settings
from consilium.wiring import House
from dicom_node.testing import cr_dataset
from record_store.tables import instance
from tests.ports import free_port

SENDERS = 4
LONGEST_LIFE_S = 0.4  # how long a process may receive before it is killed
STARTING_S = 0.25  # how long it takes to be ready
RECEIVERS = 2  # each fills a journal of 64 MB when it starts
WHAT = {  # how often, of twelve
    "all": 3,
    "all before ready": 2,
    "one that receives": 2,
    "all that receive": 2,
    "the one that forks": 1,
    "the one that listens": 2,
}
REPLACED_WITHIN_S = 10.0
OUT_OF_RESOURCES = 0xA700
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_CR = str(ComputedRadiographyImageStorage)
_TEMPLATE_UID = "2.25.100000000"
_ROOT = "2.25.1"  # of the objects' UIDs: the number of the sender and of the object follow
_PIXELS = b"\xe0\x7f\x10\0OW"
# Imported once here and not by every process that is forked: it should receive for most of its life.
_IMPORTED = ("consilium.node_services", "consilium.securing", "consilium.witnessing", "dicom_node.scp")


@dataclass(slots=True)
class Count:
    """What was found. The lists are empty when all is well."""

    kills: int
    killed: dict[str, int] = field(default_factory=dict)
    replaced: int = 0
    acknowledged: int = 0
    tried_again: int = 0
    rows: int = 0
    lost: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    parts: int = 0
    seconds: float = 0.0

    @property
    def well(self) -> bool:
        """True when nothing was lost, torn or left over."""
        return not (self.lost or self.torn or self.orphans or self.parts)


class Sender(threading.Thread):
    """Sends objects of changing size for ever, each until it is answered. Runs in a process of its own."""

    def __init__(self, number: int, port: int, acknowledged: int) -> None:
        super().__init__(daemon=True)
        self._number, self._port, self._acknowledged = number, port, acknowledged

    def run(self) -> None:
        """Send until the process ends."""
        sent = 0
        while True:
            with suppress(OSError, ConnectionEnded), RawPeer(self._port, answer_within_s=20) as peer:
                peer.associate({1: (_CR, (EXPLICIT,))})
                while True:
                    uid = f"{_ROOT}{self._number}{sent:07d}"
                    peer.send(message(1, store_command(_CR, uid), data_set(uid), peer.maximum_length))
                    status = peer.read_status()
                    os.write(self._acknowledged, f"{status:04X} {uid}\n".encode())
                    if status not in {0, OUT_OF_RESOURCES}:
                        raise AssertionError(f"answered with 0x{status:04X}")
                    sent += status == 0
            time.sleep(0.01)


def data_set(uid: str) -> bytes:
    """Return the data set of this instance, the same each time; its sender's number is its study."""
    draw = random.Random(uid)
    size = 2 * draw.randrange(500, 150_000)
    # Encapsulated Document, before the pixels: the object's size.
    filling = b"\x42\0\x11\0OB\0\0" + size.to_bytes(4, "little") + draw.randbytes(size)
    template = _template(uid.removeprefix(_ROOT)[0])
    head, mark, tail = template.replace(_TEMPLATE_UID.encode(), uid.encode()).rpartition(_PIXELS)
    return head + filling + mark + tail


@cache
def _template(number: str) -> bytes:
    ds = cr_dataset(
        np.zeros((16, 16), np.uint16), SOPInstanceUID=_TEMPLATE_UID, StudyInstanceUID=f"2.25.7{number}"
    )
    return bytes(encode(ds, is_implicit_vr=False, is_little_endian=True) or b"")


def in_a_process(run: object) -> int:
    """Fork; run it in the child and end there; return the child's process ID."""
    pid = os.fork()
    if pid:
        return pid
    try:
        run()  # type: ignore[operator]
    finally:
        os._exit(1)


def storm(settings: Settings, folder: Path, count: Count, seed: int) -> Path:
    """Kill so often in a row; return the file of what was answered."""
    answered = folder / "answered"
    descriptor = os.open(answered, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    sender = in_a_process(lambda: _send(settings.dicom_port, descriptor))
    draw = random.Random(seed)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        while sum(count.killed.values()) < count.kills:
            (what,) = draw.choices(list(WHAT), list(WHAT.values()))
            count.killed[what] = count.killed.get(what, 0) + 1
            count.replaced += _one_life(settings, what, draw)
    finally:
        os.kill(sender, signal.SIGKILL)
        with suppress(ChildProcessError):  # who received for a listening process that was killed ends by itself
            while True:
                os.wait()
        os.close(descriptor)
    return answered


def _one_life(settings: Settings, what: str, draw: random.Random) -> int:
    """Start, and kill once; return how many were replaced meanwhile."""
    listening, ready = _start(settings)
    if what == "all before ready":
        time.sleep(draw.uniform(0, STARTING_S))
    else:
        os.read(ready, 1)
        time.sleep(draw.uniform(0, LONGEST_LIFE_S))
    os.close(ready)
    killed = _victims(processes_of(listening), what, draw)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    if what != "the one that forks":
        _wait_for_others(listening, killed)
    if killed:
        time.sleep(draw.uniform(0, LONGEST_LIFE_S))
    pids = processes_of(listening)
    draw.shuffle(pids)
    for pid in [listening] if what == "the one that listens" else pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os.waitpid(listening, 0)
    return len(killed) if what != "the one that forks" else 0


def _victims(pids: Sequence[int], what: str, draw: random.Random) -> Sequence[int]:
    """Return whom to kill while the others go on. pids: who listens, who forks, who receives."""
    match what:
        case "one that receives":
            return [draw.choice(pids[2:])]
        case "all that receive":
            return pids[2:]
        case "the one that forks":
            return [pids[1]]
    return []


def _wait_for_others(listening: int, killed: Sequence[int]) -> None:
    until = time.monotonic() + REPLACED_WITHIN_S
    while killed and len({*processes_of(listening)} - {*killed}) < 2 + RECEIVERS:
        if time.monotonic() > until:
            raise SystemExit("a receiver was not replaced")
        time.sleep(0.01)


def _send(port: int, descriptor: int) -> None:
    for number in range(SENDERS):
        Sender(number, port, descriptor).start()
    threading.Event().wait()


def _start(settings: Settings) -> tuple[int, int]:
    """Start the listening process; return its ID and a descriptor on which it says that it is ready."""
    readable, writable = os.pipe()

    def run() -> None:
        os.environ["CONSILIUM_STATUS_FD"] = str(writable)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 2)
        run_dicom(settings)

    pid = in_a_process(run)
    os.close(writable)
    return pid, readable


def examine(settings: Settings, answered: Path, count: Count) -> None:
    """Start once more, so that what a crash left is swept, and compare what is there with what was answered."""
    pid, ready = _start(settings)
    os.read(ready, 1)
    os.close(ready)
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
    house = House(settings)
    said = [line.split() for line in answered.read_text().splitlines()]
    count.tried_again = sum(status != "0000" for status, _ in said)
    acknowledged = {uid for status, uid in said if status == "0000"}
    with house.db.read() as conn:
        rows = {row[0]: row[1] for row in conn.execute(select(instance.c.sop_instance_uid, instance.c.sha256))}
    count.acknowledged, count.rows = len(acknowledged), len(rows)
    count.lost = sorted(acknowledged - rows.keys())
    for uid, sha256 in rows.items():
        try:
            with house.blobs.local_path(sha256) as path:  # raises unless the bytes are those of the hash
                if not path.read_bytes().endswith(data_set(uid)):
                    count.torn.append(uid)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            count.torn.append(f"{uid}: {type(error).__name__}")
    blobs = {path.name for path in (settings.data_dir / "blobs").rglob("*") if path.is_file()}
    count.orphans = sorted(blobs - set(rows.values()))
    house.blobs.sweep(0)
    count.parts = len(list(house.blobs.staging.glob("*.part")))
    house.db.dispose()


def run(*, kills: int, folder: Path, seed: int = 1) -> Count:
    """Carry out one run and return what was counted."""
    began = time.monotonic()
    for name in _IMPORTED:
        importlib.import_module(name)
    settings = load_settings(data_dir=folder / "data", dicom_port=free_port(), dicom_receivers=RECEIVERS)
    settings.data_dir.mkdir()
    count = Count(kills)
    examine(settings, storm(settings, folder, count, seed), count)
    count.seconds = round(time.monotonic() - began, 1)
    return count


def main() -> None:
    """Run and print the counts as JSON; exit code 1 when something was lost, torn or left over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        count = run(kills=given.kills, folder=Path(name), seed=given.seed)
    print(json.dumps(asdict(count)))
    sys.exit(0 if count.well else 1)


if __name__ == "__main__":
    main()
