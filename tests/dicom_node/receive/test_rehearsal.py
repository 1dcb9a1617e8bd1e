"""What a process does only once is done before a sender waits for it, and leaves nothing behind."""

import functools
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from sqlalchemy import select

from clinical.identity import IssuerTable
from dicom_node import direct
from dicom_node.bounds import Bounds
from dicom_node.direct import Store
from dicom_node.intake import Intake
from dicom_node.rehearsal import rehearse
from dicom_node.storing import Storing
from record_store import instances, sqlite_rows
from record_store.blobs import open_blobs
from record_store.tables import audit, instance, study
from record_store.testing import database


class Node:
    """What a receiving process stores with. told: whatever anybody would hear of."""

    def __init__(self, folder):
        self.folder, self.told = folder, []
        self.db = database(folder)
        self.blobs = open_blobs(f"file://{folder}/blobs", folder / "incoming")
        self.blobs.prepare()
        intake = Intake(
            self.db, self.blobs, IssuerTable({"": "urn:h"}), lambda: datetime.now(UTC), self.told.append
        )
        storing = Storing(intake, "US", self.told.append, self.told.append, lambda *said: self.told.append(said))
        self.store = Store(storing, str, self.blobs.staging, Bounds())

    def rows(self):
        with self.db.read() as conn:
            return [len(conn.execute(select(table)).all()) for table in (instance, study, audit)]

    def files(self):
        return [path for path in self.folder.rglob("*") if path.is_file() and "consilium.db" not in path.name]


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def node(tmp_path):
    one = Node(tmp_path)
    yield one
    one.db.dispose()


def test_nothing_of_it_stays_and_nobody_is_told(node):
    rehearse(node.store, 1)
    assert node.rows() == [0, 0, 0]  # both have opened the database
    files, open_files, threads = node.files(), open_descriptors(), threading.active_count()
    with structlog.testing.capture_logs() as logged:
        rehearse(node.store, 3)
    assert node.rows() == [0, 0, 0]
    assert node.files() == files
    assert (node.told, logged) == ([], [])
    # An earlier test's may end meanwhile.
    assert open_descriptors() <= open_files
    assert threading.active_count() <= threads


def test_it_goes_all_the_way_to_the_answer_each_time(node, monkeypatch):
    answered, way = [], []
    answer = direct.DirectAssociation._answer
    monkeypatch.setattr(
        direct.DirectAssociation,
        "_answer",
        lambda self, command, status: (answered.append(status), answer(self, command, status)),
    )
    record = instances.record_instances
    monkeypatch.setattr("record_store.taking.record_instances", lambda *of: way.extend(record(*of)))
    rehearse(node.store, 3)
    assert answered == [0, 0, 0]
    assert way == ["new"] * 6  # a study's first object, and another one


def test_an_object_that_comes_afterwards_compiles_no_statement(node, monkeypatch):
    compiling = functools.cache(sqlite_rows._text.__wrapped__)
    monkeypatch.setattr(sqlite_rows, "_text", compiling)
    rehearse(node.store, 1)
    before = compiling.cache_info().misses
    assert before >= 4
    with node.db.record(durable=False) as run:
        for number in range(3):
            one = instances.ReceivedInstance(
                f"1.2.{number}", "1.2", "1.2", "1.3", "1.4", "CT", None, "ab", 1, "A", "B"
            )
            instances.record_instances(run, "sqlite", [one], datetime.now(UTC))
    assert compiling.cache_info().misses == before


def test_where_a_socket_does_not_hold_an_object_it_is_left_and_nobody_waits(node, monkeypatch):
    pair = socket.socketpair

    def small():
        ends = pair()
        for one in ends:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        return ends

    assert node.rows() == [0, 0, 0]  # the database is open
    open_files = open_descriptors()
    monkeypatch.setattr(socket, "socketpair", small)
    rehearse(node.store, 2)
    assert (node.rows(), node.files(), node.told) == ([0, 0, 0], [], [])
    assert open_descriptors() <= open_files


def test_a_store_or_a_database_that_is_away_is_nobody_s_loss(node, tmp_path):
    (tmp_path / "consilium.db").unlink()
    rehearse(node.store, 1)
    assert node.told == []
