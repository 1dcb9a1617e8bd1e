"""Group commit: what failed fails alone, and what a killed process leaves is found and removed."""

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, select

from clinical.errors import Busy, ClinicalError, Fault
from record_store.blobs import open_blobs
from record_store.database import open_database
from record_store.instances import ReceivedInstance, Taken
from record_store.intents import sweep
from record_store.parts import PartFile
from record_store.tables import audit, instance, result_object, study
from record_store.taking import NotCommitted, Taking
from record_store.testing import database
from record_store.times import to_text

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KILL_POINTS = ("after-write", "after-fsync", "after-rename", "after-dirsync", "before-commit", "after-commit")


class Store:
    def __init__(self, folder, db):
        self.db, self.faults = db, {}
        self.blobs = open_blobs(f"file://{folder}/blobs", folder / "incoming", self.fault)
        self.taking = Taking(db, self.blobs, lambda: NOW, self.fault)
        self.held = threading.Event()
        self.held.set()

    def fault(self, point):
        if point == "after-write":
            assert self.held.wait(30)
        if point in self.faults:
            raise self.faults.pop(point)

    def part(self, data):
        part = PartFile.new(self.blobs.staging)
        part.write([data])
        return part

    def take(self, uid, data=None, **changes):
        part = self.part(data or uid.encode())
        return self.taking.take(part, arrival(uid, part, **changes))

    def together(self, *calls):
        """Run calls so that all but the first share a round; return what each gave or raised."""
        self.held.clear()
        results = {}

        def run(number, call):
            try:
                results[number] = call()
            except ClinicalError as error:
                results[number] = error

        threads = [threading.Thread(target=run, args=one) for one in enumerate(calls)]
        threads[0].start()
        while not self.taking._turns._busy:
            threading.Event().wait(0.002)
        for thread in threads[1:]:
            thread.start()
        while len(self.taking._turns._waiting) < len(calls) - 1:
            threading.Event().wait(0.002)
        self.held.set()
        for thread in threads:
            thread.join(30)
        return [results[number] for number in range(len(calls))]

    def rows(self, table):
        with self.db.read() as conn:
            return conn.execute(select(table)).mappings().all()

    def files(self):
        return {path.name for path in (self.blobs.staging.parent / "blobs").rglob("*") if path.is_file()}


def arrival(uid, part, study_uid="1.2"):
    return ReceivedInstance(
        uid, "1.2.840", "1.2.840.1", study_uid, "1.2.3", "CT", None, part.sha256, part.size, "CT1", "CONSILIUM"
    )


@pytest.fixture
def store(tmp_path):
    db = database(tmp_path)
    yield Store(tmp_path, db)
    db.dispose()


def test_a_round_of_many_stores_each_and_counts_each_into_its_study(store):
    uids = [f"1.2.{number}" for number in range(7)]
    calls = [lambda uid=uid: store.take(uid, study_uid=f"1.9.{int(uid[-1]) % 2}") for uid in uids]
    found = store.together(*calls, calls[3])
    assert sorted((found[3], found.pop())) == [Taken.NEW, Taken.SAME]  # whichever of both comes first
    assert found.count(Taken.NEW) >= 6
    assert {row["sop_instance_uid"] for row in store.rows(instance)} == set(uids)
    assert {row["study_uid"]: row["instances"] for row in store.rows(study)} == {"1.9.0": 4, "1.9.1": 3}
    assert len(store.rows(audit)) == 8
    assert store.files() == {row["sha256"] for row in store.rows(instance)}
    assert list(store.blobs.staging.glob("*.part")) == []


def test_of_one_uid_with_two_contents_in_one_round_one_is_kept_and_the_other_s_bytes_are_forgotten(store):
    found = store.together(
        lambda: store.take("1.2.1"), lambda: store.take("1.2.2", b"one"), lambda: store.take("1.2.2", b"two")
    )
    assert sorted(found[1:]) == [Taken.DIFFERENT, Taken.NEW]
    assert len(store.files()) == 2


def test_a_result_of_ours_keeps_its_file_when_an_archive_sends_a_changed_one_first(store):
    made = store.blobs.put(b"our segmentation")
    row = {"sop_instance_uid": "1.2.9", "sha256": made.sha256, "study_uid": "1.9.0", "job_key": "k", "kind": "SEG"}
    with store.db.write() as conn:
        conn.execute(insert(result_object), {**row, "sop_class_uid": "1.2", "created_at": to_text(NOW)})
    assert store.take("1.2.9", b"with another header") is Taken.NEW
    assert store.take("1.2.9", b"our segmentation") is Taken.DIFFERENT
    assert store.blobs.get(made.sha256) == b"our segmentation"


