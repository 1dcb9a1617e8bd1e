"""Bytes by their hash: durable when stored, checked when read."""

import errno
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from obstore.store import MemoryStore

from clinical.errors import Busy, ClinicalError, Fault, IncorrectInput, NotFound
from record_store.blobs import RemoteBlobs, open_blobs
from record_store.testing import MemoryBlobs

DATA = b"pixels" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()
POINTS = ("after-write", "after-fsync", "after-rename", "after-dirsync")


def local(folder, **options):
    return open_blobs(f"file://{folder}/store", folder / "staging", **options)


@pytest.fixture(params=["local", "remote", "fake"])
def blobs(request, tmp_path):
    staging = tmp_path / "staging"
    if request.param == "local":
        return local(tmp_path)
    staging.mkdir()
    return RemoteBlobs(MemoryStore(), staging) if request.param == "remote" else MemoryBlobs(staging)


def part_with(blobs, data=DATA):
    part = blobs.staging / "incoming.part"
    part.write_bytes(data)
    return part


def test_an_adopted_file_is_stored_under_its_hash_and_leaves_the_staging_folder(blobs):
    part = part_with(blobs)
    stored = blobs.adopt(part)
    assert (stored.sha256, stored.size) == (SHA256, len(DATA))
    assert not part.exists()
    assert blobs.get(SHA256) == DATA


def test_storing_the_same_bytes_again_is_harmless(blobs):
    assert blobs.put(DATA) == blobs.adopt(part_with(blobs)) == blobs.put(DATA)
    assert blobs.get(SHA256) == DATA
    assert list(blobs.staging.iterdir()) == []


def test_what_is_removed_is_gone_and_removing_it_again_is_harmless(blobs):
    blobs.put(DATA)
    blobs.remove(SHA256)
    blobs.remove(SHA256)
    with pytest.raises(NotFound):
        blobs.get(SHA256)
    assert blobs.put(DATA).sha256 == SHA256


def test_a_local_file_can_be_had_and_nothing_stays_behind(blobs):
    blobs.put(DATA)
    with blobs.local_path(SHA256) as path:
        assert path.read_bytes() == DATA
    assert list(blobs.staging.iterdir()) == []


@pytest.mark.parametrize("name", ["0" * 64, "", "../../etc/passwd", SHA256.upper(), SHA256 + "\n"])
def test_what_is_not_there_is_not_found(blobs, name):
    blobs.put(DATA)
    with pytest.raises(NotFound):
        blobs.get(name)
    with pytest.raises(NotFound), blobs.local_path(name):
        pass


def test_only_stale_parts_are_swept(blobs):
    stale, fresh, other = (blobs.staging / name for name in ("stale.part", "fresh.part", "other"))
    for path in (stale, fresh, other):
        path.touch()
    for path in (stale, other):
        os.utime(path, (time.time() - 100, time.time() - 100))
    assert blobs.sweep(older_than_s=50) == 1
    assert sorted(path.name for path in blobs.staging.iterdir()) == ["fresh.part", "other"]


def test_free_space_is_known(blobs):
    assert blobs.free_bytes() > 0


def the_file(tmp_path):
    return tmp_path / "store" / SHA256[:2] / SHA256


def test_damaged_bytes_are_a_fault_and_a_new_copy_mends_them(tmp_path):
    blobs = local(tmp_path)
    blobs.put(DATA)
    the_file(tmp_path).write_bytes(b"x" + DATA[1:])
    with pytest.raises(Fault):
        blobs.get(SHA256)
    with pytest.raises(Fault), blobs.local_path(SHA256):
        pass
    blobs.put(DATA)
    assert blobs.get(SHA256) == DATA


def test_a_file_is_hashed_again_when_it_has_changed_since_it_was_found_whole(tmp_path):
    blobs = open_blobs(f"file://{tmp_path / 'store'}", tmp_path / "staging")
    blobs.put(DATA)
    for _ in range(2):
        with blobs.local_path(SHA256) as path:
            assert path.read_bytes() == DATA
    path.write_bytes(b"x" * len(DATA))
    with pytest.raises(Fault), blobs.local_path(SHA256):
        pass


def test_damaged_bytes_in_an_object_store_are_a_fault(tmp_path):
    store = MemoryStore()
    blobs = RemoteBlobs(store, tmp_path)
    blobs.put(DATA)
    store.put(f"{SHA256[:2]}/{SHA256}", b"other")
    with pytest.raises(Fault):
        blobs.get(SHA256)


