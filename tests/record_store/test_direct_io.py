"""What is written past the cache is what stands in the file, whatever the pieces and whatever the file system."""

import os
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinical.errors import Busy
from record_store import direct_io
from record_store.direct_io import BLOCK, DirectFile, aligned, write_direct
from record_store.parts import PartFile

PIECES = st.lists(st.sampled_from((0, 1, 511, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 40_000)), max_size=12)


@pytest.fixture
def descriptor(tmp_path):
    one = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    yield one
    os.close(one)


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch):
    monkeypatch.setattr(direct_io, "BUFFER_BYTES", 4 * BLOCK)
    monkeypatch.setattr(direct_io, "_buffers", type(direct_io._buffers)())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PIECES, PIECES)
def test_all_pieces_are_in_the_file_when_it_is_drained_and_more_may_follow(descriptor, before, after):
    os.ftruncate(descriptor, 0)
    file, whole = DirectFile(descriptor), b""
    for sizes in (before, after):
        for size in sizes:
            piece = os.urandom(size)
            file.write(piece)
            whole += piece
        file.drain()
        assert os.pread(descriptor, len(whole) + 1, 0) == whole
    file.close()


def test_whole_blocks_do_not_stay_in_the_cache(tmp_path, descriptor, monkeypatch):
    flags = []
    write = os.pwrite

    def seen(which, data, offset):
        flags.append((bool(direct_io.fcntl.fcntl(which, direct_io.fcntl.F_GETFL) & os.O_DIRECT), len(data)))
        return write(which, data, offset)

    monkeypatch.setattr(os, "pwrite", seen)
    with aligned(4 * BLOCK) as memory, memoryview(memory)[: 2 * BLOCK + 5] as view:
        write_direct(descriptor, view)
    assert flags == [(True, 2 * BLOCK), (False, 5)]


def test_where_the_file_system_has_no_such_writes_they_go_by_way_of_the_cache(descriptor, monkeypatch):
    write = os.pwrite

    def refused(which, data, offset):
        if direct_io.fcntl.fcntl(which, direct_io.fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return write(which, data, offset)

    monkeypatch.setattr(os, "pwrite", refused)
    file, data = DirectFile(descriptor), os.urandom(50_000)
    file.write(data)
    file.drain()
    file.close()
    assert os.pread(descriptor, 60_000, 0) == data


def test_a_disk_that_is_full_is_told(tmp_path):
    part = PartFile(tmp_path, tmp_path / "none", os.open("/dev/full", os.O_RDWR))
    part.write([bytes(100)])
    with pytest.raises(Busy):
        part.flush()
    part.close()


def test_a_disk_that_is_full_while_the_next_bytes_come_is_told_and_the_file_can_be_closed(descriptor, monkeypatch):
    def full(_which, _data, _offset):
        raise OSError(28, "No space left on device")

    file, other = DirectFile(descriptor), DirectFile(descriptor)
    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", full)
        file.write(bytes(4 * BLOCK))
        with pytest.raises(OSError, match="No space"):
            file.write(bytes(4 * BLOCK))
        other.write(bytes(4 * BLOCK))
        with pytest.raises(OSError, match="No space"):
            other.drain()
    for one in (file, other):
        with pytest.raises(OSError, match="No space"):
            one.drain()  # there is room again, and a hole where the first bytes belong
        one.close()


def test_a_file_is_closed_only_when_nothing_is_on_its_way(descriptor, monkeypatch):
    may, done, write = threading.Event(), threading.Event(), os.pwrite

    def slowly(which, data, offset):
        may.wait(10)
        count = write(which, data, offset)
        done.set()
        return count

    monkeypatch.setattr(os, "pwrite", slowly)
    file = DirectFile(descriptor)
    file.write(bytes(4 * BLOCK))
    threading.Timer(0.05, may.set).start()
    file.close()
    assert done.is_set()


def test_a_buffer_is_used_again(descriptor):
    one = DirectFile(descriptor)
    one.close()
    assert DirectFile(descriptor)._buffer is one._buffer
