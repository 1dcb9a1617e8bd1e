"""What stands in the journal is there again after a loss of power; what does not was never answered."""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from clinical.errors import Busy, Fault, NotFound
from clinical.identity import PatientKey
from record_store import journal as journal_module
from record_store import keeping as keeping_module
from record_store import priors
from record_store.arrival_row import from_bytes, to_bytes
from record_store.blobs import open_blobs
from record_store.database import open_database
from record_store.instances import CLOSED, OPEN, ReceivedInstance, Taken, close_study, study_row
from record_store.intents import sweep
from record_store.journal import LARGEST_BYTES
from record_store.parts import PartFile
from record_store.replay import replay
from record_store.tables import instance, study
from record_store.taking import Flush, Taking
from record_store.testing import database

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KILL_POINTS = ("after-journal", "before-commit", "after-commit")
SETTLING = ("after-write", "after-fsync", "after-rename", "after-dirsync")
LONG = 3600.0


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 256 * 1024)
    monkeypatch.setattr(keeping_module, "REST_S", LONG)
    monkeypatch.setattr(keeping_module, "WAIT_S", 60.0)  # for a place, however slow the disk is that makes it


@pytest.fixture
def settles_soon(monkeypatch):
    monkeypatch.setattr(keeping_module, "REST_S", 0.0)
    monkeypatch.setattr(keeping_module, "LOOK_S", 0.01)
    monkeypatch.setattr(keeping_module, "AGAIN_S", 0.01)


