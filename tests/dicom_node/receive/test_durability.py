"""Success is sent after the last step that makes an object durable, and a kill before or after it loses nothing.

A node in a process of its own, killed at a named point or watched by strace, with one object from dcmtk's or our
sender; then what is left is looked at, and the next start cleans up.
"""

import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np
import pytest
from sqlalchemy import select

from dicom_node.testing import cr_dataset, send_files, write_dicom
from record_store.blobs import open_blobs
from record_store.database import open_database
from record_store.intents import sweep
from record_store.replay import replay
from record_store.tables import instance
from record_store.testing import database

pytestmark = pytest.mark.slow

FILES = ("after-receive", "after-write", "after-fsync", "after-rename", "after-dirsync", "before-commit")
JOURNAL = ("after-receive", "after-journal", "before-commit")
BOTH = ("after-commit", "before-response")
# The object stands in the journal from there on, so that it is kept whether it was answered or not.
KEPT_FROM = ("after-journal", "before-commit")

CHILD = """
import os, signal, sys
from datetime import UTC, datetime
from clinical.identity import IssuerTable
from dicom_node.scp import ScpSettings, StorageScp
from record_store.blobs import open_blobs
from record_store.database import open_database
from record_store.taking import Flush
folder, stop_at, flush = sys.argv[1:]
def fault(point):
    if point == stop_at:
        os.kill(os.getpid(), signal.SIGKILL)
blobs = open_blobs(f"file://{folder}/blobs", __import__("pathlib").Path(folder) / "incoming", fault)
db = open_database(f"sqlite:///{folder}/consilium.db")
scp = StorageScp(ScpSettings(port=0, low_water_bytes=0, flush=Flush(flush)), fault=fault, blobs=blobs, db=db,
    issuers=IssuerTable({"": "urn:h"}), now=lambda: datetime.now(UTC))
port = scp.start()
while flush == "journal" and scp._intake._taking._keeping._free.qsize() < 1:
    os.sched_yield()
print("port", port, flush=True)
sys.stdin.read()
scp.stop()
"""


@contextmanager
def node(folder, stop_at, flush, *before):
    """Run a node with a fresh database; yield its process and its port."""
    database(folder).dispose()
    command = [*before, sys.executable, "-c", CHILD, str(folder), stop_at, flush]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as one:
        yield one, next(int(line.split()[1]) for line in one.stdout if line.startswith(b"port "))
        one.stdin.close()
        one.wait(60)


@pytest.fixture
def radiograph(tmp_path):
    return write_dicom(cr_dataset(np.arange(4096, dtype=np.uint16).reshape(64, 64), seed="k"), tmp_path / "k.dcm")


@pytest.mark.parametrize(
    ("flush", "point"),
    [*(("files", one) for one in FILES + BOTH), *(("journal", one) for one in JOURNAL + BOTH)],
)
def test_a_kill_at_any_named_point_is_no_answer_and_leaves_nothing_torn(tmp_path, radiograph, flush, point):
    with node(tmp_path, point, flush) as (process, port):
        assert send_files([radiograph], port) == [-1]
        assert process.wait(60) == -signal.SIGKILL
    db = open_database(f"sqlite:///{tmp_path}/consilium.db")
    blobs = open_blobs(f"file://{tmp_path}/blobs", tmp_path / "incoming")
    replay(db, blobs, lambda: datetime.now(UTC))
    blobs.sweep(older_than_s=-1)
    sweep(db, blobs.staging, blobs.remove)
    with db.read() as conn:
        named = list(conn.execute(select(instance.c.sha256)).scalars())
    db.dispose()
    assert len(named) == (1 if point in BOTH or (flush == "journal" and point in KEPT_FROM) else 0)
    assert [path.name for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == named
    assert all(blobs.get(one) for one in named)  # checked against its name
    assert [path.name for path in blobs.staging.iterdir()] in ([], ["taking.lock"])


STEPS = {
    "files": (
        r"pwrite64\(\d+<{folder}/incoming/\w+\.part>",
        r"fsync\(\d+<{folder}/incoming/\w+\.part>\) += 0",
        r"rename\w*\(.*incoming/\w+\.part.*blobs/.*\) += 0",
        r"fsync\(\d+<{folder}/blobs/\w\w>\) += 0",
        r"f(data)?sync\(\d+<{folder}/consilium\.db-wal>\) += 0",
        r"sendto\(\d+<(socket|TCP).*\\4\\0\\0\\0.*",
    ),
    "journal": (
        r"pwritev2?\(\d+<{folder}/incoming/\w+\.journal>",
        r"fdatasync\(\d+<{folder}/incoming/\w+\.journal>\) += 0",
        r"pwrite64\(\d+<{folder}/consilium\.db-wal>",
        r"sendto\(\d+<(socket|TCP).*\\4\\0\\0\\0.*",
    ),
}


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("flush", STEPS)
def test_the_response_is_sent_after_the_last_system_call_that_makes_it_durable(tmp_path, radiograph, flush):
    folder, trace = tmp_path / "node", tmp_path / "trace"
    folder.mkdir()
    calls = "trace=writev,pwritev,pwritev2,pwrite64,fsync,fdatasync,rename,renameat,renameat2,sendto"
    strace = ("strace", "-f", "-y", "-s", "16", "-o", str(trace), "-e", calls)
    with node(folder, "never", flush, *strace) as (_, port):
        began = trace.read_text().count("\n")
        assert send_files([radiograph], port) == [0x0000]
    lines = trace.read_text(errors="replace").splitlines()[began:]
    place = 0
    for step in STEPS[flush]:
        wanted = re.compile(step.replace("{folder}", re.escape(str(folder))))
        found = next((n for n in range(place, len(lines)) if wanted.search(lines[n])), None)
        assert found is not None, f"{step} does not follow line {place} of\n" + "\n".join(lines)
        place = found + 1
    first_answer = next(n for n, line in enumerate(lines) if re.search(STEPS[flush][-1], line))
    assert place == first_answer + 1  # no response before


def test_the_node_s_process_ends_when_it_is_told(tmp_path, radiograph):
    with node(tmp_path, "never", "journal") as (process, port):
        assert send_files([radiograph], port) == [0x0000]
    assert process.returncode == 0
    assert not list((tmp_path / "incoming").glob("*.journal"))
