"""Fetches of several archives side by side, and leases that last as long as a slow one takes."""

import threading
import time
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import select

from consilium.workitems.lanes import LEASE_S
from consilium.workitems.wado import web_archive
from dicom_node.query.scu import Retrieved
from record_store import workitems
from record_store.tables import workitem
from tests.consilium.workitems.conftest import IMAGE, STUDY, UID
from tests.consilium.workitems.test_wado import held, web  # noqa: F401 - a fixture
from tests.dicom_node.ups.peer import step

WITHIN_S = 20.0
OTHER, ANOTHER_STUDY = "2.25.101", "1.2.826.0.1.9"


class Slow:
    """An archive that sends nothing before it is let go. began: when somebody asks it."""

    def __init__(self, world):
        self.world, self.began, self.goes_on = world, threading.Event(), threading.Event()

    def __call__(self, archive, study_uid, by):
        self.world.fetched.append((archive.ae_title, study_uid, by))
        self.began.set()
        assert self.goes_on.wait(WITHIN_S)
        self.world.arrives()
        return Retrieved(0, "done", 1)


def of(near, uid):
    with near.db.read() as conn:
        return next(one for one in workitems.every(conn) if one.workitem_uid == uid)


@contextmanager
def fetching_slowly(near, threads=1):
    """While a thread of this process waits for the slow archive."""
    near.fetch = slow = Slow(near)
    _, performing = near.process()
    near.asking.once()
    performing.once()
    fetches = [threading.Thread(target=performing.fetch_once) for _ in range(threads)]
    for one in fetches:
        one.start()
    assert slow.began.wait(WITHIN_S)
    try:
        yield performing
    finally:
        slow.goes_on.set()
        for one in fetches:
            one.join()


def comes_true(what):
    ends = time.monotonic() + WITHIN_S
    while not what() and time.monotonic() < ends:
        time.sleep(0.01)
    return what()


def due(near):
    with near.db.read() as conn:
        return conn.execute(select(workitem.c.next_attempt_at)).scalar_one()


def test_a_slow_archive_delays_no_step_of_another(near, web) -> None:  # noqa: F811
    near.web_archives.append(web_archive(web.url, None))
    near.book.steps[OTHER] = step(OTHER, objects=(f"{STUDY}.2",), retrieve_url=f"{web.url}/studies/{STUDY}")
    with fetching_slowly(near, threads=2):
        assert comes_true(lambda: of(near, OTHER).state == workitems.READING)
        assert of(near, UID).state == workitems.FETCHING
        assert held(near) == [f"{STUDY}.2"]
    assert of(near, UID).state == workitems.READING


def test_one_archive_is_asked_for_one_study_at_a_time(near) -> None:
    near.book.steps[OTHER] = step(OTHER, ANOTHER_STUDY, objects=(IMAGE,), retrieve_ae="PACS")
    with fetching_slowly(near) as performing:
        performing.fetch_once()  # another loop
        assert len(near.fetched) == 1
    assert {study for _, study, _ in near.fetched} == {STUDY, ANOTHER_STUDY}


def test_a_lease_lasts_as_long_as_a_slow_archive_takes(near) -> None:
    near.renewed_s = 0.01
    with fetching_slowly(near):
        first = due(near)
        near.at += timedelta(seconds=LEASE_S * 0.9)
        assert comes_true(lambda: due(near) > first)
        near.at += timedelta(seconds=LEASE_S * 0.9)  # past the first lease, and within the second
        near.worker = "worker-2"
        assert near.process()[1].fetch_once() == 0
    assert (len(near.fetched), near.row().state) == (1, workitems.READING)


def test_whoever_was_taken_over_stops_and_writes_nothing(near) -> None:
    with fetching_slowly(near):
        near.at += timedelta(seconds=LEASE_S + 1)  # its process stood still
        taken = workitems.claim(near.db, (workitems.FETCHING,), near.at, LEASE_S, "worker-2")
    with near.db.read() as conn:
        row = conn.execute(select(workitem)).one()
        (study,) = workitems.studies_of(conn, taken)
    assert (row.held_by, row.state, study.fetched) == ("worker-2", workitems.FETCHING, False)
