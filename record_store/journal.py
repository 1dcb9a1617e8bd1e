"""Received objects and their rows in one preallocated file, so that an answer waits for one flush and no more.

A flush of a file whose blocks are there already has no metadata to write; that of a new file waits for the file
system's own journal, and its name for another one (measured beside each other: 0.4 and 2.0 ms). So a small object
is copied in here and flushed; its file and its row are made at once, for all to see, and become durable behind
the answer (`settle`). Only then is its place used again. What a loss of power takes is made anew from here at the
next start (`record_store.replay`).

The file: a generation of 16 bytes, then entries. An entry: 16 bytes of the generation, the lengths of row and
object, a checksum over these and the row, the row as JSON with the object's sha256, the object.
"""

import fcntl
import os
import struct
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from record_store.os_errors import os_errors
from record_store.parts import PartFile

SUFFIX = ".journal"
SEGMENT_BYTES = 64 << 20
LARGEST_BYTES = 4 << 20  # of an object: copying a larger one costs more than its own flush
_GENERATION, _START = 16, 4096
_HEAD = struct.Struct("<16sLQL")
_MOST_ROW = 16 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands at one place. row: as it was given."""

    row: bytes
    offset: int
    size: int


class JournalFile:
    """One file, locked for as long as its process lives. OSErrors are Busy or Fault."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor
        self._generation, self._position = b"", 0

    @classmethod
    def new(cls, folder: Path) -> Self:
        """Make one of zeros, on the disk."""
        path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
        with os_errors():
            journal = cls(path, os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            fcntl.flock(journal._descriptor, fcntl.LOCK_EX)
            zeros = bytes(1 << 20)
            for offset in range(0, SEGMENT_BYTES, len(zeros)):
                os.pwrite(journal._descriptor, zeros, offset)
            os.fsync(journal._descriptor)
        journal.clear()
        return journal

    @classmethod
    def left_behind(cls, path: Path) -> Self | None:
        """Open one whose process is dead; None when it lives, or the file is gone or no whole one."""
        with os_errors():
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
        return cls(path, descriptor)

    def clear(self) -> None:
        """Begin anew: nothing that stands in it counts any more."""
        with os_errors():
            generation = uuid.uuid4().bytes
            os.pwrite(self._descriptor, generation, 0)
            os.fdatasync(self._descriptor)
        self._generation, self._position = generation, _START

    def has_room(self, parts: Sequence[PartFile]) -> bool:
        """Tell whether these fit behind what is here."""
        needed = sum(part.size + _HEAD.size + _MOST_ROW for part in parts)
        return self._position + needed <= SEGMENT_BYTES

    def append(self, parts: Sequence[PartFile], rows: Sequence[bytes]) -> None:
        """Copy parts in with their rows and flush. After an error the file must not be appended to again."""
        position = self._position
        with os_errors():
            for part, row in zip(parts, rows, strict=True):
                head = _HEAD.pack(self._generation, len(row), part.size, _check(self._generation, row, part.size))
                position += part.copy_to(self._descriptor, position, before=head + row)
            os.fdatasync(self._descriptor)
        self._position = position

    def entries(self) -> Iterator[Entry]:
        """Yield what stands in it, up to the first that is not whole; objects are not looked at."""
        position = _START
        with os_errors():
            generation = os.pread(self._descriptor, _GENERATION, 0)
            while len(head := os.pread(self._descriptor, _HEAD.size, position)) == _HEAD.size:
                of, length, size, check = _HEAD.unpack(head)
                if of != generation or length > _MOST_ROW or not any(generation):
                    return
                row = os.pread(self._descriptor, length, position + _HEAD.size)
                if check != _check(generation, row, size):
                    return
                offset = position + _HEAD.size + length
                yield Entry(row, offset, size)
                position = offset + size

    def read(self, entry: Entry) -> bytes:
        """Return an entry's object, unchecked."""
        with os_errors():
            return os.pread(self._descriptor, entry.size, entry.offset)

    def close(self) -> None:
        """Let go of it; what stands in it stays for who opens it next."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        """Take it away: nothing that stands in it is needed."""
        self.close()
        with os_errors():
            self.path.unlink(missing_ok=True)


def _check(generation: bytes, row: bytes, size: int) -> int:
    return zlib.crc32(row, zlib.crc32(struct.pack("<LQ", len(row), size), zlib.crc32(generation)))
