"""What arrives is read in shadow too: after the live models, and only what came since the shadow began."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert

from clinical.errors import Fault, PreconditionMissing
from consilium.explain.shadow_words import shadows_in_words
from consilium.shadow.traffic import Traffic, live_first
from record_store import shadows
from record_store.readings import QUEUED, JobRow, add_job, finish_job
from record_store.tables import prior
from record_store.times import to_text
from tests.consilium.nodule import one_nodule

pytestmark = pytest.mark.slow


@pytest.fixture
def traffic(shadowed):
    return Traffic(shadowed.db, shadowed.reader(), [shadowed.model], lambda: shadowed.now)


def test_what_came_before_it_began_is_for_a_replay(shadowed, traffic) -> None:
    shadowed.stored("1.2.3", "before")
    shadowed.passes(seconds=1)
    assert traffic.once() == 0
    shadowed.passes(seconds=1)
    shadowed.stored("1.2.4", "after")
    assert (traffic.once(), traffic.once()) == (1, 0)
    assert [one.reading.image.study_uid for one in shadowed.readings()] == ["1.2.4"]


def test_a_shadow_that_was_away_catches_up(shadowed, traffic) -> None:
    assert traffic.once() == 0
    shadowed.passes(days=1)
    shadowed.stored("1.2.4", "meanwhile")
    shadowed.passes(days=1)
    again = Traffic(shadowed.db, shadowed.reader(), [shadowed.model], lambda: shadowed.now)
    assert again.once() == 1


def test_a_prior_and_a_study_of_another_modality_are_not_taken(shadowed, traffic) -> None:
    traffic.once()
    shadowed.passes(seconds=1)
    shadowed.stored("1.2.4", "fetched")
    shadowed.stored("1.2.5", "knee", Modality="MR")
    with shadowed.db.write() as conn:
        asked = {"study_uid": "1.2.9", "archive": "pacs", "rule": "older films", "at": to_text(shadowed.now)}
        conn.execute(insert(prior), asked | {"prior_uid": "1.2.4", "state": "fetched"})
    assert traffic.once() == 0
    assert (shadowed.row("1.2.4"), shadowed.row("1.2.5")) == (None, None)


class Refused:
    def manifest(self):
        raise PreconditionMissing("other files of this version have read before")


def test_a_model_that_is_refused_is_told_to_who_asks_and_keeps_no_other_from_reading(shadowed, traffic) -> None:
    traffic.once()
    shadowed.passes(seconds=1)
    shadowed.stored("1.2.4", "after")
    both = replace(traffic, models=[Refused(), shadowed.model])
    both._known.update(traffic._known)
    with pytest.raises(PreconditionMissing, match="other files"):
        both.once()
    assert [one.reading.image.study_uid for one in shadowed.readings()] == ["1.2.4"]


def test_the_live_result_is_the_same_beside_a_shadow_that_fails(shadowed, traffic) -> None:
    traffic.once()
    shadowed.passes(seconds=1)
    shadowed.answers(Fault("the model crashed"))
    shadowed.study.uid = "1.2.4"
    shadowed.study.arrives("first")
    key = shadowed.study.closes()
    traffic.once()
    shadowed.study.run(key)
    assert shadowed.study.counts() == {"reading": 1, "result_object": 2, "delivery": 2, "reports": 1}
    with shadowed.db.read() as conn:
        told = shadows_in_words(shadows.shadows_of(conn, "1.2.4"))
    assert told == (
        "lung-nodule 2.0.0, revision 1: 0 images read, and some failed; it is tried again",
        "lung-nodule 2.0.0, revision 1: failed for 1: the model crashed",
    )


def _job(now) -> JobRow:
    return JobRow("k" * 64, "1.2.3", 1, "0" * 64, "lung-nodule", "1.0.0", now, QUEUED)


def test_it_waits_while_a_live_job_waits_and_goes_on_when_that_is_done(shadowed) -> None:
    stopping = threading.Event()
    goes_on = live_first(shadowed.db, lambda: shadowed.now, stopping)
    assert goes_on()
    with shadowed.db.write() as conn:
        add_job(conn, _job(shadowed.now))
    went = []
    waiting = threading.Thread(target=lambda: went.append(goes_on()))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    with shadowed.db.write() as conn:
        finish_job(conn, "k" * 64, "done", None, shadowed.now)
    waiting.join(10)
    assert went == [True]


def test_a_live_job_that_waits_for_something_else_does_not_stop_it_and_an_end_does(shadowed) -> None:
    stopping = threading.Event()
    goes_on = live_first(shadowed.db, lambda: shadowed.now, stopping)
    with shadowed.db.write() as conn:
        add_job(conn, _job(shadowed.now - timedelta(hours=1)))
    assert goes_on()
    stopping.set()
    assert not goes_on()


def test_nothing_is_read_while_a_live_job_waits(shadowed) -> None:
    shadowed.stored("1.2.3", "first")
    with shadowed.db.write() as conn:
        add_job(conn, _job(shadowed.now))
    order = []
    shadowed.answers(lambda inputs: order.append("shadow") or one_nodule(inputs))

    class Finishing(threading.Event):
        def wait(self, timeout=None):
            order.append("live")
            with shadowed.db.write() as conn:
                finish_job(conn, "k" * 64, "done", None, shadowed.now)
            return False

    goes_on = live_first(shadowed.db, lambda: shadowed.now, Finishing())
    shadowed.reader(goes_on=goes_on).read(shadowed.model, "1.2.3")
    assert order == ["live", "shadow"]
