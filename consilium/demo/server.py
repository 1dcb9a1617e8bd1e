"""A server of its own for the demonstration: `consilium serve` on free ports in a temporary folder."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_WITHIN_S = 60.0  # a first start on a busy machine creates two databases
STOP_WITHIN_S = 12.0
LAST_LINES = 8


class DemoFailed(Exception):
    """The demonstration cannot go on; the text says why and where to look."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A started server. started_ms: from its start to its ready line."""

    base_url: str
    dicom_port: int
    pid: int
    log: Path
    started_ms: int

    def said_last(self) -> str:
        """Return the last lines of its log: the folder may be gone when somebody wants to look."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:])


@contextmanager
def running_server(folder: Path, settings: Mapping[str, str], *, keep: bool = False) -> Iterator[RunningServer]:
    """Start `consilium serve`, wait for its ready line, stop it at the end (unless `keep` and all went well)."""
    log_file = folder / "server.log"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CONSILIUM_")}
    command = [sys.executable, "-m", "consilium", "serve", "--http-port", "0", "--dicom-port", "0"]
    began = time.monotonic()
    with log_file.open("wb") as stderr:
        process = subprocess.Popen(
            [*command, "--data-dir", str(folder / "data")],
            env=environ | {f"CONSILIUM_{name}": value for name, value in settings.items()},
            stdout=subprocess.PIPE,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            start_new_session=keep,
        )
    stop = True
    try:
        ready = _ready_line(process, log_file)
        yield RunningServer(
            base_url=f"http://127.0.0.1:{ready['http_port']}",
            dicom_port=int(ready["dicom_port"]),
            pid=process.pid,
            log=log_file,
            started_ms=round((time.monotonic() - began) * 1000),
        )
        stop = not keep
    finally:
        if stop:
            _stop(process)


def _ready_line(process: subprocess.Popen[bytes], log_file: Path) -> dict[str, int]:
    if process.stdout is None:
        raise DemoFailed("the server was started without a pipe")
    readable, _, _ = select.select([process.stdout], [], [], START_WITHIN_S)
    line = process.stdout.readline() if readable else b""
    if not line:
        tail = log_file.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise DemoFailed(f"the server did not become ready; its log ends with:\n{tail}")
    ready: dict[str, int] = json.loads(line)
    return ready


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
