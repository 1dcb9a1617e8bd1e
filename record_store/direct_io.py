"""Writing a file past the system's cache (open(2), O_DIRECT), for what nobody is going to read soon.

Memory is neither filled with it nor searched for room, and a flush finds nothing left to write. With pages that a
virtual machine's host has to give first it takes a fifth of the processor time of writing by way of the cache.
"""

import errno
import fcntl
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from queue import Empty, SimpleQueue

BLOCK = 4096  # of which whole ones are written past the cache
BUFFER_BYTES = 1 << 20
_KEPT = 8  # buffers for the next files
_WRITERS = 8

_buffers: SimpleQueue[mmap.mmap] = SimpleQueue()


class DirectFile:
    """A file that is appended to. Its OSErrors are the system's.

    While one buffer is on its way to the disk the next one is filled. After an error nothing is written any more,
    and each call raises it. `close` it, drained or not.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._written, self._filled = descriptor, 0, 0
        self._buffer = _a_buffer()
        self._leaving: tuple[Future[None], mmap.mmap] | None = None
        self._failed: OSError | None = None

    def write(self, piece: bytes | memoryview) -> None:
        """Append bytes; the last ones may not be in the file yet."""
        left = memoryview(piece)
        while left:
            count = min(len(left), BUFFER_BYTES - self._filled)
            self._buffer[self._filled : self._filled + count] = left[:count]
            self._filled += count
            left = left[count:]
            if self._filled == BUFFER_BYTES:
                self._send_off()

    def drain(self) -> None:
        """Have all bytes in the file."""
        self._wait()
        _write_buffer(self._descriptor, self._buffer, self._filled, self._written)
        self._written += self._filled
        self._filled = 0

    def close(self) -> None:
        """Let go of the buffers; the descriptor is its owner's."""
        with suppress(OSError):
            self._wait()
        _keep(self._buffer)

    def _send_off(self) -> None:
        self._wait()
        where = self._descriptor, self._buffer, BUFFER_BYTES, self._written
        future = _writers(os.getpid()).submit(_write_buffer, *where)
        self._leaving, self._buffer = (future, self._buffer), _a_buffer()
        self._written += BUFFER_BYTES
        self._filled = 0

    def _wait(self) -> None:
        if self._leaving is not None:
            (future, buffer), self._leaving = self._leaving, None
            try:
                future.result()
            except OSError as error:
                self._failed = error
            finally:
                _keep(buffer)
        if self._failed is not None:
            raise self._failed


@cache
def _writers(_pid: int) -> ThreadPoolExecutor:
    # By process: threads do not live on in one that is forked.
    return ThreadPoolExecutor(_WRITERS, thread_name_prefix="direct-io")


def _a_buffer() -> mmap.mmap:
    try:
        return _buffers.get_nowait()
    except Empty:
        return aligned(BUFFER_BYTES)


def _keep(buffer: mmap.mmap) -> None:
    if _buffers.qsize() < _KEPT:
        _buffers.put(buffer)


def _write_buffer(descriptor: int, buffer: mmap.mmap, count: int, offset: int) -> None:
    with memoryview(buffer) as whole, whole[:count] as view:
        write_direct(descriptor, view, offset)


def aligned(size: int) -> mmap.mmap:
    """Return memory of this process's own that begins at a page."""
    return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def write_direct(descriptor: int, data: memoryview, offset: int = 0) -> None:
    """Write whole blocks past the cache and the rest by way of it; all, where offset is no multiple of a block.

    data: at a multiple of a block in memory.
    """
    whole, done = len(data) - len(data) % BLOCK, 0
    if whole and not offset % BLOCK:
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
            while done < whole:
                count = os.pwrite(descriptor, data[done:whole], offset + done)
                if count % BLOCK:
                    break  # the disk is full: what is left says so by way of the cache
                done += count
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system that has no such writes
                raise
        finally:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)
