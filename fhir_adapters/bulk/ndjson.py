"""Files of NDJSON, gzip on the disk: one resource a line, its bytes as they are stored but for line ends."""

import gzip
import io
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from record_store.blobs import Blobs
from record_store.exports import ExportFile
from record_store.parts import PartFile

CHUNK = 256 * 1024
_LEVEL = 4  # twice as fast as 6 for a tenth more bytes
_GZIP = 31  # zlib's number for a gzip stream


class NdjsonFile:
    """One file on its way; no two are the same, so that a blob that is removed is nobody else's.

    lines, size: so far; the size is that of the text.
    """

    def __init__(self, staging: Path) -> None:
        self._part = PartFile.new(staging)
        self._packed = _Gathered(self._part)
        # The name is in the header: another worker that makes the same file makes other bytes.
        self._text = gzip.GzipFile(f"{uuid.uuid4().hex}.ndjson", "wb", _LEVEL, self._packed, mtime=0)
        self.lines = self.size = 0

    def add(self, body: bytes) -> None:
        """Add one resource. Line ends stand between its tokens only (RFC 8259 7), where a blank means the same."""
        line = body.translate(_BLANKS) if b"\n" in body or b"\r" in body else body
        self._text.write(line + b"\n")
        self.lines += 1
        self.size += len(line) + 1

    def store(
        self, blobs: Blobs, kind: str, resource_type: str, announce: Callable[[ExportFile], None]
    ) -> ExportFile:
        """Make it durable. announce: told before it gets its name. Raises Busy or Fault as `Blobs.adopt_all`."""
        self._text.close()
        self._packed.pass_on()
        made = ExportFile(kind, resource_type, self.lines, self._part.sha256, self._part.size)
        announce(made)
        (error,) = blobs.adopt_all([self._part])
        if error is not None:
            self.discard()
            raise error
        return made

    def discard(self) -> None:
        """Remove what there is of it."""
        self._part.discard()


def unpacked(path: Path) -> Iterator[bytes]:
    """Yield the text of a file in pieces of at most CHUNK bytes."""
    unpack = zlib.decompressobj(_GZIP)
    with path.open("rb") as file:
        while packed := unpack.unconsumed_tail or file.read(CHUNK):
            if piece := unpack.decompress(packed, CHUNK):
                yield piece


def packed(path: Path) -> Iterator[bytes]:
    """Yield a file as it is stored, in pieces."""
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            yield piece


class _Gathered(io.RawIOBase):
    """Passes on what is written in pieces of CHUNK bytes or more: the packer gives out a few bytes at a time."""

    def __init__(self, part: PartFile) -> None:
        self._to, self._held = part, bytearray()

    def write(self, data: Any) -> int:  # noqa: ANN401 - anything that holds bytes
        self._held += data
        if len(self._held) >= CHUNK:
            self.pass_on()
        return len(data)

    def pass_on(self) -> None:
        if self._held:
            self._to.write([bytes(self._held)])
            self._held.clear()


_BLANKS = bytes(0x20 if byte in b"\r\n" else byte for byte in range(256))
