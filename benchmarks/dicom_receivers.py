"""The receivers of the ingest benchmark, each started with an empty folder, and what a receiver has used.

Ours, Debian's Orthanc as it is configured out of the box (it flushes) and dcmtk's storescp (it does not). The
programs that are linked with dcmtk get TCP_NODELAY=1, without which they answer 20 instances a second.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.raw_peer import ConnectionEnded, echo
from tests.ports import free_port

READY_WITHIN_S = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Receiver:
    """A program that takes objects.

    command: (folder, DICOM port) -> command line. program: what must be installed.
    """

    name: str
    ae_title: str
    command: Callable[[Path, int], list[str]]
    program: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_installed(self) -> bool:
        """True when its program is on this machine."""
        return not self.program or _path(self.program) is not None


@dataclass(frozen=True, slots=True)
class Used:
    """What a receiver's processes have used, all together.

    cpu_s: processor time. peak_mb, now_mb: resident, the most and at present, what they share counted in each.
    own_mb: resident, what they share counted once (proc(5), Pss).
    """

    cpu_s: float
    peak_mb: float
    now_mb: float
    own_mb: float


def ours(name: str, settings: Mapping[str, str]) -> Receiver:
    """Return the receiving process of Consilium. settings: without their prefix."""

    def command(folder: Path, port: int) -> list[str]:
        return [sys.executable, "-m", "consilium", "dicom", "--data-dir", str(folder), "--dicom-port", str(port)]

    return Receiver(name, "CONSILIUM", command, environment={f"CONSILIUM_{k}": v for k, v in settings.items()})


def _orthanc(folder: Path, port: int) -> list[str]:
    settings = {
        "StorageDirectory": str(folder / "db"),
        "DicomPort": port,
        "HttpPort": free_port(),
        "DicomAet": "ORTHANC",
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    return [_path("Orthanc") or "Orthanc", str(folder / "orthanc.json")]


def _storescp(folder: Path, port: int) -> list[str]:
    # +B: bit for bit to the file, as received; --fork: a process for each association.
    return ["storescp", "+B", "--fork", "-pdu", "131072", "-od", str(folder), str(port)]


ORTHANC = Receiver("orthanc", "ORTHANC", _orthanc, "Orthanc", {"TCP_NODELAY": "1"})
STORESCP = Receiver("storescp", "STORESCP", _storescp, "storescp", {"TCP_NODELAY": "1"})


@contextmanager
def running(receiver: Receiver, folder: Path) -> Iterator[tuple[int, int]]:
    """Start a receiver in a new folder; yield (DICOM port, process ID) when it answers a C-ECHO.

    The folder stays, for the caller to remove when everything is measured: before ext4 makes a file it looks at
    each one that was removed in the last half minute, for up to 2 ms, and whoever comes next would pay for it.
    """
    folder.mkdir(parents=True)
    os.sync()  # what the one before has left in the page cache is not this one's to write
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONSILIUM_")}
    with (folder.parent / f"{receiver.name}.log").open("wb") as log:
        process = subprocess.Popen(
            receiver.command(folder, port), env=environment | receiver.environment, stdout=log, stderr=log
        )
    try:
        _wait_until_it_answers(receiver, port, process)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)


def used(pid: int) -> Used:
    """Return what a process and its descendants, the ended ones included, have used."""
    ticks, peak, now, own = 0, 0.0, 0.0, 0.0
    for one in processes_of(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            status = _fields(Path(f"/proc/{one}/status"))
            own += _megabytes(_fields(Path(f"/proc/{one}/smaps_rollup")), "Pss")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime (proc(5))
        peak += _megabytes(status, "VmHWM")  # an ended process that nobody waited for has none
        now += _megabytes(status, "VmRSS")
    return Used(ticks / _TICKS, peak, now, own)


def _fields(path: Path) -> dict[str, str]:
    return dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)


def _megabytes(fields: Mapping[str, str], name: str) -> float:
    return int(fields.get(name, "0").split()[0]) / 1024


def forget_peak(pid: int) -> None:
    """Let the peak of resident memory begin anew (proc(5), clear_refs)."""
    for one in processes_of(pid):
        Path(f"/proc/{one}/clear_refs").write_text("5")


def _path(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


def _wait_until_it_answers(receiver: Receiver, port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        try:
            echo(port, called=receiver.ae_title)
        except (OSError, ConnectionEnded):
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"{receiver.name} does not answer; see {receiver.name}.log")


def processes_of(pid: int) -> list[int]:
    """Return a process and its descendants."""
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            with suppress(FileNotFoundError, ProcessLookupError):  # the thread has just ended
                found += map(int, children.read_text().split())
    return found
