"""Reading in shadow happens in a process of its own, beside the worker: a new model can end only that.

The worker starts it when the rules name models, and again when it has ended. It has a lower priority for the
processor, waits while live jobs wait, and ends with the worker.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic

import structlog

from consilium.shadow.models import shadow_models_of
from consilium.shadow.owners import this_process
from consilium.shadow.reading import ShadowReader
from consilium.shadow.traffic import POLL_S, Traffic, live_first
from consilium.supervise import end_with_parent
from consilium.wiring import House
from consilium.worker import Loop

NICER = 15  # of 19: it gets what the others leave
FIRST_REST_S, LONGEST_REST_S = 1.0, 300.0
HEALTHY_AFTER_S = 60.0
STOP_WITHIN_S = 2.0
log = structlog.get_logger()


def command_of(data_dir: Path) -> list[str]:
    """Return the command line of the process, as a child of this one."""
    parent = str(os.getpid())
    return [sys.executable, "-m", "consilium", "study", "shadow", "--data-dir", str(data_dir), "--parent", parent]


class ShadowProcess:
    """The process, as the worker sees it."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start nothing yet. environ: of this process; what belongs to its parent is not handed on."""
        kept = {name: value for name, value in environ.items() if name != "CONSILIUM_STATUS_FD"}
        self._command, self._environ = list(command), kept
        self._process: subprocess.Popen[bytes] | None = None
        self._began = self._again_at = 0.0
        self._rest_s = FIRST_REST_S

    def watch(self) -> int:
        """Start it when it does not run, with a growing rest after it has ended early; return 1 when it starts."""
        if self._process is not None and self._process.poll() is None:
            return 0
        if self._process is not None:
            self._ended(self._process.returncode)
        if monotonic() < self._again_at:
            return 0
        self._process = subprocess.Popen(self._command, env=self._environ, stdin=subprocess.DEVNULL)
        self._began = monotonic()
        return 1

    def ask_to_stop(self) -> None:
        """Ask it to end after the image in hand."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, timeout_s: float) -> None:
        """End it, within a time: what it has in hand is read another time."""
        if self._process is None:
            return
        self.ask_to_stop()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ended(self, code: int) -> None:
        healthy = monotonic() - self._began > HEALTHY_AFTER_S
        self._rest_s = FIRST_REST_S if healthy else min(2 * self._rest_s, LONGEST_REST_S)
        self._again_at, self._process = monotonic() + self._rest_s, None
        log.warning("shadow process ended", exit_code=code, wait_s=self._rest_s)


def run_shadow(house: House, parent: int | None) -> None:
    """Read what arrives until SIGTERM. parent: the worker that started this process, which ends with it."""
    if parent is not None:
        end_with_parent()
    os.nice(NICER)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    models = shadow_models_of(house)
    reader = reader_of(house, stopping)
    named = [models.named(one) for one in house.settings.rules().shadow]
    loop = Loop("shadow", Traffic(house.db, reader, named, house.now).once, POLL_S)
    loop.start()
    while not stopping.wait(1.0):
        if parent is not None and os.getppid() != parent:
            stopping.set()
    loop.stop(STOP_WITHIN_S)
    house.decoder.close()


def reader_of(house: House, stopping: threading.Event) -> ShadowReader:
    """Return what reads for this process."""
    return ShadowReader(
        db=house.db,
        selecting=house.selecting,
        blobs=house.blobs,
        decoder=lambda: house.decoder,
        now=house.now,
        owner=this_process(),
        goes_on=live_first(house.db, house.now, stopping),
    )
