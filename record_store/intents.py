"""Which objects are between their file and their row: what a crash leaves there is found again and removed.

Before its files get their names in the blob store, a batch writes the names into a file of its own in the staging
folder; when the rows are committed they are taken out. A process that is killed between leaves them, and `sweep`
removes the objects that no row names. Nobody is in between while it looks: takers hold a shared lock (released
by the system when they die), it holds the exclusive one. So it can neither miss an orphan nor remove an object
that another process is just taking.
"""

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, select

from record_store.database import Database
from record_store.os_errors import os_errors
from record_store.tables import instance, reading, result_object

_LOCK, _SUFFIX = "taking.lock", ".taking"
_NAME_BYTES = 65  # a sha256 in hexadecimal and a newline


class Intents:
    """Those of one process. Files are made at the first use, after any fork."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._lock = self._names = -1

    @contextmanager
    def taking(self, names: Sequence[str]) -> Iterator[set[str]]:
        """Hold the names while their rows are written; yield a set for those that get no row.

        What is put into it, or every name when an error leaves, is kept for the sweep.
        """
        with os_errors():
            if self._lock < 0:
                self._lock = _open(self._staging / _LOCK)
            fcntl.flock(self._lock, fcntl.LOCK_SH)
        try:
            with os_errors():
                # Gone: the sweep has removed it while we were idle.
                if self._names < 0 or os.fstat(self._names).st_nlink == 0:
                    self._renew()
                os.pwrite(self._names, "".join(f"{name}\n" for name in names).encode(), 0)
            without_row: set[str] = set()
            yield without_row
            with os_errors():
                if without_row:
                    self._renew()
                else:
                    os.ftruncate(self._names, 0)
        except BaseException:
            with suppress(OSError):
                self._renew()
            raise
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the files; what stands in them is the sweep's."""
        for one in (self._lock, self._names):
            if one >= 0:
                os.close(one)
        self._lock = self._names = -1

    def _renew(self) -> None:
        if self._names >= 0:
            os.close(self._names)
            self._names = -1
        self._names = _open(self._staging / f"{uuid.uuid4().hex}{_SUFFIX}")


@contextmanager
def no_sweep(staging: Path) -> Iterator[None]:
    """Hold off `sweep`: what a row names within the block is not found without one and removed afterwards."""
    with os_errors():
        lock = _open(staging / _LOCK)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield
    finally:
        os.close(lock)


def sweep(db: Database, staging: Path, remove: Callable[[str], None]) -> int:
    """Remove objects that were stored for a row that never came; return how many.

    remove: as `Blobs.remove`. Raises Busy or Fault when store or database is away; what is left is for the next.
    """
    with os_errors():
        lock = _open(staging / _LOCK)
    removed = 0
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for file in sorted(staging.glob(f"*{_SUFFIX}")):
            with os_errors():
                names = file.read_text("ascii", "replace").split("\n")
            for name in (one for one in names if len(one) == _NAME_BYTES - 1):
                with db.read() as conn:
                    named = _is_named(conn, name)
                if not named:
                    remove(name)
                    removed += 1
            with os_errors():
                file.unlink()
    finally:
        os.close(lock)
    return removed


def _is_named(conn: Connection, sha256: str) -> bool:
    columns = (instance.c.sha256, reading.c.mask_sha256, result_object.c.sha256)
    return any(conn.execute(select(one).where(one == sha256).limit(1)).first() is not None for one in columns)


def _open(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
