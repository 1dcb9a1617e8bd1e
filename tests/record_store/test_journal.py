"""What stands in the journal is there again after a loss of power; what does not was never answered."""

import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, select

from clinical.errors import Busy, Fault
from clinical.identity import PatientKey
from record_store import journal as journal_module
from record_store.arrival_row import from_bytes, to_bytes
from record_store.blobs import open_blobs
from record_store.database import open_database
from record_store.instances import ReceivedInstance, Taken
from record_store.intents import sweep
from record_store.journal import LARGEST_BYTES
from record_store.parts import PartFile
from record_store.replay import replay
from record_store.tables import instance, study
from record_store.taking import Flush, Taking
from record_store.testing import database

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KILL_POINTS = ("after-journal", "after-rename", "before-commit", "after-commit")


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 256 * 1024)


class Node:
    """A store whose taking keeps a journal."""

    def __init__(self, folder, flush=Flush.JOURNAL):
        self.folder, self.faults, self.points = folder, {}, []
        self.db = open_database(f"sqlite:///{folder}/consilium.db")
        self.blobs = open_blobs(f"file://{folder}/blobs", folder / "incoming", self.fault)
        self.taking = Taking(self.db, self.blobs, lambda: NOW, self.fault, flush)
        self.taking.start()

    def fault(self, point):
        self.points.append(point)
        if point in self.faults:
            raise self.faults.pop(point)

    def ready(self):
        while self.taking._keeping._free.qsize() < 2:
            os.sched_yield()
        return self

    def take(self, uid, data=None):
        part = PartFile.new(self.blobs.staging)
        part.write([data or uid.encode() * 100])
        return self.taking.take(part, arrival(uid, part))

    def rows(self):
        with self.db.read() as conn:
            return {row[0]: row[1] for row in conn.execute(select(instance.c.sop_instance_uid, instance.c.sha256))}

    def files(self):
        return {path.name for path in (self.folder / "blobs").rglob("*") if path.is_file()}

    def lose_power(self):
        """Take what no flush has reached, and the locks: files, names and rows; the journal stays."""
        shutil.rmtree(self.folder / "blobs")
        with self.db.write() as conn:
            conn.execute(delete(instance))
            conn.execute(delete(study))
        for turn in [self.taking._keeping._turn]:
            turn.journal.close()
        return Node(self.folder)


def arrival(uid, part):
    return ReceivedInstance(
        uid, "1.2.840", "1.2.840.1", "1.2", "1.2.3", "CT", None, part.sha256, part.size, "CT1", "CONSILIUM"
    )


@pytest.fixture
def node(tmp_path):
    database(tmp_path).dispose()
    one = Node(tmp_path).ready()
    yield one
    one.taking.stop()
    one.db.dispose()


def test_an_answer_waits_for_the_journal_and_no_other_flush(node):
    assert node.take("1.2.1") is Taken.NEW
    assert node.points == ["after-journal", "after-rename", "before-commit", "after-commit"]
    assert node.files() == set(node.rows().values())


def test_what_a_loss_of_power_takes_is_there_again_with_its_row_and_study(node):
    assert [node.take(f"1.2.{number}") for number in range(4)] == [Taken.NEW] * 4
    kept = node.rows()
    again = node.lose_power()
    assert again.rows() == kept
    assert again.files() == set(kept.values())
    assert again.ready().take("1.2.1") is Taken.SAME
    again.taking.stop()
    again.db.dispose()


def test_an_object_that_was_refused_for_its_second_bytes_is_not_restored(node):
    assert node.take("1.2.1") is Taken.NEW
    assert node.take("1.2.1", b"other") is Taken.DIFFERENT
    again = node.lose_power()
    assert len(again.rows()) == len(again.files()) == 1
    assert again.take("1.2.1") is Taken.SAME
    again.taking.stop()
    again.db.dispose()


def test_a_torn_last_entry_ends_the_journal_and_the_ones_before_it_count(node):
    node.take("1.2.1")
    node.take("1.2.2")
    file = node.taking._keeping._turn.journal
    entries = list(file.entries())
    assert [from_bytes(one.row).sop_instance_uid for one in entries] == ["1.2.1", "1.2.2"]
    with file.path.open("r+b") as raw:
        raw.seek(entries[1].offset + 5)
        raw.write(b"torn")
    again = node.lose_power()
    assert list(again.rows()) == ["1.2.1"]
    again.taking.stop()
    again.db.dispose()


