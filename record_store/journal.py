"""Received objects and their rows in one preallocated file, so that an answer waits for one flush and no more.

A flush of a file whose blocks are there already has no metadata to write; that of a new file waits for the file
system's own journal, and its name for another one (measured beside each other: 0.4 and 2.0 ms). So a small object
is copied in here and flushed; its file and its row are made at once, for all to see, and become durable behind
the answer (`settle`). Only then is its place used again. What a loss of power takes is made anew from here at the
next start (`record_store.replay`).

The file: a generation of 16 bytes, then entries. An entry: 16 bytes of the generation, the lengths of row and
object, a checksum over these and the row, the row as JSON with the object's sha256, the object. One without an
object takes another back: its row is where that one's object stands.
"""

import errno
import fcntl
import hashlib
import os
import struct
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from clinical.errors import Fault
from record_store.direct_io import BLOCK
from record_store.flush import flush
from record_store.os_errors import os_errors
from record_store.parts import PartFile

SUFFIX, UNFINISHED = ".journal", ".unfinished"
SEGMENT_BYTES = 64 << 20
LARGEST_BYTES = 4 << 20  # of an object: copying a larger one costs more than its own flush
_GENERATION, _START = 16, 4096
_HEAD = struct.Struct("<16sLQL")
_MOST_ROW = 16 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands at one place. row: as it was given. is_taken_back: its sender was not told that it is kept."""

    row: bytes
    offset: int
    size: int
    is_taken_back: bool = False


class JournalFile:
    """One file, locked for as long as its process lives. OSErrors are Busy or Fault."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor
        self._generation, self._position = b"", 0

    @classmethod
    def new(cls, folder: Path) -> Self:
        """Make one of zeros, on the disk.

        It has its name only when it is locked and whole: a process that starts at the same moment would else take
        it for that of a dead one, and away.
        """
        with os_errors():
            try:
                return cls._make(folder)
            except FileNotFoundError:  # taken away before it was locked
                return cls._make(folder)

    @classmethod
    def _make(cls, folder: Path) -> Self:
        path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
        unfinished = path.with_suffix(UNFINISHED)
        journal = cls(path, os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        try:
            fcntl.flock(journal._descriptor, fcntl.LOCK_EX)
            _fill(journal._descriptor)
            os.fsync(journal._descriptor)
            journal.clear()
            unfinished.rename(path)
            flush(folder)
        except BaseException:
            journal.close()
            for one in (unfinished, path):
                one.unlink(missing_ok=True)
            raise
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
        needed = sum(part.size + _HEAD.size + _MOST_ROW + BLOCK for part in parts)
        return self._position + needed <= SEGMENT_BYTES

    @property
    def is_half_full(self) -> bool:
        """True when the next one will be needed soon."""
        return self._position * 2 > SEGMENT_BYTES

    def append(self, parts: Sequence[PartFile], rows: Sequence[bytes]) -> list[int]:
        """Copy parts in with their rows and flush; return where each part stands.

        After an error the file must not be appended to again.
        """
        position, offsets = self._position, []
        with os_errors():
            for part, row in zip(parts, rows, strict=True):
                head = _HEAD.pack(self._generation, len(row), part.size, _check(self._generation, row, part.size))
                offsets.append(_start_of_object(position, len(row)))
                filling = bytes(offsets[-1] - position - len(head) - len(row))
                position += part.copy_to(self._descriptor, position, before=head + row + filling)
            os.fdatasync(self._descriptor)
        self._position = position
        return offsets

    def take_back(self, offsets: Sequence[int]) -> None:
        """Let what stands at these places count no more, and flush; an error is as one of `append`."""
        entries = b""
        for offset in offsets:
            row, position = b"%d" % offset, self._position + len(entries)
            head = _HEAD.pack(self._generation, len(row), 0, _check(self._generation, row, 0))
            entries += (head + row).ljust(_start_of_object(position, len(row)) - position, b"\0")
        with os_errors():
            if os.pwrite(self._descriptor, entries, self._position) != len(entries):
                raise OSError(errno.ENOSPC, "written in part")
            os.fdatasync(self._descriptor)
        self._position += len(entries)

    def entries(self) -> Iterator[Entry]:
        """Yield what stands in it; objects are not looked at."""
        found = list(self._all_entries())
        taken_back = {int(one.row) for one in found if not one.size}
        yield from (replace(one, is_taken_back=one.offset in taken_back) for one in found if one.size)

    def _all_entries(self) -> Iterator[Entry]:
        """Yield them up to the first that is not whole."""
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
                offset = _start_of_object(position, length)
                yield Entry(row, offset, size)
                position = offset + size

    def read(self, entry: Entry) -> bytes:
        """Return an entry's object, unchecked."""
        with os_errors():
            return os.pread(self._descriptor, entry.size, entry.offset)

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill a view with what stands at a place. Raises Fault when the file ends there."""
        with os_errors():
            if os.preadv(self._descriptor, [view], offset) != len(view):
                raise Fault("the journal is shorter than it was")

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


def _fill(descriptor: int) -> None:
    zeros = bytes(1 << 20)
    for offset in range(0, SEGMENT_BYTES, len(zeros)):
        if os.pwrite(descriptor, zeros, offset) != len(zeros):
            raise OSError(errno.ENOSPC, "written in part")


def find(folder: Path, sha256: str) -> bytes | None:
    """Return an object that stands in a journal of any process and has no file yet, or None.

    Its bytes are those of its hash: a place that is used again meanwhile is not mistaken for it.
    """
    named = sha256.encode()
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            journal = JournalFile(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            continue
        try:
            for entry in journal.entries():
                if named in entry.row:
                    data = journal.read(entry)
                    if hashlib.sha256(data).hexdigest() == sha256:
                        return data
        finally:
            journal.close()
    return None


def _start_of_object(position: int, row_bytes: int) -> int:
    # A multiple of a block, so that its file can be written past the cache.
    return -(-(position + _HEAD.size + row_bytes) // BLOCK) * BLOCK


def _check(generation: bytes, row: bytes, size: int) -> int:
    return zlib.crc32(row, zlib.crc32(struct.pack("<LQ", len(row), size), zlib.crc32(generation)))
