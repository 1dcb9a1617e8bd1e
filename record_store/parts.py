"""An object on its way into the blob store: a *.part file that is hashed while it is written.

Its descriptor stays open until the file is durable: Linux tells an error of writing back to those who had the
file open then, and a descriptor that is opened afterwards may never hear of it.
"""

import errno
import hashlib
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from record_store.os_errors import os_errors

_CHUNK = 1 << 20
# A large object's pages are set on their way while the rest still arrives, so that the flush finds little to do.
WRITE_BACK_BYTES = 4 << 20


class PartFile:
    """A file that we alone write. OSErrors are Busy (full, too many files) or Fault, as in `record_store.blobs`.

    size: bytes so far.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.size = self._set_out = 0
        self._descriptor = descriptor
        self._digest = hashlib.sha256()
        self._named = (0, "")  # the size whose hash was asked for, and the hash
        self._pieces: Sequence[bytes | memoryview] | None = ()

    @classmethod
    def new(cls, folder: Path) -> Self:
        """Make an empty file in a folder."""
        path = folder / f"{uuid.uuid4().hex}.part"
        with os_errors():
            return cls(path, os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return a file that is complete already, having read it."""
        with os_errors():
            part = cls(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))
            part.read_all()
        return part

    def read_all(self) -> None:
        """Hash what the file holds already."""
        while chunk := os.read(self._descriptor, _CHUNK):
            self._digest.update(chunk)
            self.size += len(chunk)

    @property
    def sha256(self) -> str:
        """The hash of what was written, in hexadecimal."""
        if self._named[0] != self.size or not self.size:
            self._named = (self.size, self._digest.hexdigest())
        return self._named[1]

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Append the pieces, all of them. Who writes all at once leaves them as they are until it is durable."""
        self._pieces = None if self.size else pieces
        with os_errors():
            left = os.writev(self._descriptor, pieces)
            for piece in pieces:
                self._digest.update(piece)
                self.size += len(piece)
                if left < len(piece):
                    _write_all(self._descriptor, memoryview(piece)[left:])
                left = max(0, left - len(piece))
            if self.size - self._set_out >= WRITE_BACK_BYTES:
                # Linux begins to write these pages now and does not wait; what is being written stays cached.
                os.posix_fadvise(
                    self._descriptor, self._set_out, self.size - self._set_out, os.POSIX_FADV_DONTNEED
                )
                self._set_out = self.size

    def copy_to(self, descriptor: int, offset: int, *, before: bytes) -> int:
        """Write some bytes and then all of this into another file at a place; return how many that is."""
        pieces = self._pieces
        with os_errors():
            if not pieces:
                # One that is copied is small enough to be held (`journal.LARGEST_BYTES`).
                pieces = [os.pread(self._descriptor, self.size, 0)]
            count = len(before) + self.size
            if os.pwritev(descriptor, [before, *pieces], offset) != count:
                raise OSError(errno.ENOSPC, "written in part")
        return count

    def flush(self) -> None:
        """Wait until the bytes are on the disk; after an error they must not be tried again."""
        with os_errors():
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Let go of the file, which stays where it is."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        """Let go of the file and remove it, unless it has been taken into the store."""
        self.close()
        with os_errors():
            self.path.unlink(missing_ok=True)


def _write_all(descriptor: int, view: memoryview) -> None:
    while view:
        view = view[os.write(descriptor, view) :]