def test_an_object_store_is_written_once_and_never_over(tmp_path):
    store = MemoryStore()
    store.put(f"{SHA256[:2]}/{SHA256}", b"first")
    RemoteBlobs(store, tmp_path).put(DATA)
    assert bytes(store.get(f"{SHA256[:2]}/{SHA256}").bytes()) == b"first"


def test_nobody_else_may_read_the_files(tmp_path):
    local(tmp_path).put(DATA)
    assert the_file(tmp_path).stat().st_mode & 0o077 == 0
    assert the_file(tmp_path).parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOSPC, Busy), (errno.EROFS, Busy), (errno.EIO, Busy), (errno.EPERM, Fault)]
)
def test_a_full_or_failing_disk_is_busy_and_another_failure_is_a_fault(tmp_path, code, error):
    def fault(point):
        raise OSError(code, "told by the test", "/a/path")

    with pytest.raises(error) as raised:
        local(tmp_path, fault=fault).put(DATA)
    assert "/a/path" not in str(raised.value)
    assert not the_file(tmp_path).exists()


@pytest.mark.parametrize("url", ["", "/x", "file://relative/x", "http://host/x", "s3://"])
def test_other_urls_are_refused(tmp_path, url):
    with pytest.raises(IncorrectInput):
        open_blobs(url, tmp_path / "staging")


def test_two_file_systems_are_refused_because_a_rename_would_not_be_atomic(tmp_path):
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:  # noqa: PTH112, PTH116
        pytest.skip("no second file system here")
    with pytest.raises(IncorrectInput):
        open_blobs(f"file:///dev/shm/consilium-test-{os.getpid()}", tmp_path)
    os.rmdir(f"/dev/shm/consilium-test-{os.getpid()}")  # noqa: PTH106


def test_s3_is_opened_without_asking_the_network(tmp_path):
    blobs = open_blobs("s3://bucket/prefix", tmp_path)
    assert blobs.staging == tmp_path


def test_the_points_of_the_write_path_come_in_order(tmp_path):
    seen = []
    local(tmp_path, fault=seen.append).put(DATA)
    assert seen == list(POINTS)


CHILD = """
import os, signal, sys
from pathlib import Path
from record_store.blobs import open_blobs
folder, stop_at = Path(sys.argv[1]), sys.argv[2]
def fault(point):
    if point == stop_at:
        os.kill(os.getpid(), signal.SIGKILL)
part = folder / "staging" / "x.part"
part.parent.mkdir()
part.write_bytes(b"pixels" * 1000)
open_blobs(f"file://{folder}/store", folder / "staging", fault).adopt(part)
"""


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_point_leaves_all_or_nothing_and_the_sweep_cleans_up(tmp_path, point):
    ended = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path), point], check=False)
    assert ended.returncode == -signal.SIGKILL
    blobs = local(tmp_path)
    stored = point in {"after-rename", "after-dirsync"}
    assert the_file(tmp_path).exists() == stored
    if stored:
        assert blobs.get(SHA256) == DATA
    blobs.sweep(older_than_s=-1)
    assert list(blobs.staging.iterdir()) == []
    assert blobs.put(DATA).sha256 == SHA256


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_system_calls_come_in_the_order_that_survives_a_power_loss(tmp_path):
    trace = tmp_path / "trace"
    calls = "trace=fsync,rename,renameat,renameat2,mkdir,mkdirat,openat"
    command = [
        "strace",
        "-f",
        "-y",
        "-o",
        str(trace),
        "-e",
        calls,
        sys.executable,
        "-c",
        CHILD,
        str(tmp_path),
        "never",
    ]
    subprocess.run(command, check=True)
    store, part, target = f"{tmp_path}/store", f"{tmp_path}/staging/x.part", str(the_file(tmp_path))
    wanted = [
        rf"fsync\(\d+<{re.escape(part)}>\) = 0",  # the bytes
        rf"mkdir.*{re.escape(store)}/{SHA256[:2]}\".* = 0",
        rf"fsync\(\d+<{re.escape(store)}>\) = 0",  # the new folder's name
        rf"rename.*{re.escape(part)}.*{re.escape(target)}.* = 0",
        rf"fsync\(\d+<{re.escape(store)}/{SHA256[:2]}>\) = 0",  # the file's name
    ]
    lines = trace.read_text().splitlines()
    places = [next((i for i, line in enumerate(lines) if re.search(want, line)), -1) for want in wanted]
    assert -1 not in places
    assert places == sorted(places)


def test_errors_are_ours(tmp_path):
    blobs = local(tmp_path)
    with pytest.raises(ClinicalError):
        blobs.adopt(tmp_path / "staging" / "absent.part")