def test_full_files_take_turns_and_what_finds_no_place_is_flushed_by_itself(node):
    for number in range(40):
        assert node.take(f"1.2.{number}", os.urandom(40_000)) is Taken.NEW
    assert node.points.count("after-journal") >= 4
    assert len(node.files()) == len(node.rows()) == 40
    node.take("1.3", bytes(LARGEST_BYTES + 1))
    assert node.points[-6:-2] == ["after-write", "after-fsync", "after-rename", "after-dirsync"]


def test_after_a_stop_everything_is_a_file_and_no_journal_is_left(node):
    node.take("1.2.1")
    node.taking.stop()
    assert list(node.blobs.staging.glob("*.journal")) == []
    assert node.take("1.2.2") is Taken.NEW
    assert node.points[-6] == "after-write"


def test_a_journal_that_cannot_be_flushed_is_nobody_s_success_and_is_not_used_again(node):
    node.take("1.2.1")
    broken = node.taking._keeping._turn.journal
    descriptor, broken._descriptor = broken._descriptor, os.open("/dev/full", os.O_RDWR)
    with pytest.raises((Busy, Fault)):
        node.take("1.2.2")
    os.close(broken._descriptor)
    broken._descriptor = descriptor
    assert list(node.rows()) == ["1.2.1"]
    assert node.take("1.2.2") is Taken.NEW
    assert node.taking._keeping._turn.journal is not broken


def test_a_living_process_s_journal_is_left_alone(node):
    node.take("1.2.1")
    assert replay(node.db, node.blobs, lambda: NOW) == 0
    assert len(list(node.blobs.staging.glob("*.journal"))) == 2


def test_a_journal_whose_making_was_cut_is_taken_away(tmp_path):
    database(tmp_path).dispose()
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / "a.journal").write_bytes(b"\0" * 10_000)
    one = Node(tmp_path, Flush.FILES)
    assert list(one.blobs.staging.glob("*.journal")) == []
    one.db.dispose()


def test_a_row_reads_back_with_its_patient():
    one = ReceivedInstance("1.2", "1.3", "1.4", "1.5", "1.6", "CT", PatientKey("urn:x", "4711"), "ab", 7, "A", "B")
    assert from_bytes(to_bytes(one)) == one


CHILD = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from record_store.blobs import open_blobs
from record_store.database import open_database
from record_store.instances import ReceivedInstance
from record_store.parts import PartFile
from record_store.taking import Flush, Taking
folder, stop_at = Path(sys.argv[1]), sys.argv[2]
def fault(point):
    if point == stop_at:
        os.kill(os.getpid(), signal.SIGKILL)
blobs = open_blobs(f"file://{folder}/blobs", folder / "incoming", fault)
db = open_database(f"sqlite:///{folder}/consilium.db")
taking = Taking(db, blobs, lambda: datetime.now(UTC), fault, Flush.JOURNAL)
taking.start()
while taking._keeping._free.qsize() < 2:
    os.sched_yield()
part = PartFile.new(blobs.staging)
part.write([b"pixels" * 1000])
taking.take(part, ReceivedInstance(
    "1.2.1", "1.2", "1.2", "1.2", "1.2.3", "CT", None, part.sha256, part.size, "CT1", "CONSILIUM"))
if stop_at == "answered":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize("point", [*KILL_POINTS, "answered"])
def test_a_kill_at_any_point_leaves_a_whole_object_with_its_row_and_no_orphan(tmp_path, point):
    database(tmp_path).dispose()
    ended = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path), point], check=False)
    assert ended.returncode == -signal.SIGKILL
    again = Node(tmp_path, Flush.FILES)
    again.blobs.sweep(older_than_s=-1)
    sweep(again.db, again.blobs.staging, again.blobs.remove)
    assert list(again.rows()) == ["1.2.1"]  # it was in the journal, so it is kept, answered or not
    assert again.files() == set(again.rows().values())
    assert [path.name for path in again.blobs.staging.iterdir()] in ([], ["taking.lock"])
    again.db.dispose()
