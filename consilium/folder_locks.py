"""Locks on files of a data folder: who runs here, for as long as any process lives that holds the descriptor.

flock(2) belongs to the open file: a copy of the descriptor in a child holds it too, and no death leaves it locked.
"""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

LOOK_S = 0.05
ENDING_S = 12.0  # in which the children of a killed parent have ended: they take 8 s at most


def open_lock(path: Path) -> int:
    """Return a descriptor of a lock's file; OSError when it cannot be made."""
    return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)


def lock(descriptor: int, within_s: float = 0.0, waits: Callable[[], None] = lambda: None) -> None:
    """Take a lock; waits: called when it has to be waited for. Raises BlockingIOError, OSError without locks."""
    until = time.monotonic() + within_s
    is_told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            if not is_told:
                waits()
                is_told = True
            time.sleep(LOOK_S)
        else:
            return
