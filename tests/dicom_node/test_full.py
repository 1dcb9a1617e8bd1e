"""A file system without inodes, or an account without quota, is a full disk: 0xA700, and it passes.

All of it over one association, which lives through it and stores again when there is room.
"""

import errno
import shutil
import subprocess
import sys
import textwrap
from contextlib import contextmanager

import numpy as np
import pytest
from pydicom.uid import ComputedRadiographyImageStorage
from pynetdicom.dsutils import encode

from benchmarks.dicom_receivers import Receiver, ours, running
from benchmarks.raw_peer import EXPLICIT, IMPLICIT, VERIFICATION, RawPeer, message, store_command
from dicom_node.testing import cr_dataset

pytestmark = pytest.mark.slow
CR = str(ComputedRadiographyImageStorage)
CONTEXTS = {1: (CR, (EXPLICIT,)), 3: (VERIFICATION, (IMPLICIT,))}
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
PIXELS = np.arange(512 * 512, dtype=np.uint16).reshape(512, 512) & 0xFFF  # 0.5 MB
QUOTA_LEFT = 98_304  # bytes that a file still gets: whole blocks, as a quota gives them


def store(peer, number):
    """Send one radiograph of 0.5 MB and return the status."""
    ds = cr_dataset(PIXELS, seed=f"full-{number}")
    data = encode(ds, is_implicit_vr=False, is_little_endian=True)
    peer.send(message(1, store_command(CR, str(ds.SOPInstanceUID)), data, peer.maximum_length))
    return peer.read_status()


@contextmanager
def associated(port):
    with RawPeer(port) as peer:
        peer.associate(CONTEXTS)
        yield peer