def test_second_bytes_that_cannot_be_removed_are_answered_as_what_they_are_and_swept_later(store):
    store.take("1.2.1", b"first")
    remove, store.blobs.remove = store.blobs.remove, lambda _name: (_ for _ in ()).throw(Busy("the disk is slow"))
    assert store.take("1.2.1", b"other") is Taken.DIFFERENT
    assert len(store.files()) == 2
    assert sweep(store.db, store.blobs.staging, remove) == 1
    assert store.files() == {row["sha256"] for row in store.rows(instance)}


def test_a_part_that_cannot_be_flushed_fails_alone(store):
    broken = PartFile(
        store.blobs.staging, store.part(b"x" * 100).path, os.pipe()[0]
    )  # fsync of a pipe fails as on a broken disk
    found = store.together(
        lambda: store.take("1.2.1"),
        lambda: store.taking.take(broken, arrival("1.2.2", broken)),
        lambda: store.take("1.2.3"),
    )
    assert (found[0], found[2]) == (Taken.NEW, Taken.NEW)
    assert isinstance(found[1], Fault)
    assert len(store.rows(instance)) == len(store.files()) == 2


def test_a_row_that_the_database_refuses_is_not_the_others_failure(store):
    found = store.together(
        lambda: store.take("1.2.1"), lambda: store.take("1.2.2", study_uid=None), lambda: store.take("1.2.3")
    )
    assert (found[0], found[2]) == (Taken.NEW, Taken.NEW)
    assert isinstance(found[1], Fault)
    assert [row["instances"] for row in store.rows(study)] == [2]


def test_when_the_database_is_away_all_of_the_round_are_told_so_and_their_objects_are_swept(store):
    store.faults["before-commit"] = Busy("away")
    assert store.together(lambda: store.take("1.2.1")) != [Taken.NEW]
    store.faults["before-commit"] = Busy("away")
    with pytest.raises(NotCommitted):
        store.take("1.2.2")
    assert len(store.files()) == 2
    assert sweep(store.db, store.blobs.staging, store.blobs.remove) == 2
    assert store.files() == set()
    assert store.take("1.2.2") is Taken.NEW
    assert sweep(store.db, store.blobs.staging, store.blobs.remove) == 0
    assert store.take("1.2.3") is Taken.NEW  # after the sweep has removed its file of intents
    assert len(store.files()) == 2


CHILD = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from record_store.blobs import open_blobs
from record_store.database import open_database
from record_store.instances import ReceivedInstance
from record_store.parts import PartFile
from record_store.taking import Taking
folder, stop_at = Path(sys.argv[1]), sys.argv[2]
def fault(point):
    if point == stop_at:
        os.kill(os.getpid(), signal.SIGKILL)
blobs = open_blobs(f"file://{folder}/blobs", folder / "incoming", fault)
part = PartFile.new(blobs.staging)
part.write([b"pixels" * 1000])
taking = Taking(open_database(f"sqlite:///{folder}/consilium.db"), blobs, lambda: datetime.now(UTC), fault)
taking.take(part, ReceivedInstance(
    "1.2.1", "1.2", "1.2", "1.2", "1.2.3", "CT", None, part.sha256, part.size, "CT1", "CONSILIUM"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("point", KILL_POINTS)
def test_a_kill_leaves_a_row_with_its_object_or_neither_and_the_sweep_leaves_no_orphan(tmp_path, point):
    database(tmp_path).dispose()
    ended = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path), point], check=False)
    assert ended.returncode == -signal.SIGKILL
    db = open_database(f"sqlite:///{tmp_path}/consilium.db")
    store = Store(tmp_path, db)
    store.blobs.sweep(older_than_s=-1)
    sweep(db, store.blobs.staging, store.blobs.remove)
    named = {row["sha256"] for row in store.rows(instance)}
    assert len(named) == (1 if point == "after-commit" else 0)
    assert store.files() == named
    assert [path.name for path in store.blobs.staging.iterdir()] in ([], ["taking.lock"])
    db.dispose()


def test_what_is_rehearsed_leaves_no_row_and_no_file_behind(store):
    part = store.part(b"rehearsed")
    store.taking.rehearse(part, arrival("1.2.1", part))
    assert [store.rows(table) for table in (instance, study, audit)] == [[], [], []]
    assert list(store.blobs.staging.glob("*.part")) == []
    assert store.take("1.2.1") is Taken.NEW
