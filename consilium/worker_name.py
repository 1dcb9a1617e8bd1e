"""One worker for each name: to the job engine two of one name are one, and run each other's jobs a second time.

On one machine a lock on a file of the data folder keeps the name. Workers on other machines beat in the database:
a beat that this folder's workers did not write is awaited to stop, or to come again.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from clinical.errors import Busy, IncorrectInput
from consilium.folder_locks import lock, open_lock
from record_store import executors
from record_store.database import Database

LOCKED_WITHIN_S = 1.0  # a process that is being started keeps its parent's files open for a moment
LOOK_S = 0.2

log = structlog.get_logger()


class WorkerName:
    """The name of a worker, as this process holds it."""

    def __init__(
        self,
        folder: Path,
        name: str,
        rest: Callable[[], None] = lambda: time.sleep(LOOK_S),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the name on this machine. Raises Busy when another process has it, IncorrectInput of its file."""
        self._name, self._rest, self._now = name, rest, monotonic
        self._descriptor = _opened(folder / f"worker-{name}.lock")
        try:
            lock(self._descriptor, LOCKED_WITHIN_S)
        except BlockingIOError:
            pid = self._read()[:1]
            os.close(self._descriptor)
            raise self._taken(f"runs in this data folder (process {pid[0] if pid else 'unknown'})") from None
        except OSError as error:  # a network file system without locks
            log.warning("the name of the worker cannot be locked", why=error.strerror, executor=name)
        self._last_here = self._read()[1:]
        self._write(str(os.getpid()), *self._last_here)

    def await_silence(self, db: Database, silence_s: float) -> None:
        """Return when nobody beats under the name. Raises Busy when somebody does.

        The last beat of this folder's workers is nobody's any more: who wrote it held the name.
        """
        first = self._heard(db, silence_s)
        if first is None or [repr(first)] == self._last_here:
            return
        log.warning("a worker of this name was heard elsewhere a moment ago", executor=self._name)
        until = self._now() + silence_s  # by a clock of our own: the database's may have been set back
        while (heard := self._heard(db, silence_s)) is not None:
            if heard != first:
                raise self._taken("beats in the database, from another machine or data folder")
            if self._now() >= until:
                return
            self._rest()

    def beaten(self, beat_at: float) -> None:
        """Note a beat of this process, so that the next one here knows it."""
        self._write(str(os.getpid()), repr(beat_at))

    def close(self) -> None:
        """Give the name up on this machine."""
        os.close(self._descriptor)

    def _heard(self, db: Database, silence_s: float) -> float | None:
        with db.read() as conn:
            return executors.heard(conn, self._name, silence_s)

    def _taken(self, where: str) -> Busy:
        return Busy(
            f"CONSILIUM_EXECUTOR_ID: a worker named {self._name} {where}; end it, or give this one another name"
        )

    def _read(self) -> list[str]:
        return os.pread(self._descriptor, 100, 0).decode(errors="replace").split()

    def _write(self, *words: str) -> None:
        with suppress(OSError):  # a full disk: the next start here waits for silence
            line = " ".join(words).ljust(40) + "\n"
            os.pwrite(self._descriptor, line.encode(), 0)


def _opened(file: Path) -> int:
    try:
        return open_lock(file)
    except OSError as error:  # another account's, as of somebody who tried the worker as root
        raise IncorrectInput(
            f"CONSILIUM_DATA_DIR: its file {file.name} cannot be opened ({error.strerror}); "
            "the account that runs the worker has to own it"
        ) from None