def mount(folder, *options):
    folder.mkdir()
    command = ["mount", *options, str(folder)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a file system")


@pytest.fixture(params=["tmpfs", "ext4"])
def few_inodes(request, tmp_path):
    """Return a file system of some hundred inodes and far more room than they need."""
    folder = tmp_path / "disk"
    if request.param == "tmpfs":
        mount(folder, "-t", "tmpfs", "-o", "size=64m,nr_inodes=500", "none")
    else:
        maker = shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin")
        if maker is None:
            pytest.skip("no mke2fs")
        image = tmp_path / "image"
        with image.open("wb") as file:
            file.truncate(64 << 20)
        subprocess.run([maker, "-q", "-t", "ext4", "-N", "500", str(image)], check=True)
        mount(folder, "-o", "loop", str(image))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def use_up(folder):
    """Make empty files until there is no inode left; return their folder."""
    filling = folder / "filling"
    filling.mkdir()
    for number in range(10_000):
        try:
            (filling / str(number)).touch()
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - what it is that is missing
            break
    assert shutil.disk_usage(folder).free > 10 * PIXELS.nbytes, "room there is"
    return filling


def test_no_inode_left_is_out_of_resources_and_passes(node, few_inodes):
    one = type(node)(few_inodes, node.db)
    with associated(one.start().port) as peer:
        assert store(peer, 0) == SUCCESS
        filling = use_up(few_inodes)
        assert [store(peer, number) for number in range(1, 4)] == [OUT_OF_RESOURCES] * 3
        peer.echo(3)
        assert one.parts() == []
        shutil.rmtree(filling)
        assert [store(peer, number) for number in range(1, 4)] == [SUCCESS] * 3
    one.scp.stop()
    assert len(one.stored()) == 4


def test_a_server_whose_whole_folder_has_no_inode_left_goes_on_when_it_has_some(few_inodes):
    receiver = ours("ours", {"LOW_WATER_MB": "0", "DICOM_FLUSH": "files"})
    data = few_inodes / "server" / "data"
    with running(receiver, data) as (port, _), associated(port) as peer:
        assert store(peer, 0) == SUCCESS
        filling = use_up(few_inodes)
        assert [store(peer, number) for number in range(1, 4)] == [OUT_OF_RESOURCES] * 3
        peer.echo(3)
        shutil.rmtree(filling)
        assert [store(peer, number) for number in range(4)] == [SUCCESS] * 4
        assert list((data / "incoming").glob("*.part")) == []


@pytest.fixture
def quota(tmp_path):
    """Return (library to preload, flag): what an account without quota gets while a file of this name is there.

    "bytes": each received object gets QUOTA_LEFT bytes, then EDQUOT; "files": none can be made. The kernels that
    tests run on have no quotas for tmpfs, and those of ext4 do not bind root.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, library = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(
        textwrap.dedent(f"""
            #define _GNU_SOURCE
            #include <errno.h>
            #include <fcntl.h>
            #include <stdarg.h>
            #include <stdio.h>
            #include <string.h>
            #include <sys/syscall.h>
            #include <sys/uio.h>
            #include <unistd.h>
            static int used_up(const char *what, const char *path) {{
                char flag[4096];
                size_t end = strlen(path);
                snprintf(flag, sizeof flag, "{tmp_path}/%s", what);
                return end > 5 && !strcmp(path + end - 5, ".part") && !access(flag, F_OK);
            }}
            static long left(int fd, long at) {{
                char link[64], path[4096];
                snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
                ssize_t length = readlink(link, path, sizeof path - 1);
                if (length <= 0) return -1;
                path[length] = 0;
                if (!used_up("bytes", path)) return -1;
                if (at < 0) at = lseek(fd, 0, SEEK_CUR);
                return at < {QUOTA_LEFT} ? {QUOTA_LEFT} - at : 0;
            }}
            static ssize_t over(void) {{ errno = EDQUOT; return -1; }}
            ssize_t write(int fd, const void *data, size_t count) {{
                long room = left(fd, -1);
                if (!room) return over();
                return syscall(SYS_write, fd, data, room > 0 && (size_t) room < count ? (size_t) room : count);
            }}
            ssize_t pwrite64(int fd, const void *data, size_t count, off64_t at) {{
                long room = left(fd, at);
                if (!room) return over();
                if (room > 0 && (size_t) room < count) count = room;
                return syscall(SYS_pwrite64, fd, data, count, at);
            }}
            ssize_t writev(int fd, const struct iovec *pieces, int count) {{
                long room = left(fd, -1);
                if (!room) return over();
                if (room < 0) return syscall(SYS_writev, fd, pieces, count);
                struct iovec some[2];
                int n = 0;
                for (; n < count && n < 2 && room > 0; n++) {{
                    some[n] = pieces[n];
                    if (some[n].iov_len > (size_t) room) some[n].iov_len = room;
                    room -= some[n].iov_len;
                }}
                return syscall(SYS_writev, fd, some, n);
            }}
            int open64(const char *path, int flags, ...) {{
                va_list more;
                va_start(more, flags);
                int mode = va_arg(more, int);
                va_end(more);
                if (flags & O_CREAT && used_up("files", path)) return over();
                return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
            }}
            int open(const char *path, int flags, ...) {{
                va_list more;
                va_start(more, flags);
                int mode = va_arg(more, int);
                va_end(more);
                return open64(path, flags, mode);
            }}
        """)
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library, tmp_path


@pytest.mark.parametrize("what", ["bytes", "files"])
def test_a_quota_that_is_used_up_is_out_of_resources_and_passes(tmp_path, quota, what):
    library, flags = quota
    plain = ours("ours", {"LOW_WATER_MB": "0", "DICOM_FLUSH": "files"})
    environment = plain.environment | {"LD_PRELOAD": str(library)}
    shimmed = Receiver("ours", plain.ae_title, plain.command, environment=environment)
    data = tmp_path / "receiver" / "node"
    with running(shimmed, data) as (port, _), associated(port) as peer:
        assert store(peer, 0) == SUCCESS
        (flags / what).touch()
        assert [store(peer, number) for number in range(1, 4)] == [OUT_OF_RESOURCES] * 3
        peer.echo(3)
        assert list((data / "incoming").glob("*.part")) == []
        (flags / what).unlink()
        assert [store(peer, number) for number in range(4)] == [SUCCESS] * 4
