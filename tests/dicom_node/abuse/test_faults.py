"""Disks and databases that fail under the node: never a false Success, nothing torn, and it goes on by itself.

All of it over one association, which lives through the failure: the sender is told 0xA700 and may try again.
"""

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import psycopg
import pytest
from pydicom.uid import ComputedRadiographyImageStorage
from pynetdicom.dsutils import encode

from benchmarks.dicom_receivers import Receiver, ours, running
from benchmarks.raw_peer import EXPLICIT, IMPLICIT, VERIFICATION, RawPeer, message, store_command
from dicom_node.testing import cr_dataset
from record_store.database import open_database
from record_store.taking import Flush
from record_store.testing import database, postgres_url

pytestmark = pytest.mark.slow
CR = str(ComputedRadiographyImageStorage)
CONTEXTS = {1: (CR, (EXPLICIT,)), 3: (VERIFICATION, (IMPLICIT,))}
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
PIXELS = np.random.default_rng(1).integers(0, 4096, (512, 512), dtype=np.uint16)  # 0.5 MB


def send(peer: RawPeer, number: int) -> None:
    """Send one radiograph of 0.5 MB."""
    ds = cr_dataset(PIXELS, seed=f"fault-{number}")
    data = encode(ds, is_implicit_vr=False, is_little_endian=True)
    peer.send(message(1, store_command(CR, str(ds.SOPInstanceUID)), data, peer.maximum_length))


def store(peer: RawPeer, number: int) -> int:
    """Send one and return the status."""
    send(peer, number)
    return peer.read_status()


@pytest.fixture
def peer_of():
    """peer_of(port) -> an association that is closed after the test."""
    peers = []

    def connect(port: int) -> RawPeer:
        peers.append(RawPeer(port))
        peers[-1].associate(CONTEXTS)
        return peers[-1]

    yield connect
    for one in peers:
        one.socket.close()


