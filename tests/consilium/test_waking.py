"""A worker at rest: its loops look when somebody has committed something, and not many times a second."""

import threading
import time
from collections.abc import Callable

import pytest

from clinical.errors import Busy
from consilium.waking import Waking
from consilium.worker import Loop, always


class Looks:
    """Counts what a loop does. rests: what the loop is told when it asks."""

    def __init__(self, *, rests: bool = True) -> None:
        self.rests, self.asked = rests, 0
        self.count, self._more = 0, threading.Condition()

    def look(self) -> int:
        with self._more:
            self.count += 1
            self._more.notify_all()
        return 0

    def ask(self) -> bool:
        self.asked += 1
        return self.rests

    def come_to(self, count: int) -> bool:
        with self._more:
            return self._more.wait_for(lambda: self.count >= count, 30)


@pytest.fixture
def started():
    loops = []

    def start(loop: Loop) -> Loop:
        loops.append(loop)
        loop.start()
        return loop

    yield start
    for loop in loops:
        loop.stop(30)


class Answers:
    """Changes with these values, the last one for ever."""

    def __init__(self, values) -> None:
        self.values, self.asked = values, 0
        self.over, self.closed = threading.Event(), threading.Event()

    def __call__(self) -> int:
        self.asked += 1
        if self.asked >= len(self.values):
            self.over.set()
        value = self.values[min(self.asked, len(self.values)) - 1]
        if isinstance(value, Exception):
            raise value
        return value

    def close(self) -> None:
        self.closed.set()


def comes(said: Callable[[], bool]) -> None:
    """Wait until it is so."""
    until = time.monotonic() + 30
    while not said():
        assert time.monotonic() < until
        time.sleep(0.001)


def resting(loop: Loop) -> None:
    """Wait until the loop rests."""
    comes(lambda: loop.resting)


def test_a_loop_with_nothing_to_do_looks_once_and_rests(started):
    looks = Looks()
    resting(started(Loop("test", looks.look, 0.001, rests=looks.ask, rest_s=60)))
    time.sleep(0.1)  # a hundred times the pause between two looks
    assert (looks.count, looks.asked) == (1, 1)


def test_a_change_that_brings_nothing_for_a_loop_costs_one_question_and_no_look(started):
    looks = Looks()
    loop = started(Loop("test", looks.look, 0.001, rests=looks.ask, rest_s=60))
    resting(loop)
    loop.changed()
    comes(lambda: looks.asked >= 2)
    resting(loop)
    assert looks.count == 1


def test_a_change_that_brings_something_is_looked_at_and_so_is_what_time_makes_due(started):
    looks = Looks()
    loop = started(Loop("test", looks.look, 0.001, rests=looks.ask, rest_s=60))
    resting(loop)
    looks.rests = False
    loop.changed()
    assert looks.come_to(20), "it goes on looking while something may become due"


def test_a_loop_whose_work_waits_for_no_time_looks_after_each_change(started):
    looks = Looks()
    loop = started(Loop("test", looks.look, 0.001, rests=always, rest_s=60))
    for count in (2, 3):
        resting(loop)
        loop.changed()
        assert looks.come_to(count)


def test_a_change_while_the_loop_works_is_not_overlooked(started):
    looks = Looks()

    def look() -> int:
        if looks.look() == 0 and looks.count == 1:
            loop.changed()
        return 0

    loop = Loop("test", look, 0.001, rests=always, rest_s=60)
    started(loop)
    assert looks.come_to(2)


def test_a_loop_that_nobody_wakes_looks_all_the_same_after_its_rest(started):
    looks = Looks()
    started(Loop("test", looks.look, 0.001, rests=looks.ask, rest_s=0.01))
    assert looks.come_to(3)


def test_who_knows_that_there_is_work_wakes_a_loop_that_rests(started):
    looks = Looks()
    loop = started(Loop("test", looks.look, 0.001, rests=looks.ask, rest_s=60))
    resting(loop)
    loop.wake()
    assert looks.come_to(2)


def test_a_loop_that_cannot_ask_whether_it_may_rest_does_not(started):
    looks = Looks()

    def away() -> bool:
        raise Busy("away")

    started(Loop("test", looks.look, 0.001, rests=away, rest_s=60))
    assert looks.come_to(3)


def test_a_loop_ends_from_its_rest():
    looks = Looks()
    loop = Loop("test", looks.look, 0.001, rests=looks.ask, rest_s=60)
    loop.start()
    resting(loop)
    before = time.monotonic()
    loop.stop(30)
    assert time.monotonic() - before < 20


@pytest.mark.parametrize("error", [Busy("away"), RuntimeError("a mistake of ours")])
def test_loops_are_woken_by_a_change_and_by_a_database_that_cannot_be_asked_and_by_nothing_else(error):
    seen, woken = Answers([1, 1, 1, 2, 2, error, 2, 2]), []
    waking = Waking(seen, [lambda: woken.append(seen.asked)], watch_s=0.001, away_s=0.001)
    waking.start()
    assert seen.over.wait(30)
    waking.ask_to_stop()
    assert seen.closed.wait(30)
    assert woken == [1, 4, 6, 7], "the first, the change, the error, and what may have been missed meanwhile"
