"""An object on its way into the blob store: bytes that are hashed as they come, and a file when one is wanted.

An object that comes in one piece is held where it was received until somebody wants its file: who copies it into
a journal does not. The descriptor of a file stays open until it is durable: Linux tells an error of writing back
to those who had the file open then, and a descriptor that is opened afterwards may never hear of it.
"""

import errno
import hashlib
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from record_store.direct_io import DirectFile, write_direct
from record_store.os_errors import os_errors

_CHUNK = 1 << 20


class PartFile:
    """Bytes that we alone write. OSErrors are Busy (full, too many files) or Fault, as in `record_store.blobs`.

    size: bytes so far.
    """

    def __init__(self, folder: Path, path: Path | None = None, descriptor: int = -1) -> None:
        """Begin one of which a file is made in the folder when it is needed, or with a file that is open."""
        self._folder, self._file, self._descriptor = folder, path, descriptor
        self.size = 0
        self._digest = hashlib.sha256()
        self._named = (0, "")  # the size whose hash was asked for, and the hash
        self._held: Sequence[bytes | memoryview] = ()
        self._writing: DirectFile | None = None

    @classmethod
    def new(cls, folder: Path) -> Self:
        """Begin an empty one in a folder."""
        return cls(folder)

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return a file that is complete already, having read it."""
        with os_errors():
            part = cls(path.parent, path, os.open(path, os.O_RDWR | os.O_CLOEXEC))
            part.read_all()
        return part

    def write_past_the_cache(self, data: memoryview, sha256: str) -> None:
        """Make the file of bytes whose hash is known; nobody is to read them from memory soon.

        data: all of it, at a multiple of a block in memory.
        """
        self._named, self.size = (len(data), sha256), len(data)
        with os_errors():
            self._file = self._open()
            write_direct(self._descriptor, data)

    def read_all(self) -> None:
        """Hash what the file holds already."""
        while chunk := os.read(self._descriptor, _CHUNK):
            self._digest.update(chunk)
            self.size += len(chunk)

    @property
    def path(self) -> Path:
        """The file, which is made of what is held."""
        return self.write_out()

    @property
    def is_held(self) -> bool:
        """True while there are bytes and no file."""
        return bool(self._held)

    @property
    def sha256(self) -> str:
        """The hash of what was written, in hexadecimal."""
        if self._named[0] != self.size or not self.size:
            self._named = (self.size, self._digest.hexdigest())
        return self._named[1]

    def hold(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Take the pieces, which are all; they must stay as they are until this is in the store or discarded."""
        self._held = pieces
        for piece in pieces:
            self._digest.update(piece)
            self.size += len(piece)

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Append the pieces to the file."""
        with os_errors():
            writing = self._begin()
            for piece in pieces:
                writing.write(piece)
                self._digest.update(piece)
                self.size += len(piece)

    def write_out(self) -> Path:
        """Have a file that holds everything, for who reads it now; nothing is held any more."""
        with os_errors():
            if self._file is None:
                self._file = self._open()
                _write_all(self._descriptor, self._held)
                self._held = ()
            if self._writing is not None:
                self._writing.drain()
        return self._file

    def _begin(self) -> DirectFile:
        if self._writing is None:
            self._file = self._file or self._open()
            self._writing = DirectFile(self._descriptor)
            for piece in self._held:
                self._writing.write(piece)
            self._held = ()
        return self._writing

    def copy_to(self, descriptor: int, offset: int, *, before: bytes) -> int:
        """Write some bytes and then all of this into another file at a place; return how many that is."""
        with os_errors():
            pieces = self._held or [self._read_back()]
            count = len(before) + self.size
            if os.pwritev(descriptor, [before, *pieces], offset) != count:
                raise OSError(errno.ENOSPC, "written in part")
        return count

    def _read_back(self) -> bytes:
        # One that is copied is small enough to be in memory (`journal.LARGEST_BYTES`).
        self.write_out()
        return os.pread(self._descriptor, self.size, 0)

    def flush(self) -> None:
        """Wait until the bytes are on the disk; after an error they must not be tried again."""
        with os_errors():
            if self._held:
                self._begin()
        self.write_out()
        with os_errors():
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Let go of the file, which stays where it is, and of what is held."""
        self._held = ()
        if self._writing is not None:
            self._writing.close()
            self._writing = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        """Let go of the file and remove it, unless it has been taken into the store."""
        self.close()
        if self._file is not None:
            with os_errors():
                self._file.unlink(missing_ok=True)

    def _open(self) -> Path:
        path = self._folder / f"{uuid.uuid4().hex}.part"
        self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        return path


def _write_all(descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
    left = os.writev(descriptor, pieces) if pieces else 0
    for piece in pieces:
        view = memoryview(piece)[left:]
        while view:
            view = view[os.write(descriptor, view) :]
        left = max(0, left - len(piece))