@pytest.fixture
def small_disk(tmp_path):
    """Return a file system of 3 MB of its own; needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def node_on_a_small_disk(node, small_disk):
    one = type(node)(small_disk, node.db)
    yield one.start()
    one.scp.stop()


def test_a_full_disk_is_told_and_the_association_stores_again_when_there_is_room(
    node_on_a_small_disk, small_disk, peer_of
):
    node = node_on_a_small_disk
    (small_disk / "filling").write_bytes(bytes(1 << 20))
    peer = peer_of(node.port)
    statuses = [store(peer, number) for number in range(10)]
    assert set(statuses) == {SUCCESS, OUT_OF_RESOURCES}
    assert statuses.count(SUCCESS) == len(node.stored()) >= 2
    assert all(len(one) > PIXELS.nbytes for one in node.stored())
    assert node.parts() == []
    peer.echo(3)
    (small_disk / "filling").unlink()
    assert store(peer, 100) == SUCCESS


def test_a_read_only_file_system_is_told_and_the_association_stores_afterwards(
    node_on_a_small_disk, small_disk, peer_of
):
    peer = peer_of(node_on_a_small_disk.port)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert [store(peer, number) for number in range(3)] == [OUT_OF_RESOURCES] * 3
    peer.echo(3)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert store(peer, 0) == SUCCESS
    assert len(node_on_a_small_disk.stored()) == 1


@pytest.fixture
def failing_flushes(tmp_path):
    """Return (library to preload, file): while the file is there, fsync and fdatasync end with EIO."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, library, flag = tmp_path / "shim.c", tmp_path / "shim.so", tmp_path / "fail"
    source.write_text(
        textwrap.dedent(f"""
            #include <errno.h>
            #include <sys/syscall.h>
            #include <unistd.h>
            static int flush(long call, int fd) {{
                if (access("{flag}", F_OK) != 0) return syscall(call, fd);
                errno = EIO;
                return -1;
            }}
            int fsync(int fd) {{ return flush(SYS_fsync, fd); }}
            int fdatasync(int fd) {{ return flush(SYS_fdatasync, fd); }}
        """)
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library, flag


def test_a_flush_that_fails_is_never_success_and_the_node_goes_on_when_it_works_again(
    tmp_path, failing_flushes, peer_of
):
    library, flag = failing_flushes
    plain = ours("ours", {})
    shimmed = Receiver("ours", plain.ae_title, plain.command, environment={"LD_PRELOAD": str(library)})
    data = tmp_path / "receiver" / "node"
    with running(shimmed, data) as (port, _):
        peer = peer_of(port)
        assert store(peer, 0) == SUCCESS
        flag.touch()
        assert all(store(peer, number) in {OUT_OF_RESOURCES, 0xC000} for number in range(1, 4))
        peer.echo(3)
        flag.unlink()
        assert [store(peer, number) for number in range(1, 4)] == [SUCCESS] * 3
        assert list((data / "incoming").glob("*.part")) == []


@pytest.fixture
def postgres_node(node, postgres_template):
    """Return a node over a PostgreSQL database of its own, and a connection to the server."""
    with postgres_url(postgres_template) as url:
        db = open_database(url)
        one = type(node)(node.folder / "pg", db)
        server, name = url.replace("postgresql+psycopg:", "postgresql:").rsplit("/", 1)
        with psycopg.connect(f"{server}/test", autocommit=True) as admin:
            yield one.start(), admin, name
        one.scp.stop()
        db.dispose()


def test_a_database_that_goes_away_five_times_costs_refusals_and_no_object(postgres_node, peer_of):
    node, admin, name = postgres_node
    peer = peer_of(node.port)
    acknowledged = 0
    for number in range(5):
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        assert store(peer, number) == OUT_OF_RESOURCES
        peer.echo(3)
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        acknowledged += store(peer, number) == SUCCESS
    # The first statement on a connection that was cut may still find that out: the sender tries again.
    acknowledged += sum(store(peer, number) == SUCCESS for number in range(5)) - acknowledged
    assert acknowledged == 5
    assert len(node.stored()) == 5
    assert node.parts() == []


def test_a_locked_database_costs_all_who_wait_a_refusal_and_no_object(node, peer_of):
    node.start()
    peers = [peer_of(node.port) for _ in range(5)]
    other = open_database(f"sqlite:///{node.folder / 'consilium.db'}")
    try:
        with other.write():
            for number, peer in enumerate(peers):
                send(peer, number)
            assert [peer.read_status() for peer in peers] == [OUT_OF_RESOURCES] * 5
    finally:
        other.dispose()
    assert [store(peer, number) for number, peer in enumerate(peers)] == [SUCCESS] * 5
    assert len(node.stored()) == 5


def put_away(file: Path) -> Path:
    return file.rename(file.with_suffix(".away"))


def replace(file: Path) -> None:
    put_away(file)
    database(file.parent).dispose()


def put_an_empty_one(file: Path) -> None:
    put_away(file)
    file.touch()


@pytest.mark.parametrize("flush", list(Flush))
@pytest.mark.parametrize("change", [Path.unlink, put_away, replace, put_an_empty_one])
def test_a_database_whose_file_was_removed_or_replaced_costs_refusals_and_no_object(node, peer_of, change, flush):
    peer = peer_of(node.start(flush=flush).port)
    assert store(peer, 0) == SUCCESS
    change(node.folder / "consilium.db")
    assert [store(peer, number) for number in range(1, 4)] == [OUT_OF_RESOURCES] * 3
    peer.echo(3)
    assert node.parts() == []


def test_a_database_whose_file_is_put_back_takes_the_objects_again(node, peer_of):
    peer = peer_of(node.start().port)
    away = put_away(node.folder / "consilium.db")
    assert store(peer, 0) == OUT_OF_RESOURCES
    away.rename(node.folder / "consilium.db")
    assert store(peer, 0) == SUCCESS
    assert len(node.stored()) == 1


def test_killed_at_random_moments_it_keeps_what_it_acknowledged_and_nothing_else():
    command = [sys.executable, "-m", "benchmarks.dicom_crash", "--kills", "5"]
    said = subprocess.run(command, capture_output=True, check=False, timeout=110)
    assert said.returncode == 0, said.stdout.decode() + said.stderr.decode()[-2000:]
    assert json.loads(said.stdout)["acknowledged"] > 0