def soon(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


class Killed(BaseException):
    """Nothing of ours is done after it."""


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
        soon(lambda: self.taking._keeping._free.qsize() == keeping_module.FIRST_FILES)
        return self

    def take(self, uid, data=None, *, held=True):
        part = PartFile.new(self.blobs.staging)
        (part.hold if held else part.write)([data or uid.encode() * 100])
        return self.taking.take(part, arrival(uid, part))

    def elsewhere(self):
        """The store as another process sees it."""
        return open_blobs(f"file://{self.folder}/blobs", self.folder / "incoming")

    def rows(self):
        with self.db.read() as conn:
            return {row[0]: row[1] for row in conn.execute(select(instance.c.sop_instance_uid, instance.c.sha256))}

    def files(self):
        return {path.name for path in (self.folder / "blobs").rglob("*") if path.is_file()}

    def die(self):
        """Let go of the journal as a process does that is killed; what is committed is there for all to see."""
        self.taking._keeping._turn.journal.close()

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
    assert node.points == ["after-journal", "before-commit", "after-commit"]
    assert node.files() == set()
    assert list(node.blobs.staging.glob("*.part")) == []


def test_what_has_no_file_yet_is_read_by_every_process(node):
    data = os.urandom(50_000)
    for number in range(3):
        node.take(f"1.2.{number}", data + bytes([number]))
    assert node.elsewhere().get(node.rows()["1.2.1"]) == data + b"\1"
    assert node.elsewhere().beginning(node.rows()["1.2.2"], 9) == data[:9]
    assert node.files() == set()  # reading needs no room on the disk
    name = node.rows()["1.2.0"]
    with node.elsewhere().local_path(name) as path:
        assert path.read_bytes() == data + b"\0"
    assert node.files() == {name}  # made by its reader
    with pytest.raises(NotFound):
        node.elsewhere().get(hashlib.sha256(b"nobody's").hexdigest())


def test_a_journal_that_rests_becomes_files_and_is_used_again(node, settles_soon):
    data = {f"1.2.{number}": os.urandom(size) for number, size in enumerate((1, 4095, 4096, 4097, 70_001))}
    for uid, one in data.items():
        assert node.take(uid, one) is Taken.NEW
    soon(lambda: node.files() == set(node.rows().values()))
    soon(lambda: node.taking._keeping._free.qsize() >= keeping_module.FIRST_FILES)
    assert {uid: node.elsewhere().get(name) for uid, name in node.rows().items()} == data


def make_unreadable(path):
    """Let whoever reads the file be told EIO, as of a disk that has lost a sector of it."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


@pytest.mark.parametrize("how", ["cut", "changed", "not readable", "made by a reader"])
def test_a_file_that_has_decayed_is_mended_when_its_object_comes_again(node, settles_soon, how):
    data = os.urandom(50_000)
    node.take("1.2.1", data)
    soon(lambda: node.files() == set(node.rows().values()))
    (path,) = (path for path in (node.folder / "blobs").rglob("*") if path.is_file())
    if how == "not readable":
        make_unreadable(path)
    elif how != "made by a reader":
        path.write_bytes(data[:-1] if how == "cut" else b"\0" + data[1:])
    before = path.stat().st_ino
    assert node.take("1.2.1", data) is Taken.SAME
    soon(lambda: how != "not readable" or not path.is_symlink())
    soon(lambda: path.read_bytes() == data)
    assert node.elsewhere().get(node.rows()["1.2.1"]) == data
    soon(lambda: not node.taking._keeping._turn)
    assert (path.stat().st_ino == before) is (how == "made by a reader")


def test_an_object_whose_row_is_being_committed_is_not_settled_without_it(node, settles_soon):
    def slowly(point):
        if point == "before-commit":
            time.sleep(0.2)

    node.taking._fault = slowly
    assert node.take("1.2.1") is Taken.NEW
    soon(lambda: node.files() == set(node.rows().values()))


def test_what_no_row_names_gets_no_file(node):
    node.take("1.2.1")
    node.take("1.2.1", b"other bytes under its UID")
    node.faults["before-commit"] = Busy("the database is away")
    with pytest.raises(Busy):
        node.take("1.2.2")
    node.take("1.2.3")
    with node.db.write() as conn:
        conn.execute(delete(instance).where(instance.c.sop_instance_uid == "1.2.3"))
    node.taking.stop()
    assert node.files() == {node.rows()["1.2.1"]}


def test_a_sweep_does_not_come_between_a_row_and_its_file(node):
    node.take("1.2.1")
    (name,) = node.rows().values()
    # As if the bytes had been a file before, of a process that was killed before their row.
    (node.blobs.staging / "x.taking").write_text(f"{name}\n")
    swept = []
    sweeping = threading.Thread(target=lambda: swept.append(sweep(node.db, node.blobs.staging, node.blobs.remove)))

    def while_it_settles(point):
        if point == "after-write":
            sweeping.start()
            sweeping.join(0.1)
            swept.append("waits" if sweeping.is_alive() else "went ahead")

    node.blobs._fault = while_it_settles
    node.taking.stop()
    sweeping.join(10)
    assert swept == ["waits", 0]
    assert node.files() == {name}


def test_a_journal_that_cannot_be_settled_is_tried_again_and_read_meanwhile(node, settles_soon):
    node.faults["after-write"] = Busy("the disk is full")
    failed = threading.Event()
    node.blobs._fault = lambda point: (failed.set() if point in node.faults else None, node.fault(point))
    node.take("1.2.1")
    node.take("1.2.2")
    assert failed.wait(10)
    assert node.elsewhere().get(node.rows()["1.2.1"]) == b"1.2.1" * 100
    soon(lambda: node.files() == set(node.rows().values()))
    soon(lambda: node.taking._keeping._free.qsize() == keeping_module.FIRST_FILES)
    assert list(node.blobs.staging.glob("*.part")) == []


def test_what_a_loss_of_power_takes_is_there_again_with_its_row_and_study(node):
    assert [node.take(f"1.2.{number}") for number in range(4)] == [Taken.NEW] * 4
    kept = node.rows()
    again = node.lose_power()
    assert again.rows() == kept
    assert again.files() == set(kept.values())
    assert again.points[:4] == ["after-write", "after-fsync", "after-rename", "after-dirsync"]
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


def test_of_two_contents_under_one_uid_the_one_that_was_answered_with_success_is_restored(node, tmp_path):
    other = Node(tmp_path).ready()
    assert node.take("1.2.1", b"first") is Taken.NEW
    assert other.take("1.2.2") is Taken.NEW
    assert other.take("1.2.1", b"other") is Taken.DIFFERENT
    assert other.take("1.2.3") is Taken.NEW
    refusing = other.taking._keeping._turn.journal
    refusing.close()
    os.utime(refusing.path, (0, 0))  # read before the other one
    again = node.lose_power()
    assert again.rows().keys() == {"1.2.1", "1.2.2", "1.2.3"}
    assert again.elsewhere().get(again.rows()["1.2.1"]) == b"first"
    for one in (again, other):
        one.taking.stop()
        one.db.dispose()


@pytest.mark.parametrize("fails", ["its row", "forgetting it"])
def test_what_failed_does_not_take_the_place_of_what_was_answered_with_success(node, fails):
    if fails == "its row":
        node.faults["before-commit"] = Busy("the database is away")
        with pytest.raises(Busy):
            node.take("1.2.1", b"other")
    assert node.take("1.2.1", b"first") is Taken.NEW
    if fails == "forgetting it":
        node.blobs.remove = lambda _name: (_ for _ in ()).throw(Busy("the disk is slow"))
        assert node.take("1.2.1", b"other", held=False) is Taken.DIFFERENT
        entries = [(one.offset, one.is_taken_back) for one in node.taking._keeping._turn.journal.entries()]
        assert [taken_back for _, taken_back in sorted(entries)] == [False, True]
    again = node.lose_power()
    assert again.elsewhere().get(again.rows()["1.2.1"]) == b"first"
    again.taking.stop()
    again.db.dispose()


def test_what_was_answered_with_success_is_restored_though_it_failed_when_it_came_again(node):
    assert node.take("1.2.1") is Taken.NEW
    node.faults["before-commit"] = Busy("the database is away")
    with pytest.raises(Busy):
        node.take("1.2.1")
    again = node.lose_power()
    assert again.elsewhere().get(again.rows()["1.2.1"]) == b"1.2.1" * 100
    again.taking.stop()
    again.db.dispose()


def test_that_a_prior_was_sent_too_is_there_again_after_a_loss_of_power(node):
    """Its row and its bytes may be older than the loss: what is missing is that its modality has sent it."""
    part = PartFile.new(node.blobs.staging)
    part.hold([b"1.2.1" * 100])
    node.taking.take(part, replace(arrival("1.2.1", part), calling_ae="PACS", fetched=True))
    with node.db.write() as conn:
        priors.claim_question(conn, "1.9", "main", "older", NOW)
        priors.answer_question(conn, "1.9", NOW, found=1, chosen=["1.2"], problem=None)
        close_study(conn, "1.2", datetime(2027, 1, 1, tzinfo=UTC))
    assert node.take("1.2.1") is Taken.SAME
    with node.db.write() as conn:
        assert study_row(conn, "1.2").state == OPEN
        conn.execute(update(study).values(state=CLOSED))
        conn.execute(update(instance).values(fetched=1, calling_ae="PACS"))
    node.die()
    replay(node.db, node.blobs, lambda: NOW)
    with node.db.read() as conn:
        assert study_row(conn, "1.2").state == OPEN
        assert not priors.only_fetched(conn, "1.2", {"main": "PACS"})


def test_a_row_of_which_nobody_knew_that_it_was_committed_gets_its_object(node):
    node.faults["after-row"] = Busy("the connection broke")
    record = node.db.record

    @contextmanager
    def breaking(**how):
        with record(**how) as run:
            yield run
        node.fault("after-row")

    object.__setattr__(node.db, "record", breaking)
    with pytest.raises(Busy):
        node.take("1.2.1")
    node.die()
    assert replay(node.db, node.blobs, lambda: NOW) == 1
    assert node.elsewhere().get(node.rows()["1.2.1"]) == b"1.2.1" * 100


def test_a_refusal_that_cannot_be_kept_is_not_answered(node, monkeypatch):
    node.take("1.2.1", b"first")
    monkeypatch.setattr(
        journal_module.JournalFile, "take_back", lambda *_: (_ for _ in ()).throw(Fault("no flush"))
    )
    with pytest.raises(Fault):
        node.take("1.2.1", b"other")
    assert node.take("1.2.2") is Taken.NEW


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
    node.taking.stop()
    assert node.files() == set(node.rows().values())
    assert len(node.files()) == 40


def test_a_mistake_of_ours_while_a_journal_settles_does_not_end_settling(node, settles_soon):
    node.faults["after-write"] = MemoryError()
    node.blobs._fault = node.fault
    node.take("1.2.1")
    soon(lambda: node.files() == set(node.rows().values()))


def test_a_single_journal_is_enough_where_no_other_can_be_made(node, monkeypatch):
    def no_room(_folder):
        raise Busy("the disk is full")

    monkeypatch.setattr(journal_module.JournalFile, "new", no_room)
    for number in range(20):
        assert node.take(f"1.2.{number}", os.urandom(40_000)) is Taken.NEW
    assert node.points.count("after-journal") == 20  # none had to be a file of its own


def test_what_is_large_is_a_file_and_flushed_by_itself(node):
    node.take("1.3", bytes(LARGEST_BYTES + 1))
    assert node.points == [*SETTLING, "before-commit", "after-commit"]
    assert node.files() == set(node.rows().values())


def test_what_came_in_several_pieces_is_a_file_at_once_and_durable_by_the_journal(node):
    node.take("1.3", b"in pieces", held=False)
    assert node.points == ["after-journal", "after-rename", "before-commit", "after-commit"]
    assert node.files() == set(node.rows().values())
    again = node.lose_power()
    assert again.files() == set(node.rows().values())
    again.taking.stop()
    again.db.dispose()


def test_after_a_stop_everything_is_a_file_and_no_journal_is_left(node):
    node.take("1.2.1")
    node.taking.stop()
    assert list(node.blobs.staging.glob("*.journal")) == []
    assert node.take("1.2.2") is Taken.NEW
    assert node.points[-6] == "after-write"


def test_a_journal_that_cannot_be_flushed_is_nobody_s_success_and_is_not_used_again(node):
    node.take("1.2.1")
    broken = node.taking._keeping._turn.journal
    # Under the same number, because the journal's own thread closes it as soon as the flush has failed.
    with Path("/dev/full").open("r+b", buffering=0) as full:
        os.dup2(full.fileno(), broken._descriptor)
    with pytest.raises((Busy, Fault)):
        node.take("1.2.2")
    assert list(node.rows()) == ["1.2.1"]
    assert node.take("1.2.2") is Taken.NEW
    assert node.taking._keeping._turn.journal is not broken


def test_a_living_process_s_journal_is_left_alone(node):
    node.take("1.2.1")
    assert replay(node.db, node.blobs, lambda: NOW) == 0
    assert len(list(node.blobs.staging.glob("*.journal"))) == keeping_module.FIRST_FILES


def test_what_a_killed_process_answered_is_settled_while_others_take_and_read(node):
    other = Node(node.folder).ready()
    for number in range(3):
        assert node.take(f"1.2.{number}") is Taken.NEW
    assert other.take("1.2.0") is Taken.SAME
    assert other.take("1.3") is Taken.NEW
    node.die()
    mine = set(node.blobs.staging.glob("*.journal")) - {other.taking._keeping._turn.journal.path}
    assert replay(other.db, other.blobs, lambda: NOW) == 3
    assert [path for path in mine if path.exists()] == []
    assert other.files() == {name for uid, name in other.rows().items() if uid != "1.3"}
    assert other.elsewhere().get(other.rows()["1.3"]) == b"1.3" * 100
    other.taking.stop()
    other.db.dispose()


def test_a_file_that_cannot_be_read_keeps_nobody_from_starting_where_a_journal_has_its_object(node):
    node.take("1.2.1", held=False)
    (path,) = (path for path in (node.folder / "blobs").rglob("*") if path.is_file())
    make_unreadable(path)
    node.die()
    assert replay(node.db, node.blobs, lambda: NOW) == 1
    assert path.read_bytes() == b"1.2.1" * 100


class Sweeping:
    """A store that somebody who starts elsewhere begins to sweep when it was asked for a file."""

    def __init__(self, node):
        self._node = node
        self.sweep = threading.Thread(target=sweep, args=(node.db, node.blobs.staging, node.blobs.remove))

    def __getattr__(self, name):
        return getattr(self._node.blobs, name)

    def has_whole_file(self, sha256):
        is_here = self._node.blobs.has_whole_file(sha256)
        self.sweep.start()
        self.sweep.join(0.2)
        return is_here


def test_a_file_that_gets_its_row_from_the_journal_is_not_swept_meanwhile(node):
    node.faults["before-commit"] = Killed()
    with pytest.raises(Killed):
        node.take("1.2.1", held=False)
    node.die()
    blobs = Sweeping(node)
    assert replay(node.db, blobs, lambda: NOW) == 1
    blobs.sweep.join()
    assert node.files() == set(node.rows().values()) == {hashlib.sha256(b"1.2.1" * 100).hexdigest()}


def test_other_bytes_that_a_sender_brings_meanwhile_leave_no_orphan(node):
    """The process was killed before its row; its sender tries again elsewhere, with a corrected object."""
    node.faults["before-commit"] = Killed()
    with pytest.raises(Killed):
        node.take("1.2.1")
    node.die()
    other = Node.__new__(Node)
    other.__dict__ = dict(node.__dict__, taking=Taking(node.db, node.blobs, lambda: NOW, flush=Flush.FILES))
    node.blobs._fault = lambda point: point == "after-fsync" and bring()

    def bring():
        node.blobs._fault = node.fault
        assert other.take("1.2.1", b"corrected") is Taken.NEW

    assert replay(node.db, node.blobs, lambda: NOW) == 0
    assert sweep(node.db, node.blobs.staging, node.blobs.remove) == 1
    assert node.files() == set(node.rows().values()) == {hashlib.sha256(b"corrected").hexdigest()}


def test_a_journal_whose_making_was_cut_is_taken_away(tmp_path):
    database(tmp_path).dispose()
    (tmp_path / "incoming").mkdir()
    for name in ("a.journal", "b.unfinished"):
        (tmp_path / "incoming" / name).write_bytes(b"\0" * 10_000)
    one = Node(tmp_path, Flush.FILES)
    assert list(one.blobs.staging.iterdir()) == []
    one.db.dispose()


@pytest.mark.parametrize("when", ["open", "flock", "pwrite", "fsync", "rename"])
def test_a_process_that_starts_while_a_journal_is_made_does_not_take_it_away(tmp_path, monkeypatch, when):
    """It happened once in 1,000 kills: what stood there was acknowledged, and gone at the next kill."""
    db = database(tmp_path)
    blobs = open_blobs(f"file://{tmp_path}/blobs", tmp_path / "incoming")
    module = {"flock": fcntl, "rename": Path}.get(when, os)
    plain, starts = getattr(module, when), iter([True])

    def with_another_start(*given):
        if next(starts, False):
            monkeypatch.setattr(module, when, plain)
            replay(db, blobs, lambda: NOW)
            again = plain(*given)
            replay(db, blobs, lambda: NOW)
            return again
        return plain(*given)

    monkeypatch.setattr(module, when, with_another_start)
    journal = journal_module.JournalFile.new(blobs.staging)
    replay(db, blobs, lambda: NOW)
    assert journal.path.stat().st_ino == os.fstat(journal._descriptor).st_ino
    assert [path.name for path in blobs.staging.iterdir()] == [journal.path.name]
    journal.remove()
    db.dispose()


def test_a_row_reads_back_with_its_patient():
    one = ReceivedInstance("1.2", "1.3", "1.4", "1.5", "1.6", "CT", PatientKey("urn:x", "4711"), "ab", 7, "A", "B")
    assert from_bytes(to_bytes(one)) == one


CHILD = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from record_store import keeping
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
while taking._keeping._free.qsize() < keeping.FIRST_FILES:
    os.sched_yield()
part = PartFile.new(blobs.staging)
part.hold([b"pixels" * 1000])
taking.take(part, ReceivedInstance(
    "1.2.1", "1.2", "1.2", "1.2", "1.2.3", "CT", None, part.sha256, part.size, "CT1", "CONSILIUM"))
if stop_at == "answered":
    os.kill(os.getpid(), signal.SIGKILL)
taking.stop()
"""


@pytest.mark.slow
@pytest.mark.parametrize("point", [*KILL_POINTS, "answered", *SETTLING])
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
